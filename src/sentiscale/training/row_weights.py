"""Weights of training rows in the loss: those of their classes times those of a weight column."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiscale.config import TrainSettings
from sentiscale.data.prepared import Manifest, Split
from sentiscale.errors import UsageError, did_you_mean
from sentiscale.text.classes import listed


def class_weights(settings: TrainSettings, manifest: Manifest) -> dict[str, float]:
    """Return the weight of each class in the loss; empty if all weigh the same.

    `balanced` weights are those of scikit-learn: rows / (classes * rows of the class), so that every class
    has the same total weight.

    Raises: UsageError when a weight is given for a class that does not exist.
    """
    given, rows = settings.class_weight, manifest.labels_per_split["train"]
    if given is None:
        return {}
    if given == "balanced":
        occurring = {name: count for name, count in rows.items() if count}
        total = sum(occurring.values()) / len(occurring)
        return {name: total / occurring[name] if name in occurring else 1.0 for name in manifest.classes}
    if unknown := set(given) - set(manifest.classes):
        name = min(unknown)
        raise UsageError(
            f"class_weight names '{name}', which is no class of the data."
            f"{did_you_mean(name, manifest.classes)} Classes: {listed(manifest.classes)}."
        )
    return {name: given.get(name, 1.0) for name in manifest.classes}


def row_weights(split: Split, settings: TrainSettings, manifest: Manifest) -> NDArray[np.float32] | None:
    """Return the weight of each row in the loss, (rows,), with a mean of 1; None if all are 1.

    With a mean of 1, a learning rate has the same effect as without weights.

    Raises: UsageError as `class_weights`.
    """
    by_class = class_weights(settings, manifest)
    if not by_class:
        return mean_one(split.weights)
    weights = np.array([by_class[name] for name in manifest.classes])[split.labels]
    return mean_one(weights if split.weights is None else weights * split.weights)


def mean_one(weights: NDArray[Any] | None) -> NDArray[np.float32] | None:
    """Return the weights divided by their mean; None if there are none, or all are 0."""
    if weights is None or not np.any(weights):
        return None
    scaled: NDArray[np.float32] = (weights / np.mean(weights, dtype=np.float64)).astype(np.float32)
    return scaled
