"""Render a scaling study as a self-contained HTML page or as Markdown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sentiscale.records import Host
from sentiscale.report.page import render, render_markdown
from sentiscale.report.scaling_bars import (
    PHASES,
    accuracy_bars,
    byte_bars,
    family_bars,
    family_memory_bars,
    memory_bars,
    phase_table,
    rate_bars,
    time_bars,
)
from sentiscale.report.scaling_charts import efficiency_chart, karp_flatt_chart, seconds_chart, speedup_chart
from sentiscale.study.analysis.study import Family, Fit, Study, StudyRow
from sentiscale.study.analysis.wording import case_detail
from sentiscale.util.atomic import write_file
from sentiscale.util.numbers import figure, interval, joined, many, per_cent, percent, size

LAWS = {"amdahl": "Amdahl's law", "usl": "universal scalability law (Gunther)"}


class Cell(NamedTuple):
    """A table cell: a value and a note in small print, such as its interval."""

    text: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.note})" if self.note else self.text


class TableLine(NamedTuple):
    """One row of a table."""

    name: str
    detail: str
    oversubscribed: bool
    cells: list[Cell]


class Table(NamedTuple):
    """A table of headings with units, and lines; columns without values are left out."""

    headings: list[tuple[str, str]]
    lines: list[TableLine]


EMPTY = Cell("-")

COLUMNS: list[tuple[str, str, Callable[[StudyRow], Cell | None]]] = [
    ("time", "s", lambda row: Cell(figure(row.seconds_median), interval(row.seconds_ci95))),
    ("rate", "rows/s", lambda row: Cell(figure(row.rows_per_s)) if row.rows_per_s else None),
    ("speedup", "times", lambda row: _value(row.speedup, figure, interval(row.speedup_ci95))),
    ("efficiency", "", lambda row: _value(row.efficiency, per_cent)),
    ("Karp-Flatt", "serial share", lambda row: _value(row.karp_flatt, figure)),
    ("exchange, waiting", "of a step", lambda row: _value(row.waiting_share, per_cent)),
    ("sent", "per step, most", lambda row: Cell(size(row.bytes_per_step)) if row.bytes_per_step else None),
    ("memory", "MB, largest rank", lambda row: Cell(figure(row.peak_memory)) if row.peak_memory else None),
    (
        "accuracy",
        "validation",
        lambda row: _value(row.accuracy, lambda share: percent(share, 2), _reached(row)),
    ),
    (
        "repeats",
        "",
        lambda row: Cell(str(row.repeats), f"{row.disturbed} disturbed" if row.disturbed else ""),
    ),
]
"""Columns of the full table: heading, unit, and a function from row to cell."""


def _value(value: float | None, text: Callable[[float], str], note: str = "") -> Cell | None:
    return None if value is None else Cell(text(value), note)


def _reached(row: StudyRow) -> str:
    return "" if row.reached is None else f"reached {row.reached} of {row.repeats}"


def full_table(family: Family) -> Table:
    """Build the table of all measurements of a family."""
    cores = "workers" if family.has_only_times or family.is_other_work else "cores"
    columns = [(cores, "", [Cell(str(row.workers)) for row in family.rows])]
    for heading, unit, cell in COLUMNS:
        cells = [cell(row) for row in family.rows]
        if any(cells):
            columns.append((heading, unit, [cell or EMPTY for cell in cells]))
    lines = [
        TableLine(
            row.name, case_detail(row.case), row.oversubscribed, [cells[place] for _, _, cells in columns]
        )
        for place, row in enumerate(family.rows)
    ]
    return Table([(heading, unit) for heading, unit, _ in columns], lines)


def run_facts(study: Study) -> list[tuple[str, str]]:
    """Names and values that describe the machine, the runs, the versions and the commands."""
    facts = [("Machine", _host(host)) for host in study.hosts] or [("Machine", "not recorded")]
    rows = [row for family in study.families for row in family.rows]
    if rows:
        facts.append(("Runs", _runs(study, rows)))
    facts += [("Each run", amount) for amount in study.amounts]
    if study.versions:
        facts.append(("Versions", ", ".join(f"{name} {version}" for name, version in study.versions.items())))
    if study.git_commits:
        facts.append(("Commit", ", ".join(commit[:12] for commit in study.git_commits)))
    return facts + [("Command", command) for command in study.commands]


def _host(host: Host) -> str:
    return (
        f"{host.cpu_model}, {many(host.cores, 'core')}, {size(host.memory_mb * 2**20)} of memory, "
        f"{host.gpu or 'no GPU'}; {host.system}, Python {host.python}"
    )


def _runs(study: Study, rows: list[StudyRow]) -> str:
    repeats = sorted({row.repeats for row in rows})
    each = many(repeats[0], "repeat") if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]} repeats"
    total = sum(row.repeats for row in rows)
    scalings = joined(sorted({family.scaling for family in study.families}))
    runs = f"{many(total, 'run')}: {many(len(rows), 'case')} of {each}, {scalings} scaling"
    if disturbed := sum(row.disturbed for row in rows):
        runs += f"; {many(disturbed, 'run')} ({per_cent(disturbed / total)}) disturbed by other processes"
    return runs


def _law_cells(fit: Fit) -> list[str]:
    """Table cells of a fitted law: name, parameters, residual, best core count, reliable range, caveat."""
    # The rate of one core depends on the units only and is left out.
    parameters = []
    for name in ("sigma", "kappa"):
        if name in fit.parameters:
            ends = interval(fit.intervals.get(name))
            parameters.append(f"{name} {figure(fit.parameters[name])}{f' ({ends})' if ends else ''}")
    return [
        LAWS[fit.model],
        ", ".join(parameters),
        f"{100 * fit.residual:.1f} % over {many(fit.points, 'count')} of cores",
        f"{fit.best_workers:,.0f} cores" if fit.best_workers else "no maximum",
        f"{fit.trusted_up_to:,} cores",
        fit.caveat or "-",
    ]


def write_report(study: Study, path: Path) -> None:
    """Write the report as one HTML file atomically.

    Raises: SentiscaleError when the disk is full or fails.
    """
    write_file(path, report_html(study))


def report_html(study: Study) -> str:
    """Render the report as HTML; the same study always produces the same bytes."""
    families = study.families
    across = [family_bars(families), family_memory_bars(families), accuracy_bars(families)]
    return render(
        "report.html",
        study=study,
        facts=run_facts(study),
        views=[_view(family, f"family-{number}") for number, family in enumerate(families, 1)],
        opened=_opened(study),
        seconds_chart=seconds_chart(families),
        across=[bars for bars in across if bars is not None],
        phases=PHASES,
    )


def markdown(study: Study) -> str:
    """Render the report as Markdown for a README, an issue or a terminal."""
    views = [_numbers(family) for family in study.families]
    return render_markdown("report.md", study=study, facts=run_facts(study), views=views, phases=PHASES)


def _opened(study: Study) -> int:
    """Index of the family that is initially open: the first one in the recommendation, or the first of all.

    The other families are collapsed on screen and open in print.
    """
    why = study.recommendation.why if study.recommendation else ""
    names = [family.name for family in study.families]
    named = [(why.find(name), -len(name), number) for number, name in enumerate(names) if name in why]
    return min(named)[2] if named else 0


def _numbers(family: Family) -> dict[str, Any]:
    """Template values for the tables of a family."""
    return {
        "family": family,
        "laws": [_law_cells(fit) for fit in family.fits],
        "table": full_table(family),
        "phases": [(row.name, cells) for row, cells in phase_table(family)],
    }


def _view(family: Family, name: str) -> dict[str, Any]:
    """Template values for a family: its tables, charts and best case."""
    charts, bars = [], [rate_bars(family)]
    if not family.is_other_work:
        charts = [chart(family, name) for chart in (speedup_chart, efficiency_chart, karp_flatt_chart)]
        bars = [chart(family) for chart in (time_bars, memory_bars, byte_bars)]
    best = family.best_row
    return {
        **_numbers(family),
        "id": name,
        "best": None if best is family.base_row or best is None or best.speedup is None else best,
        "charts": [chart for chart in charts if chart is not None],
        "bars": [chart for chart in bars if chart is not None],
    }
