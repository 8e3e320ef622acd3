"""Bar charts of a scaling report: time of a step, memory, bytes, rates."""

from collections.abc import Callable, Sequence

from sentiscale.report.charts import Axis, Bar, BarChart, BarPart, bar_part, round_up
from sentiscale.study.analysis.study import Family, StudyRow
from sentiscale.util.numbers import figure, many, per_cent, percent, size

PHASES = ("data", "forward", "backward", "update", "exchange", "waiting")
"""In the order they are drawn: work first, then the cost of working together."""
LEAST_SHARE = 0.005
SAME_ACCURACY = 0.003


def time_bars(family: Family) -> BarChart | None:
    """Where a step's time goes; None where no phases were measured."""
    rows = [row for row in family.rows if row.times]
    if not rows:
        return None
    middles = [{name: sum(ends) / 2 for name, ends in _phases(row).items()} for row in rows]
    high = round_up(max(sum(middle.values()) for middle in middles))
    bars = [
        _bar(
            row,
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
        "Milliseconds of one optimiser step by phase, one line for each case.",
        "ms a step, the middle between ranks; per cent: exchange and waiting, on the rank with most of it",
        bars,
        Axis("", 0, high),
        [(f"phase-{name}", name) for name in PHASES if any(name in middle for middle in middles)],
    )


def memory_bars(family: Family) -> BarChart | None:
    """Peak memory of the largest rank; None where it was not measured."""
    rows = [row for row in family.rows if row.peak_memory]
    if not rows:
        return None
    least, most = min(rows, key=lambda row: row.peak_memory), max(rows, key=lambda row: row.peak_memory)
    title = "Memory: every rank of every case needs about the same"
    if most.peak_memory > 1.1 * least.peak_memory:
        title = (
            f"Memory a rank: {least.name} needs the least, {figure(least.peak_memory)} MB;"
            f" {most.name} the most, {figure(most.peak_memory)} MB"
        )

    def all_ranks(row: StudyRow) -> str:
        ranks = row.peak_memory_mb_per_rank
        return f"{figure(sum(ranks))} in all" if len(ranks) > 1 else ""

    def text(row: StudyRow) -> str:
        return f"{figure(row.peak_memory)} MB"

    return BarChart(
        title,
        "Peak memory of the largest rank, one line for each case.",
        "MB, the largest rank at its peak; below it all ranks",
        *_simple_bars(rows, "memory", lambda row: row.peak_memory, text, all_ranks),
    )


def byte_bars(family: Family) -> BarChart | None:
    """Bytes sent a step by the rank that sends most; None where nothing is sent."""
    rows = [row for row in family.rows if row.bytes_per_step > 0]
    if not rows:
        return None
    most = max(rows, key=lambda row: row.bytes_per_step)
    return BarChart(
        f"Sent in a step: at most {size(most.bytes_per_step)} ({most.name})",
        "Bytes that the rank sending most sends in a step, one line for each case that sends any.",
        "MB a step, the rank that sends most",
        *_simple_bars(
            rows, "exchange", lambda row: row.bytes_per_step / 1e6, lambda row: size(row.bytes_per_step)
        ),
    )


def rate_bars(family: Family) -> BarChart | None:
    """Rows a second of each case: for preparation and prediction."""
    rows = [row for row in family.rows if row.rows_per_s > 0]
    if not rows:
        return None
    fastest, slowest = max(rows, key=_rate), min(reversed(rows), key=_rate)
    title = f"{fastest.name}: {figure(fastest.rows_per_s)} rows a second"
    if len(rows) > 1:
        title += f", {figure(fastest.rows_per_s / slowest.rows_per_s)} times {slowest.name}"
    return BarChart(
        title,
        "Rows a second, one line for each engine and number of workers.",
        "rows a second",
        *_simple_bars(rows, "work", _rate, lambda row: figure(row.rows_per_s)),
    )


def family_bars(families: Sequence[Family]) -> BarChart | None:
    """Rows a second of the serial run and of the best case of each family; None for fewer than two."""
    trained = [family for family in families if not family.is_other_work]
    shown = [family for family in trained if any(row.rows_per_s for row in family.trainings)]
    if len(shown) < 2:
        return None
    lines = [(family, row) for family in shown for row in _serial_and_best(family)]
    high = round_up(max(row.rows_per_s for _, row in lines))
    bars = [
        Bar(
            row.name,
            [bar_part(row.rows_per_s, high, "work" if row.is_serial else "best")],
            figure(row.rows_per_s),
            group=family.name if row is _serial_and_best(family)[0] else "",
        )
        for family, row in lines
    ]
    family, row = max(lines, key=lambda line: line[1].rows_per_s)
    return BarChart(
        f"Most rows a second: {family.name}, {row.name}",
        "Rows a second of the serial run and of the best case, for each model, batch size and precision.",
        "rows a second",
        bars,
        Axis("", 0, high),
        [("serial", "serial"), ("best", "best")],
    )


def family_memory_bars(families: Sequence[Family]) -> BarChart | None:
    """Memory of the serial run of each family: what precision, model and batch size change."""
    shown = [
        (family, rows[0])
        for family in families
        if (rows := [row for row in family.trainings if row.peak_memory])
    ]
    if len(shown) < 2:
        return None
    high = round_up(max(row.peak_memory for _, row in shown))
    least, row = min(shown, key=lambda pair: pair[1].peak_memory)
    return BarChart(
        f"Least memory: {least.name}, {figure(row.peak_memory)} MB",
        "Peak memory of a rank for each model, batch size and precision.",
        "MB, the largest rank at its peak",
        [
            Bar(
                row.name,
                [bar_part(row.peak_memory, high, "memory")],
                f"{figure(row.peak_memory)} MB",
                group=family.name,
            )
            for family, row in shown
        ],
        Axis("", 0, high),
    )


def accuracy_bars(families: Sequence[Family]) -> BarChart | None:
    """Time and the accuracy reached in it; None where no training had a target."""
    shown = [(family, row) for family in families for row in family.rows if row.accuracy is not None]
    if not shown:
        return None
    high = round_up(max(row.seconds_median for _, row in shown))
    bars = []
    for number, (family, row) in enumerate(shown):
        reached = (
            "" if row.reached is None else f"target reached {row.reached} of {many(row.repeats, 'time')}"
        )
        value = f"{figure(row.seconds_median)} s, {percent(row.accuracy or 0, 2)}"
        group = family.name if number == 0 or shown[number - 1][0] is not family else ""
        bars.append(_bar(row, [bar_part(row.seconds_median, high, "work")], value, reached, group))
    accuracies = [row.accuracy or 0 for _, row in shown]
    low, most = min(accuracies), max(accuracies)
    same = most - low < SAME_ACCURACY
    title = "Times buy the same accuracy" if same else "Times buy different accuracies: mind both"
    ends = f"{percent(low, 2)} to {percent(most, 2)}" if len(shown) > 1 else percent(low, 2)
    return BarChart(
        f"{title}: {ends}",
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
    return {name: renamed[name] for name in PHASES if name in renamed} | renamed


def _ends(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return ""
    low, high = map(figure, ends)
    return low if low == high else f"{low} to {high}"


def _rate(row: StudyRow) -> float:
    return row.rows_per_s


def _serial_and_best(family: Family) -> list[StudyRow]:
    """The serial run, where there is one, then the best case where it is another one."""
    rows = [*[row for row in family.rows if row.is_serial][:1], family.best_row]
    return [row for number, row in enumerate(rows) if row is not None and row not in rows[:number]]


def _bar(row: StudyRow, parts: list[BarPart], value: str, note: str = "", group: str = "") -> Bar:
    return Bar(row.name, parts, value, note, "oversubscribed" if row.oversubscribed else "", group)


def _simple_bars(
    rows: Sequence[StudyRow],
    style: str,
    value: Callable[[StudyRow], float],
    text: Callable[[StudyRow], str],
    note: Callable[[StudyRow], str] = lambda row: "",
) -> tuple[list[Bar], Axis]:
    """One bar of one part a row, and their scale."""
    high = round_up(max(map(value, rows)))
    return [_bar(row, [bar_part(value(row), high, style)], text(row), note(row)) for row in rows], Axis(
        "", 0, high
    )
