"""The n-gram model, a linear model on hashed n-grams whose logits are combined with the network's.

Each n-gram is scaled by how much more often it occurs in one class than in the other, and each row is
normalised to length 1 (Wang & Manning, 2012, "Baselines and bigrams": naive Bayes ratios as features of a
linear model).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiscale.config import WideSettings
from sentiscale.model.ngrams import FeatureChunks, FloatArray, IntArray, Ngrams, count_by_class

CHUNK_ROWS = 16_384
"""Number of rows whose features are computed together; it bounds the memory use of `fit_wide`."""

LEAST_SCALE = 0.1
"""Constant added to every scale, so that n-grams equally frequent in both classes keep a small weight."""


@dataclass(frozen=True)
class WideModel:
    """A fitted n-gram model; `scales` and `weights` have shape (2**bits,), one number per bucket."""

    scales: FloatArray
    """Factor of each feature, larger the more unevenly it is distributed over the classes."""
    weights: FloatArray
    intercept: float
    """Logit of a text that has no features."""
    ngrams: Ngrams

    def logits(self, tokens: npt.NDArray[Any], offsets: IntArray, rows: IntArray | None = None) -> FloatArray:
        """Compute the logits of `rows` of ragged token ids, or of all rows if `rows` is None."""
        rows = np.arange(len(offsets) - 1) if rows is None else rows
        products = self.ngrams.products(tokens, offsets, rows, self.scales, self.weights)
        return products + np.float32(self.intercept)


def fit_wide(
    tokens: npt.NDArray[Any],
    offsets: IntArray,
    labels: npt.NDArray[np.uint8],
    settings: WideSettings,
    *,
    seed: int,
    threads: int,
) -> WideModel:
    """Fit the n-gram model to labelled rows by stochastic gradient descent on the logistic loss.

    Shapes: tokens (all,), offsets (rows + 1,), labels (rows,). Labels are 0 and 1, and both must occur.
    Memory use does not grow with the number of rows: features that do not fit are recomputed, in fewer
    passes.
    """
    from sklearn.linear_model import SGDClassifier  # slow to import; not needed for prediction

    ngrams = Ngrams(settings.bits, settings.longest, settings.gaps)
    order = np.random.default_rng(seed).permutation(len(labels))
    chunks = [order[start : start + CHUNK_ROWS] for start in range(0, len(order), CHUNK_ROWS)]
    features = FeatureChunks(ngrams, tokens, offsets, chunks, threads)
    rows_with = np.ones((2, 2**settings.bits))  # add-one smoothing
    for rows, matrix in features:
        count_by_class(matrix, labels[rows], rows_with)
    scales = class_ratios(rows_with)
    features.scale_by(scales)
    classifier = SGDClassifier(loss="log_loss", alpha=settings.alpha, random_state=seed)
    for _ in range(max(1, round(settings.passes * features.cached_share))):
        for rows, matrix in features:
            classifier.partial_fit(matrix, labels[rows], classes=[0, 1])
    return WideModel(scales, classifier.coef_[0].astype(np.float32), float(classifier.intercept_[0]), ngrams)


def class_ratios(rows_with: npt.NDArray[np.float64]) -> FloatArray:
    """Return the absolute log ratio of each feature's shares in the two classes: (2**bits,)."""
    negative, positive = rows_with / rows_with.sum(axis=1, keepdims=True)
    ratios: FloatArray = (np.abs(np.log(positive / negative)) + LEAST_SCALE).astype(np.float32)
    return ratios


@dataclass(frozen=True)
class Combination:
    """`logit = net * network's logit + wide * n-gram model's logit + bias`."""

    net: float = 1.0
    wide: float = 0.0
    bias: float = 0.0

    @classmethod
    def fit(
        cls, net_logits: FloatArray, wide_logits: FloatArray | None, labels: npt.NDArray[np.uint8]
    ) -> "Combination":
        """Fit the weights by logistic regression; if only one class occurs, use the network's logits alone.

        All shapes are (rows,). If `wide_logits` is None, the n-gram model is left out.
        """
        from sklearn.linear_model import LogisticRegression  # slow to import; not needed for prediction

        if len(np.unique(labels)) < 2:
            return cls()
        columns = [net_logits] if wide_logits is None else [net_logits, wide_logits]
        fitted = LogisticRegression(C=100.0, max_iter=1000).fit(np.column_stack(columns), labels)
        net, *wide = (float(weight) for weight in fitted.coef_[0])
        return cls(net, wide[0] if wide else 0.0, float(fitted.intercept_[0]))

    def logits(self, net_logits: FloatArray, wide_logits: FloatArray | None) -> FloatArray:
        """Combine the logits of both models: (rows,)."""
        joined = self.net * net_logits + self.bias
        if wide_logits is not None:
            joined = joined + self.wide * wide_logits
        return joined.astype(np.float32)
