"""Timelines as a Chrome trace: for chrome://tracing and Perfetto."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiscale.parallel.layout import Layout
from sentiscale.study.records import Case, RankTimes, Span
from sentiscale.util.atomic import write_file

ROWS = {"data": 1, "forward": 1, "backward": 1, "update": 1, "waiting": 2, "reduce": 2}
"""What a rank computes in one row, what it shares with others in another."""

NAMES = {1: "computing", 2: "exchange and waiting"}

Event = dict[str, Any]


def write_trace(timelines: Sequence[tuple[str, Sequence[Sequence[Span]]]], path: Path) -> None:
    """Write the spans of each rank of each named run; every run begins at 0.

    The format is Google's "Trace Event Format": times in microseconds, complete events ("X") and names ("M").
    """
    events: list[Event] = []
    number = 0
    for name, ranks in timelines:
        begin = min((span.begin for spans in ranks for span in spans), default=0.0)
        for rank, spans in enumerate(ranks):
            number += 1
            events += _named(number, f"{name}, rank {rank}")
            events += [_event(span, number, begin) for span in spans]
    write_file(path, json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))


def _named(process: int, name: str) -> list[Event]:
    return [
        {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}},
        {"ph": "M", "name": "process_sort_index", "pid": process, "tid": 0, "args": {"sort_index": process}},
        *(
            {"ph": "M", "name": "thread_name", "pid": process, "tid": row, "args": {"name": text}}
            for row, text in NAMES.items()
        ),
    ]


def _event(span: Span, process: int, begin: float) -> Event:
    return {
        "ph": "X",
        "name": span.phase,
        "cat": "step",
        "pid": process,
        "tid": ROWS[span.phase],
        "ts": round((span.begin - begin) * 1e6, 1),
        "dur": round((span.end - span.begin) * 1e6, 1),
        "args": {"step": span.step},
    }


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
    pieces = [span.model_copy(update={"phase": "waiting", "end": at}), span.model_copy(update={"begin": at})]
    return [piece for piece in pieces if piece.end > piece.begin]
