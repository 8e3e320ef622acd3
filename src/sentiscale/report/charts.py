"""Charts as plain data: axes, shapes in a square of 1000 x 1000, labels and bars.

templates/charts.html renders them: shapes as an inline SVG that stretches with the page, and text as HTML of
constant size. A chart is therefore readable on a phone and in print and uses the colours of the page, light
or dark. A plotting library would produce SVG with fixed sizes and colours, and would save only the two dozen
lines that compute ticks.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from sentiscale.text.classes import Classes
from sentiscale.util.label_layout import Box, LabelLayout
from sentiscale.util.numbers import short_number

SIDE = 1000
FEWEST_TICKS = 4
MOST_BAR_TICKS = 4
ROOM_FOR_A_NUMBER, ROOM_ON_A_PHONE = 9.0, 18.0
"""Smallest width in per cent at which a part of a bar shows its number, on wide screens and on phones."""

LEVELS = 10
"""Number of steps between the colours of the first and the last of ordered classes."""
NOMINAL_COLOURS = 7
"""Number of colours for classes without an order."""

Point = tuple[float, float]
Side = Literal["left", "right", "above"]
"""Position of a label relative to its point; `above` starts over the point and extends to the right."""


@dataclass(frozen=True)
class Axis:
    """Scale that maps data to a side of the chart."""

    label: str
    low: float
    high: float
    log: bool = False
    percent: bool = False
    """Whether values are shares, which ticks show as per cent."""

    def at(self, value: float) -> float:
        """Position of a value on the axis, from 0 (low end) to 1 (high end); values outside are clipped."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        place = (self._scaled(value) - low) / (high - low) if high > low else 0.5
        return min(max(place, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and texts of the tick marks."""
        values = _log_ticks(self.low, self.high) if self.log else _round_ticks(self.low, self.high)
        return [(self.at(value), self.text(value)) for value in values]

    def text(self, value: float) -> str:
        return f"{100 * value:g} %" if self.percent else short_number(value)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value


@dataclass(frozen=True)
class ChartPath:
    """A path in the SVG."""

    path: str
    style: str
    """CSS classes for the path's role, such as `negative line`; templates/page.css defines the colours."""
    tip: str = ""
    """Tooltip."""
    name: str = ""
    """Legend entry; empty for none."""


@dataclass(frozen=True)
class Label:
    """Text at a position in the chart; both coordinates are 0 to 1, from the left and from the top."""

    x: float
    y: float
    text: str
    style: str = ""
    side: Side = "right"


@dataclass
class Chart:
    """A chart; shapes are painted in the order in which the methods add them."""

    name: str
    """Name used in element ids; must be unique on the page."""
    title: str
    description: str
    """Text alternative for readers who cannot see the chart."""
    x: Axis
    y: Axis
    shapes: list[ChartPath] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)

    def line(self, points: Iterable[Point], style: str, name: str = "") -> None:
        self.shapes.append(ChartPath(self._path(points), f"line {style}", name=name))

    def area(self, points: Sequence[Point], style: str, name: str = "") -> None:
        """Add the area between a line and the bottom of the chart."""
        floor = [(points[-1][0], self.y.low), (points[0][0], self.y.low)]
        self.shapes.append(ChartPath(self._path([*points, *floor]) + "Z", f"area {style}", name=name))

    def dots(self, points: Iterable[Point], style: str, tip: str = "") -> None:
        """Add round dots, which do not stretch with the chart."""
        path = "".join(f"M{self._place(point)}h.01" for point in points)
        self.shapes.append(ChartPath(path, f"dot {style}", tip))

    def band(self, left: float, right: float, tip: str) -> None:
        """Add an invisible band with a tooltip over the whole height."""
        corners = [(left, self.y.low), (left, self.y.high), (right, self.y.high), (right, self.y.low)]
        self.shapes.append(ChartPath(self._path(corners) + "Z", "band", tip))

    def rule(self, x: float, text: str, *, low: bool = False) -> None:
        """Add a vertical line over the whole height, with text at its top or, if `low`, at its bottom."""
        self.line([(x, self.y.low), (x, self.y.high)], "rule")
        place = (x, self.y.low if low else self.y.high)
        self.label(place, text, "rule foot" if low else "rule", "left" if self.x.at(x) > 0.5 else "right")

    def label(self, point: Point, text: str, style: str = "", side: Side = "right") -> None:
        """Add text at a data point."""
        self.labels.append(Label(*self.spot(point), text, style, side))

    def spot(self, point: Point) -> Point:
        """Position of a data point in the chart, 0 to 1 from the left and from the top."""
        return self.x.at(point[0]), 1 - self.y.at(point[1])

    def grid(self) -> str:
        """SVG path of the horizontal lines at the ticks of the y axis."""
        return "".join(f"M0 {_round(SIDE * (1 - place))}H{SIDE}" for place, _ in self.y.ticks())

    def legend(self) -> list[ChartPath]:
        return [shape for shape in self.shapes if shape.name]

    def _path(self, points: Iterable[Point]) -> str:
        return "M" + "L".join(self._place(point) for point in points)

    def _place(self, point: Point) -> str:
        x, y = self.spot(point)
        return f"{_round(SIDE * x)} {_round(SIDE * y)}"


@dataclass(frozen=True)
class BarPart:
    """A part of a bar."""

    width: float
    """Width in per cent of the axis."""
    style: str
    text: str = ""
    """Text inside the part."""
    tip: str = ""


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart: name, bar and value."""

    name: str
    parts: list[BarPart]
    value: str
    note: str = ""
    flag: str = ""
    """Reason why the line is grey, such as `oversubscribed`; empty if it is not."""
    group: str = ""
    """Heading above the line; empty for none."""
    tip: str = ""


@dataclass(frozen=True)
class BarChart:
    """A list of bars on a common scale."""

    title: str
    description: str
    unit: str
    bars: list[Bar]
    axis: Axis
    keys: Sequence[tuple[str, str]] = ()
    """Styles and names of the parts for the legend; empty for no legend."""

    def ticks(self) -> list[tuple[float, str]]:
        """Select ticks of the axis so that they fit on a phone."""
        ticks = self.axis.ticks()
        return ticks[:: -(-len(ticks) // MOST_BAR_TICKS)]


def class_styles(classes: Classes) -> list[str]:
    """Return the CSS class with the colour of each class.

    Colours of two classes and of ordered ones go from vermilion over grey to blue. Others have up to seven
    colours that the colour-blind can tell apart, as those of Okabe and Ito (2008); more classes share one.
    """
    last = len(classes) - 1
    if last == 1:
        return ["negative", "positive"]
    if classes.sides is not None:
        return [f"level-{round(LEVELS * code / last)}" for code in range(len(classes))]
    if len(classes) > NOMINAL_COLOURS:
        return ["accent"] * len(classes)
    return [f"nominal-{code}" for code in range(len(classes))]


def bar_part(value: float, high: float, style: str, text: str = "", tip: str = "") -> BarPart:
    """Make the part for `value` on a scale that ends at `high`; the text is dropped if it does not fit."""
    width = round(100 * value / high, 2)
    if width < ROOM_FOR_A_NUMBER:
        text = ""
    elif width < ROOM_ON_A_PHONE:
        style += " tight"
    return BarPart(width, style, text, tip)


def steps(edges: Sequence[float], heights: Sequence[float]) -> list[Point]:
    """Outline of a histogram with edges (bins + 1,) and heights (bins,)."""
    points = []
    for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
        points += [(left, height), (right, height)]
    return points


def round_up(value: float) -> float:
    """Round up to 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6 or 8 times a power of ten, as the end of an axis."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    ends = (step * power for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10))
    return next(end for end in ends if end >= value * (1 - 1e-9))


def _round_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten, at least `FEWEST_TICKS` of them."""
    if high <= low:
        return [low]
    power = 10.0 ** math.floor(math.log10(high - low))
    sizes = (power, power / 2, power / 4, power / 5, power / 10)
    size = next(size for size in sizes if (high - low) / size >= FEWEST_TICKS - 1)
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [number * size for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, and 2 and 5 times these if there would be fewer than three ticks."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(decades) >= 3:
        return decades[:: 1 + len(decades) // 8]
    fine = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return [value for value in fine if low <= value <= high] or [low, high]


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


@dataclass(frozen=True)
class LabelMetrics:
    """Sizes of labels, as fractions of the chart."""

    letter: float
    """Width of a letter."""
    line: float
    dot: float
    gap: float
    """Distance between a dot and its label."""

    def box(self, label: Label) -> Box:
        """Bounding box of a label to the left or right of its point."""
        width = self.letter * len(label.text)
        left = label.x + self.gap if label.side == "right" else label.x - self.gap - width
        return Box(left, left + width, label.y - self.line / 2, label.y + self.line / 2)


PHONE = LabelMetrics(letter=0.028, line=0.062, dot=0.03, gap=0.025)
"""Labels that fit on a phone also fit on a wide chart, where they are narrower at the same positions."""
DENSE = LabelMetrics(letter=0.0075, line=0.035, dot=0.009, gap=0.009)
DENSE_ON_PHONE = replace(DENSE, letter=0.025)
"""Sizes for charts with many dots; the style `roomy` hides labels on a phone that do not fit there."""
CANVAS = Box(0, 1, 0, 1)
CURVE_STEP = 0.015
"""Distance between the points of a curve that labels avoid."""
SHIFTS = (0, *(sign * shift for shift in range(1, 17) for sign in (-1, 1)))
"""Numbers of lines by which a label may be moved, the smallest first."""


@dataclass(frozen=True)
class PointLabel:
    """A label for a data point."""

    point: Point
    text: str
    style: str


def place_labels(
    chart: Chart,
    wanted: Sequence[PointLabel],
    dots: Sequence[Point] = (),
    curves: Sequence[Sequence[Point]] = (),
) -> None:
    """Add all labels at the positions with the least overlap; no label is dropped or leaves the chart.

    Args:
        chart: chart to add the labels to.
        wanted: labels in order of priority.
        dots: measured points, which labels should not cover.
        curves: lines, which labels should preferably not cross.
    """
    layout = LabelLayout(
        CANVAS,
        [Box.around(*chart.spot(dot), PHONE.dot / 2) for dot in dots],
        [Box.around(*spot, 0) for curve in curves for spot in _along([chart.spot(point) for point in curve])],
    )
    for one in wanted:
        x, y = chart.spot(one.point)
        # A label that would extend beyond the right edge is moved to the left, over its point.
        slid = min(x, max(-PHONE.gap, 1 - PHONE.gap - PHONE.letter * len(one.text)))
        sides: list[tuple[float, Side]] = [(x, "right"), (x, "left"), (slid, "right")]
        tried = [
            Label(left, y + shift * PHONE.line, one.text, f"end {one.style}", side)
            for shift in SHIFTS
            for left, side in sides
        ]
        distances = [(abs(label.y - y) + abs(label.x - x)) / PHONE.line for label in tried]
        label = tried[layout.place([PHONE.box(label) for label in tried], distances) or 0]
        chart.labels.append(label)
        if abs(label.y - y) > 1.5 * PHONE.line:  # a thin line connects the point with its distant label
            near = label.x + (PHONE.gap if label.side == "right" else -PHONE.gap) / 2
            path = f"M{SIDE * x:.0f} {SIDE * y:.0f}L{SIDE * near:.0f} {SIDE * label.y:.0f}"
            chart.shapes.append(ChartPath(path, "line leader"))


def place_labels_where_free(chart: Chart, wanted: Sequence[PointLabel]) -> None:
    """Add the labels that fit without covering another label or a dot, and drop the others.

    Args:
        chart: chart to add the labels to.
        wanted: labels in order of priority; all their points have dots.
    """
    spots = [chart.spot(one.point) for one in wanted]
    wide = LabelLayout(CANVAS, [Box.around(x, y, DENSE.dot / 2, DENSE.dot) for x, y in spots])
    phone = LabelLayout(CANVAS)
    for (x, y), one in zip(spots, wanted, strict=True):
        right = Label(x, y, f"{one.text} ", f"word {one.style}")  # the space separates it from the next label
        tried = [right, replace(right, side="left")]
        chosen = wide.place([DENSE.box(label) for label in tried], (0, 1), optional=True)
        if chosen is None:
            continue
        label = replace(tried[chosen], text=one.text)
        if phone.place([DENSE_ON_PHONE.box(tried[chosen])], [0], optional=True) is None:
            label = replace(label, style=f"{label.style} roomy")
        chart.labels.append(label)


def _along(corners: Sequence[Point]) -> list[Point]:
    """Evenly spaced points along a line, so that all lines have the same weight per length."""
    spots = []
    for (x, y), (next_x, next_y) in pairwise(corners):
        parts = max(1, round(math.hypot(next_x - x, next_y - y) / CURVE_STEP))
        spots += [(x + (next_x - x) * i / parts, y + (next_y - y) * i / parts) for i in range(parts)]
    return spots
