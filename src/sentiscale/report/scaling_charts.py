"""Line charts of the scaling report: speedup, efficiency, Karp-Flatt share and seconds over cores."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from statistics import fmean

from sentiscale.report.charts import Axis, Chart, Point, PointLabel, place_labels, round_up
from sentiscale.study.analysis.fits import rate_at
from sentiscale.study.analysis.study import Family, Fit, StudyRow
from sentiscale.study.analysis.wording import axes
from sentiscale.util.numbers import figure, interval, per_cent

LAW_NAMES = {"amdahl": "Amdahl", "usl": "USL"}
CURVE_POINTS = 60
CLOSE = 0.055
"""Smallest distance between ticks on the axis of cores; closer ticks would overlap."""
STRATEGY_STYLES = ("replicas", "threads", "stages", "mixed", "copies")
"""Line styles for a table of timings, whose strategies are known by name only."""
HOLLOW = ("stages", "mixed", "copies")
FEWEST_FOR_A_TREND = 3
LONGEST_LABEL = 24
TALLEST = 1.5
"""Largest upper end of an interval that fits on the speedup axis, as a multiple of the largest median; larger
intervals are clipped."""
SHIFT = 0.016
"""Distance between points with the same number of cores, as a fraction of the axis."""
ROOM_FOR_THE_BASE = 0.3
"""Space to the left of the first point for its label, as a fraction of the range of the points."""

Value = Callable[[StudyRow], float | None]


@dataclass(frozen=True)
class CoresAxis(Axis):
    """Axis of cores with ticks at the measured numbers of cores."""

    marks: tuple[int, ...] = ()

    def ticks(self) -> list[tuple[float, str]]:
        shown: list[tuple[float, str]] = []
        for mark in self.marks:
            if not shown or self.at(mark) - shown[-1][0] >= CLOSE:
                shown.append((self.at(mark), self.text(mark)))
        return shown


@dataclass
class ScalingChart:
    """A chart over cores, with the points and curves that its labels must avoid."""

    chart: Chart
    value: Value
    shifts: Mapping[str, float] = field(default_factory=dict)
    """Shift of each case's point along the axis of cores, so that points do not hide each other."""
    labels: list[PointLabel] = field(default_factory=list)
    dots: list[Point] = field(default_factory=list)
    curves: list[Sequence[Point]] = field(default_factory=list)

    def line(self, points: Sequence[Point], style: str) -> None:
        self.chart.line(points, style)
        self.curves.append(points)

    def dot(self, row: StudyRow, style: str, tip: str) -> None:
        """Add a measured value; the dot is hollow and grey if there were more ranks than cores."""
        point = self.point(row)
        self.dots.append(point)
        self.chart.dots([point], f"{style} over" if row.oversubscribed else style, tip)
        if row.oversubscribed or style in HOLLOW:
            self.chart.dots([point], "hole")

    def label(self, point: Point, text: str, style: str) -> None:
        self.labels.append(PointLabel(point, text, style))

    def point(self, row: StudyRow) -> Point:
        return row.workers + self.shifts.get(row.case.key, 0.0), self.value(row) or 0.0

    def with_labels(self) -> Chart:
        """Place the labels from top to bottom, so that labels of nearby points keep their order."""
        self.labels.sort(key=lambda label: -label.point[1])
        place_labels(self.chart, self.labels, self.dots, self.curves)
        return self.chart


def speedup_chart(family: Family, name: str) -> Chart | None:
    """Speedup over cores with the ideal, the ceiling and fitted laws; None if only the base was measured."""
    base, rows = family.base_row, [row for row in family.rows if row.speedup is not None]
    if base is None or len({row.workers for row in rows}) < 2:
        return None
    reach = max(row.workers for row in rows)
    reach = max([reach, *(fit.trusted_up_to for fit in family.fits)])
    laws = [(fit, _law(fit, rows, base.workers)) for fit in family.fits]
    tops = [row.speedup or 0 for row in rows] + [y for _, curve in laws for _, y in curve]
    intervals = [row.speedup_ci95[1] for row in rows if row.speedup_ci95]
    tops.append(min(TALLEST * max(tops), max(intervals, default=0)))
    label = "speedup" if family.scaling == "strong" else "scaled speedup"
    values = _values_in_words(rows, lambda row: row.speedup, lambda value: f"{figure(value)} times")
    extents = [
        f"The {LAW_NAMES[fit.model]} curve extends to {fit.trusted_up_to} cores." for fit in family.fits
    ]
    drawn = ScalingChart(
        Chart(
            f"{name}-speedup",
            _speedup_title(family, base),
            " ".join([f"Speedup over {family.base}, by cores.", values, *extents]),
            _cores(rows, reach, family.fits),
            Axis(f"{label}; bars: 95 % intervals" if intervals else label, 0, round_up(1.12 * max(tops))),
        ),
        lambda row: row.speedup,
    )
    drawn.shifts = _shifts(rows, base, drawn.chart.x)
    # The line of ideal speedup, as far as it is inside the chart.
    last = min(float(reach), drawn.chart.y.high * base.workers)
    drawn.line([(0, 0), (last, last / base.workers)], "ideal")
    drawn.label((last, last / base.workers), "ideal", "ideal")
    largest = max((row.workers for row in _replicas(rows)), default=base.workers)
    for fit, curve in laws:
        _draw_law(drawn, fit, curve, largest)
    for row in rows:
        if row.speedup_ci95 is not None:
            x, _ = drawn.point(row)
            style = "over" if row.oversubscribed else _style(row)
            drawn.chart.line([(x, end) for end in row.speedup_ci95], f"whisker {style}")
    _draw_measured(drawn, rows, base, lambda row: f"{figure(row.speedup or 0)}x")
    return drawn.with_labels()


def efficiency_chart(family: Family, name: str) -> Chart | None:
    """Efficiency over cores; None if only the base was measured."""
    base, rows = family.base_row, [row for row in family.rows if row.efficiency is not None]
    if base is None or len({row.workers for row in rows}) < 2:
        return None
    top = max(1.0, *(row.efficiency or 0 for row in rows))
    drawn = ScalingChart(
        Chart(
            f"{name}-efficiency",
            _efficiency_title(family),
            "Speedup divided by cores, one at the base. "
            + _values_in_words(rows, lambda row: row.efficiency, per_cent),
            _measured_cores(rows),
            Axis("efficiency", 0, round_up(1.15 * top), percent=True),
        ),
        lambda row: row.efficiency,
    )
    drawn.shifts = _shifts(rows, base, drawn.chart.x)
    drawn.line([(base.workers, 1), (drawn.chart.x.high, 1)], "ideal")
    drawn.label((drawn.chart.x.high, 1), "ideal", "ideal")
    _draw_measured(drawn, rows, base, lambda row: per_cent(row.efficiency or 0))
    return drawn.with_labels()


def karp_flatt_chart(family: Family, name: str) -> Chart | None:
    """Karp-Flatt serial share by number of replicas; None for fewer than three numbers."""
    rows = [row for row in _replicas(family.rows) if row.karp_flatt is not None]
    if len({row.workers for row in rows}) < FEWEST_FOR_A_TREND:
        return None
    first, last = rows[0], rows[-1]
    shares = [row.karp_flatt or 0 for row in rows]
    low, high = min(0.0, *shares), max(0.01, *shares)
    drawn = ScalingChart(
        Chart(
            f"{name}-karp-flatt",
            f"Karp-Flatt: a serial share of {figure(shares[0])} with {first.name},"
            f" {figure(shares[-1])} with {last.name}",
            "Experimentally determined serial share over cores. "
            + _values_in_words(rows, lambda row: row.karp_flatt, figure),
            _measured_cores(rows),
            Axis("serial share", -round_up(-1.1 * low) if low < 0 else 0, round_up(1.15 * high)),
        ),
        lambda row: row.karp_flatt,
    )
    drawn.line([drawn.point(row) for row in rows], "replicas")
    for row in rows:
        drawn.dot(row, "replicas", f"{row.name}: {figure(row.karp_flatt or 0)}")
    for row in (first, last):
        drawn.label(drawn.point(row), figure(row.karp_flatt or 0), "replicas")
    return drawn.with_labels()


def seconds_chart(families: Sequence[Family]) -> Chart | None:
    """Seconds over workers, one line per strategy; None unless several strategies and counts were timed."""
    shown = [family for family in families if not family.is_other_work and family.has_only_times]
    rows = [row for family in shown for row in family.rows]
    if len(shown) < 2 or len({row.workers for row in rows}) < 2:
        return None
    fastest = min(rows, key=lambda row: row.seconds_median)
    owner = next(family for family in shown if fastest in family.rows)
    values = [
        f"{family.name}: {_values_in_words(family.rows, lambda row: row.seconds_median, figure)}"
        for family in shown
    ]
    drawn = ScalingChart(
        Chart(
            "seconds",
            f"Shortest time: {figure(fastest.seconds_median)} s, {owner.name} with {fastest.name}",
            " ".join(["Seconds over workers, one line per strategy.", *values]),
            _measured_cores(rows),
            Axis("seconds", 0, round_up(1.12 * max(row.seconds_median for row in rows))),
        ),
        lambda row: row.seconds_median,
    )
    for family, style in zip(shown, cycle(STRATEGY_STYLES), strict=False):
        ordered = sorted(family.rows, key=lambda row: row.workers)
        drawn.line([drawn.point(row) for row in ordered], style)
        for row in ordered:
            drawn.dot(row, style, f"{family.name}, {row.name}: {figure(row.seconds_median)} s")
        drawn.label(drawn.point(ordered[-1]), _short(family.name), style)
    return drawn.with_labels()


def _short(name: str) -> str:
    """Shorten a name to fit in a chart: remove text in brackets and truncate long names."""
    short = name.split(" (")[0]
    return short if len(short) <= LONGEST_LABEL else f"{short[: LONGEST_LABEL - 1]}..."


def _draw_measured(
    drawn: ScalingChart, rows: Sequence[StudyRow], base: StudyRow, text: Callable[[StudyRow], str]
) -> None:
    """Add the lines and points of the measurements, and their labels."""
    for style, series in _series(rows, base):
        if len(series) > 1:
            drawn.line([drawn.point(row) for row in series], style)
        beyond = [row for row in series if row is not base]
        for row in beyond:
            drawn.dot(row, style, _tip(row, text(row)))
        # A series is labelled at its last point and, if different, at its best point.
        best = max(beyond, key=lambda row: row.speedup or 0)
        for row in [beyond[-1]] if best is beyond[-1] else [beyond[-1], best]:
            if row.oversubscribed:  # its value reflects overhead rather than speed; the table shows it
                drawn.label(drawn.point(row), f"{row.name} oversubscribed", "over")
            else:
                drawn.label(drawn.point(row), f"{row.name}: {text(row)}", style)
    drawn.dot(base, "replicas", _tip(base, text(base)))
    drawn.label(drawn.point(base), base.name, "replicas")


def _shifts(rows: Sequence[StudyRow], base: StudyRow, axis: Axis) -> dict[str, float]:
    """Shifts that prevent points with the same number of cores, and their intervals, from overlapping."""
    shifts: dict[str, float] = {}
    counts = sorted({row.workers for row in rows})
    room = min([(axis.high - axis.low) * CLOSE, *(0.6 * (b - a) for a, b in pairwise(counts))])
    for cores in counts:
        alike = [row for row in rows if row.workers == cores and row is not base]
        step = min((axis.high - axis.low) * SHIFT, room / max(len(alike), 1))
        first = 1.0 if cores == base.workers else (1 - len(alike)) / 2
        shifts |= {row.case.key: (first + number) * step for number, row in enumerate(alike)}
    return shifts


def _series(rows: Sequence[StudyRow], base: StudyRow) -> list[tuple[str, list[StudyRow]]]:
    """Group rows by style into lines over cores, which start at the base, and single points."""
    by_style: dict[str, list[StudyRow]] = {}
    for row in rows:
        if row is not base and not row.oversubscribed:
            by_style.setdefault(_style(row), []).append(row)
    series: list[tuple[str, list[StudyRow]]] = []
    for style in ("copies", "threads", "replicas"):
        ordered = sorted(by_style.pop(style, []), key=lambda row: row.workers)
        beyond = [row for row in ordered if row.workers != base.workers]
        if beyond:
            series.append((style, [base, *beyond]))
        series += [(style, [row]) for row in ordered if row.workers == base.workers]
    series += [(style, [row]) for style, others in by_style.items() for row in others]
    return series + [(_style(row), [row]) for row in rows if row.oversubscribed]


def _style(row: StudyRow) -> str:
    """Style of a case, which determines its colour, mark and dash."""
    if row.case.kind == "copies":
        return "copies"
    replicas, stages = axes(row.case)
    if stages > 1:
        return "stages"
    if row.case.threads_per_rank == 1:
        return "replicas"
    return "threads" if replicas == 1 else "mixed"


def _replicas(rows: Iterable[StudyRow]) -> list[StudyRow]:
    """Data-parallel rows with one thread per rank that were not oversubscribed, sorted by cores."""
    chosen = [row for row in rows if _style(row) == "replicas" and not row.oversubscribed]
    return sorted(chosen, key=lambda row: row.workers)


def _law(fit: Fit, rows: Sequence[StudyRow], base: int) -> list[Point]:
    """Speedup curve of a fitted law, from the base to the last number of cores for which it is reliable.

    A law has its own unit (rows per second or runs per second), so the curve is scaled by the geometric mean
    ratio of the measured speedups to the law.
    """
    fitted = [(row.workers, row.speedup) for row in _replicas(rows) if row.speedup]
    if not fitted:
        return []
    scale = math.exp(fmean(math.log(speedup / rate_at(fit.parameters, cores)) for cores, speedup in fitted))
    steps = [base + (fit.trusted_up_to - base) * i / CURVE_POINTS for i in range(CURVE_POINTS + 1)]
    return [(cores, scale * rate_at(fit.parameters, cores)) for cores in steps]


def _draw_law(drawn: ScalingChart, fit: Fit, curve: Sequence[Point], largest: int) -> None:
    """Add a law's curve, solid over the measured range of cores and dashed beyond it."""
    known = [point for point in curve if point[0] <= largest]
    beyond = curve[max(len(known) - 1, 0) :]
    if len(known) > 1:
        drawn.chart.line(known, f"law {fit.model}")
    if len(beyond) > 1:
        drawn.chart.line(beyond, f"law {fit.model} dashed")
    if curve:
        drawn.curves.append(
            curve[-CURVE_POINTS // 5 :]
        )  # the label is placed next to the end of the curve, not on it
        drawn.label(curve[-1], LAW_NAMES[fit.model], f"law {fit.model}")


def _measured_cores(rows: Sequence[StudyRow]) -> CoresAxis:
    """Axis that covers only the measured numbers of cores."""
    least, most = min(row.workers for row in rows), max(row.workers for row in rows)
    return _cores(rows, most, low=least - ROOM_FOR_THE_BASE * (most - least))


def _cores(rows: Sequence[StudyRow], reach: int, fits: Sequence[Fit] = (), low: float = 0) -> CoresAxis:
    marks = {row.workers for row in rows} | {fit.trusted_up_to for fit in fits}
    label = "workers" if all(row.has_only_times for row in rows) else "cores in use: ranks x threads"
    return CoresAxis(label, low, reach + 0.06 * (reach - low), marks=tuple(sorted(marks)))


def _speedup_title(family: Family, base: StudyRow) -> str:
    best = family.best_row
    if best is None or best is base:
        return f"No measured case is faster than {family.base}"
    ideal = figure(best.workers / base.workers)
    return f"{best.name}: {figure(best.speedup or 0)} times {base.name}; ideal would be {ideal}"


def _efficiency_title(family: Family) -> str:
    rows = _replicas(family.rows)
    if not rows or rows[-1].efficiency is None or rows[-1].karp_flatt is None:
        return "Efficiency: the share of each core's speed that is used"
    last, share = rows[-1], per_cent(rows[-1].efficiency)
    if last.has_only_times or len(rows) > FEWEST_FOR_A_TREND:
        return f"Efficiency: {share} with {last.name}"
    return f"{last.name} uses {share} of its cores"


def _values_in_words(rows: Sequence[StudyRow], value: Value, text: Callable[[float], str]) -> str:
    """All values of a chart as text, for readers who cannot see it."""
    return (
        "; ".join(
            f"{row.name}{', oversubscribed' if row.oversubscribed else ''}: {text(value(row) or 0)}"
            for row in rows
        )
        + "."
    )


def _tip(row: StudyRow, text: str) -> str:
    ends = f" ({interval(row.speedup_ci95)})" if row.speedup_ci95 and text.endswith("x") else ""
    over = "; more ranks x threads than cores" if row.oversubscribed else ""
    return f"{row.name}: {text}{ends}, median of {row.repeats}{over}"
