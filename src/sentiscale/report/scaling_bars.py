"""Bar charts of the scaling report: step time, memory, bytes sent and rates."""

from collections.abc import Sequence
from typing import NamedTuple

from sentiscale.report.charts import Axis, Bar, BarChart, bar_part, round_up
from sentiscale.study.analysis.study import Family, StudyRow
from sentiscale.util.numbers import figure, many, per_cent, percent, size

PHASES = ("data", "forward", "backward", "update", "exchange", "waiting")
"""Phases of a step in drawing order: computation first, then communication."""
LEAST_SHARE = 0.005
OVERSUBSCRIBED = "oversubscribed"
SAME_ACCURACY = 0.003


def time_bars(family: Family) -> BarChart | None:
    """Time of a step by phase; None if no phases were measured."""
    rows = [row for row in family.rows if row.times]
    if not rows:
        return None
    middles = [{name: sum(ends) / 2 for name, ends in _phases(row).items()} for row in rows]
    high = round_up(max(sum(middle.values()) for middle in middles))
    bars = [
        Bar(
            row.name,
            [
                bar_part(
                    value,
                    high,
                    f"phase-{name}" if name in PHASES else "phase-other",
                    figure(value),
                    f"{row.name}: {name} {_ends(_phases(row)[name])} ms",
                )
                for name, value in middle.items()
                if value > 0
            ],
            f"{figure(sum(middle.values()))} ms",
            per_cent(row.waiting_share or 0) if (row.waiting_share or 0) >= LEAST_SHARE else "",
            OVERSUBSCRIBED if row.oversubscribed else "",
        )
        for row, middle in zip(rows, middles, strict=True)
    ]
    title = "Where the time of a step goes"
    shared = [row for row in rows if row.waiting_share and not row.oversubscribed]
    if shared:
        most = max(shared, key=lambda row: row.waiting_share or 0)
        share = per_cent(most.waiting_share or 0)
        title = f"Exchange and waiting take at most {share} of a step ({most.name})"
    return BarChart(
        title,
        "Milliseconds of one optimizer step by phase, one line per case.",
        "ms per step, midpoint between ranks; per cent: exchange and waiting, on the rank with the most",
        bars,
        Axis("", 0, high),
        [(f"phase-{name}", name) for name in PHASES if any(name in middle for middle in middles)],
    )


class BarLine(NamedTuple):
    """A bar with a single part."""

    row: StudyRow
    value: float
    text: str
    style: str
    note: str = ""
    group: str = ""
    """Heading above the bar; empty for none."""


def memory_bars(family: Family) -> BarChart | None:
    """Peak memory of the largest rank; None if it was not measured."""
    lines = [
        BarLine(row, row.peak_memory, f"{figure(row.peak_memory)} MB", "memory", _all_ranks(row))
        for row in family.rows
        if row.peak_memory
    ]
    if not lines:
        return None
    least, most = _least(lines), _most(lines)
    title = "Memory: about the same in every case"
    if most.value > 1.1 * least.value:
        title = (
            f"Memory per rank: {least.row.name} needs the least, {least.text};"
            f" {most.row.name} the most, {most.text}"
        )
    unit = "MB, peak of the largest rank; below it, sum over all ranks"
    return _bars(title, "Peak memory of the largest rank, one line per case.", unit, lines)


def _all_ranks(row: StudyRow) -> str:
    ranks = row.peak_memory_mb_per_rank
    return f"{figure(sum(ranks))} in all" if len(ranks) > 1 else ""


def byte_bars(family: Family) -> BarChart | None:
    """Bytes sent per step by the rank that sends the most; None if nothing is sent."""
    rows = [row for row in family.rows if row.bytes_per_step > 0]
    if not rows:
        return None
    lines = [BarLine(row, row.bytes_per_step / 1e6, size(row.bytes_per_step), "exchange") for row in rows]
    most = _most(lines)
    return _bars(
        f"Sent per step: at most {most.text} ({most.row.name})",
        "Bytes sent per step by the rank that sends the most, one line per case that sends any.",
        "MB per step, on the rank that sends the most",
        lines,
    )


def rate_bars(family: Family) -> BarChart | None:
    """Rows per second of each case; for preparation and prediction."""
    lines = [_rate_line(row, "work") for row in family.rows if row.rows_per_s > 0]
    if not lines:
        return None
    fastest, slowest = _most(lines), _least(lines[::-1])
    title = f"{fastest.row.name}: {fastest.text} rows per second"
    if len(lines) > 1:
        title += f", {figure(fastest.value / slowest.value)} times {slowest.row.name}"
    description = "Rows per second, one line per engine and number of workers."
    return _bars(title, description, "rows per second", lines)


def family_bars(families: Sequence[Family]) -> BarChart | None:
    """Rows per second of the serial run and the best case of each family; None for fewer than two."""
    trained = [family for family in families if not family.is_other_work]
    shown = [family for family in trained if any(row.rows_per_s for row in family.trainings)]
    if len(shown) < 2:
        return None
    lines = [
        _rate_line(row, "work" if row.is_serial else "best", "" if number else family.name)
        for family in shown
        for number, row in enumerate(_serial_and_best(family))
    ]
    fastest = _most(lines).row
    owner = next(family for family in shown if any(row is fastest for row in family.rows))
    return _bars(
        f"Most rows per second: {owner.name}, {fastest.name}",
        "Rows per second of the serial run and of the best case, for each model, batch size and precision.",
        "rows per second",
        lines,
        [("serial", "serial"), ("best", "best")],
    )


def _rate_line(row: StudyRow, style: str, group: str = "") -> BarLine:
    return BarLine(row, row.rows_per_s, figure(row.rows_per_s), style, group=group)


def _serial_and_best(family: Family) -> list[StudyRow]:
    """The serial run, if there is one, followed by the best case, if it is a different one."""
    serial = next((row for row in family.rows if row.is_serial), None)
    best = family.best_row
    return [row for row in (serial, best if best is not serial else None) if row is not None]


def family_memory_bars(families: Sequence[Family]) -> BarChart | None:
    """Memory of the first training of each family, to compare precisions, models and batch sizes."""
    measured = [(family, [row for row in family.trainings if row.peak_memory]) for family in families]
    lines = [
        BarLine(rows[0], rows[0].peak_memory, f"{figure(rows[0].peak_memory)} MB", "memory", "", family.name)
        for family, rows in measured
        if rows
    ]
    if len(lines) < 2:
        return None
    least = _least(lines)
    title = f"Least memory: {least.group}, {least.text}"
    description = "Peak memory of the largest rank, for each model, batch size and precision."
    return _bars(title, description, "MB, peak of the largest rank", lines)


def accuracy_bars(families: Sequence[Family]) -> BarChart | None:
    """Time and the accuracy reached in it; None if no accuracy was measured."""
    lines, accuracies = [], []
    for family in families:
        group = family.name
        for row in family.rows:
            if row.accuracy is not None:
                text = f"{figure(row.seconds_median)} s, {percent(row.accuracy, 2)}"
                reached = f"target reached {row.reached} of {many(row.repeats, 'time')}"
                note = "" if row.reached is None else reached
                lines.append(BarLine(row, row.seconds_median, text, "work", note, group))
                accuracies.append(row.accuracy)
                group = ""
    if not lines:
        return None
    low, high = min(accuracies), max(accuracies)
    same = high - low < SAME_ACCURACY
    title = "All cases reach the same accuracy" if same else "Accuracies differ, so compare time and accuracy"
    ends = f"{percent(low, 2)} to {percent(high, 2)}" if len(lines) > 1 else percent(low, 2)
    return _bars(
        f"{title}: {ends}",
        "Seconds to the target and accuracy on the validation rows, one line per case.",
        "seconds, then validation accuracy",
        lines,
    )


def phase_table(family: Family) -> list[tuple[StudyRow, list[str]]]:
    """Phases of each case in ms, as the range `least to most` over ranks, in the order of PHASES."""
    return [(row, [_ends(_phases(row).get(name)) for name in PHASES]) for row in family.rows if row.times]


def _phases(row: StudyRow) -> dict[str, tuple[float, float]]:
    """Phases of a row under the report's names and in its order; unknown phases come last."""
    renamed = {"exchange" if name == "reduce" else name: ends for name, ends in row.times.items()}
    return {name: renamed[name] for name in PHASES if name in renamed} | renamed


def _ends(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return ""
    low, high = map(figure, ends)
    return low if low == high else f"{low} to {high}"


def _least(lines: Sequence[BarLine]) -> BarLine:
    return min(lines, key=lambda line: line.value)


def _most(lines: Sequence[BarLine]) -> BarLine:
    return max(lines, key=lambda line: line.value)


def _bars(
    title: str, description: str, unit: str, lines: Sequence[BarLine], keys: Sequence[tuple[str, str]] = ()
) -> BarChart:
    high = round_up(_most(lines).value)
    bars = [
        Bar(
            line.row.name,
            [bar_part(line.value, high, line.style)],
            line.text,
            line.note,
            OVERSUBSCRIBED if line.row.oversubscribed else "",
            line.group,
        )
        for line in lines
    ]
    return BarChart(title, description, unit, bars, Axis("", 0, high), keys)
