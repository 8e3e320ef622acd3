"""Where each rank's time went, from what all ranks did when: exchange and waiting told apart."""

from collections import defaultdict
from collections.abc import Sequence

from sentiscale.measurements import Case, RankTimes, Span
from sentiscale.parallel.layout import Layout

Timelines = Sequence[Sequence[Span]]
"""The spans of each rank, in order."""


def partners(case: Case) -> list[list[list[int]]]:
    """Who meets whom at the first, second, ... exchange of a step: groups of ranks.

    At the first everybody agrees on the step; at the second, replicas of a stage bring round what changed.
    """
    if case.kind == "copies":
        return [[[rank] for rank in range(case.copies)]]
    layout = Layout.parse(case.layout)
    everyone = list(range(layout.world_size))
    return [[everyone], [layout.replicas_of(stage) for stage in range(layout.model)]]


def with_waiting(timelines: Timelines, case: Case) -> list[list[Span]]:
    """The same spans, each exchange cut where the last of its ranks has come to it."""
    meetings = partners(case)
    begins = [_exchanges(spans) for spans in timelines]
    found: list[list[Span]] = []
    for rank, spans in enumerate(timelines):
        seen: defaultdict[int, int] = defaultdict(int)
        mine: list[Span] = []
        for span in spans:
            if span.phase != "reduce":
                mine.append(span)
                continue
            turn = seen[span.step]
            seen[span.step] += 1
            group = next(each for each in meetings[min(turn, len(meetings) - 1)] if rank in each)
            last = max(begins[other][span.step][turn] for other in group)
            mine += _cut(span, last)
        found.append(mine)
    return found


def times_per_rank(timelines: Timelines) -> list[RankTimes]:
    """Seconds of each rank by phase, each second once."""
    found = []
    for spans in timelines:
        spent: defaultdict[str, float] = defaultdict(float)
        for span in spans:
            spent[span.phase] += span.end - span.begin
        found.append(RankTimes(**{phase: round(seconds, 6) for phase, seconds in spent.items()}))
    return found


def _exchanges(spans: Sequence[Span]) -> dict[int, list[float]]:
    begins: defaultdict[int, list[float]] = defaultdict(list)
    for span in spans:
        if span.phase == "reduce":
            begins[span.step].append(span.begin)
    return begins


def _cut(span: Span, last_comes_at: float) -> list[Span]:
    """Waiting until the last rank comes, then the exchange; never outside of the span."""
    at = min(max(last_comes_at, span.begin), span.end)
    pieces = [
        span.model_copy(update={"phase": "waiting", "end": at}),
        span.model_copy(update={"begin": at}),
    ]
    return [piece for piece in pieces if piece.end > piece.begin]
