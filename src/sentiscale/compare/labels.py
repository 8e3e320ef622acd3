"""Write names beside the marks of a matplotlib picture where they cover nothing."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

    from sentiscale.compare.series import Point

PLACES = (
    (9, 0), (-9, 0), (0, 10), (0, -10), (9, 11), (9, -11), (-9, 11), (-9, -11),
    (14, 22), (14, -22), (-14, 22), (-14, -22), (20, 36), (20, -36), (-20, 36), (-20, -36),
)  # fmt: skip
"""Where a name is tried, in points from its mark."""

MARK, TRACE = 6.0, 1.5
"""Half the size of a mark and of a curve's trace, in pixels."""
TRACE_STEPS = 12
"""Places between two points of a curve that are kept free."""


class Placer:
    """Knows what is taken; coordinates are seconds and accuracy, shown as per cent."""

    def __init__(self, axes: "Axes") -> None:
        self.axes = axes
        self._points: list[Sequence[Point]] = []
        self._written: list[Bbox] = []

    def avoid(self, points: "Sequence[Point]") -> None:
        """Keep a curve and its marks free."""
        self._points.append(points)

    def write(self, place: "Point", text: str, colour: str, *, optional: bool = False) -> None:
        """Write beside a mark; where nothing is free, an optional name is left out, another one covers."""
        taken = [*self._written, *self._obstacles()]
        note = self.axes.annotate(
            text, (place[0], 100 * place[1]), PLACES[0], textcoords="offset points", color=colour,
            fontsize=8.0 if optional else 10.0, fontweight="normal" if optional else "bold",
        )  # fmt: skip
        for x, y in PLACES:
            note.set_position((x, y))
            note.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
            note.set_verticalalignment("bottom" if y > 0 else "top" if y < 0 else "center")
            box = note.get_window_extent()
            if self._inside(box) and not any(box.overlaps(other) for other in taken):
                break
        else:
            if optional:
                note.remove()
                return
            note.set_position(PLACES[0])
        self._written.append(note.get_window_extent())

    def _inside(self, box: "Bbox") -> bool:
        frame = self.axes.get_window_extent()
        within = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        return bool(within)

    def _obstacles(self) -> "list[Bbox]":
        """Marks, and the traces between them."""
        from matplotlib.transforms import Bbox

        found = []
        for points in self._points:
            spots = self.axes.transData.transform([(x, 100 * y) for x, y in points])
            found += [Bbox.from_extents(*(spot - MARK), *(spot + MARK)) for spot in spots]
            for start, end in itertools.pairwise(spots):
                for share in np.linspace(0, 1, TRACE_STEPS):
                    spot = start + share * (end - start)
                    found.append(Bbox.from_extents(*(spot - TRACE), *(spot + TRACE)))
        return found
