"""What cannot be concluded from the runs of a study, and why."""

from collections.abc import Callable, Sequence

from sentiscale.study.analysis.families import Group, host_name
from sentiscale.study.analysis.fits import LAW_NAMES
from sentiscale.study.analysis.intervals import ENOUGH_REPEATS, coverage
from sentiscale.study.analysis.speedup import Measured
from sentiscale.study.analysis.words import case_name, joined, many, per_cent
from sentiscale.study.records import BenchRun

SAME_ACCURACY = 0.005
"""Accuracies further apart than this were not bought at the same price."""

CLEARLY = 1.1
"""How many times as fast more ranks than cores must be before it looks like a disturbed machine."""


def caveats_of(groups: Sequence[Group], runs: Sequence[BenchRun]) -> list[str]:
    """Everything a reader must know before using the figures, the most serious first."""
    parts: list[Callable[[Sequence[Group]], list[str]]] = [
        _bases,
        _repeats,
        _disturbed,
        _implausible,
        _missed,
        _accuracies,
        _ceilings,
        law_caveats,
        _oversubscribed,
    ]
    return [*_mixtures(runs), *(sentence for part in parts for sentence in part(groups))]


def repeats_caveat(members: Sequence[Measured]) -> list[str]:
    """About cases with too few repeats for an interval to mean 95 %."""
    said = []
    single = [found for found in members if len(found.costs) == 1]
    if single:
        who = (
            "Every case was" if len(single) == len(members) else f"{len(single)} of {len(members)} cases were"
        )
        said.append(
            f"{who} run once: there is no spread, no interval, and no telling a difference from chance there."
        )
    few = sorted({len(found.costs) for found in members} & set(range(2, ENOUGH_REPEATS)))
    if few:
        chances = joined([f"{per_cent(coverage(repeats))} with {repeats}" for repeats in few])
        said.append(
            f"With fewer than {ENOUGH_REPEATS} repeats an interval is the range of what was seen. It holds "
            f"the true median with a probability of {chances}, not 95 %."
        )
    return said


def _repeats(groups: Sequence[Group]) -> list[str]:
    return repeats_caveat([found for group in groups for found in group.members])


def _bases(groups: Sequence[Group]) -> list[str]:
    said = []
    for group in groups:
        if group.setting.kind != 0:
            continue
        if group.base is None:
            said.append(
                f"{group.family.name}: no base, so no speedup; run the plain serial case (1x1, 1 thread)."
            )
        elif not group.base.is_serial:
            said.append(
                f"{group.family.name}: plain serial was not measured. Speedups are over "
                f"{group.family.base}, and what going parallel cost up to there is not in them."
            )
    return said


def _disturbed(groups: Sequence[Group]) -> list[str]:
    disturbed = sum(row.disturbed for group in groups for row in group.family.rows)
    everything = sum(row.repeats for group in groups for row in group.family.rows)
    if not disturbed:
        return []
    return [
        f"{disturbed} of {many(everything, 'run')} were disturbed by other programs, also when repeated; "
        "they are in the medians, because leaving out slow runs would flatter."
    ]


def _implausible(groups: Sequence[Group]) -> list[str]:
    """More ranks than cores that beat all that fit: the scheduler gave more processes a larger share."""
    suspicious = [group.family.name for group in groups if group.setting.kind == 0 and _too_many_win(group)]
    if not suspicious:
        return []
    return [
        f"More ranks than cores came out clearly faster than all that fit ({joined(suspicious)}). That "
        "happens when other programs hold cores, as more processes get a larger share: measure again on "
        "an idle machine."
    ]


def _too_many_win(group: Group) -> bool:
    fitting = [found.cost for found in group.members if found.counts]
    beyond = [found.cost for found in group.members if found.oversubscribed and found.case.kind == "train"]
    return bool(fitting and beyond) and min(beyond) * CLEARLY < min(fitting)


def _missed(groups: Sequence[Group]) -> list[str]:
    """Runs that did not come to their target accuracy have no time to it."""
    missed = [
        f"{case_name(found.case)} ({group.family.name})"
        for group in groups
        for found in group.members
        if not found.complete
    ]
    if not missed:
        return []
    return [f"Not every run came to the target accuracy, so these have no speedup: {joined(missed)}."]


def _accuracies(groups: Sequence[Group]) -> list[str]:
    said = []
    for group in groups:
        known = [row.accuracy for row in group.family.rows if row.accuracy is not None]
        if known and max(known) - min(known) > SAME_ACCURACY:
            said.append(
                f"{group.family.name}: runs ended at accuracies from {min(known):.4f} to {max(known):.4f}; "
                "their times did not buy the same."
            )
    return said


def _ceilings(groups: Sequence[Group]) -> list[str]:
    """Without copies, what the hardware cannot give is blamed on the parallelism."""
    trained = [group for group in groups if group.setting.kind == 0]
    parallel = [group for group in trained if any(found.case.ranks > 1 for found in group.members)]
    bare = [group for group in parallel if all(found.case.kind != "copies" for found in group.members)]
    if not bare:
        return []
    where = "" if len(bare) == len(parallel) else f" of {many(len(bare), 'setting')}"
    return [
        f"The machine's own ceiling{where} was not measured (independent copies at once): part of what looks "
        "like parallel overhead may be cores that share memory and clock."
    ]


def law_caveats(groups: Sequence[Group]) -> list[str]:
    """Why fitted laws cannot be trusted; each reason once, with the families it holds for."""
    said: dict[str, list[str]] = {}
    for group in groups:
        for fit in group.family.fits:
            if fit.caveat:
                said.setdefault(f"{LAW_NAMES[fit.model]}: {fit.caveat}", []).append(group.family.name)
    laws = sum(bool(group.family.fits) for group in groups)
    return [f"{text}{'' if len(names) == laws else f' ({joined(names)})'}." for text, names in said.items()]


def _oversubscribed(groups: Sequence[Group]) -> list[str]:
    names = {case_name(found.case) for group in groups for found in group.members if found.oversubscribed}
    if not names:
        return []
    return [
        f"More ranks x threads than cores: {joined(sorted(names))}. Such cases show overhead, no speed; they "
        "are in no fit and no recommendation."
    ]


def _mixtures(runs: Sequence[BenchRun]) -> list[str]:
    """Machines, data and versions that differ."""
    hosts = sorted({host_name(run.host) for run in runs})
    said = []
    if len(hosts) > 1:
        said.append(
            f"Runs of {len(hosts)} machines are kept apart and enter no speedup together: {'; '.join(hosts)}."
        )
    if len({run.data_digest for run in runs if run.case.kind in ("train", "copies")}) > 1:
        said.append("Runs on different data are kept apart: reviews of other lengths take other times.")
    commits = {run.git_commit for run in runs if run.git_commit}
    if len(commits) > 1:
        said.append(
            f"Runs come from {len(commits)} commits of the code, some of which may have changed its speed."
        )
    differing = sorted(
        name for name in {key for run in runs for key in run.versions} if len(_versions(runs, name)) > 1
    )
    if differing:
        said.append(f"Versions differ between runs: {joined(differing)}.")
    if len({run.case.scaling for run in runs}) > 1:
        said.append("Strong and weak scaling are kept apart: in weak scaling the batch grows with the ranks.")
    return said


def _versions(runs: Sequence[BenchRun], name: str) -> set[str | None]:
    return {run.versions.get(name) for run in runs}
