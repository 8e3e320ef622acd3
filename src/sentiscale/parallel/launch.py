"""Start ranks on this machine, watch them, and end all of them when one fails; one message tells why.

The launcher holds the store where ranks meet. Its port is chosen by the kernel before any rank starts, so
any number of trainings run side by side.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING

from sentiscale.errors import DataError, Interrupted, SentiscaleError, UsageError
from sentiscale.parallel.failure import Beat, FailureReport, kill_hung, report_of_end, report_of_silence
from sentiscale.parallel.heartbeat import BEAT_SECONDS, Silence
from sentiscale.parallel.rendezvous import GLOO_VARIABLE, RankEnv, interface_towards

if TYPE_CHECKING:
    from sentiscale.parallel.failure import Board

HERE = "127.0.0.1"
POLL_SECONDS = 0.05

GRACE_SECONDS = 1.0
"""How long the other ranks may go on after one has failed; they have nothing to save."""

SAVING_SECONDS = 60.0
"""How long they may go on after one has ended because it was asked to stop: others may still be saving."""

RANKS_FIRST_SECONDS = 2.0
"""How much later than the ranks the launcher takes one for hung; it matters when all of them are."""


def launch(
    command: Sequence[str], world_size: int, *, threads: int, silence_limit: float, attempt: int = 0
) -> None:
    """Run `world_size` copies of `command` as ranks until all have ended well.

    Args:
        command: the program, which enters `guarded_rank`; its output goes where this process's goes.
        world_size: number of ranks.
        threads: OMP_NUM_THREADS of each.
        silence_limit: seconds without a heartbeat after which a rank is hung.
        attempt: how often this has been tried before.

    Raises:
        UsageError, DataError: what a rank raised.
        Interrupted: SIGINT or SIGTERM came; the ranks have saved what they save.
        RankFailed: a rank died, hung or raised anything else. In every case no rank is left.
    """
    run_id = uuid.uuid4().hex
    with socket.create_server((HERE, 0), backlog=1024) as listener, stop_signals() as signals:
        port = listener.getsockname()[1]
        envs = [
            RankEnv(rank, world_size, rank, world_size, HERE, port, True, attempt, True, run_id)
            for rank in range(world_size)
        ]
        ranks = Ranks()
        try:
            for env in envs:  # first of all: they load torch while this process does
                ranks.start(command, env, threads)
            board = hold_store(listener, envs[0])
            Supervisor(ranks, board, signals, silence_limit + RANKS_FIRST_SECONDS).run()
        finally:
            ranks.kill()


def launch_with_restarts(
    make_command: Callable[[int], Sequence[str]],
    world_size: int,
    *,
    threads: int,
    silence_limit: float,
    max_restarts: int,
    on_restart: Callable[[str], None],
) -> None:
    """`launch`, and again after a failure that another attempt may not meet.

    Args:
        make_command: the command of attempt 0, 1, …, so that later ones can resume.
        world_size, threads, silence_limit: as in `launch`.
        max_restarts: how often to start again.
        on_restart: is told why, before each new attempt.

    Raises: what the last attempt raised; UsageError, DataError and Interrupted at once.
    """
    for attempt in range(max_restarts + 1):
        try:
            launch(
                make_command(attempt),
                world_size,
                threads=threads,
                silence_limit=silence_limit,
                attempt=attempt,
            )
            return
        except (UsageError, DataError, Interrupted):
            raise
        except SentiscaleError as error:
            if attempt == max_restarts:
                raise
            on_restart(str(error))


class Signals:
    """What has been asked for from outside: stops, counted, and a pause (a terminal's Ctrl-Z)."""

    def __init__(self) -> None:
        self.stops = 0
        self.pause = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if number == signal.SIGTSTP:
            self.pause = True
        else:
            self.stops += 1


@contextlib.contextmanager
def stop_signals() -> Iterator[Signals]:
    """Note SIGINT, SIGTERM and SIGTSTP while the block runs; outside the main thread none can be seen."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)
    earlier = {number: signal.signal(number, signals.note) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


class Ranks:
    """The child processes, by rank.

    Each leads a process group of its own: a terminal's Ctrl-C reaches only the launcher, which passes it on
    once, and what a rank starts itself is killed with it. They stay in the launcher's session, so that the
    kernel ends a stopped rank when the launcher dies.
    """

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], env: RankEnv, threads: int) -> None:
        """Start one more rank."""
        variables = os.environ | env.as_environment() | {"OMP_NUM_THREADS": str(threads)}
        # Without this every store that closes writes stack traces; what matters is raised as well.
        variables.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        if not variables.get(GLOO_VARIABLE) and (loopback := interface_towards(HERE)):
            variables[GLOO_VARIABLE] = loopback
        self.processes.append(
            subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, process_group=0)
        )

    def running(self) -> bool:
        """Whether any rank has not ended."""
        return any(process.poll() is None for process in self.processes)

    def ended(self) -> list[tuple[int, int]]:
        """Rank and return code of those that have ended."""
        codes = [(rank, process.poll()) for rank, process in enumerate(self.processes)]
        return [(rank, code) for rank, code in codes if code is not None]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all ranks that run."""
        for process in self.processes:
            process.send_signal(number)

    def kill(self) -> None:
        """End every rank and whatever it has started, and wait until they are gone."""
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()


def hold_store(listener: socket.socket, env: RankEnv) -> "Board":
    """Answer at `listener` from now on, as the store where ranks meet."""
    import torch
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    from sentiscale.parallel.failure import Board
    from sentiscale.parallel.rendezvous import launchers_prefix

    # Before 2.8 the newer server took a listening socket but never answered there.
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    store = TCPStore(
        HERE,
        env.master_port,
        is_master=True,
        wait_for_workers=False,
        timeout=timedelta(seconds=30),
        master_listen_fd=listener.detach(),
        use_libuv=release >= (2, 8),
    )
    return Board(store, launchers_prefix(env.run_id), env.world_size)


class Supervisor:
    """Watches ranks until all have ended; the first failure decides."""

    def __init__(self, ranks: Ranks, board: "Board", signals: Signals, silence_limit: float) -> None:
        self._ranks = ranks
        self._board = board
        self._signals = signals
        self._silence_limit = silence_limit
        self._world_size = len(ranks.processes)
        self._silence = Silence(self._world_size)
        self._asked_to_stop = False

    def run(self) -> None:
        """Return when every rank ended with 0; raises what `launch` raises."""
        next_look = time.monotonic()
        while self._ranks.running():
            failed = [(rank, code) for rank, code in self._ranks.ended() if code != 0]
            if failed:
                break
            if self._signals.stops and not self._pass_on_stop():
                break
            if self._signals.pause:
                self._pause()
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + BEAT_SECONDS
                self._listen()
            time.sleep(POLL_SECONDS)
        failed = [(rank, code) for rank, code in self._ranks.ended() if code != 0]
        if failed:
            self._end(*failed[0])
        elif self._ranks.running() or self._asked_to_stop:
            raise self._interrupted(None)

    def _pass_on_stop(self) -> bool:
        """Ask all ranks to stop; False when they are to be killed instead."""
        if self._asked_to_stop:
            return self._signals.stops < 2
        self._asked_to_stop = True
        _, beats = self._board.read()
        if any(beat is None for beat in beats):
            return False  # training needs every rank, so nothing has been done yet that is worth saving
        self._ranks.signal(signal.SIGTERM)
        return True

    def _pause(self) -> None:
        """Stop all ranks, then this process; whoever continues it continues them."""
        self._ranks.signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._signals.pause = False
        self._ranks.signal(signal.SIGCONT)

    def _listen(self) -> None:
        """Kill a hung rank that no other rank has found."""
        report, beats = self._board.read()
        self._silence.update(beats)
        silent = self._silence.longest(self._silence_limit)
        if silent is not None and report is None:
            report = self._board.claim(report_of_silence(*silent, self._world_size))
        if report is not None and report.kill is not None:
            kill_hung(report.kill)

    def _end(self, rank: int, code: int) -> None:
        """Give the others a moment, end them, raise what happened to `rank`."""
        report, beats = self._board.read()
        if report is None:
            if self._asked_to_stop and code in (-signal.SIGTERM, Interrupted.exit_code):
                self._wait(SAVING_SECONDS)
                raise self._interrupted(self._board.read()[0])
            beat = beats[rank] or Beat(rank)
            report = self._board.claim(report_of_end(beat, code, self._world_size))
        self._wait(SAVING_SECONDS if report.is_interruption else GRACE_SECONDS)
        raise report.as_error()

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._ranks.running() and time.monotonic() < until and self._signals.stops < 2:
            time.sleep(POLL_SECONDS)

    def _interrupted(self, report: FailureReport | None) -> SentiscaleError:
        if report is not None:
            return report.as_error()
        return Interrupted("interrupted; no partial output was left behind.")
