"""Lay a scaling study out for templates/report.html: one file that needs no network and no script."""

from dataclasses import dataclass
from pathlib import Path

from sentiscale.analysis.charts import Chart
from sentiscale.analysis.page import render
from sentiscale.analysis.report_bars import (
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
)  # fmt: skip
from sentiscale.analysis.report_charts import efficiency_chart, karp_flatt_chart, seconds_chart, speedup_chart
from sentiscale.analysis.report_facts import READING, law_lines, run_facts
from sentiscale.analysis.report_table import Table, full_table
from sentiscale.analysis.report_words import (
    base_row,
    best_row,
    case_name,
    figure,
    flags,
    has_speedups,
    headline,
    interval,
    is_other_work,
)  # fmt: skip
from sentiscale.analysis.study import Family, Study
from sentiscale.atomic import write_file


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
