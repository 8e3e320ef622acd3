"""What ranks and launcher tell one another through the store: heartbeats, and one report of a failure."""

import socket
from datetime import timedelta

from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import PeerFailed, RankFailed
from sentiscale.parallel.rankenv import RankEnv
from sentiscale.parallel.report import Beat, FailureReport

CONNECT_SECONDS = 300
"""How long a rank waits for the one that holds the store: hosts start at different times."""


def prefix_of(run_id: str, attempt: int, world_size: int) -> str:
    """What all keys begin with: an elastic restart under the same agent starts clean."""
    return f"sentiscale/{run_id}/{attempt}/{world_size}"


def connect(env: RankEnv, host_it: bool = False) -> TCPStore:
    """A connection of its own to the store where all ranks meet; `host_it` to also hold the store.

    Raises: PeerFailed when our launcher, which held it, has gone; RankFailed when nobody answers.
    """
    if env.own_launcher:
        _check_launcher(env)
    try:
        return TCPStore(
            env.master_address,
            env.master_port,
            is_master=host_it,
            timeout=timedelta(seconds=CONNECT_SECONDS),
            wait_for_workers=False,
            multi_tenant=host_it,
        )
    except DistError as error:
        raise RankFailed(
            f"rank {env.rank} of {env.world_size} found no store at {env.master_address}:{env.master_port}: "
            f"{str(error).splitlines()[0].rstrip('.')}. MASTER_ADDR must be rank 0's host as all hosts know "
            "it, MASTER_PORT a port that is free there and reachable from here."
        ) from error


def _check_launcher(env: RankEnv) -> None:
    """It listened before this rank was started; torch would go on trying for minutes."""
    try:
        socket.create_connection((env.master_address, env.master_port), timeout=10).close()
    except OSError:
        raise PeerFailed from None


class Board:
    """The keys of one attempt. Empty values exist from the beginning, so that no read ever waits."""

    def __init__(self, store: TCPStore, prefix: str, world_size: int) -> None:
        self._store = store
        self._report = f"{prefix}/report"
        self._beats = [f"{prefix}/beat/{rank}" for rank in range(world_size)]
        for key in (self._report, *self._beats):
            store.compare_set(key, "", " ")  # an empty value cannot be told from none

    def post(self, beat: Beat) -> None:
        """Show a sign of life."""
        self._store.set(self._beats[beat.rank], beat.to_json())

    def read(self) -> tuple[FailureReport | None, list[Beat | None]]:
        """The report, if something failed, and each rank's last beat, in one round trip."""
        report, *beats = self._store.multi_get([self._report, *self._beats])
        return FailureReport.from_json(report.strip()), [Beat.from_json(beat.strip()) for beat in beats]

    def claim(self, report: FailureReport) -> FailureReport:
        """Offer a report; returns the one that was first."""
        winner = self._store.compare_set(self._report, " ", report.to_json())
        return FailureReport.from_json(winner) or report
