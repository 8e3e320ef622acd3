"""The wide part: a linear model on n-grams, solved in seconds, that stands beside the network.

Each n-gram is scaled by how much more often it occurs in one class than in the other, and rows have length 1
(Wang & Manning, 2012, "Baselines and bigrams": naive Bayes as the features of a linear model).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiscale.config import WideSettings
from sentiscale.model.ngrams import Chunks, FloatArray, IntArray, Ngrams, count_by_class

CHUNK_ROWS = 16_384
"""Rows whose features are made together: bounds the memory of `solve`."""

LEAST_SCALE = 0.1
"""Added to every scale: an n-gram that is even between the classes still counts a little."""


@dataclass(frozen=True)
class WideModel:
    """A solved linear model; `scales` and `weights` have one number a bucket (2**bits,)."""

    scales: FloatArray
    """What a feature of each bucket counts: how uneven it is between the classes."""
    weights: FloatArray
    """What the solver found for each bucket."""
    intercept: float
    """Logit of a text without features."""
    ngrams: Ngrams
    """What is a feature, and its bucket."""

    def logits(self, tokens: npt.NDArray[Any], offsets: IntArray) -> FloatArray:
        """Logits (rows,) of ragged token ids."""
        return self.row_logits(tokens, offsets, np.arange(len(offsets) - 1))

    def row_logits(self, tokens: npt.NDArray[Any], offsets: IntArray, rows: IntArray) -> FloatArray:
        """Logits (len(rows),) of some of the rows."""
        products = self.ngrams.products(tokens, offsets, rows, self.scales, self.weights)
        return products + np.float32(self.intercept)


def solve(
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
    grow with the rows: features that are too many to be kept are made again, and gone through fewer times.
    """
    from sklearn.linear_model import SGDClassifier  # seconds to load; prediction needs none

    ngrams = Ngrams(settings.bits, settings.longest, settings.gaps)
    order = np.random.default_rng(seed).permutation(len(labels))
    features = Chunks(ngrams, tokens, offsets, chunked(order), threads)
    rows_with = np.ones((2, 2**settings.bits))  # as if each n-gram had been seen once more in each class
    for rows, matrix in features:
        count_by_class(matrix, labels[rows], rows_with)
    scales = class_ratios(rows_with)
    features.scale_by(scales)
    solver = SGDClassifier(loss="log_loss", alpha=settings.alpha, random_state=seed)
    for _ in range(max(1, round(settings.passes * features.kept_share))):
        for rows, matrix in features:
            solver.partial_fit(matrix, labels[rows], classes=[0, 1])
    return WideModel(scales, solver.coef_[0].astype(np.float32), float(solver.intercept_[0]), ngrams)


def class_ratios(rows_with: npt.NDArray[np.float64]) -> FloatArray:
    """How many times more likely each feature is in one class than in the other: logarithms (2**bits,)."""
    negative, positive = rows_with / rows_with.sum(axis=1, keepdims=True)
    ratios: FloatArray = (np.abs(np.log(positive / negative)) + LEAST_SCALE).astype(np.float32)
    return ratios


def chunked(rows: IntArray) -> list[IntArray]:
    """Cut rows into chunks that are worked on together."""
    return [rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS)]


@dataclass(frozen=True)
class Combination:
    """`logit = net * network's logit + wide * wide part's logit + bias`."""

    net: float = 1.0
    """Weight of the network's logit."""
    wide: float = 0.0
    """Weight of the wide part's."""
    bias: float = 0.0
    """Added to both."""

    @classmethod
    def fit(
        cls, net_logits: FloatArray, wide_logits: FloatArray | None, labels: npt.NDArray[np.uint8]
    ) -> "Combination":
        """Weights that explain the labels best; the plain network when there is only one class.

        Shapes: all (rows,); `wide_logits` None leaves the wide part out.
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
