"""Logistic regression of three or more classes on sparse features, fitted by stochastic gradient descent."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse

from sentiscale.model.ngrams import Buckets, FloatArray, IntArray
from sentiscale.text.compiled import check_array, check_indices, kernel

LEARNING_RATE = 0.3
"""Step size of AdaGrad (Duchi et al., 2011)."""
INITIAL_SQUARES = 0.1
"""Squared gradients that AdaGrad assumes before the first step; they bound the size of first steps."""


class Parameters(NamedTuple):
    """What a step changes; a tuple, because compiled code cannot read objects."""

    weights: FloatArray
    """(features, K)"""
    intercept: FloatArray
    """(K,)"""
    squares: FloatArray
    """Sum of squared gradients of each feature and, last, of the intercept: (features + 1,)."""


class SoftmaxRegression:
    """Multinomial logistic regression; one pass over a row's features updates the weights of all classes.

    The squared gradients of AdaGrad are summed over the classes of a feature: one number per feature is
    stored, not one per weight. Rare features learn fast and common ones do not overshoot, so that no schedule
    of learning rates depends on the number of rows.
    """

    def __init__(self, features: int, classes: int, alpha: float) -> None:
        self.weights = np.zeros((features, classes), np.float32)
        self.intercept = np.zeros(classes, np.float32)
        self._squares = np.full(features + 1, INITIAL_SQUARES, np.float32)
        self._alpha = alpha

    def partial_fit(
        self,
        matrix: scipy.sparse.csr_matrix,
        labels: npt.NDArray[np.uint8],
        row_weights: FloatArray | None = None,
    ) -> None:
        """Take one step for each row of `matrix` (rows, features) with labels and weights (rows,)."""
        rows, features = matrix.shape
        matrix.check_format(full_check=True)
        check_array("labels", labels, np.uint8, (rows,))
        check_indices("labels", labels, len(self.intercept))
        check_array("weights", self.weights, np.float32, (features, len(self.intercept)))
        row_weights = np.ones(rows, np.float32) if row_weights is None else row_weights
        check_array("row_weights", row_weights, np.float32, (rows,))
        parameters = Parameters(self.weights, self.intercept, self._squares)
        parts = matrix.data, matrix.indices, matrix.indptr
        _descend(*parts, labels, row_weights, parameters, np.float32(self._alpha))


@kernel
def _descend(
    values: FloatArray,
    buckets: Buckets,
    starts: IntArray,
    labels: npt.NDArray[np.uint8],
    row_weights: FloatArray,
    parameters: Parameters,
    alpha: np.float32,
) -> None:
    weights, intercept, squares = parameters
    classes = len(intercept)
    slopes = np.empty(
        classes, np.float32
    )  # logits, then probabilities, then derivatives of the loss by logits
    for row in range(len(starts) - 1):
        slopes[:] = intercept
        for position in range(starts[row], starts[row + 1]):
            for output in range(classes):
                slopes[output] += values[position] * weights[buckets[position], output]
        largest = slopes.max()
        total = np.float32(0.0)
        for output in range(classes):
            slopes[output] = np.exp(slopes[output] - largest)
            total += slopes[output]
        norm = np.float32(0.0)
        for output in range(classes):
            slopes[output] = row_weights[row] * (slopes[output] / total - (output == labels[row]))
            norm += slopes[output] * slopes[output]
        squares[-1] += norm
        rate = np.float32(LEARNING_RATE) / np.sqrt(squares[-1])
        for output in range(classes):
            intercept[output] -= rate * slopes[output]
        for position in range(starts[row], starts[row + 1]):
            bucket, value = buckets[position], values[position]
            squares[bucket] += value * value * norm
            rate = np.float32(LEARNING_RATE) / np.sqrt(squares[bucket])
            for output in range(classes):
                step = value * slopes[output] + alpha * weights[bucket, output]
                weights[bucket, output] -= rate * step
