"""The wide part: a linear model on hashed n-grams, solved in seconds, that stands beside the network.

Features are those of TF-IDF with sublinear counts (1 + log count, times inverse document frequency,
rows of length 1) over n-grams of token ids, hashed into 2**bits buckets (Weinberger et al., 2009,
"Feature hashing for large scale multitask learning"). N-grams with an unknown word do not count.
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


@dataclass(frozen=True)
class WideModel:
    """A solved linear model; `idf` and `weights` have one number a bucket (2**bits,)."""

    idf: FloatArray
    weights: FloatArray
    intercept: float
    longest: int

    def logits(self, tokens: npt.NDArray[Any], offsets: IntArray) -> FloatArray:
        """Logits (rows,) of ragged token ids; the features of 16,384 rows are in memory at a time."""
        parts = []
        for start in range(0, len(offsets) - 1, ROWS_AT_ONCE):
            matrix = ngram_matrix(tokens, offsets[start : start + ROWS_AT_ONCE + 1], self.bits, self.longest)
            weigh(matrix, self.idf)
            parts.append((matrix @ self.weights + self.intercept).astype(np.float32))
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    @property
    def bits(self) -> int:
        """Binary logarithm of the number of buckets."""
        return len(self.idf).bit_length() - 1


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
    documents = np.bincount(matrix.indices, minlength=2**settings.bits)
    idf = (np.log((1 + matrix.shape[0]) / (1 + documents)) + 1).astype(np.float32)
    weigh(matrix, idf)
    solver = SGDClassifier(
        loss="log_loss", alpha=settings.alpha, max_iter=settings.passes, tol=None, random_state=seed
    )
    solver.fit(matrix, labels)
    weights = solver.coef_[0].astype(np.float32)
    return WideModel(idf, weights, float(solver.intercept_[0]), settings.longest)


def ngram_matrix(
    tokens: npt.NDArray[Any], offsets: IntArray, bits: int, longest: int
) -> scipy.sparse.csr_matrix:
    """Sublinear n-gram counts (rows, 2**bits), not yet weighed."""
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    most = int(offsets[-1] - offsets[0]) * longest
    starts = np.zeros(len(offsets), np.int64)
    buckets, counts = np.empty(most, np.int32), np.empty(most, np.float32)
    used = _count_ngrams(tokens, offsets, bits, longest, starts, buckets, counts)
    shape = (len(offsets) - 1, 2**bits)
    return scipy.sparse.csr_matrix((counts[:used].copy(), buckets[:used].copy(), starts), shape=shape)


def weigh(matrix: scipy.sparse.csr_matrix, idf: FloatArray) -> None:
    """Multiply counts by `idf` and bring every row to length 1, in place."""
    _weigh(matrix.data, matrix.indices, matrix.indptr, idf)


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
def _count_ngrams(tokens, offsets, bits, longest, starts, buckets, counts):  # type: ignore[no-untyped-def]
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
        position = 0
        while position < size:
            same = position + 1
            while same < size and ordered[same] == ordered[position]:
                same += 1
            buckets[used] = ordered[position]
            counts[used] = 1.0 + np.log(np.float32(same - position))
            used += 1
            position = same
        starts[row + 1] = used
    return used


@numba.njit(nogil=True, cache=True)
def _weigh(values, buckets, starts, idf):  # type: ignore[no-untyped-def]
    for row in range(len(starts) - 1):
        total = 0.0
        for position in range(starts[row], starts[row + 1]):
            values[position] *= idf[buckets[position]]
            total += values[position] * values[position]
        if total > 0.0:
            scale = np.float32(1.0 / np.sqrt(total))
            for position in range(starts[row], starts[row + 1]):
                values[position] *= scale
