"""The n-gram model, a linear model on hashed n-grams whose logits are combined with the network's.

Each n-gram is scaled by how much more often it occurs in one class than in the other, and each row is
normalised to length 1 (Wang & Manning, 2012, "Baselines and bigrams": naive Bayes ratios as features of a
linear model).
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from sentiscale.config import MIN_BITS, WideSettings
from sentiscale.errors import SentiscaleError
from sentiscale.model.ngrams import FeatureChunks, FloatArray, IntArray, Ngrams, count_by_class
from sentiscale.model.softmax_regression import SoftmaxRegression

CHUNK_ROWS = 16_384
"""Number of rows whose features are computed together; it bounds the memory use of `fit_wide`."""

FACTOR_PENALTY, SPREAD_PENALTY, BIAS_PENALTY = 0.01, 10.0, 1.0
"""L2 penalties of `Combination` for K classes: on all its numbers, on the differences of a model's factors
from their mean, and on the biases. The loss that they are added to is the sum over all rows."""

COUNT_SHARE = 0.4
"""Share of the allowed time for counting n-grams; a pass over the counted rows takes at least as long."""

RATIOS_AT_ONCE = 2**14
"""Number of features whose ratios are computed together, which keeps temporary arrays small."""

LEAST_SCALE = 0.1
"""Constant added to every scale, so that n-grams equally frequent in both classes keep a small weight."""


@dataclass(frozen=True)
class WideModel:
    """A fitted n-gram model: one logit for two classes, K logits for K > 2 classes."""

    scales: FloatArray
    """Factor of each bucket, (2**bits,); larger the more unevenly its n-grams occur in the classes."""
    weights: FloatArray
    """Weight of each bucket, (2**bits,) for two classes or (2**bits, K)."""
    intercept: float | tuple[float, ...]
    """Logits of a text that has no features: a number, or K numbers."""
    ngrams: Ngrams
    rows: int = 0
    """Number of rows it was fitted on, if the fit ended early; otherwise 0."""
    passes: float = 0.0
    """Number of passes over them."""

    def logits(self, tokens: npt.NDArray[Any], offsets: IntArray, rows: IntArray | None = None) -> FloatArray:
        """Compute the logits, (rows,) or (rows, K), of `rows` of ragged token ids; None means all rows."""
        rows = np.arange(len(offsets) - 1) if rows is None else rows
        products = self.ngrams.products(tokens, offsets, rows, self.scales, self.weights)
        return products + np.asarray(self.intercept, np.float32)


def check_wide_memory(bits: int, classes: int) -> int:
    """Return the bytes of the weights, after a check of the memory that `fit_wide` needs for its buckets.

    Raises: SentiscaleError when less memory is available.
    """
    per_bucket = 4 * (2 * classes + 2)  # weights while they are fitted, squared gradients, a copy, scales
    available = psutil.virtual_memory().available
    size = per_bucket << bits
    if size > available:
        fitting = (available // per_bucket).bit_length() - 1
        remedy = f"--set wide.bits={fitting}" if fitting >= MIN_BITS else "--no-wide"
        raise SentiscaleError(
            f"the n-gram model of {classes} classes with 2**{bits} buckets needs {size / 1e6:,.0f} MB of "
            f"memory; {available / 1e6:,.0f} MB are available. Train with {remedy}, or with more memory."
        )
    return 4 * classes << bits


def no_limit() -> float:
    """Share of the allowed time that has passed, where any time is allowed."""
    return 0.0


def fit_wide(
    tokens: npt.NDArray[Any],
    offsets: IntArray,
    labels: npt.NDArray[np.uint8],
    settings: WideSettings,
    *,
    classes: int = 2,
    seed: int,
    threads: int,
    row_weights: FloatArray | None = None,
    spent: Callable[[], float] = no_limit,
) -> WideModel:
    """Fit the n-gram model to labelled rows by stochastic gradient descent on the cross-entropy.

    Shapes: tokens (all,), offsets (rows + 1,), labels and row_weights (rows,). Labels are from 0 to
    `classes` - 1; with two classes, both must occur. Memory use does not grow with the number of rows:
    features that do not fit are recomputed, in fewer passes.

    `spent` returns the share of the allowed time that has passed. When it is used up, the fit ends early,
    after at least one chunk of rows; the rows that were read are a random sample.
    """
    ngrams = Ngrams(settings.bits, settings.longest, settings.gaps)
    order = np.random.default_rng(seed).permutation(len(labels))
    chunks = [order[start : start + CHUNK_ROWS] for start in range(0, len(order), CHUNK_ROWS)]
    features = FeatureChunks(ngrams, tokens, offsets, chunks, threads)
    scales, counted = count_in_time(features, labels, classes, spent)
    features.scale_by(scales)
    passes = max(1, round(settings.passes * features.cached_share))
    read = 0

    def steps() -> Iterator[tuple[Any, npt.NDArray[np.uint8], FloatArray | None]]:
        nonlocal read
        for rows, matrix in itertools.chain.from_iterable(itertools.repeat(features, passes)):
            yield matrix, labels[rows], None if row_weights is None else row_weights[rows]
            read += len(rows)
            if spent() >= 1:
                return

    if classes > 2:
        regression = SoftmaxRegression(2**settings.bits, classes, settings.alpha)
        for matrix, truth, weights in steps():
            regression.partial_fit(matrix, truth, weights)
        model = WideModel(scales, regression.weights, regression.intercept, ngrams)
    else:
        from sklearn.linear_model import SGDClassifier  # slow to import; not needed for prediction

        classifier = SGDClassifier(loss="log_loss", alpha=settings.alpha, random_state=seed)
        for matrix, truth, weights in steps():
            classifier.partial_fit(matrix, truth, classes=[0, 1], sample_weight=weights)
        coefficients = classifier.coef_[0].astype(np.float32)
        model = WideModel(scales, coefficients, float(classifier.intercept_[0]), ngrams)
    return model if read == passes * len(labels) else replace(model, rows=counted, passes=read / counted)


def count_in_time(
    features: FeatureChunks, labels: npt.NDArray[np.uint8], classes: int, spent: Callable[[], float]
) -> tuple[FloatArray, int]:
    """Return the scale of each feature, (2**bits,), and the number of rows counted; drop other chunks."""
    kind = np.float64 if classes == 2 else np.int32  # half the memory, which counts for many classes
    rows_with = np.ones((classes, 2**features.ngrams.bits), kind)  # add-one smoothing
    counted = 0
    for chunk, (rows, matrix) in enumerate(features, 1):
        count_by_class(matrix, labels[rows], rows_with)
        counted += len(rows)
        if spent() >= COUNT_SHARE:
            features.keep_first(chunk)
            break
    return class_ratios(rows_with, np.bincount(labels, minlength=classes) / len(labels)), counted


def class_ratios(rows_with: npt.NDArray[Any], class_shares: npt.NDArray[np.float64]) -> FloatArray:
    """Return how unevenly each feature is distributed over the classes: (2**bits,).

    For two classes, the absolute log ratio of the feature's shares in both. For more, the absolute log ratio
    of its shares in a class and in all others, averaged over the classes by their shares of the rows, so that
    a class of a few rows does not make all its words important.
    """
    sums, shares = rows_with.sum(axis=1, keepdims=True), class_shares[:, None]
    scales = np.empty(rows_with.shape[1], np.float32)
    for first in range(0, len(scales), RATIOS_AT_ONCE):
        part = slice(first, first + RATIOS_AT_ONCE)
        if len(rows_with) == 2:
            negative, positive = rows_with[:, part] / sums
            ratios = np.abs(np.log(positive / negative))
        else:
            ratios = (shares * _against_rest(rows_with[:, part], sums)).sum(axis=0)
        scales[part] = ratios + LEAST_SCALE
    return scales


def _against_rest(rows_with: npt.NDArray[Any], sums: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the absolute log ratio of each feature's shares in a class and in all others, (K, features)."""
    in_others = (rows_with.sum(axis=0) - rows_with) / (sums.sum() - sums)
    ratios: npt.NDArray[np.float64] = np.abs(np.log(rows_with / sums / in_others))
    return ratios


@dataclass(frozen=True)
class Combination:
    """`logits = net * network's logits + wide * n-gram model's logits + bias`.

    A number each for two classes; for K > 2 classes, K numbers each ("vector scaling": Guo et al., 2017, "On
    calibration of modern neural networks").
    """

    net: float | tuple[float, ...] = 1.0
    wide: float | tuple[float, ...] = 0.0
    bias: float | tuple[float, ...] = 0.0

    @classmethod
    def fit(
        cls,
        net_logits: FloatArray,
        wide_logits: FloatArray | None,
        labels: npt.NDArray[np.uint8],
        row_weights: FloatArray | None = None,
    ) -> "Combination":
        """Fit the weights by logistic regression; if only one class occurs, use the network's logits alone.

        Logits are (rows,) or (rows, K), labels and row_weights (rows,). If `wide_logits` is None, the n-gram
        model is left out; if `row_weights` is None, all rows weigh the same.
        """
        columns = [net_logits] if wide_logits is None else [net_logits, wide_logits]
        if net_logits.ndim == 2:
            return cls._fit_more_classes(columns, labels, row_weights)
        if len(np.unique(labels)) < 2:
            return cls()
        from sklearn.linear_model import LogisticRegression  # slow to import; not needed for prediction

        regression = LogisticRegression(C=100.0, max_iter=1000)
        fitted = regression.fit(np.column_stack(columns), labels, sample_weight=row_weights)
        net, *wide = (float(weight) for weight in fitted.coef_[0])
        return cls(net, wide[0] if wide else 0.0, float(fitted.intercept_[0]))

    @classmethod
    def fit_wide(
        cls, wide_logits: FloatArray, labels: npt.NDArray[np.uint8], row_weights: FloatArray | None = None
    ) -> "Combination":
        """Fit the n-gram model alone, as `fit` does both models; the network's factor is 0."""
        alone = cls.fit(wide_logits, None, labels, row_weights)
        none = 0.0 if isinstance(alone.net, float) else (0.0,) * len(alone.net)
        return cls(none, alone.net, alone.bias)

    @classmethod
    def _fit_more_classes(
        cls, parts: list[FloatArray], labels: npt.NDArray[np.uint8], row_weights: FloatArray | None
    ) -> "Combination":
        factors = np.zeros((3, parts[0].shape[1]))
        factors[0] = 1.0
        if len(np.unique(labels)) > 1:
            *fitted, bias = _fit_factors(np.array(parts, np.float64), labels, row_weights)
            factors[: len(fitted)], factors[2] = fitted, bias
        return cls(*(tuple(numbers) for numbers in factors.tolist()))

    def logits(self, net_logits: FloatArray, wide_logits: FloatArray | None) -> FloatArray:
        """Combine the logits of both models: (rows,) or (rows, K)."""
        net, wide, bias = (np.asarray(value, np.float32) for value in (self.net, self.wide, self.bias))
        joined = net * net_logits + bias
        if wide_logits is not None:
            joined = joined + wide * wide_logits
        return joined.astype(np.float32)


def _fit_factors(
    parts: npt.NDArray[np.float64], labels: npt.NDArray[np.uint8], row_weights: FloatArray | None
) -> npt.NDArray[np.float64]:
    """Fit a factor for each class of each model's logits, and a bias for each class: (models + 1, K).

    Minimises the cross-entropy of `parts` (models, rows, K), with penalties that matter if there are few
    rows of a class: without them, a class that does not occur would have an infinite bias.
    """
    from scipy.optimize import minimize  # slow to import; not needed for prediction

    models, rows, classes = parts.shape
    own = np.arange(rows), labels
    weights = np.ones((rows, 1)) if row_weights is None else row_weights[:, None].astype(np.float64)

    def objective(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        factors = flat.reshape(models + 1, classes)
        logits = (factors[:-1, None] * parts).sum(axis=0) + factors[-1]
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        totals = powers.sum(axis=1, keepdims=True)
        loss = (weights[:, 0] * (np.log(totals[:, 0]) - logits[own])).sum()
        slopes = powers / totals
        slopes[own] -= 1
        slopes *= weights
        pulls = FACTOR_PENALTY * factors
        pulls[:-1] += SPREAD_PENALTY * (factors[:-1] - factors[:-1].mean(axis=1, keepdims=True))
        pulls[-1] += BIAS_PENALTY * factors[-1]
        gradient = np.vstack([(slopes * parts).sum(axis=1), slopes.sum(axis=0)]) + pulls
        return (loss + (pulls * factors).sum() / 2) / rows, gradient.ravel() / rows

    start = np.zeros((models + 1, classes))
    start[0] = 1.0
    fitted = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    factors: npt.NDArray[np.float64] = fitted.x.reshape(start.shape)
    return factors
