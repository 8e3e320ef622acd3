"""The wide part: a linear model on hashed n-grams, solved in seconds, that stands beside the network.

A feature is whether an n-gram of token ids occurs, hashed into 2**bits buckets (Weinberger et al., 2009,
"Feature hashing for large scale multitask learning") and scaled by how much more often it occurs in one class
than in the other (Wang & Manning, 2012, "Baselines and bigrams": naive Bayes as the features of a linear
model); rows have length 1. N-grams with an unknown word do not count.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.linear_model import SGDClassifier

from sentiscale.config import WideSettings
from sentiscale.text.vocab import UNK

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

ROWS_AT_ONCE = 16_384
"""Rows whose features are made together: bounds the memory of `WideModel.logits`."""

LEAST_SCALE = 0.1
"""Added to every scale: an n-gram that is even between the classes still counts a little."""


@dataclass(frozen=True)
class WideModel:
    """A solved linear model; `scales` and `weights` have one number a bucket (2**bits,)."""

    scales: FloatArray
    weights: FloatArray
    intercept: float
    longest: int

    def logits(self, tokens: npt.NDArray[Any], offsets: IntArray) -> FloatArray:
        """Logits (rows,) of ragged token ids; the features of 16,384 rows are in memory at a time."""
        parts = []
        for start in range(0, len(offsets) - 1, ROWS_AT_ONCE):
            matrix = ngram_matrix(tokens, offsets[start : start + ROWS_AT_ONCE + 1], self.bits, self.longest)
            scale(matrix, self.scales)
            parts.append((matrix @ self.weights + self.intercept).astype(np.float32))
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    @property
    def bits(self) -> int:
        """Binary logarithm of the number of buckets."""
        return len(self.scales).bit_length() - 1


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

    Shapes: tokens (all,), offsets (rows + 1,), labels (rows,) of 0 and 1.
    """
    matrix = _stack(_in_threads(tokens, offsets, settings, threads))
    scales = class_ratios(matrix, labels)
    scale(matrix, scales)
    solver = SGDClassifier(
        loss="log_loss", alpha=settings.alpha, max_iter=settings.passes, tol=None, random_state=seed
    )
    solver.fit(matrix, labels)
    weights = solver.coef_[0].astype(np.float32)
    return WideModel(scales, weights, float(solver.intercept_[0]), settings.longest)


def ngram_matrix(
    tokens: npt.NDArray[Any], offsets: IntArray, bits: int, longest: int
) -> scipy.sparse.csr_matrix:
    """Which n-grams occur (rows, 2**bits), as ones, not yet scaled."""
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    most = int(offsets[-1] - offsets[0]) * longest
    starts = np.zeros(len(offsets), np.int64)
    buckets = np.empty(most, np.int32)
    used = _find_ngrams(tokens, offsets, bits, longest, starts, buckets)
    shape = (len(offsets) - 1, 2**bits)
    return scipy.sparse.csr_matrix((np.ones(used, np.float32), buckets[:used].copy(), starts), shape=shape)


def class_ratios(matrix: scipy.sparse.csr_matrix, labels: npt.NDArray[np.uint8]) -> FloatArray:
    """How many times more likely each bucket is in one class than in the other: the logarithm (2**bits,)."""
    rows_with = np.ones((2, matrix.shape[1]))
    _count_by_class(matrix.indices, matrix.indptr, labels, rows_with)
    negative, positive = rows_with / rows_with.sum(axis=1, keepdims=True)
    ratios: FloatArray = (np.abs(np.log(positive / negative)) + LEAST_SCALE).astype(np.float32)
    return ratios


def scale(matrix: scipy.sparse.csr_matrix, scales: FloatArray) -> None:
    """Multiply features by `scales` and bring every row to length 1, in place."""
    _scale(matrix.data, matrix.indices, matrix.indptr, scales)


def _in_threads(
    tokens: npt.NDArray[Any], offsets: IntArray, settings: WideSettings, threads: int
) -> Iterator[scipy.sparse.csr_matrix]:
    rows = len(offsets) - 1
    chunk = max(1, -(-rows // (4 * threads)))
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(
            lambda start: ngram_matrix(
                tokens, offsets[start : start + chunk + 1], settings.bits, settings.longest
            ),
            range(0, rows, chunk),
        )


def _stack(parts: Iterator[scipy.sparse.csr_matrix]) -> scipy.sparse.csr_matrix:
    return scipy.sparse.vstack(list(parts), format="csr")


@numba.njit(inline="always")
def _mix(value: np.uint64) -> np.uint64:
    """Spread the bits of `value` over all 64 (the finaliser of MurmurHash3)."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@numba.njit(nogil=True, cache=True)
def _find_ngrams(tokens, offsets, bits, longest, starts, buckets):  # type: ignore[no-untyped-def]
    shift = np.uint64(64 - bits)
    used = 0
    widest = 0
    for row in range(len(offsets) - 1):
        widest = max(widest, offsets[row + 1] - offsets[row])
    found = np.empty(widest * longest, np.int32)
    for row in range(len(offsets) - 1):
        first, last = offsets[row], offsets[row + 1]
        size = 0
        for begin in range(first, last):
            key = np.uint64(0)
            for end in range(begin, min(begin + longest, last)):
                if tokens[end] == UNK:
                    break
                key = _mix(key * np.uint64(0x9E3779B97F4A7C15) + np.uint64(tokens[end]))
                found[size] = np.int32(key >> shift)
                size += 1
        ordered = np.sort(found[:size])
        for position in range(size):
            if position == 0 or ordered[position] != ordered[position - 1]:
                buckets[used] = ordered[position]
                used += 1
        starts[row + 1] = used
    return used


@numba.njit(nogil=True, cache=True)
def _count_by_class(buckets, starts, labels, rows_with):  # type: ignore[no-untyped-def]
    for row in range(len(starts) - 1):
        for position in range(starts[row], starts[row + 1]):
            rows_with[labels[row], buckets[position]] += 1.0


@numba.njit(nogil=True, cache=True)
def _scale(values, buckets, starts, scales):  # type: ignore[no-untyped-def]
    for row in range(len(starts) - 1):
        total = 0.0
        for position in range(starts[row], starts[row + 1]):
            values[position] *= scales[buckets[position]]
            total += values[position] * values[position]
        if total > 0.0:
            factor = np.float32(1.0 / np.sqrt(total))
            for position in range(starts[row], starts[row + 1]):
                values[position] *= factor
