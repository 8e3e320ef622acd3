"""Caveats: which conclusions the runs of a study do not support, and why."""

from collections.abc import Iterator, Sequence

from sentiscale.study.analysis.families import host_name
from sentiscale.study.analysis.intervals import ENOUGH_REPEATS, coverage
from sentiscale.study.analysis.study import Family, StudyRow
from sentiscale.study.records import BenchRun
from sentiscale.util.templates import Finding, finding

SAME_ACCURACY = 0.005
"""Largest difference between the accuracies of runs that count as having done the same work."""
CLEARLY = 1.1
"""Speedup of oversubscribed cases over the fitting ones above which the machine was probably disturbed."""


def caveats_of(families: Sequence[Family], runs: Sequence[BenchRun]) -> Iterator[Finding]:
    """Yield all caveats of a study, the most serious first."""
    trained = [family for family in families if family.key.kind == "train"]
    rows = [row for family in families for row in family.rows]
    yield from _mixtures(runs)
    for family in trained:
        if family.base_row is None or not family.base_row.is_serial:
            yield finding("no_serial_base", family=family)
    yield from repeat_caveats(rows)
    if disturbed := sum(row.disturbed for row in rows):
        yield finding("disturbed_runs", disturbed=disturbed, runs=sum(row.repeats for row in rows))
    if implausible := [family.name for family in trained if _oversubscribed_wins(family)]:
        yield finding("oversubscribed_wins", families=implausible)
    if missed := [(row, family) for family in families for row in family.rows if not row.is_complete]:
        yield finding("target_missed", missed=missed)
    for family in families:
        known = [row.accuracy for row in family.rows if row.accuracy is not None]
        if known and max(known) - min(known) > SAME_ACCURACY:
            yield finding("different_accuracies", family=family, low=min(known), high=max(known))
    yield from _missing_ceiling(trained)
    yield from law_caveats(families)
    if names := sorted({row.name for row in rows if row.oversubscribed}):
        yield finding("oversubscribed", cases=names)


def repeat_caveats(rows: Sequence[StudyRow]) -> Iterator[Finding]:
    """Yield caveats about cases with too few repeats for a 95 % interval."""
    if single := sum(row.repeats == 1 for row in rows):
        yield finding("run_once", single=single, cases=len(rows))
    if few := sorted({row.repeats for row in rows} & set(range(2, ENOUGH_REPEATS))):
        chances = {repeats: coverage(repeats) for repeats in few}
        yield finding("few_repeats", enough=ENOUGH_REPEATS, chances=chances)


def law_caveats(families: Sequence[Family]) -> Iterator[Finding]:
    """Yield the reasons not to trust fitted laws, each once, with the families it applies to."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for family in families:
        for fit in family.fits:
            if fit.caveat:
                by_reason.setdefault((fit.model, fit.caveat), []).append(family.name)
    fitted = sum(bool(family.fits) for family in families)
    for (law, reason), names in by_reason.items():
        yield finding("law", law=law, reason=reason, families=names if len(names) < fitted else [])


def _oversubscribed_wins(family: Family) -> bool:
    """Whether cases with more ranks than cores are clearly faster than all others.

    The usual cause is other programs on the machine: the scheduler gives more processes a larger share.
    """
    fitting = [row.cost for row in family.rows if row.is_comparable]
    beyond = [row.cost for row in family.rows if row.oversubscribed and row.case.kind == "train"]
    return bool(fitting and beyond) and min(beyond) * CLEARLY < min(fitting)


def _missing_ceiling(trained: Sequence[Family]) -> Iterator[Finding]:
    """Yield a caveat if no copies were measured: limits of the hardware then look like parallel overhead."""
    parallel = [family for family in trained if any(row.case.ranks > 1 for row in family.rows)]
    without = [family for family in parallel if all(row.case.kind != "copies" for row in family.rows)]
    if without:
        yield finding("no_ceiling", families=len(without) if len(without) < len(parallel) else 0)


def _mixtures(runs: Sequence[BenchRun]) -> Iterator[Finding]:
    hosts = sorted({host_name(run.host) for run in runs})
    if len(hosts) > 1:
        yield finding("several_hosts", hosts=hosts)
    if len({run.data_digest for run in runs if run.case.kind in ("train", "copies")}) > 1:
        yield finding("several_data")
    commits = {run.git_commit for run in runs if run.git_commit}
    if len(commits) > 1:
        yield finding("several_commits", commits=len(commits))
    names = sorted({name for run in runs for name in run.versions})
    if differing := [name for name in names if len({run.versions.get(name) for run in runs}) > 1]:
        yield finding("several_versions", libraries=differing)
    if len({run.case.scaling for run in runs}) > 1:
        yield finding("strong_and_weak")
