"""The linear model on hashed n-grams: fitted in seconds; its logits are combined with the network's.

Each n-gram is scaled by how much more often it occurs in one class than in the other, and rows have length 1
(Wang & Manning, 2012, "Baselines and bigrams": naive Bayes as the features of a linear model).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiscale.config import WideSettings
from sentiscale.model.ngrams import FeatureChunks, FloatArray, IntArray, Ngrams, count_by_class

CHUNK_ROWS = 16_384
"""Rows whose features are computed together: bounds the memory of `fit_wide`."""

LEAST_SCALE = 0.1
"""Added to every scale: an n-gram that is equally frequent in both classes still counts a little."""


@dataclass(frozen=True)
class WideModel:
    """A fitted linear model; `scales` and `weights` have one number per bucket (2**bits,)."""

    scales: FloatArray
    """Factor of each feature: how unevenly it is distributed over the classes."""
    weights: FloatArray
    intercept: float
    """Logit of a text without features."""
    ngrams: Ngrams

    def logits(self, tokens: npt.NDArray[Any], offsets: IntArray, rows: IntArray | None = None) -> FloatArray:
        """Logits (len(rows),) of some rows of ragged token ids; of all without `rows`."""
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
    """Fit the linear model to labelled rows by stochastic gradient descent on the logistic loss.

    Shapes: tokens (all,), offsets (rows + 1,), labels (rows,) of 0 and 1, both occurring. Memory does not
    grow with the rows: features that do not fit are computed again, in fewer passes.
    """
    from sklearn.linear_model import SGDClassifier  # seconds to load; prediction needs none

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
    """Absolute log ratio of each feature's shares in the two classes: (2**bits,)."""
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
        """Fit the weights by logistic regression; the plain network when there is only one class.

        Shapes: all (rows,); `wide_logits` None leaves the n-gram model out.
        """
        from sklearn.linear_model import LogisticRegression  # seconds to load; prediction needs none

        if len(np.unique(labels)) < 2:
            return cls()
        columns = [net_logits] if wide_logits is None else [net_logits, wide_logits]
        fitted = LogisticRegression(C=100.0, max_iter=1000).fit(np.column_stack(columns), labels)
        net, *wide = (float(weight) for weight in fitted.coef_[0])
        return cls(net, wide[0] if wide else 0.0, float(fitted.intercept_[0]))

    def logits(self, net_logits: FloatArray, wide_logits: FloatArray | None) -> FloatArray:
        """Combined logits (rows,)."""
        joined = self.net * net_logits + self.bias
        if wide_logits is not None:
            joined = joined + self.wide * wide_logits
        return joined.astype(np.float32)
