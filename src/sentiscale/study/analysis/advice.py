"""Which layout to use, why, and how sure that is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sentiscale.study.analysis.families import Group
from sentiscale.study.analysis.intervals import ENOUGH_REPEATS, ratio_interval
from sentiscale.study.analysis.speedup import Measured
from sentiscale.study.analysis.study import Recommendation, StudyRow
from sentiscale.study.analysis.words import axes, called, case_name, faster, figure, in_one, joined, many
from sentiscale.study.records import Case

PRACTICAL = 0.02
"""A ratio that is nearer to 1 than this is of no use to anybody, however sure it is."""


@dataclass(frozen=True)
class Choice:
    """The case to use in a family."""

    taken: Measured
    fastest: Measured
    alike: list[Measured]
    """Others that cannot be told apart from the fastest."""
    by_others: str = ""
    """Why it is not the simplest of these that is taken."""


def choose(group: Group) -> Choice | None:
    """The fastest case, or a simpler one that cannot be told apart from it; None without a candidate.

    Two are alike when the 95 % interval of their ratio holds 1, or ends within 2 % of it. Where a case was
    run once only there is no interval, and the fastest is taken.
    """
    able = [found for found in group.members if is_candidate(found)]
    if not able:
        return None
    fastest = min(able, key=lambda found: (found.cost, simplicity(found.case)))
    alike = [found for found in able if found is not fastest and _alike(found, fastest)]
    return Choice(min([fastest, *alike], key=lambda found: simplicity(found.case)), fastest, alike)


def is_candidate(found: Measured) -> bool:
    """Whether one would ever use it; DDP with one rank and independent copies are for comparison only."""
    return found.case.kind == "train" and found.counts and (found.is_serial or found.case.workers > 1)


def simplicity(case: Case) -> tuple[int, ...]:
    """Smaller is simpler: one process before several, fewer stages, fewer cores."""
    replicas, stages = axes(case)
    return case.ranks > 1, stages > 1, case.workers, replicas


def main_group(groups: Sequence[Group]) -> Group | None:
    """The family whose figures the recommendation quotes: most cases, then the middle batch size."""
    able = [group for group in groups if choose(group) and group.family.scaling == "strong"]
    able = able or [group for group in groups if choose(group)]
    if not able:
        return None
    most = max(_breadth(group) for group in able)
    able = [group for group in able if _breadth(group) == most]
    sizes = sorted({group.setting.batch_size for group in able})
    return next(group for group in able if group.setting.batch_size == sizes[len(sizes) // 2])


def recommend(groups: Sequence[Group]) -> Recommendation | None:
    """What to use on this machine; None where nothing could be chosen from."""
    main = main_group(groups)
    choice = choose(main) if main else None
    if main is None or choice is None:
        return None
    choice = _settled(choice, _others(groups, main))
    case = choice.taken.case
    return Recommendation(
        layout=case.layout,
        threads=case.threads_per_rank,
        why=_why(main, choice),
        confidence=" ".join([_certainty(main, choice), _elsewhere(groups, main, choice)]).strip(),
    )


def _settled(choice: Choice, others: Sequence[Group]) -> Choice:
    """Of cases that cannot be told apart, the one that is best in most of the other settings, if one is."""
    count = Counter(_spot(found.taken.case) for group in others if (found := choose(group)))
    for one in (choice.fastest, *choice.alike) if choice.alike else ():
        times = count[_spot(one.case)]
        if one is not choice.taken and 2 * times > count.total():
            why = f"{case_name(one.case)} is best in {times} of {many(count.total(), 'other setting')}"
            return replace(choice, taken=one, by_others=why)
    return choice


def _others(groups: Sequence[Group], main: Group) -> list[Group]:
    """Settings measured on the same machine that offer a choice."""
    return [
        group
        for group in groups
        if group is not main and _breadth(group) > 1 and group.setting.host == main.setting.host
    ]


def _breadth(group: Group) -> int:
    return sum(map(is_candidate, group.members))


def _alike(one: Measured, fastest: Measured) -> bool:
    interval = ratio_interval(one.costs, fastest.costs)
    return interval is not None and interval[0] <= 1 + PRACTICAL


def _why(group: Group, choice: Choice) -> str:
    rows = {found.case.key: row for found, row in group.pairs}
    taken = rows[choice.taken.case.key]
    if choice.taken is group.base:
        first = f"{called(taken.case)}: nothing measured is clearly faster"
    else:
        first = f"{called(taken.case)}: {faster(taken, group.base_name)}"
    parts = [f"{first} ({group.family.name})"]
    parts += [_other(rows[found.case.key]) for found in _alternatives(group, choice.taken)]
    said = "; ".join(parts + _too_many(group, taken)) + "."
    return said[0].upper() + said[1:]


def _alternatives(group: Group, taken: Measured) -> list[Measured]:
    """The best of each kind that is not taken: threads, replicas, stages, both."""
    best: dict[tuple[bool, bool], Measured] = {}
    for found in sorted(group.members, key=lambda found: found.cost):
        if is_candidate(found) and found is not taken and found is not group.base:
            replicas, stages = axes(found.case)
            best.setdefault((replicas > 1, stages > 1), found)
    return list(best.values())


def _other(row: StudyRow) -> str:
    gives = f"{in_one(row.case)} give" if row.case.ranks == 1 else f"{case_name(row.case)} gives"
    return f"{gives} {figure(row.speedup or 0.0)}"


def _too_many(group: Group, taken: StudyRow) -> list[str]:
    """What cases with more ranks than cores showed."""
    rows = [
        row for row in group.family.rows if row.oversubscribed and row.speedup and row.case.kind == "train"
    ]
    if not rows:
        return []
    named = joined([f"{case_name(row.case)}: {figure(row.speedup or 0.0)}" for row in rows])
    if max(row.speedup or 0.0 for row in rows) <= (taken.speedup or 0.0):
        return [f"more ranks than cores do not help ({named})"]
    return [f"more ranks than cores ({named}) enter no recommendation"]


def _certainty(group: Group, choice: Choice) -> str:
    """In words: high, fair or low, and what that rests on."""
    rivals = [found for found in group.members if is_candidate(found)]
    fewest = min(len(found.costs) for found in rivals)
    if len(rivals) == 1:
        return "Low: there was nothing else to choose from."
    if fewest < 2:
        return "Low: some cases were run once only, so that nothing tells their differences from chance."
    if choice.alike:
        named = joined([case_name(found.case) for found in [choice.fastest, *choice.alike]])
        return (
            f"{named} cannot be told apart: the 95 % intervals of their ratios hold 1, or come within 2 % "
            f"of it. {f'But {choice.by_others}, so it' if choice.by_others else 'The simplest'} is taken."
        )
    second = min((found for found in rivals if found is not choice.taken), key=lambda found: found.cost)
    low, high = ratio_interval(second.costs, choice.taken.costs) or (0.0, 0.0)
    lead = f"it is {figure(low)} to {figure(high)} times as fast as the next best ({case_name(second.case)})"
    if fewest < ENOUGH_REPEATS:
        return f"Fair: {lead}, but that rests on {many(fewest, 'run')} each; 5 would tell."
    disturbed = sum(row.disturbed for found, row in group.pairs if found in rivals)
    if disturbed:
        return f"Fair: {lead}, but {many(disturbed, 'run')} were disturbed by other programs."
    return f"High: {lead}, a 95 % interval over {many(fewest, 'run')} or more each."


def _elsewhere(groups: Sequence[Group], main: Group, choice: Choice) -> str:
    """Whether other models, batch sizes and precisions agree."""
    others = _others(groups, main)
    if not others or choice.by_others:
        return ""
    wanted = _spot(choice.taken.case)
    choices = {group.family.name: found for group in others if (found := choose(group))}
    differing = {
        name: found
        for name, found in choices.items()
        if wanted not in {_spot(one.case) for one in (found.taken, found.fastest, *found.alike)}
    }
    if not differing:
        return f"The other {many(len(choices), 'setting')} measured agree."
    count = Counter(called(found.taken.case) for found in differing.values())
    best = joined([f"{name} for {times}" for name, times in count.items()])
    alike = len(choices) - len(differing)
    agree = f"Of the other {many(len(choices), 'setting')} {alike} {'agrees' if alike == 1 else 'agree'}"
    return (
        f"{agree}; elsewhere the best is {best}: "
        f"{joined(list(differing)[:4])}{' and others' if len(differing) > 4 else ''}."
    )


def _spot(case: Case) -> tuple[str, int]:
    return case.layout, case.threads_per_rank
