"""Score a peer's predictions as ours are scored, and say what its run took."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiscale.compare.effort import Stopwatch
from sentiscale.compare.runs import Outcome
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.metrics import score
from sentiscale.records import package_versions

FloatArray = npt.NDArray[np.float32]
Predict = Callable[[Split], FloatArray]
"""Split → logits (rows,)."""

LEAST_DOUBT = 1e-6
"""Probabilities are kept this far from 0 and 1, so that the logit is a number."""


def logits_of(positive_probability: npt.ArrayLike) -> FloatArray:
    """Logits (rows,) of probabilities (rows,) of "positive"."""
    probability = np.clip(np.asarray(positive_probability, np.float64), LEAST_DOUBT, 1 - LEAST_DOUBT)
    logits: FloatArray = np.log(probability / (1 - probability)).astype(np.float32)
    return logits


def scored(dataset: PreparedDataset, split: str, predict: Predict) -> dict[str, Any]:
    """All scores on a split."""
    rows = dataset.split(split)
    return score(predict(rows), np.asarray(rows.labels)).model_dump()


def outcome(dataset: PreparedDataset, watch: Stopwatch, predict: Predict, *packages: str) -> Outcome:
    """Score a trained peer on validation and test, the latter once."""
    return Outcome(
        train_seconds=round(watch.seconds, 3),
        cpu_seconds=round(watch.cpu_seconds, 3),
        valid=scored(dataset, "valid", predict),
        test=scored(dataset, "test", predict),
        versions=package_versions("sentiscale", "numpy", *packages),
    )
