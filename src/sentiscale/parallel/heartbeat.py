"""What stands around a rank's work: every failure of any rank ends all of them, and one tells why."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from torch.distributed import DistError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import Interrupted, PeerFailed, SentiscaleError
from sentiscale.parallel.failure import (
    LAUNCHER,
    Beat,
    Board,
    FailureReport,
    kill_hung,
    report_of_error,
    report_of_silence,
)
from sentiscale.parallel.rendezvous import RankEnv, agree_on_prefix, connect

BEAT_SECONDS = 0.5


class Silence:
    """How many of the watcher's beats ago each rank was last heard.

    Counting one's own beats makes a suspended computer harmless: it stops the watcher as well.
    """

    def __init__(self, world_size: int) -> None:
        self._last: list[Beat | None] = [None] * world_size
        self._missed = [0] * world_size

    def update(self, beats: Sequence[Beat | None]) -> None:
        """Compare what every rank shows now with what it showed before."""
        for rank, beat in enumerate(beats):
            before = self._last[rank]
            heard = beat is None or before is None or beat.count != before.count or beat.ended
            self._missed[rank] = 0 if heard else self._missed[rank] + 1
        self._last = list(beats)

    def longest(self, limit: float, but: int | None = None) -> tuple[Beat, float] | None:
        """The rank (other than `but`) silent for longest, and for how many seconds; None below `limit`.

        Ranks that have not begun, or have said goodbye, are never silent.
        """
        missed, rank = max(
            ((missed, -rank) for rank, missed in enumerate(self._missed) if rank != but), default=(0, 0)
        )
        beat = self._last[-rank]
        if beat is None or missed == 0 or missed * BEAT_SECONDS < limit:
            return None
        return beat, missed * BEAT_SECONDS

    @property
    def last(self) -> list[Beat | None]:
        """Each rank's last beat."""
        return self._last

    def all_ended(self, but: int, limit: float) -> bool:
        """Whether every rank other than `but` has said goodbye or fallen silent."""
        return all(
            rank == but or (beat is not None and (beat.ended or self._missed[rank] * BEAT_SECONDS >= limit))
            for rank, beat in enumerate(self._last)
        )


STORE_SECONDS = 4.0
"""A store that does not answer for so long is lost."""

STUCK_SECONDS = 1.0
"""How long the main thread may take to notice by itself that the training is over."""

LEAVING_SECONDS = 6.0
"""How long it may then take to find out whose fault it was."""

SUSPECT_SECONDS = 2.0
"""Silence that convicts a rank once a connection is known to be broken."""

Noted = tuple[str, int, float]
"""Phase, step, and since when on `time.monotonic()`."""


class Pulse:
    """One rank's heartbeat, and its watch over the others'."""

    def __init__(self, env: RankEnv, open_board: Callable[[], Board], noted: Callable[[], Noted]) -> None:
        self._env = env
        self._open_board = open_board
        self._noted = noted
        self.speaker = LAUNCHER if env.own_launcher else env.rank
        """Who tells what this rank reports."""
        self._me = Beat.of_this_process(env.rank)
        self.silence = Silence(env.world_size)
        self.silence_limit = 0.0
        self._verdict: FailureReport | None = None
        self._decided = threading.Event()
        self._ending = threading.Event()
        self._leaving = threading.Event()
        self._floor = threading.Lock()
        self._rounds = 0
        self._parent = os.getppid()
        self._pulse = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._overseer = threading.Thread(target=self._oversee, name="pulse overseer", daemon=True)

    def start(self, silence_limit: float) -> None:
        """Begin to beat; ranks silent for `silence_limit` seconds are taken for hung."""
        self.silence_limit = silence_limit
        self._pulse.start()
        self._overseer.start()

    def beat(self) -> Beat:
        """This rank's sign of life, as of now."""
        phase, step, since = self._noted()
        seconds = round(time.monotonic() - since, 1)
        return replace(self._me, count=self._rounds + 1, phase=phase, step=step, seconds=seconds)

    def leave(self) -> None:
        """The main thread has noticed that something failed and is on its way out."""
        self._leaving.set()

    def suspect(self) -> None:
        """A connection is broken: from now on a short silence convicts."""
        self.silence_limit = min(self.silence_limit, SUSPECT_SECONDS)

    def verdict(self, seconds: float) -> FailureReport | None:
        """Wait up to `seconds` until it is known why the training ends."""
        self._decided.wait(seconds)
        return self._verdict

    def decide(self, report: FailureReport) -> FailureReport:
        """Note why the training ends, unless that is known already; returns what counts."""
        if self._verdict is None:
            self._verdict = report
            self._decided.set()
        return self._verdict

    def take_floor(self) -> bool:
        """Whether this call is the one that may tell the verdict: at most one in one rank is."""
        verdict = self._verdict
        return verdict is not None and verdict.claimed_by == self._env.rank and self._floor.acquire(False)

    def stop(self) -> None:
        """Say goodbye; the others no longer expect beats."""
        self._ending.set()
        self._pulse.join(STORE_SECONDS)

    def _run(self) -> None:
        try:
            board = self._open_board()
            while not self._ending.wait(BEAT_SECONDS):
                self._round(board)
            board.post(replace(self.beat(), ended=True))
        except Exception as error:  # a heartbeat that dies unseen would leave a rank that nobody can end
            if not self._ending.is_set():
                self.decide(self._store_lost() if _is_of_network(error) else self._own_fault(error))

    def _round(self, board: Board) -> None:
        board.post(self.beat())
        report, beats = board.read()
        self.silence.update(beats)
        self._rounds += 1
        silent = self.silence.longest(self.silence_limit, but=self._env.rank)
        if report is None and silent is not None:
            report = board.claim(report_of_silence(*silent, self._env.world_size).by(self.speaker))
        if report is not None and not self._decided.is_set():
            self.decide(report)
            if report.kill is not None:
                kill_hung(report.kill)

    def _oversee(self) -> None:
        seen, unchanged, decided_for = -1, 0.0, 0.0
        while not self._ending.wait(BEAT_SECONDS):
            unchanged = 0.0 if self._rounds != seen else unchanged + BEAT_SECONDS
            seen = self._rounds
            # A shell that started ranks by hand may go; a launcher or torchrun's agent may not.
            orphaned = self._env.store_hosted_elsewhere and os.getppid() != self._parent
            if orphaned or unchanged >= STORE_SECONDS:
                self.decide(self._store_lost())
            if (verdict := self._verdict) is not None:
                decided_for += BEAT_SECONDS
                patience = LEAVING_SECONDS if self._leaving.is_set() else STUCK_SECONDS
                # Who was asked to stop may still be saving.
                if decided_for > patience and not verdict.is_interruption:
                    self._end_process(verdict)

    def _end_process(self, verdict: FailureReport) -> None:
        if self.take_floor():
            sys.stderr.write(f"sentiscale: {verdict.as_error()}\n")
            sys.stderr.flush()
        os._exit(1)

    def _own_fault(self, error: Exception) -> FailureReport:
        beat = replace(self.beat(), phase="heartbeat")
        return report_of_error(error, beat, self._env.world_size, __file__).by(self._env.rank)

    def _store_lost(self) -> FailureReport:
        """Without a store the ranks cannot agree who tells it: one rank of each host does."""
        env, holder = self._env, self.silence.last[0]
        if env.own_launcher:
            message = "the launcher of this training has gone"
        elif env.store_hosted_elsewhere:
            where = f"{env.master_address}:{env.master_port}"
            message = f"torchrun's agent, or the store at {where}, has gone"
        else:
            seen = f", last seen {holder.whereabouts} (process {holder.pid})" if holder else ""
            host = holder.host if holder else env.master_address
            message = f"rank 0 of {env.world_size} on host {host}{seen}, no longer answers"
        me = self.beat()
        report = FailureReport(
            0,
            1,
            f"{message}; rank {env.rank} on host {me.host} ends {me.whereabouts}.",
            me.host,
            me.phase,
            me.step,
        )
        return report.by(env.rank) if env.speaks_for_host else report


def _is_of_network(error: Exception) -> bool:
    from torch.distributed import DistError

    return isinstance(error, DistError)


PEER_SECONDS = 3.5
"""How long a rank whose connection broke looks for the one that broke it."""

RANK_0_SECONDS = 1.0
"""How long other ranks leave it to rank 0 to say that all were interrupted."""

LINGER_SECONDS = 1.5
"""How long rank 0, when it holds the store and fails, lets the others read why."""

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


class Guard:
    """One rank among others: where they meet, and what this one is doing."""

    def __init__(self, env: RankEnv, tcp_store: TCPStore, prefix: str) -> None:
        self.env = env
        self.store: Store = PrefixStore(f"{prefix}/group", tcp_store)
        """For `init_process_group(store=…)`; new for each attempt."""
        self._noted: Noted = ("start", 0, time.monotonic())
        self._board = Board(tcp_store, prefix, env.world_size)
        self._pulse = Pulse(env, lambda: Board(connect(env), prefix, env.world_size), lambda: self._noted)
        self._board.post(self._pulse.beat())

    def note(self, phase: str, step: int) -> None:
        """Tell what this rank does from now on; costs less than a microsecond."""
        if (phase, step) != self._noted[:2]:
            self._noted = (phase, step, time.monotonic())

    def _start(self, silence_limit: float) -> None:
        self._pulse.start(silence_limit)

    def _failure(self, error: BaseException) -> SentiscaleError:
        """The error to end with: the full message in one rank, PeerFailed in all others."""
        _ignore_termination()  # torchrun sends it to all when one has ended; we are on our way out
        self._pulse.leave()
        own = report_of_error(error, self._pulse.beat(), self.env.world_size, __file__).by(
            self._pulse.speaker
        )
        verdict = self._blame_others(error) or self._claim(own)
        self._pulse.decide(verdict)
        if self._pulse.take_floor():
            return verdict.as_error()
        interrupted = verdict.is_interruption or own.is_interruption
        return PeerFailed(verdict.exit_code if interrupted else own.exit_code)

    def _blame_others(self, error: BaseException) -> FailureReport | None:
        if comes_from_peer(error):
            self._pulse.suspect()
            return self._pulse.verdict(PEER_SECONDS)
        if isinstance(error, Interrupted | KeyboardInterrupt):
            if self.env.store_hosted_elsewhere and not self.env.own_launcher:
                # torchrun ends all ranks as it would interrupt them when one of them has died.
                self._pulse.suspect()
                return self._pulse.verdict(PEER_SECONDS)
            return self._pulse.verdict(RANK_0_SECONDS if self.env.rank else 0)
        return None

    def _claim(self, own: FailureReport) -> FailureReport:
        try:
            return self._board.claim(own)
        except DistError:  # the store has gone; if this is the only sign of it, better tell it than not
            return self._pulse.verdict(PEER_SECONDS) or own

    def _stop(self, failed: bool) -> None:
        if self.env.hosts_store:
            self._outlive_the_others(LINGER_SECONDS if failed else None)
        self._pulse.stop()

    def _outlive_the_others(self, seconds: float | None) -> None:
        """The store ends with this process, so the others go first."""
        waited = 0.0
        silence, limit = self._pulse.silence, self._pulse.silence_limit
        while not silence.all_ended(self.env.rank, limit) and (seconds is None or waited < seconds):
            time.sleep(0.1)
            waited += 0.1


@contextmanager
def guarded_rank(env: RankEnv, silence_limit: float) -> Iterator[Guard]:
    """Run a rank's work inside the block, so that a failure of any rank ends all, with one message.

    The failed rank, or the first that notices that another is dead or hung, raises the error that tells
    which rank it was, where and when; all others raise PeerFailed, for which nothing is printed. Started by
    our own launcher all raise PeerFailed, and the launcher tells.

    Args:
        env: this rank's place.
        silence_limit: seconds without a heartbeat after which a rank is hung. Calls that hold Python's
            interpreter lock for longer look the same.

    Raises: UsageError, DataError, Interrupted or RankFailed in the rank that tells; else PeerFailed.
    """
    tcp_store = connect(env, host_it=env.hosts_store)
    guard = Guard(env, tcp_store, agree_on_prefix(env, tcp_store))
    guard._start(silence_limit)
    failed = True
    try:
        yield guard
        failed = False
    except BaseException as error:
        if isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and not error.code):
            failed = False
            raise
        raise guard._failure(error) from None
    finally:
        guard._stop(failed)


def comes_from_peer(error: BaseException) -> bool:
    """Whether an exception, or one it came from, is what PyTorch raises when another rank has gone."""
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


def _ignore_termination() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
