"""Recommend a layout, with the reasons and the confidence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sentiscale.study.analysis.intervals import ENOUGH_REPEATS, ratio_interval
from sentiscale.study.analysis.study import Family, Recommendation, StudyRow
from sentiscale.study.analysis.wording import axes, phrase
from sentiscale.study.records import Case
from sentiscale.util.templates import Finding, finding

PRACTICAL = 0.02
"""A ratio closer to 1 than this has no practical importance, even if it is statistically certain."""
MOST_NAMED = 4


@dataclass(frozen=True)
class BestCase:
    taken: StudyRow
    fastest: StudyRow
    alike: list[StudyRow]
    """Other cases that are not distinguishable from the fastest."""
    settled_by: tuple[int, int] | None = None
    """Number of other families in which `taken` is best, and number of other families, if this decided
    between indistinguishable cases."""

    @property
    def equals(self) -> list[StudyRow]:
        return [self.fastest, *self.alike]


def best_case(family: Family) -> BestCase | None:
    """The fastest case, or a simpler one that is not distinguishable from it; None without a candidate.

    Two cases are not distinguishable if the 95 % interval of the ratio of their times includes 1 or comes
    within 2 % of 1. A case that was run only once has no interval, so it counts as distinguishable.
    """
    candidates = [row for row in family.rows if row.is_candidate]
    if not candidates:
        return None
    fastest = min(candidates, key=lambda row: (row.cost, _complexity(row.case)))
    alike = [row for row in candidates if row is not fastest and _alike(row, fastest)]
    return BestCase(min([fastest, *alike], key=lambda row: _complexity(row.case)), fastest, alike)


def main_family(families: Sequence[Family]) -> Family | None:
    """The family on which the recommendation is based: the most cases, then the middle batch size."""
    able = [family for family in families if best_case(family)]
    able = [family for family in able if family.scaling == "strong"] or able
    if not able:
        return None
    most = max(map(_candidates, able))
    able = [family for family in able if _candidates(family) == most]
    sizes = sorted({family.key.batch_size for family in able})
    return next(family for family in able if family.key.batch_size == sizes[len(sizes) // 2])


def recommend(families: Sequence[Family]) -> Recommendation | None:
    main = main_family(families)
    best = best_case(main) if main else None
    if main is None or best is None:
        return None
    others = {
        family.name: found
        for family in families
        if family is not main and family.key.host == main.key.host and _candidates(family) > 1
        if (found := best_case(family))
    }
    best = _settled(best, list(others.values()))
    confidence = [_certainty(main, best), *_agreement(others, best)]
    return Recommendation(
        layout=best.taken.case.layout,
        threads=best.taken.case.threads_per_rank,
        why=phrase(_reason(main, best.taken))[0],
        confidence=" ".join(phrase(*confidence)),
    )


def _complexity(case: Case) -> tuple[int, ...]:
    """Sort key from simple to complex: one process before several, one stage before two, few cores first."""
    replicas, stages = axes(case)
    return case.ranks > 1, stages > 1, case.workers, replicas


def _alike(row: StudyRow, fastest: StudyRow) -> bool:
    interval = ratio_interval(row.costs, fastest.costs)
    return interval is not None and interval[0] <= 1 + PRACTICAL


def _candidates(family: Family) -> int:
    return sum(row.is_candidate for row in family.rows)


def _layout(row: StudyRow) -> tuple[str, int]:
    return row.case.layout, row.case.threads_per_rank


def _settled(best: BestCase, others: Sequence[BestCase]) -> BestCase:
    """Among indistinguishable cases, choose the one that is best in more than half of the other families."""
    wins = Counter(_layout(found.taken) for found in others)
    for row in best.equals if best.alike else ():
        times = wins[_layout(row)]
        if row is not best.taken and 2 * times > len(others):
            return replace(best, taken=row, settled_by=(times, len(others)))
    return best


def _reason(family: Family, taken: StudyRow) -> Finding:
    too_many = [row for row in family.rows if row.oversubscribed and row.speedup and row.case.kind == "train"]
    return finding(
        "reason",
        taken=taken,
        family=family,
        alternatives=_alternatives(family, taken),
        oversubscribed=too_many,
        oversubscribed_help=any((row.speedup or 0) > (taken.speedup or 0) for row in too_many),
    )


def _alternatives(family: Family, taken: StudyRow) -> list[StudyRow]:
    """The best case of each kind that was not chosen: threads, replicas, stages, or replicas with stages."""
    best: dict[tuple[bool, bool], StudyRow] = {}
    for row in sorted(family.rows, key=lambda row: row.cost):
        if row.is_candidate and row is not taken and row is not family.base_row:
            replicas, stages = axes(row.case)
            best.setdefault((replicas > 1, stages > 1), row)
    return list(best.values())


def _certainty(family: Family, best: BestCase) -> Finding:
    """The confidence (high, fair or low) and its reason."""
    rivals = [row for row in family.rows if row.is_candidate]
    fewest = min(row.repeats for row in rivals)
    if len(rivals) == 1:
        return finding("only_choice")
    if fewest < 2:
        return finding("single_runs")
    if best.alike:
        return finding("tie", equals=best.equals, taken=best.taken, settled_by=best.settled_by)
    second = min((row for row in rivals if row is not best.taken), key=lambda row: row.cost)
    return finding(
        "lead",
        second=second,
        ends=ratio_interval(second.costs, best.taken.costs),
        fewest=fewest,
        enough=ENOUGH_REPEATS,
        disturbed=sum(row.disturbed for row in rivals),
    )


def _agreement(others: dict[str, BestCase], best: BestCase) -> list[Finding]:
    if not others or best.settled_by:
        return []
    differing = {
        name: found.taken.full_name
        for name, found in others.items()
        if _layout(best.taken) not in {_layout(row) for row in (found.taken, *found.equals)}
    }
    return [
        finding(
            "agreement",
            others=len(others),
            differing=list(differing)[:MOST_NAMED],
            not_named=max(len(differing) - MOST_NAMED, 0),
            agreeing=len(others) - len(differing),
            best_there=[f"{name} for {times}" for name, times in Counter(differing.values()).items()],
        )
    ]
