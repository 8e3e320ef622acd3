"""What the forms of a model weigh, how fast they are and how far they agree, on the same rows."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiscale.exporting.checkrows import CheckRows
from sentiscale.metrics import count, probabilities
from sentiscale.records import Record

FloatArray = npt.NDArray[np.float32]
Scorer = Callable[[npt.NDArray[Any], npt.NDArray[np.int64]], FloatArray]
"""Logits (rows,) of token ids back to back and offsets."""

TIMED_ROWS = 512
ROUNDS = 5


class FormFigures(Record):
    """One form of the model beside the original."""

    name: str
    """torch fp32, which is the original; onnx fp32 or onnx int8."""
    megabytes: float
    """10^6 bytes of the file that holds it."""
    rows_per_s: float
    """Reviews a second of one thread, ids in, logits out: median of five rounds."""
    accuracy: float | None
    """Share of the check rows labelled rightly; None where these have no labels."""
    largest_difference: float
    """Largest distance of a probability from the original's."""
    changed: int
    """Rows whose label differs from the original's."""


def compare_forms(
    scorers: Mapping[str, Scorer], bytes_of: Mapping[str, int], rows: CheckRows
) -> list[FormFigures]:
    """Figures of every form; the first is the original. Each scorer should keep to one thread."""
    logits = {name: score(rows.tokens, rows.offsets) for name, score in scorers.items()}
    original = next(iter(logits.values()))
    rates = rows_per_second(scorers, rows.spread(TIMED_ROWS))
    return [
        FormFigures(
            name=name,
            megabytes=round(bytes_of[name] / 1e6, 2),
            rows_per_s=round(rates[name], 1),
            accuracy=None if rows.labels is None else count(found, rows.labels).accuracy,
            largest_difference=float(np.max(np.abs(probabilities(found) - probabilities(original)))),
            changed=int(np.sum((found > 0) != (original > 0))),
        )
        for name, found in logits.items()
    ]


def rows_per_second(scorers: Mapping[str, Scorer], rows: CheckRows) -> dict[str, float]:
    """Median speed of each over five rounds that take turns, so that a busy moment harms all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    for _ in range(ROUNDS):
        for name, score in scorers.items():
            started_at = time.perf_counter()
            score(rows.tokens, rows.offsets)
            seconds[name].append(time.perf_counter() - started_at)
    return {name: len(rows) / statistics.median(times) for name, times in seconds.items()}
