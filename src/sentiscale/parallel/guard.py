"""What stands around a rank's work: every failure of any rank ends all of them, and one tells why."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import DistError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import Interrupted, PeerFailed, SentiscaleError
from sentiscale.parallel.board import Board
from sentiscale.parallel.meeting import agree_on_prefix, connect
from sentiscale.parallel.pulse import Noted, Pulse
from sentiscale.parallel.rankenv import RankEnv
from sentiscale.parallel.report import FailureReport, report_of_error

PEER_SECONDS = 3.5
"""How long a rank whose connection broke looks for the one that broke it."""

RANK_0_SECONDS = 1.0
"""How long other ranks leave it to rank 0 to say that all were interrupted."""

LINGER_SECONDS = 1.5
"""How long rank 0, when it holds the store and fails, lets the others read why."""

BROKEN_CONNECTION = (
    "gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe",
    "connection refused", "timed out", "socket timeout",
)  # fmt: skip


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
