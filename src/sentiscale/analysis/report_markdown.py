"""The scaling report as Markdown: the same words and numbers as the page, without its charts."""

from collections.abc import Iterable, Sequence

from sentiscale.analysis.markdown import grid, plain, said
from sentiscale.analysis.report_bars import PHASES, phase_table
from sentiscale.analysis.report_facts import READING, law_lines, run_facts
from sentiscale.analysis.report_table import full_table
from sentiscale.analysis.report_words import case_name, flags, has_speedups, headline
from sentiscale.analysis.study import Family, Study


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
