"""Which rank has stopped beating? Counted in the watcher's own beats, not in seconds of a clock."""

from collections.abc import Sequence

from sentiscale.parallel.report import Beat

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
