"""Place labels in a chart so that they overlap neither each other nor the data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

OUTSIDE, ON_LABEL, ON_DOT, ON_CURVE = 1000.0, 50.0, 10.0, 0.5
"""Costs of overlaps, in lines of text: a label moves up to this distance to avoid one."""
MOST_FOR_CURVES = 2.5
"""Maximum total cost of crossing curves, because a label on a curve stays readable."""
ROUNDING = 1e-9


class Box(NamedTuple):
    """A rectangle, with y growing downwards."""

    left: float
    right: float
    top: float
    bottom: float

    @classmethod
    def around(cls, x: float, y: float, half_width: float, half_height: float | None = None) -> "Box":
        half_height = half_width if half_height is None else half_height
        return cls(x - half_width, x + half_width, y - half_height, y + half_height)

    def overlaps(self, other: "Box") -> bool:
        """Whether the boxes share more than an edge, within a tolerance for rounding errors."""
        return (
            self.left < other.right - ROUNDING
            and other.left < self.right - ROUNDING
            and self.top < other.bottom - ROUNDING
            and other.top < self.bottom - ROUNDING
        )

    def is_inside(self, other: "Box") -> bool:
        margins = (self.left - other.left, other.right - self.right, self.top - other.top)
        return min(*margins, other.bottom - self.bottom) >= -ROUNDING


@dataclass
class LabelLayout:
    """Labels of one chart; labels placed earlier have priority."""

    canvas: Box
    dots: Sequence[Box] = ()
    """Data points, which labels should not cover."""
    curves: Sequence[Box] = ()
    """Boxes along curves, which labels should avoid if possible."""
    labels: list[Box] = field(default_factory=list)
    """Boxes of the labels placed so far."""

    def place(
        self, boxes: Sequence[Box], distances: Sequence[float], *, optional: bool = False
    ) -> int | None:
        """Choose the box with the lowest cost for a label.

        Args:
            boxes: candidate boxes for the label.
            distances: distance of each box from the label's preferred position, in lines of text.
            optional: omit the label if the best box is outside the canvas or covers something.

        Returns: the index of the box; None if an optional label is omitted.
        """
        costs = [self._cost(box) for box in boxes]
        # Rounded, so that the first of equally good boxes is chosen despite rounding errors.
        totals = [round(cost + way, 6) for cost, way in zip(costs, distances, strict=True)]
        best = totals.index(min(totals))
        if optional and costs[best]:
            return None
        self.labels.append(boxes[best])
        return best

    def _cost(self, box: Box) -> float:
        covered = sum(map(box.overlaps, self.labels))
        dots = sum(map(box.overlaps, self.dots))
        crossed = sum(map(box.overlaps, self.curves))
        outside = not box.is_inside(self.canvas)
        return (
            OUTSIDE * outside + ON_LABEL * covered + ON_DOT * dots + min(MOST_FOR_CURVES, ON_CURVE * crossed)
        )
