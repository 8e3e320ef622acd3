"""Heartbeats of ranks and the failure report that all ranks share, kept in the rendezvous store."""

import os
import platform
import signal
import traceback
from dataclasses import dataclass, replace

import psutil
from pydantic import TypeAdapter
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import DataError, Interrupted, RankFailed, SentiscaleError, UsageError
from sentiscale.parallel.rendezvous import NO_VALUE
from sentiscale.parallel.world import process_space

LAUNCHER = -1
"""Reporter number of the launcher; ranks are numbered from 0."""

ERROR_OF_EXIT_CODE: dict[int, type[SentiscaleError]] = {
    kind.exit_code: kind for kind in (UsageError, DataError, Interrupted)
}

OUT_OF_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "Cannot allocate memory",
    "could not create a primitive",  # oneDNN's message when memory is short
)
MEMORY_ADVICE = "Use a smaller --batch-size, fewer ranks per host, or a layout with more stages."


@dataclass(frozen=True)
class Heartbeat:
    rank: int
    count: int = 0
    """Number of heartbeats so far; it grows as long as the rank is alive."""
    host: str = ""
    process_space: str = ""
    """Equal for processes that can see each other's process ids."""
    pid: int = 0
    created_at: float = 0.0
    """Creation time of the process; together with `pid` it is unique, because process ids are reused."""
    phase: str = "start"
    step: int = 0
    ended: bool = False
    """Whether the rank ended without an error; no more heartbeats follow."""

    @classmethod
    def of_this_process(cls, rank: int) -> "Heartbeat":
        own = psutil.Process()
        return cls(rank, 0, platform.node(), process_space(), own.pid, own.create_time())

    @property
    def position(self) -> str:
        """For example, `in phase compute at step 12`."""
        return f"in phase {self.phase} at step {self.step}"


@dataclass(frozen=True)
class FailureReport:
    """Why training ends. Only the first report counts."""

    exit_code: int
    message: str
    traceback: str | None = None
    """Set for unexpected errors only."""
    reporter: int = LAUNCHER
    """Rank that prints the report, unless the launcher prints it."""
    kill: Heartbeat | None = None
    """Heartbeat of a hung process that must be killed because it cannot end by itself."""

    def as_error(self) -> SentiscaleError:
        """Return the exception that matches the exit code, with the traceback if there is one."""
        kind = ERROR_OF_EXIT_CODE.get(self.exit_code, RankFailed)
        return kind(f"{self.message}\n{self.traceback.rstrip()}" if self.traceback else self.message)

    @property
    def is_interruption(self) -> bool:
        """Whether training was stopped by a user or a batch system rather than by a failure."""
        return self.exit_code == Interrupted.exit_code

    def by(self, rank: int) -> "FailureReport":
        return replace(self, reporter=rank)


def report_error(error: BaseException, beat: Heartbeat, world_size: int, own_file: str) -> FailureReport:
    """Describe an exception raised by this rank.

    Our own errors keep their message. Any other error adds its traceback without the outermost frames, which
    belong to `own_file`.
    """
    who, trace = _who(beat, world_size), None
    exit_code = SentiscaleError.exit_code
    if isinstance(error, Interrupted | UsageError):
        exit_code, message = error.exit_code, str(error)
    elif isinstance(error, KeyboardInterrupt):
        exit_code, message = Interrupted.exit_code, "interrupted; no partial output was left behind."
    elif isinstance(error, SentiscaleError):
        exit_code, message = error.exit_code, f"{error} ({who}, {beat.position})"
    elif is_out_of_memory(error):
        message = f"{who} ran out of memory {beat.position}: {_summary(error)}. {MEMORY_ADVICE}"
    elif isinstance(error, SystemExit):
        exit_code = error.code if isinstance(error.code, int) else 1
        message = f"{who} exited {beat.position} with exit code {exit_code}."
    else:
        message = f"{who} failed {beat.position}: {_summary(error)}."
        frame = error.__traceback__
        while frame is not None and frame.tb_frame.f_code.co_filename == own_file:
            frame = frame.tb_next
        trace = "".join(traceback.format_exception(type(error), error, frame))
    return FailureReport(exit_code, message, trace)


def report_timeout(beat: Heartbeat, seconds: float, world_size: int) -> FailureReport:
    """Describe a rank whose heartbeats have stopped for `seconds`."""
    message = (
        f"{_who(beat, world_size)} has sent no heartbeat for {seconds:.0f} s; it was last seen "
        f"{beat.position} (process {beat.pid}). It was killed, is stopped, or its host cannot be reached."
    )
    return FailureReport(SentiscaleError.exit_code, message, kill=beat)


def report_end(beat: Heartbeat, returncode: int, world_size: int) -> FailureReport:
    """Describe a rank that ended without a report; `returncode` is that of `subprocess.Popen`."""
    seen = f"it was last seen {beat.position}" if beat.count else "it had not started"
    exit_code, who = SentiscaleError.exit_code, _who(beat, world_size)
    if returncode == -signal.SIGKILL:
        message = (
            f"{who} was killed by SIGKILL; {seen}. If nobody sent it, the kernel did: it kills processes "
            f"when memory runs out. {MEMORY_ADVICE}"
        )
    elif returncode < 0:
        message = f"{who} was killed by {_signal_name(-returncode)}; {seen}."
    else:
        exit_code = returncode if returncode in ERROR_OF_EXIT_CODE else exit_code
        message = f"{who} ended with exit code {returncode}; {seen}. Its own output may show the cause."
    return FailureReport(exit_code, message)


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


def kill_hung(beat: Heartbeat) -> None:
    """SIGKILL the process that sent `beat`, if it is in this process space and its id was not reused."""
    if beat.process_space != process_space() or beat.pid == os.getpid():
        return
    try:
        process = psutil.Process(beat.pid)
        # Clock adjustments can shift the computed creation time slightly; ids are reused far more slowly.
        if abs(process.create_time() - beat.created_at) < 2:
            process.kill()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass


def _who(beat: Heartbeat, world_size: int) -> str:
    return f"rank {beat.rank} of {world_size} on host {beat.host or platform.node()}"


def _summary(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]]).rstrip(".")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


HEARTBEATS: TypeAdapter[Heartbeat] = TypeAdapter(Heartbeat)
REPORTS: TypeAdapter[FailureReport] = TypeAdapter(FailureReport)


class ReportStore:
    """Last heartbeat of each rank and the failure report of one attempt, as JSON in the rendezvous store."""

    def __init__(self, store: TCPStore, prefix: str, world_size: int) -> None:
        self._store = store
        self._report = f"{prefix}/report"
        self._beats = [f"{prefix}/beat/{rank}" for rank in range(world_size)]
        # Create all keys now: reading a missing key would block until it is set.
        for key in (self._report, *self._beats):
            store.compare_set(key, "", NO_VALUE)

    def post(self, beat: Heartbeat) -> None:
        self._store.set(self._beats[beat.rank], HEARTBEATS.dump_json(beat).decode())

    def read(self) -> tuple[FailureReport | None, list[Heartbeat | None]]:
        """Return the failure report, if any, and each rank's last heartbeat, in one round trip."""
        report, *beats = (value.strip() for value in self._store.multi_get([self._report, *self._beats]))
        return (
            REPORTS.validate_json(report) if report else None,
            [HEARTBEATS.validate_json(beat) if beat else None for beat in beats],
        )

    def claim(self, report: FailureReport) -> FailureReport:
        """Submit a report, and return the report that was submitted first."""
        winner = self._store.compare_set(self._report, NO_VALUE, REPORTS.dump_json(report).decode()).strip()
        return REPORTS.validate_json(winner) if winner else report
