"""What is told about a rank: its last heartbeat, and the one report that explains why all of them end."""

import json
import os
import platform
import signal
import traceback
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import psutil
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import DataError, Interrupted, RankFailed, SentiscaleError, UsageError
from sentiscale.parallel.rendezvous import NONE

LAUNCHER = -1
"""Stands for the launcher where ranks are counted from 0."""

ERROR_OF_EXIT_CODE: dict[int, type[SentiscaleError]] = {
    kind.exit_code: kind for kind in (UsageError, DataError, Interrupted)
}

OUT_OF_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "Cannot allocate memory",
    "could not create a primitive",  # what oneDNN says then
)
MEMORY_ADVICE = "What helps: a smaller --batch-size, fewer ranks on a host, or a layout with more stages."


@dataclass(frozen=True)
class Beat:
    """A rank's sign of life."""

    rank: int
    """Whose."""
    count: int = 0
    """Beats so far."""
    host: str = ""
    """Its host's name."""
    place: str = ""
    """Equal for processes that see one another's process ids."""
    pid: int = 0
    """Of its process."""
    born: float = 0.0
    """When the process was created; with `pid` it names one process for ever."""
    phase: str = "start"
    """What it is doing."""
    step: int = 0
    """At which step."""
    seconds: float = 0.0
    """Time in this phase."""
    ended: bool = False
    """Whether it ended well: no more beats follow."""

    def to_json(self) -> str:
        """For the store."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Beat | None":
        """None for the empty value that stands before the first beat."""
        return cls(**json.loads(text)) if text else None

    @classmethod
    def of_this_process(cls, rank: int) -> "Beat":
        """The first beat of this process."""
        own = psutil.Process()
        return cls(rank, 0, platform.node(), process_space(), own.pid, own.create_time())

    @property
    def whereabouts(self) -> str:
        """`in phase compute at step 12`."""
        return f"in phase {self.phase} at step {self.step}"


@dataclass(frozen=True)
class FailureReport:
    """Why the training ends; the first report that is made counts."""

    rank: int
    """Whose fault it is."""
    exit_code: int
    """With which all of them end."""
    message: str
    """What a person reads."""
    host: str = ""
    """Where it happened."""
    phase: str = ""
    """What that rank was doing."""
    step: int = 0
    """At which step."""
    traceback: str | None = None
    """For errors nobody foresaw; None for all others."""
    claimed_by: int = LAUNCHER
    """The rank that tells it, unless a launcher of ours does."""
    kill: Beat | None = None
    """A hung process that cannot end by itself."""

    def to_json(self) -> str:
        """For the store."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "FailureReport | None":
        """None for the empty value that stands where nothing has failed."""
        if not text:
            return None
        fields: dict[str, Any] = json.loads(text)
        kill = fields.pop("kill")
        return cls(**fields, kill=Beat(**kill) if kill else None)

    def as_error(self) -> SentiscaleError:
        """The error to raise: of the kind its exit code stands for, with the traceback if there is one."""
        kind = ERROR_OF_EXIT_CODE.get(self.exit_code, RankFailed)
        return kind(f"{self.message}\n{self.traceback.rstrip()}" if self.traceback else self.message)

    @property
    def is_interruption(self) -> bool:
        """Nothing has failed: somebody asked to stop."""
        return self.exit_code == Interrupted.exit_code

    def by(self, rank: int) -> "FailureReport":
        """The same, told by `rank`."""
        return replace(self, claimed_by=rank)


def report_of_error(error: BaseException, beat: Beat, world_size: int, own_file: str) -> FailureReport:
    """What a rank reports about an exception of its own.

    Errors of ours keep their message, anything else brings its traceback, without the frames of
    `own_file` that it passed through last.
    """
    who, trace = _who(beat, world_size), None
    exit_code = SentiscaleError.exit_code
    if isinstance(error, Interrupted | UsageError):
        exit_code, message = error.exit_code, str(error)
    elif isinstance(error, KeyboardInterrupt):
        exit_code, message = Interrupted.exit_code, "interrupted; no partial output was left behind."
    elif isinstance(error, SentiscaleError):
        exit_code, message = error.exit_code, f"{error} ({who}, {beat.whereabouts})"
    elif is_out_of_memory(error):
        message = f"{who} ran out of memory {beat.whereabouts}: {_summary(error)}. {MEMORY_ADVICE}"
    elif isinstance(error, SystemExit):
        exit_code = error.code if isinstance(error.code, int) else 1
        message = f"{who} ended itself {beat.whereabouts}, with exit code {exit_code}."
    else:
        message = f"{who} failed {beat.whereabouts}: {_summary(error)}."
        trace = _traceback_without(error, own_file)
    return FailureReport(beat.rank, exit_code, message, beat.host, beat.phase, beat.step, trace)


def report_of_silence(beat: Beat, seconds: float, world_size: int) -> FailureReport:
    """What the others report about a rank whose heart has stopped."""
    message = (
        f"{_who(beat, world_size)} has been silent for {seconds:.0f} s; it was last seen {beat.whereabouts} "
        f"(process {beat.pid}). It was killed, is stopped, or its host cannot be reached."
    )
    return FailureReport(beat.rank, 1, message, beat.host, beat.phase, beat.step, kill=beat)


def report_of_end(beat: Beat, returncode: int, world_size: int) -> FailureReport:
    """What the launcher reports about a rank that ended without a report; `returncode` as of Popen."""
    seen = f"it was last seen {beat.whereabouts}" if beat.count else "it had not begun"
    exit_code, who = SentiscaleError.exit_code, _who(beat, world_size)
    if returncode == -signal.SIGKILL:
        message = (
            f"{who} was killed by SIGKILL; {seen}. If nobody did that, the kernel did: it kills processes "
            f"when memory runs out. {MEMORY_ADVICE}"
        )
    elif returncode < 0:
        message = f"{who} was killed by {_signal_name(-returncode)}; {seen}."
    else:
        exit_code = returncode if returncode in ERROR_OF_EXIT_CODE else exit_code
        message = f"{who} ended with exit code {returncode}; {seen}. What it printed tells more."
    return FailureReport(beat.rank, exit_code, message, beat.host, beat.phase, beat.step)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, PyTorch on the CPU or PyTorch on a GPU could not get memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


@cache
def process_space() -> str:
    """Equal in two processes when a process id means the same in both: same kernel, same namespace."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()


def kill_hung(beat: Beat) -> None:
    """SIGKILL the process that sent `beat`, if it runs in this process space and is still the same one."""
    if beat.place != process_space() or beat.pid == os.getpid():
        return
    try:
        process = psutil.Process(beat.pid)
        # Clock steps may move what is computed as creation time a little; ids are reused far more slowly.
        if abs(process.create_time() - beat.born) < 2:
            process.kill()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass


def _who(beat: Beat, world_size: int) -> str:
    return f"rank {beat.rank} of {world_size} on host {beat.host or platform.node()}"


def _summary(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]]).rstrip(".")


def _traceback_without(error: BaseException, own_file: str) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == own_file:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Board:
    """The keys of one attempt; all exist from the beginning, so that no read ever waits."""

    def __init__(self, store: TCPStore, prefix: str, world_size: int) -> None:
        self._store = store
        self._report = f"{prefix}/report"
        self._beats = [f"{prefix}/beat/{rank}" for rank in range(world_size)]
        for key in (self._report, *self._beats):
            store.compare_set(key, "", NONE)

    def post(self, beat: Beat) -> None:
        """Show a sign of life."""
        self._store.set(self._beats[beat.rank], beat.to_json())

    def read(self) -> tuple[FailureReport | None, list[Beat | None]]:
        """The report, if something failed, and each rank's last beat, in one round trip."""
        report, *beats = self._store.multi_get([self._report, *self._beats])
        return FailureReport.from_json(report.strip()), [Beat.from_json(beat.strip()) for beat in beats]

    def claim(self, report: FailureReport) -> FailureReport:
        """Offer a report; returns the one that was first."""
        winner = self._store.compare_set(self._report, NONE, report.to_json())
        return FailureReport.from_json(winner) or report
