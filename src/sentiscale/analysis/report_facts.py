"""The words of a scaling report that stand beside its charts: what was run, the laws, how to read it."""

from sentiscale.analysis.page import size
from sentiscale.analysis.report_words import figure, interval, joined, many, per_cent
from sentiscale.analysis.study import Family, Fit, Study
from sentiscale.records import Host

LAWS = {
    "amdahl": "Amdahl's law",
    "usl": "universal scalability law (Gunther)",
}

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
            LAWS.get(fit.model, fit.model), _parameters(fit),
            f"{100 * fit.residual:.1f} % over {many(fit.points, 'count')} of cores",
            f"{fit.best_workers:,.0f} cores" if fit.best_workers else "no maximum",
            f"{fit.trusted_up_to:,} cores", fit.caveat or "-",
        ]
        for fit in family.fits
    ]  # fmt: skip


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
