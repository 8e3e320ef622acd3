"""What ranks and launcher tell one another through the store: heartbeats, and one report of a failure."""

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from sentiscale.parallel.meeting import NONE
from sentiscale.parallel.report import Beat, FailureReport


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
