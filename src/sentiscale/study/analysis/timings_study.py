"""A study from somebody's table of times, of whose runs nothing else is known."""

from collections.abc import Sequence

from sentiscale.errors import DataError
from sentiscale.study.analysis.advice import choose
from sentiscale.study.analysis.caveats import law_caveats, repeats_caveat
from sentiscale.study.analysis.families import Group, Setting, group_of
from sentiscale.study.analysis.fits import ENOUGH_POINTS
from sentiscale.study.analysis.speedup import Measured, karp_flatt
from sentiscale.study.analysis.study import Recommendation, Study, StudyRow
from sentiscale.study.analysis.timings import Timing
from sentiscale.study.analysis.words import figure, joined, many, per_cent, ratio
from sentiscale.study.records import Case


def study_of_timings(timings: Sequence[Timing]) -> Study:
    """Work out speedups over the fewest workers of each strategy; strategies in the order of the table.

    Raises: DataError without a line.
    """
    if not timings:
        raise DataError("there are no timings to report on. Give lines of workers,seconds[,strategy].")
    groups = _groups(timings)
    spread = _spread(groups)
    best = _best(groups, spread)
    return Study(
        families=[
            group.family for group in sorted(groups, key=lambda group: group is not (best and best[0]))
        ],
        recommendation=_recommend(groups, best, spread),
        findings=[sentence for group in groups for sentence in _findings(group)] + _spread_in_words(groups),
        caveats=_caveats(groups, spread),
        hosts=[],
    )


def _groups(timings: Sequence[Timing]) -> list[Group]:
    table: dict[str, dict[int, list[float]]] = {}
    for timing in timings:
        table.setdefault(timing.strategy, {}).setdefault(timing.workers, []).append(timing.seconds)
    groups = []
    for strategy, by_workers in table.items():
        setting = Setting(0, "", "", "", "strong", strategy, "", "", 0, "")
        members = [
            Measured(Case(layout=f"{workers}x1"), tuple(sorted(seconds)), tuple(sorted(seconds)))
            for workers, seconds in by_workers.items()
        ]
        groups.append(group_of(setting, strategy, members))
    return groups


def _spread(groups: Sequence[Group]) -> list[float]:
    """By how much the slower of repeated runs exceeds the faster, as shares, ascending."""
    repeated = [found for group in groups for found in group.members if len(found.seconds) > 1]
    return sorted(found.seconds[-1] / found.seconds[0] - 1 for found in repeated)


def _candidates(groups: Sequence[Group]) -> list[tuple[Group, Measured]]:
    """The best number of workers of every strategy."""
    return [(group, choice.taken) for group in groups if (choice := choose(group))]


def _best(groups: Sequence[Group], spread: Sequence[float]) -> tuple[Group, Measured] | None:
    """The fastest number of workers of the fastest strategy.

    A strategy further up in the table counts as simpler: it is preferred where its best is behind by less
    than repeats of the same run differ.
    """
    candidates = _candidates(groups)
    fastest = min((found.cost for _, found in candidates), default=0.0)
    return next((pair for pair in candidates if pair[1].cost <= fastest * (1 + _noise(spread))), None)


def _noise(spread: Sequence[float]) -> float:
    return spread[-1] if spread else 0.0


def _recommend(
    groups: Sequence[Group], best: tuple[Group, Measured] | None, spread: Sequence[float]
) -> Recommendation | None:
    if best is None or sum(len(group.members) for group in groups) < 2:
        return None
    group, taken = best
    others = [pair for pair in _candidates(groups) if pair[0] is not group]
    row = next(row for found, row in group.pairs if found is taken)
    return Recommendation(
        layout=taken.case.layout,
        threads=1,
        why=_why(group, taken, row, others),
        confidence=_confidence(group, taken, _noise(spread)) + _faster_elsewhere(others, taken),
    )


def _why(group: Group, taken: Measured, row: StudyRow, others: Sequence[tuple[Group, Measured]]) -> str:
    gain = ""
    if taken is not group.base:
        speedup, efficiency = ratio(row.speedup or 0, row.speedup_ci95), per_cent(row.efficiency or 0)
        gain = f", {speedup} times {group.base_name}, efficiency {efficiency}"
    said = f"{group.family.name}: {many(taken.case.workers, 'worker')} took {figure(taken.cost)} s{gain}"
    if others:
        rest = [
            f"{other.family.name} {figure(best.cost)} s with {best.case.workers}" for other, best in others
        ]
        said += f"; best of the other strategies: {joined(rest)}"
    return said + "."


def _confidence(group: Group, taken: Measured, noise: float) -> str:
    if not noise:
        return "Low: every figure is a single run, so that nothing tells these differences from chance."
    alike = [
        str(found.case.workers)
        for found in group.members
        if found is not taken and found.cost <= taken.cost * (1 + noise)
    ]
    said = (
        f"Low: repeats of the same run differ by up to {per_cent(noise)}, and most figures are single runs."
    )
    if alike:
        said += (
            f" {joined(alike)} workers are behind {taken.case.workers} by less than that and may be as good."
        )
    return said


def _faster_elsewhere(others: Sequence[tuple[Group, Measured]], taken: Measured) -> str:
    names = [group.family.name for group, found in others if found.cost < taken.cost]
    if not names:
        return ""
    return f" So may {joined(names)}; the strategy further up in the table is taken as the simpler one."


def _findings(group: Group) -> list[str]:
    """The best number of workers of a strategy, as published and by the law."""
    row = next((row for found, row in group.pairs if found is _fastest(group)), None)
    if row is None or group.base is None or row.speedup is None or len(group.members) < 2:
        return []
    base = group.base
    said = f"{group.family.name}: fastest with {many(row.workers, 'worker')}, "
    if _fastest(group) is base:
        return [said + "the fewest: more did not help."]
    said += (
        f"{figure(row.speedup)} times {group.base_name}, so an efficiency of {per_cent(row.efficiency or 0)} "
        f"relative to them{_by_single_runs(_fastest(group), base)}."
    )
    laws = [fit for fit in group.family.fits if fit.best_workers and fit.points >= ENOUGH_POINTS[fit.model]]
    for law in laws:
        said += (
            f" The universal scalability law has its maximum at {law.best_workers:.0f} workers and misses "
            f"the measurements by {per_cent(law.residual)}."
        )
    return [
        said,
        *([f"{group.family.name}: {_decapitalised(group.family.trend)}"] if group.family.trend else []),
    ]


def _fastest(group: Group) -> Measured:
    return min(group.members, key=lambda found: (found.cost, found.case.workers))


def _by_single_runs(found: Measured, base: Measured) -> str:
    """What comes out when the faster, or the slower, of repeated runs is taken for the base."""
    if len(base.seconds) == 1:
        return ""
    cores = found.case.workers / base.case.workers
    ways = []
    for name, seconds in (("faster", base.seconds[0]), ("slower", base.seconds[-1])):
        speedup = seconds / found.cost
        share = figure(karp_flatt(speedup, cores))
        said = f"{figure(speedup)} times and {per_cent(speedup / cores)} (serial share {share})"
        ways.append(f"{said} over the {name}")
    runs = f"{many(len(base.seconds), 'run')} with {base.case.workers}"
    return f"; that is over the median of {runs}, while it is {joined(ways)}"


def _decapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]


def _spread_in_words(groups: Sequence[Group]) -> list[str]:
    spread = _spread(groups)
    if not spread:
        return []
    ends = per_cent(spread[0]) if len(spread) == 1 else f"{per_cent(spread[0])} to {per_cent(spread[-1])}"
    return [f"Repeats of the same run differ by {ends}: differences smaller than this mean nothing here."]


def _caveats(groups: Sequence[Group], spread: Sequence[float]) -> list[str]:
    said = []
    members = [found for group in groups for found in group.members]
    if len(members) == 1:
        said.append("There is one number of workers only: no speedup, no law and no choice follow from it.")
    said += _base_caveats(groups)
    said += repeats_caveat(members)
    said += [sentence for group in groups for sentence in _erratic(group, spread)]
    if len(groups) > 1:
        said.append(
            "Strategies may have run on other hardware (such as one GPU for all workers of one of them): "
            "workers are compared within a strategy, and between strategies only seconds."
        )
    said.append(
        "Only times are known: not whether all runs ended at the same accuracy, whether the batch grew with "
        "the workers (weak scaling), what the clock covered, nor how many cores a worker had."
    )
    return said + law_caveats(groups)


def _base_caveats(groups: Sequence[Group]) -> list[str]:
    names: dict[int, list[str]] = {}
    for group in groups:
        if group.base and group.base.case.workers > 1:
            names.setdefault(group.base.case.workers, []).append(group.family.name)
    return [
        f"{joined(found)}: the base is {fewest} workers, not one and not serial. Speedups are over {fewest}, "
        f"and what {fewest} gain over one is not known."
        for fewest, found in names.items()
    ]


def _erratic(group: Group, spread: Sequence[float]) -> list[str]:
    """Times that go down, up and down again with the number of workers follow no law of scaling."""
    ordered = sorted(group.members, key=lambda found: found.case.workers)
    noise = _noise(spread)
    for place, found in enumerate(ordered[1:-1], 1):
        before = min(one.cost for one in ordered[:place])
        after = min(one.cost for one in ordered[place + 1 :])
        if found.cost > before * (1 + noise) and found.cost > after * (1 + noise):
            return [
                f"{group.family.name}: times go up and down with the workers (slow at "
                f"{found.case.workers}, faster before and after), which no law of scaling does. Something "
                "else varied; repeat before believing its best figure."
            ]
    return []
