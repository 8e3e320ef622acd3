"""Timelines of ranks: separate waiting from exchange, sum seconds by phase, and write a Chrome trace."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiscale.parallel.layout import Layout
from sentiscale.study.records import Case, RankTimes, Span
from sentiscale.util.atomic import write_file

Timelines = Sequence[Sequence[Span]]
"""The spans of each rank, in order."""

THREADS = {1: "computing", 2: "exchange and waiting"}
THREAD_OF_PHASE = {"data": 1, "forward": 1, "backward": 1, "update": 1, "waiting": 2, "reduce": 2}


def exchange_groups(case: Case) -> list[list[list[int]]]:
    """Groups of ranks that take part in the first, second, ... exchange of a step.

    In the first exchange, all ranks agree on the step. In the second, the replicas of a stage share changed
    rows.
    """
    if case.kind == "copies":
        return [[[rank] for rank in range(case.copies)]]
    layout = Layout.parse(case.layout)
    everyone = list(range(layout.world_size))
    return [[everyone], [layout.replicas_of(stage) for stage in range(layout.model)]]


def with_waiting(timelines: Timelines, case: Case) -> list[list[Span]]:
    """Divide each exchange span into waiting for the last rank to arrive and the exchange itself."""
    groups = exchange_groups(case)
    begins: list[defaultdict[int, list[float]]] = []  # start of each exchange, by rank and step
    for spans in timelines:
        begins.append(defaultdict(list))
        for span in spans:
            if span.phase == "reduce":
                begins[-1][span.step].append(span.begin)
    divided: list[list[Span]] = []
    for rank, spans in enumerate(timelines):
        seen: defaultdict[int, int] = defaultdict(int)
        divided.append([])
        for span in spans:
            if span.phase != "reduce":
                divided[-1].append(span)
                continue
            turn = seen[span.step]
            seen[span.step] += 1
            group = next(each for each in groups[min(turn, len(groups) - 1)] if rank in each)
            last = max(begins[other][span.step][turn] for other in group)
            at = min(max(last, span.begin), span.end)
            parts = (
                span.model_copy(update={"phase": "waiting", "end": at}),
                span.model_copy(update={"begin": at}),
            )
            divided[-1] += [part for part in parts if part.end > part.begin]
    return divided


def times_per_rank(timelines: Timelines) -> list[RankTimes]:
    """Sum the seconds of each rank by phase."""
    times = []
    for spans in timelines:
        spent: defaultdict[str, float] = defaultdict(float)
        for span in spans:
            spent[span.phase] += span.end - span.begin
        times.append(RankTimes(**{phase: round(seconds, 6) for phase, seconds in spent.items()}))
    return times


Event = dict[str, Any]


def write_trace(runs: Sequence[tuple[str, Timelines]], path: Path) -> None:
    """Write the timelines of named runs in Google's Trace Event Format, for chrome://tracing and Perfetto.

    Every run begins at time 0. Times are in microseconds. Spans are complete events ("X"); names of processes
    and threads are metadata events ("M").
    """
    events: list[Event] = []
    process = 0
    for name, ranks in runs:
        begin = min((span.begin for spans in ranks for span in spans), default=0.0)
        for rank, spans in enumerate(ranks):
            process += 1
            events.append(_named("process_name", process, 0, {"name": f"{name}, rank {rank}"}))
            events.append(_named("process_sort_index", process, 0, {"sort_index": process}))
            for thread, text in THREADS.items():
                events.append(_named("thread_name", process, thread, {"name": text}))
            events += [_event(span, process, begin) for span in spans]
    write_file(path, json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))


def _named(kind: str, process: int, thread: int, arguments: dict[str, Any]) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": arguments}


def _event(span: Span, process: int, begin: float) -> Event:
    return {
        "ph": "X",
        "name": span.phase,
        "cat": "step",
        "pid": process,
        "tid": THREAD_OF_PHASE[span.phase],
        "ts": round((span.begin - begin) * 1e6, 1),
        "dur": round((span.end - span.begin) * 1e6, 1),
        "args": {"step": span.step},
    }
