"""Which layout to use, why, and how certain that is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sentiscale.study.analysis.intervals import ENOUGH_REPEATS, ratio_interval
from sentiscale.study.analysis.study import Family, Recommendation, StudyRow
from sentiscale.study.analysis.wording import axes, phrase
from sentiscale.study.records import Case
from sentiscale.util.templates import Finding, finding

PRACTICAL = 0.02
"""A ratio nearer to 1 than this makes no practical difference, however certain it is."""
MOST_NAMED = 4


@dataclass(frozen=True)
class BestCase:
    taken: StudyRow
    fastest: StudyRow
    alike: list[StudyRow]
    """Others that cannot be told apart from the fastest."""
    settled_by: tuple[int, int] | None = None
    """In how many of how many other families `taken` is best, where that decided between equals."""

    @property
    def equals(self) -> list[StudyRow]:
        return [self.fastest, *self.alike]


def best_case(family: Family) -> BestCase | None:
    """The fastest case, or a simpler one that cannot be told apart from it; None without a candidate.

    Two are alike when the 95 % interval of their ratio includes 1, or ends within 2 % of it. A case that was
    run once has no interval; then the fastest is taken.
    """
    candidates = [row for row in family.rows if row.is_candidate]
    if not candidates:
        return None
    fastest = min(candidates, key=lambda row: (row.cost, _complexity(row.case)))
    alike = [row for row in candidates if row is not fastest and _alike(row, fastest)]
    return BestCase(min([fastest, *alike], key=lambda row: _complexity(row.case)), fastest, alike)


def main_family(families: Sequence[Family]) -> Family | None:
    """The family whose figures the recommendation quotes: most cases, then the middle batch size."""
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
    """Order from simple to complex: one process before several, fewer stages, fewer cores."""
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
    """Of cases that cannot be told apart, take the one that is best in most other families, if one is."""
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
    """The best of each kind that is not taken: threads, replicas, stages, both."""
    best: dict[tuple[bool, bool], StudyRow] = {}
    for row in sorted(family.rows, key=lambda row: row.cost):
        if row.is_candidate and row is not taken and row is not family.base_row:
            replicas, stages = axes(row.case)
            best.setdefault((replicas > 1, stages > 1), row)
    return list(best.values())


def _certainty(family: Family, best: BestCase) -> Finding:
    """High, fair or low confidence, and the evidence."""
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
