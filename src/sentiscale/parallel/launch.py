"""Start ranks on this machine, monitor them, and end all of them with one message when one fails.

The launcher serves the rendezvous store. The kernel chooses its port before any rank starts, so any number
of training runs can share a machine. Decision 12 explains why torch.distributed.elastic is not used.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import DataError, Interrupted, SentiscaleError, UsageError
from sentiscale.parallel.failure import (
    FailureReport,
    Heartbeat,
    ReportStore,
    kill_hung,
    report_end,
    report_timeout,
)
from sentiscale.parallel.heartbeat import BEAT_SECONDS, MissedBeats
from sentiscale.parallel.rendezvous import GLOO_VARIABLE, RankEnv, interface_towards, launcher_prefix
from sentiscale.util.processes import signal_handler

LOCALHOST = "127.0.0.1"
POLL_SECONDS = 0.05

GRACE_SECONDS = 1.0
"""Time the other ranks may continue after one has failed; they have nothing to save."""

SAVING_SECONDS = 60.0
"""Time the other ranks may continue after one was interrupted: they may still be saving."""

RANKS_FIRST_SECONDS = 2.0
"""Extra time before the launcher reports a missing heartbeat; it matters only when all ranks hang."""


class Signals:
    """Requests from the user or a batch system: the number of stop signals, and a pause (Ctrl-Z)."""

    def __init__(self) -> None:
        self.stops = 0
        self.pause = False

    def note(self, number: signal.Signals) -> None:
        if number == signal.SIGTSTP:
            self.pause = True
        else:
            self.stops += 1


def launch(
    command: Callable[[int], Sequence[str]],
    world_size: int,
    *,
    threads: int,
    heartbeat_timeout: float,
    max_restarts: int = 0,
    on_restart: Callable[[str], None] = lambda why: None,
) -> None:
    """Run one process per rank until all have ended normally; after a failure, restart all if allowed.

    Args:
        command: command line of attempt 0, 1, …, so that later attempts can resume. The program must enter
            `monitored_rank`; it inherits the output streams of this process.
        world_size: number of ranks.
        threads: OMP_NUM_THREADS of each rank.
        heartbeat_timeout: seconds without a heartbeat after which a rank counts as hung.
        max_restarts: maximum number of restarts.
        on_restart: called with the reason before each restart.

    Raises: the error that ended the last attempt; no rank is left running.
        UsageError, DataError: raised by a rank; not retried.
        Interrupted: SIGINT or SIGTERM was received, and the ranks have saved; not retried.
        RankFailed: a rank died, hung or raised any other error.
    """
    for attempt in range(max_restarts + 1):
        words, run_id, signals, ranks = command(attempt), uuid.uuid4().hex, Signals(), RankProcesses()
        with (
            socket.create_server((LOCALHOST, 0), backlog=1024) as listener,
            signal_handler(signals.note, signal.SIGINT, signal.SIGTERM, signal.SIGTSTP),
        ):
            first = RankEnv(
                rank=0,
                world_size=world_size,
                local_rank=0,
                local_world_size=world_size,
                master_address=LOCALHOST,
                master_port=listener.getsockname()[1],
                store_hosted_elsewhere=True,
                attempt=attempt,
                own_launcher=True,
                run_id=run_id,
            )
            try:
                for rank in range(world_size):
                    ranks.start(words, replace(first, rank=rank, local_rank=rank), threads)
                store = hold_store(listener, first.master_port)
                reports = ReportStore(store, launcher_prefix(run_id), world_size)
                Supervisor(ranks, reports, signals, heartbeat_timeout + RANKS_FIRST_SECONDS).run()
                return
            except (UsageError, DataError, Interrupted):
                raise  # another attempt would fail in the same way
            except SentiscaleError as error:
                if attempt == max_restarts:
                    raise
                reason = str(error)
            finally:
                ranks.kill()
        on_restart(reason)


class RankProcesses:
    """The child processes, by rank.

    Each child leads its own process group. Ctrl-C in a terminal therefore reaches only the launcher, which
    forwards it once, and processes that a rank starts are killed with it. The children stay in the launcher's
    session, so that the kernel ends a stopped rank when the launcher dies.
    """

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], env: RankEnv, threads: int) -> None:
        variables = os.environ | env.as_environment() | {"OMP_NUM_THREADS": str(threads)}
        # Without this, every store that closes writes stack traces; relevant errors are raised anyway.
        variables.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        if not variables.get(GLOO_VARIABLE) and (loopback := interface_towards(LOCALHOST)):
            variables[GLOO_VARIABLE] = loopback
        self.processes.append(
            subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, process_group=0)
        )

    def running(self) -> bool:
        return any(process.poll() is None for process in self.processes)

    def first_failed(self) -> tuple[int, int] | None:
        """Rank and return code of the lowest rank that ended with a nonzero exit status."""
        codes = [(rank, process.poll()) for rank, process in enumerate(self.processes)]
        return next(((rank, code) for rank, code in codes if code), None)

    def signal(self, number: signal.Signals) -> None:
        for process in self.processes:
            process.send_signal(number)

    def kill(self) -> None:
        """Kill every rank and its child processes, and wait until they have ended."""
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()


def hold_store(listener: socket.socket, port: int) -> TCPStore:
    """Serve the rendezvous store at `listener`."""
    # Before PyTorch 2.8, the newer server accepted a listening socket but never answered on it.
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return TCPStore(
        LOCALHOST,
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=timedelta(seconds=30),
        master_listen_fd=listener.detach(),
        use_libuv=release >= (2, 8),
    )


class Supervisor:
    """Monitors ranks until all have ended; the first failure determines the error."""

    def __init__(
        self, ranks: RankProcesses, reports: ReportStore, signals: Signals, heartbeat_timeout: float
    ) -> None:
        self._ranks = ranks
        self._reports = reports
        self._signals = signals
        self._timeout = heartbeat_timeout
        self._world_size = len(ranks.processes)
        self._missed = MissedBeats(self._world_size)
        self._stop_forwarded = False

    def run(self) -> None:
        """Return when every rank has ended with exit status 0; otherwise raise as `launch` does."""
        next_check = time.monotonic()
        while self._ranks.running() and not self._ranks.first_failed():
            if self._signals.stops and not self._forward_stop():
                break
            if self._signals.pause:
                self._pause()
            if time.monotonic() >= next_check:
                next_check = time.monotonic() + BEAT_SECONDS
                self._check_heartbeats()
            time.sleep(POLL_SECONDS)
        if failed := self._ranks.first_failed():
            self._end(*failed)
        elif self._ranks.running() or self._stop_forwarded:
            raise self._interrupted(None)

    def _forward_stop(self) -> bool:
        """Ask all ranks to stop; return False when they must be killed instead."""
        if self._stop_forwarded:
            return self._signals.stops < 2
        self._stop_forwarded = True
        _, beats = self._reports.read()
        if any(beat is None for beat in beats):
            return False  # training needs every rank, so nothing worth saving has been done yet
        self._ranks.signal(signal.SIGTERM)
        return True

    def _pause(self) -> None:
        """Stop all ranks, then this process; continuing this process continues the ranks."""
        self._ranks.signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._signals.pause = False
        self._ranks.signal(signal.SIGCONT)

    def _check_heartbeats(self) -> None:
        """Kill a hung rank that no other rank has detected."""
        report, beats = self._reports.read()
        self._missed.update(beats)
        timed_out = self._missed.longest(self._timeout)
        if timed_out is not None and report is None:
            report = self._reports.claim(report_timeout(*timed_out, self._world_size))
        if report is not None and report.kill is not None:
            kill_hung(report.kill)

    def _end(self, rank: int, code: int) -> None:
        """Wait briefly for the other ranks to end, then raise the failure of `rank`."""
        report, beats = self._reports.read()
        if report is None:
            if self._stop_forwarded and code in (-signal.SIGTERM, Interrupted.exit_code):
                self._wait(SAVING_SECONDS)
                raise self._interrupted(self._reports.read()[0])
            beat = beats[rank] or Heartbeat(rank)
            report = self._reports.claim(report_end(beat, code, self._world_size))
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
