"""Lists of bars of a scaling report: time of a step, memory, bytes, rates; drawn by templates/charts.html."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sentiscale.report.charts import Axis, round_up
from sentiscale.study.analysis.study import Family, StudyRow
from sentiscale.study.analysis.words import (
    best_row,
    case_name,
    counted,
    figure,
    is_other_work,
    is_serial,
    many,
    per_cent,
    percent,
    size,
)

PHASES = ("data", "forward", "backward", "update", "exchange", "waiting")
"""In the order they are drawn: work first, then what working together costs."""
ROOM_FOR_A_NUMBER, ROOM_ON_A_PHONE = 9.0, 18.0
"""Per cent of the width."""
LEAST_SHARE = 0.005
MOST_TICKS = 4
TIME_UNIT = "ms a step, the middle between ranks; per cent: exchange and waiting, on the rank with most of it"


@dataclass(frozen=True)
class Piece:
    """A part of a bar."""

    name: str
    width: float
    """Per cent of the axis."""
    style: str
    text: str = ""
    """Written into it where there is room."""
    tip: str = ""


@dataclass(frozen=True)
class Bar:
    """One line: name, bar, value."""

    name: str
    pieces: list[Piece]
    value: str
    note: str = ""
    oversubscribed: bool = False
    group: str = ""
    """A heading before the line."""


@dataclass(frozen=True)
class Bars:
    """A list of bars on one scale."""

    title: str
    description: str
    unit: str
    bars: list[Bar]
    axis: Axis
    keys: Sequence[str] = ()
    """Names of the pieces' styles, where bars have several pieces."""

    def ticks(self) -> list[tuple[float, str]]:
        """Few enough of the axis' ticks to have room on a phone."""
        ticks = self.axis.ticks()
        return ticks[:: -(-len(ticks) // MOST_TICKS)]


def time_bars(family: Family) -> Bars | None:
    """Where a step's time goes; None where no phases were measured."""
    rows = [row for row in family.rows if row.times]
    if not rows:
        return None
    middles = [{name: sum(ends) / 2 for name, ends in _phases(row).items()} for row in rows]
    high = round_up(max(sum(middle.values()) for middle in middles))
    bars = [
        Bar(
            case_name(row.case),
            _phase_pieces(row, middle, high),
            f"{figure(sum(middle.values()))} ms",
            _waiting(row),
            row.oversubscribed,
        )
        for row, middle in zip(rows, middles, strict=True)
    ]
    keys = [name for name in PHASES if any(name in middle for middle in middles)]
    return Bars(
        _time_title(rows),
        "Milliseconds of one optimiser step by phase, one line for each case.",
        TIME_UNIT,
        bars,
        Axis("", 0, high),
        keys,
    )


def memory_bars(family: Family) -> Bars | None:
    """Peak memory of the largest rank; None where it was not measured."""
    rows = [row for row in family.rows if row.peak_memory_mb_per_rank]
    if not rows:
        return None
    values = [max(row.peak_memory_mb_per_rank) for row in rows]
    low, high = min(values), max(values)
    title = "Memory: every rank of every case needs about the same"
    if high > 1.1 * low:
        least, most = rows[values.index(low)], rows[values.index(high)]
        title = (
            f"Memory a rank: {case_name(least.case)} needs the least, {figure(low)} MB;"
            f" {case_name(most.case)} the most, {figure(high)} MB"
        )
    bars = _simple(rows, values, [f"{figure(value)} MB" for value in values], "memory", _all_ranks)
    return Bars(
        title,
        "Peak memory of the largest rank, one line for each case.",
        "MB, the largest rank at its peak; below it all ranks",
        bars,
        Axis("", 0, round_up(high)),
    )


def byte_bars(family: Family) -> Bars | None:
    """Bytes sent a step by the rank that sends most; None where nothing is sent."""
    rows = [row for row in family.rows if row.bytes_per_step > 0]
    if not rows:
        return None
    values = [row.bytes_per_step / 1e6 for row in rows]
    most = rows[values.index(max(values))]
    title = f"Sent in a step: at most {size(most.bytes_per_step)} ({case_name(most.case)})"
    bars = _simple(rows, values, [size(row.bytes_per_step) for row in rows], "exchange")
    return Bars(
        title,
        "Bytes that the rank sending most sends in a step, one line for each case that sends any.",
        "MB a step, the rank that sends most",
        bars,
        Axis("", 0, round_up(max(values))),
    )


def rate_bars(family: Family) -> Bars | None:
    """Rows a second of each case: for preparation and prediction."""
    rows = [row for row in family.rows if row.rows_per_s > 0]
    if not rows:
        return None
    ordered = sorted(rows, key=lambda row: -row.rows_per_s)
    fastest = ordered[0]
    title = f"{case_name(fastest.case)}: {figure(fastest.rows_per_s)} rows a second"
    if len(ordered) > 1:
        times = fastest.rows_per_s / ordered[-1].rows_per_s
        title += f", {figure(times)} times {case_name(ordered[-1].case)}"
    values = [row.rows_per_s for row in rows]
    bars = _simple(rows, values, [figure(value) for value in values], "work")
    return Bars(
        title,
        "Rows a second, one line for each engine and number of workers.",
        "rows a second",
        bars,
        Axis("", 0, round_up(max(values))),
    )


def family_bars(families: Sequence[Family]) -> Bars | None:
    """Rows a second of the serial run and of the best case, family beside family; None for fewer than two."""
    shown = [f for f in families if not is_other_work(f) and any(row.rows_per_s for row in counted(f))]
    if len(shown) < 2:
        return None
    lines = [(family, row) for family in shown for row in _serial_and_best(family)]
    high = round_up(max(row.rows_per_s for _, row in lines))
    bars = [
        Bar(
            case_name(row.case),
            [_piece(row.rows_per_s, high, "work" if is_serial(row.case) else "best")],
            figure(row.rows_per_s),
            group=family.name if row is _serial_and_best(family)[0] else "",
        )
        for family, row in lines
    ]
    family, row = max(lines, key=lambda line: line[1].rows_per_s)
    return Bars(
        f"Most rows a second: {family.name}, {case_name(row.case)}",
        "Rows a second of the serial run and of the best case, for each model, batch size and precision.",
        "rows a second",
        bars,
        Axis("", 0, high),
        ("serial", "best"),
    )


def family_memory_bars(families: Sequence[Family]) -> Bars | None:
    """Memory of the serial run, family beside family: what precision, model and batch size change."""
    shown = [(f, row) for f in families if (row := _first_with_memory(f)) is not None]
    if len(shown) < 2:
        return None
    values = [max(row.peak_memory_mb_per_rank) for _, row in shown]
    high = round_up(max(values))
    bars = [
        Bar(case_name(row.case), [_piece(value, high, "memory")], f"{figure(value)} MB", group=family.name)
        for (family, row), value in zip(shown, values, strict=True)
    ]
    least = shown[values.index(min(values))][0]
    return Bars(
        f"Least memory: {least.name}, {figure(min(values))} MB",
        "Peak memory of a rank for each model, batch size and precision.",
        "MB, the largest rank at its peak",
        bars,
        Axis("", 0, high),
    )


def accuracy_bars(families: Sequence[Family]) -> Bars | None:
    """Time and the accuracy it bought, side by side; None where no training went on to a target."""
    shown = [(f, row) for f in families for row in f.rows if row.accuracy is not None]
    if not shown:
        return None
    high = round_up(max(row.seconds_median for _, row in shown))
    bars = [
        Bar(
            case_name(row.case),
            [_piece(row.seconds_median, high, "work")],
            f"{figure(row.seconds_median)} s, {percent(row.accuracy or 0, 2)}",
            _reached(row),
            row.oversubscribed,
            family.name if number == 0 or shown[number - 1][0] is not family else "",
        )
        for number, (family, row) in enumerate(shown)
    ]
    accuracies = [row.accuracy or 0 for _, row in shown]
    spread = f"{percent(min(accuracies), 2)} to {percent(max(accuracies), 2)}"
    same = max(accuracies) - min(accuracies) < 0.003
    title = "Times buy the same accuracy" if same else "Times buy different accuracies: mind both"
    return Bars(
        f"{title}: {spread if len(shown) > 1 else percent(accuracies[0], 2)}",
        "Seconds to the target and accuracy on the validation rows, one line for each case.",
        "seconds, then validation accuracy",
        bars,
        Axis("", 0, high),
    )


def phase_table(family: Family) -> list[tuple[StudyRow, list[str]]]:
    """Each case's phases in ms as `least to most` over ranks, in the order of PHASES."""
    return [(row, [_ends(_phases(row).get(name)) for name in PHASES]) for row in family.rows if row.times]


def _phases(row: StudyRow) -> dict[str, tuple[float, float]]:
    """The row's phases by the names the report uses, in their order; unknown ones last."""
    renamed = {"exchange" if name == "reduce" else name: ends for name, ends in row.times.items()}
    known = {name: renamed[name] for name in PHASES if name in renamed}
    return known | renamed


def _phase_pieces(row: StudyRow, middle: dict[str, float], high: float) -> list[Piece]:
    pieces = []
    for name, value in middle.items():
        if value > 0:
            tip = f"{case_name(row.case)}: {name} {_ends(_phases(row)[name])} ms"
            style = f"phase-{name}" if name in PHASES else "phase-other"
            pieces.append(_piece(value, high, style, figure(value), name, tip))
    return pieces


def _piece(value: float, high: float, style: str, text: str = "", name: str = "", tip: str = "") -> Piece:
    width = round(100 * value / high, 2)
    if width < ROOM_FOR_A_NUMBER:
        text = ""
    elif width < ROOM_ON_A_PHONE:
        style += " tight"
    return Piece(name, width, style, text, tip)


def _ends(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return ""
    low, high = figure(ends[0]), figure(ends[1])
    return low if low == high else f"{low} to {high}"


def _time_title(rows: Sequence[StudyRow]) -> str:
    shared = [row for row in rows if row.waiting_share and not row.oversubscribed]
    if not shared:
        return "Where the time of a step goes"
    most = max(shared, key=lambda row: row.waiting_share or 0)
    share = per_cent(most.waiting_share or 0)
    return f"Exchange and waiting take at most {share} of a step ({case_name(most.case)})"


def _waiting(row: StudyRow) -> str:
    share = row.waiting_share or 0
    return per_cent(share) if share >= LEAST_SHARE else ""


def _all_ranks(row: StudyRow) -> str:
    ranks = row.peak_memory_mb_per_rank
    if len(ranks) == 1:
        return ""
    return f"{figure(sum(ranks))} in all"


def _reached(row: StudyRow) -> str:
    return "" if row.reached is None else f"target reached {row.reached} of {many(row.repeats, 'time')}"


def _simple(
    rows: Sequence[StudyRow],
    values: Sequence[float],
    texts: Sequence[str],
    style: str,
    note: Callable[[StudyRow], str] = lambda row: "",
) -> list[Bar]:
    """One piece a row."""
    high = round_up(max(values))
    return [
        Bar(case_name(row.case), [_piece(value, high, style)], text, note(row), row.oversubscribed)
        for row, value, text in zip(rows, values, texts, strict=True)
    ]


def _serial_and_best(family: Family) -> list[StudyRow]:
    """The serial run, where there is one, then the best case where it is another one."""
    serial = next((row for row in family.rows if is_serial(row.case)), None)
    best = best_row(family)
    return [row for row in (serial, best if best is not serial else None) if row is not None]


def _first_with_memory(family: Family) -> StudyRow | None:
    return next((row for row in counted(family) if row.peak_memory_mb_per_rank), None)
