"""Logistic regression of three or more classes on sparse features, fitted by stochastic gradient descent."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse

from sentiscale.model.ngrams import Buckets, FloatArray, IntArray
from sentiscale.text.compiled import check_array, check_indices, kernel

LEARNING_RATE = 0.4
"""Step size of AdaGrad (Duchi et al., 2011)."""
INITIAL_SQUARES = 0.1
"""Squared gradients that AdaGrad assumes before the first step; they bound the size of first steps."""


class SoftmaxRegression:
    """Multinomial logistic regression; one pass over a row's features updates the weights of all classes.

    The squared gradients of AdaGrad are summed over the classes of a feature: one number per feature is
    stored, not one per weight. Rare features learn fast and common ones do not overshoot, so that no schedule
    of learning rates depends on the number of rows.
    """

    def __init__(self, features: int, classes: int, alpha: float) -> None:
        # A row's sum of squares follows its weights: both are read and written together, and reading them
        # from two arrays took twice as long.
        self._table = np.zeros((features, classes + 1), np.float32)
        self._table[:, -1] = INITIAL_SQUARES
        self._bias = np.append(np.zeros(classes, np.float32), np.float32(INITIAL_SQUARES))
        self._alpha = np.float32(alpha)

    @property
    def weights(self) -> FloatArray:
        """A copy of the weights, (features, K)."""
        return self._table[:, :-1].copy()

    @property
    def intercept(self) -> tuple[float, ...]:
        return tuple(self._bias[:-1].tolist())

    def partial_fit(
        self,
        matrix: scipy.sparse.csr_matrix,
        labels: npt.NDArray[np.uint8],
        row_weights: FloatArray | None = None,
    ) -> None:
        """Take one step for each row of `matrix` (rows, features) with labels and weights (rows,)."""
        rows, features = matrix.shape
        matrix.check_format(full_check=True)
        check_array("table", self._table, np.float32, (features, len(self._bias)))
        check_array("labels", labels, np.uint8, (rows,))
        check_indices("labels", labels, len(self._bias) - 1)
        row_weights = np.ones(rows, np.float32) if row_weights is None else row_weights
        check_array("row_weights", row_weights, np.float32, (rows,))
        parts = matrix.data, matrix.indices, matrix.indptr
        _descend(*parts, labels, row_weights, Parameters(self._table, self._bias, self._alpha))


class Parameters(NamedTuple):
    """Arguments of a step; a tuple, because compiled code cannot read objects."""

    table: FloatArray
    """Weights of each feature and the sum of its squared gradients: (features, K + 1)."""
    bias: FloatArray
    """The same of the intercept: (K + 1,)."""
    alpha: np.float32
    """L2 penalty on the weights of a row's features."""


@kernel
def _descend(
    values: FloatArray,
    buckets: Buckets,
    starts: IntArray,
    labels: npt.NDArray[np.uint8],
    row_weights: FloatArray,
    parameters: Parameters,
) -> None:
    table, bias, alpha = parameters
    classes = len(bias) - 1
    slopes = np.empty(classes, np.float32)  # logits, probabilities, then derivatives of the loss by logits
    for row in range(len(starts) - 1):
        # Loops in place of array operations, which take three seconds to compile.
        for output in range(classes):
            slopes[output] = bias[output]
        for position in range(starts[row], starts[row + 1]):
            bucket, value = np.uint64(buckets[position]), values[position]  # signed: a test for each index
            for output in range(classes):
                slopes[output] += value * table[bucket, output]
        largest = slopes[0]
        for output in range(classes):
            largest = max(largest, slopes[output])
        total = norm = np.float32(0)
        for output in range(classes):
            slopes[output] = np.exp(slopes[output] - largest)
            total += slopes[output]
        for output in range(classes):
            slopes[output] = row_weights[row] * (slopes[output] / total - np.float32(output == labels[row]))
            norm += slopes[output] * slopes[output]
        bias[classes] += norm
        rate = np.float32(LEARNING_RATE) / np.sqrt(bias[classes])
        for output in range(classes):
            bias[output] -= rate * slopes[output]
        for position in range(starts[row], starts[row + 1]):
            bucket, value = np.uint64(buckets[position]), values[position]
            table[bucket, classes] += value * value * norm
            rate = np.float32(LEARNING_RATE) / np.sqrt(table[bucket, classes])
            shrinking, pace = max(np.float32(0), np.float32(1) - rate * alpha), rate * value
            for output in range(classes):
                table[bucket, output] = shrinking * table[bucket, output] - pace * slopes[output]
