"""Ranks send heartbeats and monitor each other's. A failure of one rank ends all, with one message."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch.distributed import DistError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import Interrupted, PeerFailed, SentiscaleError
from sentiscale.parallel.failure import (
    LAUNCHER,
    FailureReport,
    Heartbeat,
    ReportStore,
    kill_hung,
    report_error,
    report_timeout,
)
from sentiscale.parallel.rendezvous import RankEnv, agree_on_prefix, connect

BEAT_SECONDS = 0.5
"""Interval between two heartbeats of a rank."""

STORE_SECONDS = 4.0
"""Time after which a store that does not answer counts as lost."""

STUCK_SECONDS = 1.0
"""Time the main thread has to notice by itself that training has ended."""

LEAVING_SECONDS = 6.0
"""Time the main thread then has to find out which rank failed."""

SUSPECT_SECONDS = 2.0
"""Heartbeat timeout once a connection is known to be broken."""

PEER_SECONDS = 3.5
"""Time a rank with a broken connection tries to find out which rank broke it."""

RANK_0_SECONDS = 1.0
"""Time the other ranks wait for rank 0 to report that all were interrupted."""

LINGER_SECONDS = 1.5
"""Time a failed rank 0 keeps serving the store, so that the other ranks can read the failure report."""

BROKEN_CONNECTION = (
    "gloo",
    "nccl",
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "connection refused",
    "timed out",
    "socket timeout",
)


class MissedBeats:
    """Number of the monitor's own heartbeats since each rank was last heard from.

    Counting heartbeats instead of seconds makes suspending the computer harmless: it also stops the monitor.
    """

    def __init__(self, world_size: int) -> None:
        self.last: list[Heartbeat | None] = [None] * world_size
        self._missed = [0] * world_size

    def update(self, beats: Sequence[Heartbeat | None]) -> None:
        """Compare every rank's heartbeat with its previous one."""
        for rank, (beat, before) in enumerate(zip(beats, self.last, strict=True)):
            heard = beat is None or before is None or beat.count != before.count or beat.ended
            self._missed[rank] = 0 if heard else self._missed[rank] + 1
        self.last = list(beats)

    def longest(self, timeout: float, but: int | None = None) -> tuple[Heartbeat, float] | None:
        """Return the rank (other than `but`) that has missed the most heartbeats, and for how many seconds.

        Returns None if that is below `timeout`. Ranks that have not started, or ended normally, miss none.
        """
        missed, rank = max(
            ((missed, -rank) for rank, missed in enumerate(self._missed) if rank != but), default=(0, 0)
        )
        beat = self.last[-rank]
        if beat is None or missed == 0 or missed * BEAT_SECONDS < timeout:
            return None
        return beat, missed * BEAT_SECONDS

    def all_ended(self, but: int, timeout: float) -> bool:
        """Whether every rank other than `but` has ended normally or timed out."""
        return all(
            rank == but or (beat is not None and (beat.ended or self._missed[rank] * BEAT_SECONDS >= timeout))
            for rank, beat in enumerate(self.last)
        )


class RankMonitor:
    """Sends heartbeats of this rank, monitors other ranks and determines the failure that ends training.

    One thread sends and reads heartbeats. A second one watches the first, which blocks when the store is
    lost, and ends a process whose main thread hangs in a collective.
    """

    def __init__(self, env: RankEnv, store: TCPStore, prefix: str, heartbeat_timeout: float) -> None:
        self.group_store: Store = PrefixStore(f"{prefix}/group", store)
        """Store for `init_process_group(store=…)`; its prefix is new for each attempt."""
        self._env = env
        self._prefix = prefix
        self._timeout = heartbeat_timeout
        self._position = ("start", 0)
        self._first_beat = Heartbeat.of_this_process(env.rank)
        self._missed = MissedBeats(env.world_size)
        self._rounds = 0
        self._failure: FailureReport | None = None
        self._decided = threading.Event()
        self._ending = threading.Event()
        self._leaving = threading.Event()
        self._print_once = threading.Lock()
        self._reporter = LAUNCHER if env.own_launcher else env.rank
        self._parent = os.getppid()
        self._reports = ReportStore(store, prefix, env.world_size)
        self._reports.post(self._beat())
        self._heart = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._heart.start()
        threading.Thread(target=self._oversee, name="heartbeat overseer", daemon=True).start()

    def set_phase(self, phase: str, step: int) -> None:
        """Set the phase and step in this rank's heartbeats; takes less than a microsecond."""
        self._position = (phase, step)

    def conclude(self, error: BaseException) -> SentiscaleError:
        """Return the error to raise: the full message on one rank, PeerFailed on all others."""
        if threading.current_thread() is threading.main_thread():
            # torchrun sends SIGTERM to all ranks when one has ended, and this rank is ending already.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._leaving.set()
        own = report_error(error, self._beat(), self._env.world_size, __file__).by(self._reporter)
        failure = self._attribute_failure(error)
        if failure is None:
            try:
                failure = self._reports.claim(own)
            except DistError:  # the store is lost; if this error is the only sign of that, report it
                failure = self._wait_for_failure(PEER_SECONDS) or own
        self._decide(failure)
        if self._acquire_report():
            return failure.as_error()
        interrupted = failure.is_interruption or own.is_interruption
        return PeerFailed(failure.exit_code if interrupted else own.exit_code)

    def stop(self, *, failed: bool) -> None:
        """Stop sending heartbeats; peers stop expecting them."""
        if self._env.hosts_store:  # the store ends with this process, so the other ranks end first
            waited, limit = 0.0, LINGER_SECONDS if failed else float("inf")
            while not self._missed.all_ended(self._env.rank, self._timeout) and waited < limit:
                time.sleep(0.1)
                waited += 0.1
        self._ending.set()
        self._heart.join(STORE_SECONDS)

    def _beat(self) -> Heartbeat:
        phase, step = self._position
        return replace(self._first_beat, count=self._rounds + 1, phase=phase, step=step)

    def _attribute_failure(self, error: BaseException) -> FailureReport | None:
        """Return the failure of another rank that caused `error`; None if this rank itself failed."""
        broken = comes_from_peer(error)
        interrupted = isinstance(error, Interrupted | KeyboardInterrupt)
        # When a rank has died, torchrun ends all others with the signal that a user's interruption sends.
        by_torchrun = interrupted and self._env.store_hosted_elsewhere and not self._env.own_launcher
        if broken or by_torchrun:
            self._timeout = min(self._timeout, SUSPECT_SECONDS)
            return self._wait_for_failure(PEER_SECONDS)
        if interrupted:
            return self._wait_for_failure(RANK_0_SECONDS if self._env.rank else 0)
        return None

    def _wait_for_failure(self, seconds: float) -> FailureReport | None:
        self._decided.wait(seconds)
        return self._failure

    def _decide(self, failure: FailureReport) -> None:
        if self._failure is None:
            self._failure = failure
            self._decided.set()

    def _acquire_report(self) -> bool:
        """Whether the caller may print the failure: only one call on one rank may do so."""
        failure = self._failure
        return (
            failure is not None
            and failure.reporter == self._env.rank
            and self._print_once.acquire(blocking=False)
        )

    def _run(self) -> None:
        try:
            # Use a separate connection, because the main thread may be waiting on the other one.
            reports = ReportStore(connect(self._env), self._prefix, self._env.world_size)
            while not self._ending.wait(BEAT_SECONDS):
                self._exchange_beats(reports)
            reports.post(replace(self._beat(), ended=True))
        except DistError:
            if not self._ending.is_set():
                self._decide(self._report_lost_store())
        except Exception as error:  # if this thread died unnoticed, nothing could end the rank
            if not self._ending.is_set():
                beat = replace(self._beat(), phase="heartbeat")
                self._decide(report_error(error, beat, self._env.world_size, __file__).by(self._env.rank))

    def _exchange_beats(self, reports: ReportStore) -> None:
        reports.post(self._beat())
        failure, beats = reports.read()
        self._missed.update(beats)
        self._rounds += 1
        timed_out = self._missed.longest(self._timeout, but=self._env.rank)
        if failure is None and timed_out is not None:
            failure = reports.claim(report_timeout(*timed_out, self._env.world_size).by(self._reporter))
        if failure is not None and not self._decided.is_set():
            self._decide(failure)
            if failure.kill is not None:
                kill_hung(failure.kill)

    def _oversee(self) -> None:
        seen, unchanged, decided_for = -1, 0.0, 0.0
        while not self._ending.wait(BEAT_SECONDS):
            unchanged = 0.0 if self._rounds != seen else unchanged + BEAT_SECONDS
            seen = self._rounds
            # The shell that started ranks by hand may exit; a launcher or torchrun's agent may not.
            orphaned = self._env.store_hosted_elsewhere and os.getppid() != self._parent
            if orphaned or unchanged >= STORE_SECONDS:
                self._decide(self._report_lost_store())
            if (failure := self._failure) is not None:
                decided_for += BEAT_SECONDS
                patience = LEAVING_SECONDS if self._leaving.is_set() else STUCK_SECONDS
                # After an interruption the main thread may still be saving.
                if decided_for > patience and not failure.is_interruption:
                    if self._acquire_report():
                        sys.stderr.write(f"sentiscale: {failure.as_error()}\n")
                        sys.stderr.flush()
                    os._exit(1)

    def _report_lost_store(self) -> FailureReport:
        """Report a lost store. Without a store the ranks cannot agree on a reporter: each host has one."""
        env, holder = self._env, self._missed.last[0]
        if env.own_launcher:
            message = "the launcher of this training run has ended"
        elif env.store_hosted_elsewhere:
            where = f"{env.master_address}:{env.master_port}"
            message = f"torchrun's agent, or the store at {where}, no longer answers"
        else:
            seen = f", last seen {holder.position} (process {holder.pid})" if holder else ""
            host = holder.host if holder else env.master_address
            message = f"rank 0 of {env.world_size} on host {host}{seen}, no longer answers"
        beat = self._beat()
        message = f"{message}; rank {env.rank} on host {beat.host} ends {beat.position}."
        return FailureReport(1, message, reporter=env.rank if env.reports_for_host else LAUNCHER)


@contextmanager
def monitored_rank(env: RankEnv, heartbeat_timeout: float) -> Iterator[RankMonitor]:
    """Run a rank's work inside the block, so that a failure of any rank ends all ranks with one message.

    The failed rank, or the first that detects a dead or hung rank, raises the error that names the rank, its
    phase and its step. All other ranks raise PeerFailed, for which nothing is printed. Under our own launcher
    all ranks raise PeerFailed, and the launcher reports the failure.

    Args:
        env: numbers of this rank and the address of the store.
        heartbeat_timeout: seconds without a heartbeat after which a rank counts as hung. A call that holds
            Python's interpreter lock for longer also counts as a hang.

    Raises: UsageError, DataError, Interrupted or RankFailed on the reporting rank; PeerFailed on all others.
    """
    store = connect(env, host_it=env.hosts_store)
    monitor = RankMonitor(env, store, agree_on_prefix(env, store), heartbeat_timeout)
    failed = True
    try:
        yield monitor
        failed = False
    except BaseException as error:
        if isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and not error.code):
            failed = False
            raise
        raise monitor.conclude(error) from None
    finally:
        monitor.stop(failed=failed)


def comes_from_peer(error: BaseException) -> bool:
    """Whether PyTorch raises this exception, or one of its causes, when another rank has ended."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, DistError):
            return True
        text = str(cause).lower()
        if type(cause) is RuntimeError and any(sign in text for sign in BROKEN_CONNECTION):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
