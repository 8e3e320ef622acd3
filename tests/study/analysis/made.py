"""Runs of a bench made up for tests: every second is known beforehand."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sentiscale.records import Host
from sentiscale.study.records import BenchRun, Case, Interference, RankTimes

ROWS = 8192
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STEADY = (1.0, 0.99, 1.01, 1.005, 0.995)
"""Factors on the seconds of five repeats; their median is 1."""


def host(**changes: Any) -> Host:
    known = {
        "cpu_model": "Xeon",
        "cores": 2,
        "memory_mb": 16384,
        "system": "Linux 6.1 x86_64",
        "python": "3.11.9",
        "load_1m": 0.1,
    }
    return Host(**(known | changes))


def case(**changes: Any) -> Case:
    return Case(**({"model": "lstm", "batch_size": 128, "precision": "fp32"} | changes))


def run(seconds: float, repeat: int = 0, **changes: Any) -> BenchRun:
    """One run; `changes` are fields of the run, or of its case."""
    of_case = {name: changes.pop(name) for name in list(changes) if name in Case.model_fields}
    made = case(**of_case)
    rows = changes.pop("rows", ROWS)
    known: dict[str, Any] = {
        "case": made,
        "repeat": repeat,
        "seed": repeat,
        "amount": {"rows": rows},
        "seconds": seconds,
        "rows": rows,
        "rows_per_s": rows / seconds,
        "steps": rows // max(made.batch_size, 1),
        "started_at": BEGIN + timedelta(seconds=repeat),
        "host": host(),
        "versions": {"torch": "2.13"},
        "git_commit": "abc",
        "data_digest": "d" * 64,
        "oversubscribed": made.workers > 2,
    }
    return BenchRun(**(known | changes))


def runs(seconds: float, factors: Sequence[float] = STEADY, **changes: Any) -> list[BenchRun]:
    """Repeats of a case around `seconds`."""
    return [run(seconds * factor, repeat, **changes) for repeat, factor in enumerate(factors)]


def two_cores(seconds: float = 12.0, factors: Sequence[float] = STEADY, **changes: Any) -> list[BenchRun]:
    """A whole study of one setting: 2x1 is 1.8 times serial, threads 1.4, stages 1.1, the ceiling 1.9."""
    parts: list[tuple[float, dict[str, Any]]] = [
        (1.0, {"collectives": False}),
        (0.96, {}),
        (1.4, {"threads_per_rank": 2, "collectives": False}),
        (1.8, {"layout": "2x1"}),
        (1.1, {"layout": "1x2"}),
        (0.9, {"layout": "2x2"}),
        (1.9, {"kind": "copies", "copies": 2, "collectives": False}),
    ]
    return [one for speed, fields in parts for one in runs(seconds / speed, factors, **(fields | changes))]


def times(**seconds: float) -> RankTimes:
    return RankTimes(**seconds)


def disturbed() -> Interference:
    return Interference(cores_before=1.0, cores_during=1.0, disturbed=True)
