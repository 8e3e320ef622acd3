"""Timelines as a Chrome trace: for chrome://tracing and Perfetto."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiscale.atomic import write_file
from sentiscale.measurements import Span

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
        "ph": "X", "name": span.phase, "cat": "step", "pid": process, "tid": ROWS[span.phase],
        "ts": round((span.begin - begin) * 1e6, 1), "dur": round((span.end - span.begin) * 1e6, 1),
        "args": {"step": span.step},
    }  # fmt: skip
