"""Place labels in a chart so that they cover neither each other nor what is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

OUTSIDE, ON_LABEL, ON_DOT, ON_CURVE = 1000.0, 50.0, 10.0, 0.5
"""Costs in lines of text that a label might be moved by instead."""
MOST_FOR_CURVES = 2.5
"""A label on a curve stays readable, so keeping it off is worth no longer way than this."""
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
        """Whether they share more than an edge; the last bits of coordinates decide nothing."""
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
    """Labels of one chart; those placed first choose first."""

    canvas: Box
    dots: Sequence[Box] = ()
    """Points, which no label should cover."""
    curves: Sequence[Box] = ()
    """Places along lines, which labels should rather not cross."""
    labels: list[Box] = field(default_factory=list)
    """Labels placed so far."""

    def place(
        self, boxes: Sequence[Box], distances: Sequence[float], *, optional: bool = False
    ) -> int | None:
        """Choose the box where a label disturbs least.

        Args:
            boxes: possible places of the label.
            distances: how far each is from where the label belongs, in lines of text.
            optional: leave the label out where every box is outside the canvas or covers something.

        Returns: the index of the box; None for an optional label without a free one.
        """
        costs = [self._cost(box) for box in boxes]
        # Rounded, so that of equally good places the first is taken whatever the last bits say.
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
