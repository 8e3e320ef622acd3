"""The charts of the scaling report: speedup, efficiency, Karp-Flatt share, seconds over cores."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

from sentiscale.report.charts import Axis, Chart, End, Point, label_ends, round_up
from sentiscale.study.analysis.fits import rate_at
from sentiscale.study.analysis.study import Family, Fit, StudyRow
from sentiscale.study.analysis.words import (
    axes,
    base_row,
    best_row,
    case_name,
    figure,
    interval,
    is_bare,
    is_other_work,
    per_cent,
)

LAW_NAMES = {"amdahl": "Amdahl", "usl": "USL"}
CURVE_POINTS = 60
CLOSE = 0.055
"""Tick marks of the cores' axis nearer than this would run into each other."""
CYCLE = ("replicas", "threads", "stages", "mixed", "copies")
"""Styles of lines that have nothing but a name to tell them apart."""
HOLLOW = ("stages", "mixed", "copies")
FEWEST_FOR_A_TREND = 3
LONGEST_LABEL = 24
TALLEST = 1.5
"""The axis of speedups has room for intervals up to so many times the largest median; wider ones run out."""
BESIDE = 0.016
"""Between points of the same number of cores, as a share of the axis."""
ROOM_FOR_THE_BASE = 0.3
"""Left of the first point, where its label stands, as a share of the points' span."""


@dataclass(frozen=True)
class Cores(Axis):
    """The axis of cores, with ticks where something was measured."""

    marks: tuple[int, ...] = ()

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of the counts that do not crowd each other."""
        shown: list[tuple[float, str]] = []
        for mark in self.marks:
            if not shown or self.at(mark) - shown[-1][0] >= CLOSE:
                shown.append((self.at(mark), self.text(mark)))
        return shown


@dataclass(frozen=True)
class Series:
    """Cases that make one line, or single points where `line` is false."""

    style: str
    rows: list[StudyRow]
    line: bool = True


@dataclass
class Drawing:
    """A chart in the making, with what its labels must keep clear of."""

    chart: Chart
    value: Callable[[StudyRow], float | None]
    beside: Mapping[str, float] = field(default_factory=dict)
    """By case, how far its point is moved along the axis of cores to be seen beside others."""
    ends: list[End] = field(default_factory=list)
    dots: list[Point] = field(default_factory=list)
    curves: list[Sequence[Point]] = field(default_factory=list)

    def line(self, points: Sequence[Point], style: str) -> None:
        """A line through measured points, which labels should rather not cross."""
        self.chart.line(points, style)
        self.curves.append(points)

    def dot(self, row: StudyRow, style: str, tip: str) -> None:
        """One measured value; hollow and grey where there were more ranks than cores."""
        point = self.point(row)
        self.dots.append(point)
        self.chart.dot(point, f"{style} over" if row.oversubscribed else style, tip)
        if row.oversubscribed or style in HOLLOW:
            self.chart.dots([point], "hole")

    def end(self, point: Point, text: str, style: str) -> None:
        """Ask for a label."""
        self.ends.append(End(point, text, style))

    def point(self, row: StudyRow) -> Point:
        """Where a row lies."""
        return row.workers + self.beside.get(row.case.key, 0.0), self.value(row) or 0.0

    def finish(self) -> Chart:
        """Place the labels."""
        self.ends.sort(key=lambda end: -end.point[1])  # so that labels of close points keep their order
        label_ends(self.chart, self.ends, self.dots, self.curves)
        return self.chart


def speedup_chart(family: Family, name: str) -> Chart | None:
    """Speedup over cores with ideal, ceiling and laws; None where nothing was measured beside the base."""
    base, rows = base_row(family), [row for row in family.rows if row.speedup is not None]
    if base is None or len({row.workers for row in rows}) < 2:
        return None
    reach = _reach(rows, family.fits)
    laws = [(fit, _law(fit, rows, base.workers)) for fit in family.fits]
    tops = [row.speedup or 0 for row in rows] + [y for _, curve in laws for _, y in curve]
    intervals = [row.speedup_ci95[1] for row in rows if row.speedup_ci95]
    tops.append(min(TALLEST * max(tops), max(intervals, default=0)))
    chart = Chart(
        f"{name}-speedup",
        _speedup_title(family),
        _speedup_description(family, rows),
        _cores(rows, family.fits, reach),
        Axis(_speedup_label(family, rows), 0, round_up(1.12 * max(tops))),
    )
    drawing = Drawing(chart, lambda row: row.speedup, _beside(rows, base, chart.x))
    _ideal(drawing, base.workers, reach)
    largest = max((row.workers for row in _replicas(rows)), default=base.workers)
    for fit, curve in laws:
        _draw_law(drawing, fit, curve, largest)
    for row in rows:
        if row.speedup_ci95 is not None:
            x, _ = drawing.point(row)
            style = "over" if row.oversubscribed else _style(row)
            chart.line([(x, end) for end in row.speedup_ci95], f"whisker {style}")
    _measured(drawing, rows, base, lambda row: f"{figure(row.speedup or 0)}x")
    return drawing.finish()


def efficiency_chart(family: Family, name: str) -> Chart | None:
    """Efficiency over cores; None where nothing was measured beside the base."""
    base, rows = base_row(family), [row for row in family.rows if row.efficiency is not None]
    if base is None or len({row.workers for row in rows}) < 2:
        return None
    top = max(1.0, *(row.efficiency or 0 for row in rows))
    chart = Chart(
        f"{name}-efficiency",
        _efficiency_title(family),
        "Speedup divided by cores, one at the base. " + _told(rows, lambda row: row.efficiency, per_cent),
        _cores_measured(rows),
        Axis("efficiency", 0, round_up(1.15 * top), percent=True),
    )
    drawing = Drawing(chart, lambda row: row.efficiency, _beside(rows, base, chart.x))
    drawing.line([(base.workers, 1), (chart.x.high, 1)], "ideal")
    drawing.end((chart.x.high, 1), "ideal", "ideal")
    _measured(drawing, rows, base, lambda row: per_cent(row.efficiency or 0))
    return drawing.finish()


def karp_flatt_chart(family: Family, name: str) -> Chart | None:
    """The serial share found at each number of replicas; None for fewer than three."""
    rows = [row for row in _replicas(family.rows) if row.karp_flatt is not None]
    if len({row.workers for row in rows}) < FEWEST_FOR_A_TREND:
        return None
    shares = [row.karp_flatt or 0 for row in rows]
    low, high = min(0.0, *shares), max(0.01, *shares)
    chart = Chart(
        f"{name}-karp-flatt",
        f"Karp-Flatt: a serial share of {figure(shares[0])} with {case_name(rows[0].case)},"
        f" {figure(shares[-1])} with {case_name(rows[-1].case)}",
        f"Serial share found by experiment, over cores. {_told(rows, lambda row: row.karp_flatt, figure)}",
        _cores_measured(rows),
        Axis("serial share", -round_up(-1.1 * low) if low < 0 else 0, round_up(1.15 * high)),
    )
    drawing = Drawing(chart, lambda row: row.karp_flatt)
    drawing.line([drawing.point(row) for row in rows], "replicas")
    for row in rows:
        drawing.dot(row, "replicas", f"{case_name(row.case)}: {figure(row.karp_flatt or 0)}")
    for row in (rows[0], rows[-1]):
        drawing.end(drawing.point(row), figure(row.karp_flatt or 0), "replicas")
    return drawing.finish()


def seconds_chart(families: Sequence[Family]) -> Chart | None:
    """Seconds over workers, a line for each strategy; None unless several were timed at several counts."""
    shown = [f for f in families if not is_other_work(f) and all(is_bare(row.case) for row in f.rows)]
    rows = [row for family in shown for row in family.rows]
    if len(shown) < 2 or len({row.workers for row in rows}) < 2:
        return None
    fastest = min(rows, key=lambda row: row.seconds_median)
    owner = next(family for family in shown if fastest in family.rows)
    chart = Chart(
        "seconds",
        f"Shortest time: {figure(fastest.seconds_median)} s, {owner.name} with {case_name(fastest.case)}",
        "Seconds over workers, a line for each strategy. "
        + " ".join(f"{f.name}: {_told(f.rows, lambda row: row.seconds_median, figure)}" for f in shown),
        _cores_measured(rows),
        Axis("seconds", 0, round_up(1.12 * max(row.seconds_median for row in rows))),
    )
    drawing = Drawing(chart, lambda row: row.seconds_median)
    for family, style in zip(shown, (CYCLE * len(shown))[: len(shown)], strict=True):
        ordered = sorted(family.rows, key=lambda row: row.workers)
        drawing.line([drawing.point(row) for row in ordered], style)
        for row in ordered:
            told = f"{family.name}, {case_name(row.case)}: {figure(row.seconds_median)} s"
            drawing.dot(row, style, told)
        drawing.end(drawing.point(ordered[-1]), _short(family.name), style)
    return drawing.finish()


def _short(name: str) -> str:
    """A name that has room in a chart: without what stands in brackets, and cut where it is long."""
    short = name.split(" (")[0]
    return short if len(short) <= LONGEST_LABEL else f"{short[: LONGEST_LABEL - 1]}..."


def _measured(
    drawing: Drawing, rows: Sequence[StudyRow], base: StudyRow, told: Callable[[StudyRow], str]
) -> None:
    """The lines and points of what was measured, and their labels."""
    for series in _series(rows, base):
        if series.line:
            drawing.line([drawing.point(row) for row in series.rows], series.style)
        for row in series.rows if series.rows[0] is not base else series.rows[1:]:
            drawing.dot(row, series.style, _tip(row, told(row)))
        for row in _named(series, base):
            if row.oversubscribed:  # its figure is no speed; the table has it
                drawing.end(drawing.point(row), f"{case_name(row.case)} oversubscribed", "over")
            else:
                drawing.end(drawing.point(row), f"{case_name(row.case)}: {told(row)}", series.style)
    drawing.dot(base, "replicas", _tip(base, told(base)))
    drawing.end(drawing.point(base), case_name(base.case), "replicas")


def _beside(rows: Sequence[StudyRow], base: StudyRow, axis: Axis) -> dict[str, float]:
    """Shifts that keep points of the same number of cores, and their intervals, from hiding each other."""
    shifts: dict[str, float] = {}
    counts = sorted({row.workers for row in rows})
    room = min([(axis.high - axis.low) * CLOSE, *(0.6 * (b - a) for a, b in pairwise(counts))])
    for cores in counts:
        there = [row for row in rows if row.workers == cores and row is not base]
        step = min((axis.high - axis.low) * BESIDE, room / max(len(there), 1))
        first = 1.0 if cores == base.workers else (1 - len(there)) / 2
        shifts |= {row.case.key: (first + number) * step for number, row in enumerate(there)}
    return shifts


def _series(rows: Sequence[StudyRow], base: StudyRow) -> list[Series]:
    """Rows as lines over cores; what is alone in its kind, or oversubscribed, as points."""
    groups: dict[str, list[StudyRow]] = {}
    for row in rows:
        if row is not base and not row.oversubscribed:
            groups.setdefault(_style(row), []).append(row)
    series = []
    for style in ("copies", "threads", "replicas"):
        ordered = sorted(groups.pop(style, []), key=lambda row: row.workers)
        beyond = [row for row in ordered if row.workers != base.workers]
        if beyond:
            series.append(Series(style, [base, *beyond]))
        series += [Series(style, [row], line=False) for row in ordered if row.workers == base.workers]
    series += [Series(style, [row], line=False) for style, found in groups.items() for row in found]
    return series + [Series(_style(row), [row], line=False) for row in rows if row.oversubscribed]


def _named(series: Series, base: StudyRow) -> list[StudyRow]:
    """The rows of a series that get words: its end, and its best point where that is another one."""
    rows = [row for row in series.rows if row is not base]
    best = max(rows, key=lambda row: row.speedup or 0)
    return [rows[-1]] if best is rows[-1] else [rows[-1], best]


def _style(row: StudyRow) -> str:
    """The role that gives a case its colour, mark and dash."""
    if row.case.kind == "copies":
        return "copies"
    replicas, stages = axes(row.case)
    if stages > 1:
        return "stages"
    if row.case.threads_per_rank == 1:
        return "replicas"
    return "threads" if replicas == 1 else "mixed"


def _replicas(rows: Iterable[StudyRow]) -> list[StudyRow]:
    """Data-parallel rows of one thread a rank that were not oversubscribed, by cores."""
    chosen = [row for row in rows if _style(row) == "replicas" and not row.oversubscribed]
    return sorted(chosen, key=lambda row: row.workers)


def _ideal(drawing: Drawing, base: int, reach: int) -> None:
    """The line of a machine that loses nothing, as far as it stays in the chart."""
    last = min(float(reach), drawing.chart.y.high * base)
    drawing.line([(0, 0), (last, last / base)], "ideal")
    drawing.end((last, last / base), "ideal", "ideal")


def _law(fit: Fit, rows: Sequence[StudyRow], base: int) -> list[Point]:
    """The law's curve as speedup, drawn from the base on as far as it can be trusted.

    A law holds the rate of one core in its own unit (rows a second, runs a second), so its height is taken
    from the measured speedups: their geometric mean ratio to it.
    """
    fitted = [(row.workers, row.speedup) for row in _replicas(rows) if row.speedup]
    if not fitted:
        return []
    scale = math.exp(fmean(math.log(speedup / rate_at(fit.parameters, cores)) for cores, speedup in fitted))
    steps = [base + (fit.trusted_up_to - base) * i / CURVE_POINTS for i in range(CURVE_POINTS + 1)]
    return [(cores, scale * rate_at(fit.parameters, cores)) for cores in steps]


def _draw_law(drawing: Drawing, fit: Fit, curve: Sequence[Point], largest: int) -> None:
    """Solid where something was measured, dashed beyond."""
    known = [point for point in curve if point[0] <= largest]
    beyond = curve[max(len(known) - 1, 0) :]
    if len(known) > 1:
        drawing.chart.line(known, f"law {fit.model}")
    if len(beyond) > 1:
        drawing.chart.line(beyond, f"law {fit.model} dashed")
    if curve:
        drawing.curves.append(curve[-CURVE_POINTS // 5 :])  # beside its end, not on it
        drawing.end(curve[-1], LAW_NAMES.get(fit.model, fit.model), f"law {fit.model}")


def _reach(rows: Sequence[StudyRow], fits: Sequence[Fit]) -> int:
    return max([row.workers for row in rows] + [fit.trusted_up_to for fit in fits])


def _cores_measured(rows: Sequence[StudyRow]) -> Cores:
    """The axis of a chart that neither begins at nothing nor looks beyond what was measured."""
    least, most = min(row.workers for row in rows), max(row.workers for row in rows)
    return _cores(rows, [], most, least - ROOM_FOR_THE_BASE * (most - least))


def _cores(rows: Sequence[StudyRow], fits: Sequence[Fit], reach: int, low: float = 0) -> Cores:
    marks = {row.workers for row in rows} | {fit.trusted_up_to for fit in fits}
    bare = all(is_bare(row.case) for row in rows)
    label = "workers" if bare else "cores kept busy: ranks x threads"
    return Cores(label, low, reach + 0.06 * (reach - low), marks=tuple(sorted(marks)))


def _speedup_label(family: Family, rows: Sequence[StudyRow]) -> str:
    name = "speedup" if family.scaling == "strong" else "scaled speedup"
    return f"{name}; bars: 95 % intervals" if any(row.speedup_ci95 for row in rows) else name


def _speedup_title(family: Family) -> str:
    best, base = best_row(family), base_row(family)
    if best is None or base is None or best is base:
        return f"Nothing measured is faster than {family.base}"
    ideal = figure(best.workers / base.workers)
    return (
        f"{case_name(best.case)}: {figure(best.speedup or 0)} times {case_name(base.case)};"
        f" ideal would be {ideal}"
    )


def _efficiency_title(family: Family) -> str:
    rows = _replicas(family.rows)
    if not rows or rows[-1].efficiency is None or rows[-1].karp_flatt is None:
        return "Efficiency: what part of each core's power is used"
    last, share = rows[-1], per_cent(rows[-1].efficiency)
    if is_bare(last.case) or len(rows) > FEWEST_FOR_A_TREND:
        return f"Efficiency: {share} with {case_name(last.case)}"
    return f"{case_name(last.case)} makes use of {share} of its cores"


def _speedup_description(family: Family, rows: Sequence[StudyRow]) -> str:
    told = _told(rows, lambda row: row.speedup, lambda value: f"{figure(value)} times")
    laws = " ".join(
        f"{LAW_NAMES.get(fit.model, fit.model)}'s curve is drawn up to {fit.trusted_up_to}."
        for fit in family.fits
    )
    return f"Speedup over {family.base}, by cores. {told} {laws}".strip()


def _told(
    rows: Sequence[StudyRow], value: Callable[[StudyRow], float | None], shown: Callable[[float], str]
) -> str:
    """All values of a chart in words, for those who cannot see it."""
    parts = [
        f"{case_name(row.case)}{', oversubscribed' if row.oversubscribed else ''}: {shown(value(row) or 0)}"
        for row in rows
    ]
    return "; ".join(parts) + "."


def _tip(row: StudyRow, told: str) -> str:
    ends = f" ({interval(row.speedup_ci95)})" if row.speedup_ci95 and told.endswith("x") else ""
    over = "; more ranks x threads than cores" if row.oversubscribed else ""
    return f"{case_name(row.case)}: {told}{ends}, median of {row.repeats}{over}"
