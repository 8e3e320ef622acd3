"""The heartbeat of a rank: tells the others that it lives, notices who does not, ends a rank that is stuck.

Two threads. The *pulse* talks to the store over a connection of its own, which no call of the main thread
can block. The *overseer* talks to nobody: it ends the process when the pulse gets no answer (PyTorch's
store client waits for ever when its server is stopped), or when the training is over and the main thread
does not come out of a call, as in a collective whose partner has gone.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from sentiscale.parallel.board import Board
from sentiscale.parallel.rankenv import RankEnv
from sentiscale.parallel.report import (
    LAUNCHER,
    Beat,
    FailureReport,
    kill_hung,
    report_of_error,
    report_of_silence,
)
from sentiscale.parallel.silence import BEAT_SECONDS, Silence

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
