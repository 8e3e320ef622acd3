"""Charts as plain data: axes, shapes in a square of 1000 x 1000, labels; templates/charts.html draws them.

The shapes become an inline SVG that stretches with the page, the words around it HTML of constant size, so
a chart is as readable on a phone as in print and takes its colours from the page, light or dark. A drawing
library's SVG has its sizes and colours fixed; what it would do for us is the two dozen lines of ticks below.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, NamedTuple

SIDE = 1000
FEWEST_TICKS = 4

Point = tuple[float, float]
Side = Literal["left", "right", "above"]
"""Where words stand, seen from their place; `above` begins over it and goes on to the right."""


@dataclass(frozen=True)
class Axis:
    """A scale from data to the chart's side."""

    label: str
    low: float
    high: float
    log: bool = False
    percent: bool = False
    """Values are shares; ticks show them as per cent."""

    def at(self, value: float) -> float:
        """The place of a value: 0 at the low end, 1 at the high end, kept within."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        place = (self._scaled(value) - low) / (high - low) if high > low else 0.5
        return min(max(place, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of the tick marks."""
        values = _log_ticks(self.low, self.high) if self.log else _round_ticks(self.low, self.high)
        return [(self.at(value), self.text(value)) for value in values]

    def text(self, value: float) -> str:
        """A value as the axis writes it."""
        return f"{100 * value:g} %" if self.percent else short_number(value)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value


@dataclass(frozen=True)
class Shape:
    """A path of the SVG."""

    path: str
    style: str
    """CSS class: a role such as `negative line`; templates/page.css gives the colours."""
    tip: str = ""
    """Shown when the pointer rests on it."""
    name: str = ""
    """Entry in the legend; empty for none."""


@dataclass(frozen=True)
class Label:
    """Words at a place of the chart."""

    x: float
    y: float
    text: str
    style: str = ""
    side: Side = "right"


@dataclass
class Chart:
    """One chart; the methods add shapes in the order they are painted."""

    name: str
    """Unique on the page: part of element ids."""
    title: str
    description: str
    """What a person who cannot see the chart should know."""
    x: Axis
    y: Axis
    shapes: list[Shape] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)

    def line(self, points: Iterable[Point], style: str, name: str = "") -> None:
        """A line through points of data."""
        self.shapes.append(Shape(self._path(points), f"line {style}", name=name))

    def area(self, points: Sequence[Point], style: str, name: str = "") -> None:
        """The area between a line and the bottom."""
        floor = [(points[-1][0], self.y.low), (points[0][0], self.y.low)]
        self.shapes.append(Shape(self._path([*points, *floor]) + "Z", f"area {style}", name=name))

    def dots(self, points: Iterable[Point], style: str) -> None:
        """Round dots without words, in one shape; their size does not stretch."""
        self.shapes.append(Shape("".join(self._dot(point) for point in points), f"dot {style}"))

    def dot(self, point: Point, style: str, tip: str) -> None:
        """One dot that says what it is."""
        self.shapes.append(Shape(self._dot(point), f"dot {style}", tip))

    def band(self, left: float, right: float, tip: str) -> None:
        """An invisible full-height band that says what is there."""
        corners = [(left, self.y.low), (left, self.y.high), (right, self.y.high), (right, self.y.low)]
        self.shapes.append(Shape(self._path(corners) + "Z", "band", tip))

    def rule(self, x: float, text: str, *, low: bool = False) -> None:
        """A vertical line over the whole height, with words at its top, or its foot where `low`."""
        self.shapes.append(Shape(self._path([(x, self.y.low), (x, self.y.high)]), "line rule"))
        place = (x, self.y.low if low else self.y.high)
        self.label(place, text, "rule foot" if low else "rule", "left" if self.x.at(x) > 0.5 else "right")

    def label(self, point: Point, text: str, style: str = "", side: Side = "right") -> None:
        """Words at a point of data."""
        self.labels.append(Label(self.x.at(point[0]), 1 - self.y.at(point[1]), text, style, side))

    def grid(self) -> str:
        """The path of the horizontal lines at the y axis' ticks."""
        return "".join(f"M0 {_round(SIDE * (1 - place))}H{SIDE}" for place, _ in self.y.ticks())

    def legend(self) -> list[Shape]:
        """The shapes that have a name."""
        return [shape for shape in self.shapes if shape.name]

    def _path(self, points: Iterable[Point]) -> str:
        return "M" + "L".join(self._place(point) for point in points)

    def _dot(self, point: Point) -> str:
        return f"M{self._place(point)}h.01"

    def _place(self, point: Point) -> str:
        return f"{_round(SIDE * self.x.at(point[0]))} {_round(SIDE * (1 - self.y.at(point[1])))}"


def steps(edges: Sequence[float], heights: Sequence[float]) -> list[Point]:
    """The outline of a histogram: (bins + 1) edges and the height of each bin."""
    points = []
    for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
        points += [(left, height), (right, height)]
    return points


def short_number(value: float) -> str:
    """A number in few characters: 950, 12k, 3.4M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def round_up(value: float) -> float:
    """The next of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten: a calm end for an axis."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(
        s * power for s in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if s * power >= value * (1 - 1e-9)
    )


def _round_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten, at least `FEWEST_TICKS` of them."""
    if high <= low:
        return [low]
    power = 10.0 ** math.floor(math.log10(high - low))
    size = next(
        s
        for s in (power, power / 2, power / 4, power / 5, power / 10)
        if (high - low) / s >= FEWEST_TICKS - 1
    )
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [number * size for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; between them 2 and 5 where there would be fewer than three ticks."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(decades) >= 3:
        return decades[:: 1 + len(decades) // 8]
    fine = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return [value for value in fine if low <= value <= high] or [low, high]


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


LETTER, LINE, DOT = 0.0075, 0.035, 0.009
"""Width of a letter, height of a line and size of a dot, as shares of a wide chart."""
NARROW_LETTER = 0.025
"""Width of a letter on a phone; labels without room there are hidden by the style `roomy`."""


class Box(NamedTuple):
    """Where something lies, as shares of the chart from its left and its top."""

    left: float
    right: float
    top: float
    bottom: float

    def is_free(self, taken: Iterable["Box"]) -> bool:
        """Whether it lies within the chart and overlaps none of the others."""
        within = self.left >= 0 and self.right <= 1
        return within and not any(
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
            for other in taken
        )


def label_where_free(chart: Chart, words: list[tuple[Point, str, str]]) -> None:
    """Write words beside their dots where they touch no other word and no dot.

    Args:
        chart: gets the labels.
        words: the dot in units of the axes, the words and their style; the first ones have the choice.
            What has room on a wide chart only gets the style `roomy`, which hides it on a narrow one.
    """
    spots = [(chart.x.at(x), 1 - chart.y.at(y)) for (x, y), _, _ in words]
    taken = [Box(x - DOT / 2, x + DOT / 2, y - DOT, y + DOT) for x, y in spots]
    taken_narrow: list[Box] = []
    for (x, y), (_, text, style) in zip(spots, words, strict=True):
        right = Label(x, y, text, f"word {style}")
        for tried in (right, replace(right, side="left")):
            box = _label_box(tried, LETTER)
            if not box.is_free(taken):
                continue
            taken.append(box)
            narrow = _label_box(tried, NARROW_LETTER)
            if narrow.is_free(taken_narrow):
                taken_narrow.append(narrow)
            else:
                tried = replace(tried, style=f"{tried.style} roomy")
            chart.labels.append(tried)
            break


def _label_box(label: Label, letter: float) -> Box:
    """Where the words stand, a little beside their dot."""
    width = letter * (len(label.text) + 1)
    left = label.x + DOT if label.side == "right" else label.x - DOT - width
    return Box(left, left + width, label.y - LINE / 2, label.y + LINE / 2)


LABEL_LETTER, LABEL_LINE, LABEL_DOT, GAP = 0.028, 0.062, 0.03, 0.025
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
        slid = min(
            x, max(-GAP, 1 - GAP - LABEL_LETTER * len(end.text))
        )  # where it would run out at the right
        sides: list[tuple[float, Side]] = [(x, "right"), (x, "left"), (slid, "right")]
        tried = [
            Label(left, y + shift * LABEL_LINE, end.text, f"end {end.style}", side)
            for shift in SHIFTS
            for left, side in sides
        ]
        label, box = min(
            ((label, _box(label)) for label in tried),
            key=lambda pair: (
                _cost(pair[1], taken, spots, crossed) + (abs(pair[0].y - y) + abs(pair[0].x - x)) / LABEL_LINE
            ),
        )
        taken.append(box)
        chart.labels.append(label)
        if abs(label.y - y) > LABEL_LINE:
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
    width = LABEL_LETTER * len(label.text)
    left = label.x + GAP if label.side == "right" else label.x - GAP - width
    return Box(left, left + width, label.y - LABEL_LINE / 2, label.y + LABEL_LINE / 2)


def _cost(box: Box, taken: Sequence[Box], spots: Sequence[Point], crossed: Sequence[Point]) -> float:
    """How much a label there would disturb, in lines that it might as well be moved by."""
    covered = sum(_overlap(box, other) for other in taken)
    dots = sum(_near(box, spot, LABEL_DOT / 2) for spot in spots)
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
