"""Write labels at the ends of lines, moved up or down until they touch neither each other nor a dot."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sentiscale.analysis.charts import SIDE, Chart, Label, Point, Shape, Side
from sentiscale.analysis.placing import Box

LETTER, LINE, DOT, GAP = 0.028, 0.062, 0.03, 0.025
"""Width of a letter, height of a line, size of a dot, space before a label: shares of a chart on a phone.

What has room there has room on a wide chart, where labels stand at the same places and are narrower.
"""
STEP = 0.015
"""Between points along a line that is to be kept clear of."""
MOST_FOR_CROSSING = 2.5
"""Lines a label is moved by at most to keep it off curves; its halo keeps it readable on them."""
SHIFTS = (0, *(sign * shift for shift in range(1, 17) for sign in (-1, 1)))
"""Lines a label may be moved by, the nearest first."""


@dataclass(frozen=True)
class End:
    """What is to be labelled: a place in units of the axes, words, a style."""

    point: Point
    text: str
    style: str


def label_ends(
    chart: Chart, ends: Sequence[End], dots: Sequence[Point], curves: Sequence[Sequence[Point]]
) -> None:
    """Write every label where it disturbs least; none is dropped, none leaves the chart.

    Args:
        chart: gets the labels.
        ends: the first ones have the choice.
        dots: measured points, which no label should cover.
        curves: lines, which labels should rather not cross.
    """
    taken: list[Box] = []
    spots = [_place(chart, dot) for dot in dots]
    crossed = [spot for curve in curves for spot in _along([_place(chart, point) for point in curve])]
    for end in ends:
        x, y = _place(chart, end.point)
        slid = min(x, max(-GAP, 1 - GAP - LETTER * len(end.text)))  # where it would run out at the right
        sides: list[tuple[float, Side]] = [(x, "right"), (x, "left"), (slid, "right")]
        tried = [
            Label(left, y + shift * LINE, end.text, f"end {end.style}", side)
            for shift in SHIFTS
            for left, side in sides
        ]
        label, box = min(
            ((label, _box(label)) for label in tried),
            key=lambda pair: (
                _cost(pair[1], taken, spots, crossed) + (abs(pair[0].y - y) + abs(pair[0].x - x)) / LINE
            ),
        )
        taken.append(box)
        chart.labels.append(label)
        if abs(label.y - y) > LINE:
            _lead(chart, (x, y), label)


def _place(chart: Chart, point: Point) -> Point:
    return chart.x.at(point[0]), 1 - chart.y.at(point[1])


def _along(corners: Sequence[Point]) -> list[Point]:
    """Points along a line, everywhere equally dense, so that no line weighs more than another."""
    spots = []
    for (x, y), (next_x, next_y) in pairwise(corners):
        parts = max(1, round(math.hypot(next_x - x, next_y - y) / STEP))
        spots += [(x + (next_x - x) * i / parts, y + (next_y - y) * i / parts) for i in range(parts)]
    return spots


def _lead(chart: Chart, spot: Point, label: Label) -> None:
    """A thin line from a place to words that had to move away from it."""
    beside = label.x + (GAP if label.side == "right" else -GAP) / 2
    path = f"M{SIDE * spot[0]:.0f} {SIDE * spot[1]:.0f}L{SIDE * beside:.0f} {SIDE * label.y:.0f}"
    chart.shapes.append(Shape(path, "line leader"))


def _box(label: Label) -> Box:
    width = LETTER * len(label.text)
    left = label.x + GAP if label.side == "right" else label.x - GAP - width
    return Box(left, left + width, label.y - LINE / 2, label.y + LINE / 2)


def _cost(box: Box, taken: Sequence[Box], spots: Sequence[Point], crossed: Sequence[Point]) -> float:
    """How much a label there would disturb, in lines that it might as well be moved by."""
    covered = sum(_overlap(box, other) for other in taken)
    dots = sum(_near(box, spot, DOT / 2) for spot in spots)
    lines = sum(_near(box, point, 0) for point in crossed)
    return 1000 * _leaves(box) + 50 * covered + 10 * dots + min(MOST_FOR_CROSSING, 0.5 * lines)


def _overlap(box: Box, other: Box) -> bool:
    return (
        box.left < other.right
        and other.left < box.right
        and box.top < other.bottom
        and other.top < box.bottom
    )


def _near(box: Box, point: Point, margin: float) -> bool:
    x, y = point
    return box.left - margin < x < box.right + margin and box.top - margin < y < box.bottom + margin


def _leaves(box: Box) -> bool:
    """Whether any of it sticks out of the chart."""
    return min(box.left, box.top, 1 - box.right, 1 - box.bottom) < -1e-9
