"""Lay a scaling study out for templates/report.html: one file that needs no network and no script."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sentiscale.records import Host
from sentiscale.report.charts import Chart
from sentiscale.report.page import grid, plain, render, said
from sentiscale.report.scaling_bars import (
    PHASES,
    Bars,
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
from sentiscale.study.analysis.words import (
    base_row,
    best_row,
    case_detail,
    case_name,
    figure,
    flags,
    has_speedups,
    headline,
    interval,
    is_bare,
    is_other_work,
    joined,
    many,
    per_cent,
    percent,
    size,
)
from sentiscale.util.atomic import write_file

LAWS = {"amdahl": "Amdahl's law", "usl": "universal scalability law (Gunther)"}

READING = [
    ("Speedup", "how many times as fast as the base, on the same work. Ideal is one more for each core."),
    (
        "Efficiency",
        "speedup divided by cores: the part of each core's power that is used; 100 % at the base.",
    ),
    (
        "Copies (the ceiling)",
        "serial trainings side by side that know nothing of each other. What they lose, the machine takes"
        " (memory, clock), and no way of working together can win it back.",
    ),
    (
        "Karp-Flatt",
        "the serial share that would explain a speedup. If it stays the same with more cores, serial work is"
        " to blame; if it rises, the cost of working together grows.",
    ),
    (
        "Amdahl and USL",
        "laws fitted to the points: sigma is the share of work that queues up, kappa the cost of each pair of"
        " cores agreeing; with kappa above 0 there is a best number of cores. Dashed: beyond the measured.",
    ),
]


def run_facts(study: Study) -> list[tuple[str, str]]:
    """What was run on what, as names and values."""
    facts = [("Machine", _host(host)) for host in study.hosts]
    if not study.hosts:
        facts.append(("Machine", "not recorded"))
    rows = [row for family in study.families for row in family.rows]
    if rows:
        facts.append(("Runs", _runs(study)))
    facts += [("Each run", amount) for amount in study.amounts]
    if study.versions:
        facts.append(("Versions", ", ".join(f"{name} {version}" for name, version in study.versions.items())))
    if study.git_commits:
        facts.append(("Commit", ", ".join(commit[:12] for commit in study.git_commits)))
    facts += [("Command", command) for command in study.commands]
    return facts


def law_lines(family: Family) -> list[list[str]]:
    """The fitted laws as cells: law, parameters, residual, best count, trusted up to, caveat."""
    return [
        [
            LAWS.get(fit.model, fit.model),
            _parameters(fit),
            f"{100 * fit.residual:.1f} % over {many(fit.points, 'count')} of cores",
            f"{fit.best_workers:,.0f} cores" if fit.best_workers else "no maximum",
            f"{fit.trusted_up_to:,} cores",
            fit.caveat or "-",
        ]
        for fit in family.fits
    ]


def _parameters(fit: Fit) -> str:
    """The shares with their intervals; the rate of one core is a matter of units and stays out."""
    told = []
    for name in ("sigma", "kappa"):
        if name in fit.parameters:
            ends = interval(fit.intervals.get(name))
            told.append(f"{name} {figure(fit.parameters[name])}{f' ({ends})' if ends else ''}")
    return ", ".join(told)


def _host(host: Host) -> str:
    gpu = host.gpu or "no GPU"
    cores = many(host.cores, "core")
    return (
        f"{host.cpu_model}, {cores}, {size(host.memory_mb * 2**20)} of memory, {gpu}; {host.system},"
        f" Python {host.python}"
    )


def _runs(study: Study) -> str:
    rows = [row for family in study.families for row in family.rows]
    repeats = sorted({row.repeats for row in rows})
    each = many(repeats[0], "repeat") if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]} repeats"
    total = sum(row.repeats for row in rows)
    told = [f"{many(total, 'run')}: {many(len(rows), 'case')} of {each}, {joined(_scalings(study))} scaling"]
    disturbed = sum(row.disturbed for row in rows)
    if disturbed:
        told.append(f"{many(disturbed, 'run')} ({per_cent(disturbed / total)}) disturbed by other processes")
    return "; ".join(told)


def _scalings(study: Study) -> list[str]:
    return sorted({family.scaling for family in study.families})


class Cell(NamedTuple):
    """A value and what stands beside it in small letters, such as its interval."""

    text: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.note})" if self.note else self.text


Column = tuple[str, str, Callable[[StudyRow], Cell]]
"""Heading, unit, and how to fill it."""


class Line(NamedTuple):
    """One row of the table."""

    name: str
    detail: str
    oversubscribed: bool
    cells: list[Cell]


class Table(NamedTuple):
    """Headings with units, and lines; columns without any value are left out."""

    headings: list[tuple[str, str]]
    lines: list[Line]


EMPTY = Cell("-")


def full_table(family: Family) -> Table:
    """All numbers of a family."""
    bare = all(is_bare(row.case) for row in family.rows) or is_other_work(family)
    columns: list[Column] = [
        ("workers" if bare else "cores", "", lambda row: Cell(str(row.workers))),
        *COLUMNS,
    ]
    grid = [[cell(row) for row in family.rows] for _, _, cell in columns]
    kept = [number for number, cells in enumerate(grid) if any(cell != EMPTY for cell in cells)]
    lines = [
        Line(
            case_name(row.case),
            case_detail(row.case),
            row.oversubscribed,
            [grid[number][place] for number in kept],
        )
        for place, row in enumerate(family.rows)
    ]
    return Table([columns[number][:2] for number in kept], lines)


def _workers(row: StudyRow) -> Cell:
    return Cell(str(row.workers))


def _seconds(row: StudyRow) -> Cell:
    return Cell(figure(row.seconds_median), interval(row.seconds_ci95))


def _rate(row: StudyRow) -> Cell:
    return Cell(figure(row.rows_per_s)) if row.rows_per_s else EMPTY


def _speedup(row: StudyRow) -> Cell:
    return EMPTY if row.speedup is None else Cell(figure(row.speedup), interval(row.speedup_ci95))


def _efficiency(row: StudyRow) -> Cell:
    return EMPTY if row.efficiency is None else Cell(per_cent(row.efficiency))


def _karp_flatt(row: StudyRow) -> Cell:
    return EMPTY if row.karp_flatt is None else Cell(figure(row.karp_flatt))


def _waiting(row: StudyRow) -> Cell:
    return EMPTY if row.waiting_share is None else Cell(per_cent(row.waiting_share))


def _sent(row: StudyRow) -> Cell:
    return Cell(size(row.bytes_per_step)) if row.bytes_per_step else EMPTY


def _memory(row: StudyRow) -> Cell:
    return Cell(figure(max(row.peak_memory_mb_per_rank))) if row.peak_memory_mb_per_rank else EMPTY


def _accuracy(row: StudyRow) -> Cell:
    if row.accuracy is None:
        return EMPTY
    reached = "" if row.reached is None else f"reached {row.reached} of {row.repeats}"
    return Cell(percent(row.accuracy, 2), reached)


def _repeats(row: StudyRow) -> Cell:
    return Cell(str(row.repeats), f"{row.disturbed} disturbed" if row.disturbed else "")


COLUMNS: list[Column] = [
    ("time", "s", _seconds),
    ("rate", "rows/s", _rate),
    ("speedup", "times", _speedup),
    ("efficiency", "", _efficiency),
    ("Karp-Flatt", "serial share", _karp_flatt),
    ("exchange, waiting", "of a step", _waiting),
    ("sent", "a step, most", _sent),
    ("memory", "MB, largest rank", _memory),
    ("accuracy", "validation", _accuracy),
    ("repeats", "", _repeats),
]


@dataclass(frozen=True)
class FamilyView:
    """What the page shows of a family."""

    family: Family
    id: str
    summary: str
    has_speedups: bool
    charts: list[Chart]
    bars: list[Bars]
    phases: list[tuple[str, list[str]]]
    laws: list[list[str]]
    table: Table


def write_report(study: Study, path: Path) -> None:
    """Write the report as one HTML file, whole or not at all.

    Raises: SentiscaleError when the disk is full or fails.
    """
    write_file(path, report_html(study))


def report_html(study: Study) -> str:
    """The page; the same study gives the same bytes."""
    families = study.families
    across = [family_bars(families), family_memory_bars(families), accuracy_bars(families)]
    return render(
        "report.html",
        study=study,
        headline=headline(study),
        flags=flags(study),
        facts=run_facts(study),
        views=[_view(family, f"family-{number}") for number, family in enumerate(families, 1)],
        opened=_opened(study),
        seconds_chart=seconds_chart(families),
        across=[bars for bars in across if bars is not None],
        phases=PHASES,
        reading=READING,
    )


def _opened(study: Study) -> int:
    """The family shown at once: the one the recommendation names first, else the first of all.

    The others open with a click, and on paper.
    """
    why = study.recommendation.why if study.recommendation else ""
    names = [family.name for family in study.families]
    named = [(why.find(name), -len(name), number) for number, name in enumerate(names) if name in why]
    return min(named)[2] if named else 0


def _view(family: Family, name: str) -> FamilyView:
    charts: list[Chart | None] = []
    bars: list[Bars | None] = [rate_bars(family)]
    if not is_other_work(family):
        charts = [make(family, name) for make in (speedup_chart, efficiency_chart, karp_flatt_chart)]
        bars = [make(family) for make in (time_bars, memory_bars, byte_bars)]
    return FamilyView(
        family=family,
        id=name,
        summary=_summary(family),
        has_speedups=has_speedups(family),
        charts=[chart for chart in charts if chart is not None],
        bars=[found for found in bars if found is not None],
        phases=[(case_name(row.case), cells) for row, cells in phase_table(family)],
        laws=law_lines(family),
        table=full_table(family),
    )


def _summary(family: Family) -> str:
    """The family's result in a few words, to be read while it is closed."""
    best = best_row(family)
    if best is None or best.speedup is None or best is base_row(family):
        return ""
    ends = f" ({interval(best.speedup_ci95)})" if best.speedup_ci95 else ""
    return f"best: {case_name(best.case)}, {figure(best.speedup)}x{ends}"


def markdown(study: Study) -> str:
    """The report as text for a README, an issue or a terminal."""
    parts = [
        *_recommendation(study),
        *_listed("Findings", study.findings),
        *_listed("Caveats", study.caveats),
        "## What was run on what",
        "\n".join(f"- {name}: {plain(value)}" for name, value in run_facts(study)),
        *(part for family in study.families for part in _family(family)),
        "## How to read this",
        "\n".join(f"- **{name}**: {plain(told)}" for name, told in READING),
    ]
    return "\n\n".join(parts) + "\n"


def _recommendation(study: Study) -> list[str]:
    if study.recommendation is None:
        return ["# Scaling report", "No recommendation follows from these runs."]
    found = study.recommendation
    use = f" (`{flags(study)}`)" if flags(study) else ""
    return [
        "# Scaling report",
        f"**{plain(headline(study))}**{use}",
        plain(found.why),
        plain(found.confidence),
    ]


def _listed(heading: str, sentences: Sequence[str]) -> list[str]:
    if not sentences:
        return []
    return [f"## {heading}", "\n".join(f"- {said(sentence)}" for sentence in sentences)]


def _family(family: Family) -> Iterable[str]:
    yield f"## {plain(family.name)}"
    if has_speedups(family):
        yield f"{family.scaling.capitalize()} scaling. Speedups are over {said(family.base)}."
    if family.trend:
        yield said(family.trend)
    yield "Medians over repeats; 95 % intervals in brackets."
    table = full_table(family)
    headings = [f"{name} [{unit}]" if unit else name for name, unit in table.headings]
    lines = [
        [line.name + (" (oversubscribed)" if line.oversubscribed else ""), *map(str, line.cells)]
        for line in table.lines
    ]
    yield grid(["case", *headings], lines)
    laws = law_lines(family)
    if laws:
        yield grid(["law", "parameters (95 %)", "residual", "best", "trusted up to", "caveat"], laws, "---")
    phases = phase_table(family)
    if phases:
        yield "Milliseconds of a step, least to most over ranks:"
        yield grid(["case", *PHASES], [[case_name(row.case), *cells] for row, cells in phases])
