"""Which n-grams a row has, hashed into buckets: the features of the wide part.

Features are words, pairs and triples of neighbours, and pairs with a few words between them ("not ... good"),
hashed into 2**bits buckets (Weinberger et al., 2009, "Feature hashing for large scale multitask learning").
N-grams with an unknown word do not count.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse

from sentiscale.text.vocab import UNK

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

MOST_KEPT = 120_000_000
"""Features kept in memory between passes, 8 bytes each; more are made again in every pass."""

MIX_FACTORS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
"""Of the finaliser of MurmurHash3; exported ONNX graphs use the same."""
MIX_SHIFT = np.uint64(33)
JOIN_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Multiplies the key of a run of words before the next word is added."""


@dataclass(frozen=True)
class Ngrams:
    """What counts as a feature, and into how many buckets it goes."""

    bits: int
    """2**bits buckets."""
    longest: int
    """Longest run of neighbours."""
    gaps: int
    """Most words between the two of a pair."""

    @property
    def per_token(self) -> int:
        """Most features that begin at one token."""
        return self.longest + self.gaps

    def matrix(self, tokens: npt.NDArray[Any], offsets: IntArray, rows: IntArray) -> scipy.sparse.csr_matrix:
        """Ones where a row of `rows` has a feature: (len(rows), 2**bits)."""
        offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        starts = np.zeros(len(rows) + 1, np.int64)
        buckets = np.empty(int((offsets[rows + 1] - offsets[rows]).sum()) * self.per_token, np.int32)
        kind = (self.bits, self.longest, self.gaps)
        used = _find_ngrams(tokens, offsets, rows, kind, starts, buckets)
        ones = np.ones(used, np.float32)
        return scipy.sparse.csr_matrix((ones, buckets[:used].copy(), starts), (len(rows), 2**self.bits))

    def products(
        self,
        tokens: npt.NDArray[Any],
        offsets: IntArray,
        rows: IntArray,
        scales: FloatArray,
        weights: FloatArray,
    ) -> FloatArray:
        """What `scale` and a product with `weights` would give of `matrix`: (len(rows),), without making it.

        The sum runs over a row's features as they first occur, in double precision.
        """
        products = np.zeros(len(rows), np.float32)
        kind = (self.bits, self.longest, self.gaps)
        offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        _multiply_rows(tokens, offsets, rows, kind, scales, weights, products)
        return products

    def occurrences(self, row: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], list[tuple[int, ...]]]:
        """Every occurrence of a feature in one row of token ids: its bucket, and the places of its words.

        As many buckets as tuples, in the same order; a feature that occurs twice is there twice.
        """
        known = (row != UNK).tolist()
        size = len(known)
        places: list[tuple[int, ...]] = []
        for begin in range(size):
            for end in range(begin, min(begin + self.longest, size)):
                if not known[end]:
                    break
                places.append(tuple(range(begin, end + 1)))
            for end in range(begin + 2, min(begin + 2 + self.gaps, size)):
                if known[begin] and known[end]:
                    places.append((begin, end))
        found = np.empty(size * self.per_token, np.int32)
        used = _hash_one_row(row, (self.bits, self.longest, self.gaps), found)
        return found[:used], places


class Chunks:
    """The features of chunks of rows, in order; kept if they are few, made again in each pass if not."""

    def __init__(
        self,
        kind: Ngrams,
        tokens: npt.NDArray[Any],
        offsets: IntArray,
        chunks: Sequence[IntArray],
        threads: int,
    ) -> None:
        self.chunks = chunks
        self.kept_share = min(1.0, MOST_KEPT / max(1, len(tokens) * kind.per_token))
        """What part of the features would fit into memory; 1 if all do, and then they are kept."""
        self._kind, self._corpus = kind, (tokens, offsets)
        self._threads = threads
        self._scales: FloatArray | None = None
        self._kept: list[scipy.sparse.csr_matrix] = []

    def __iter__(self) -> Iterator[tuple[IntArray, scipy.sparse.csr_matrix]]:
        """Each chunk's rows and its features, made by threads a little ahead of their use."""
        if self._kept:
            yield from zip(self.chunks, self._kept, strict=True)
            return
        coming: list[Future[scipy.sparse.csr_matrix]] = []
        with ThreadPoolExecutor(self._threads) as pool:
            for index, rows in enumerate(self.chunks):
                ahead = self.chunks[index + len(coming) : index + 2 * self._threads]
                coming += [pool.submit(self._scaled, rows_ahead) for rows_ahead in ahead]
                matrix = coming.pop(0).result()
                if self.kept_share == 1:
                    self._kept.append(matrix)
                yield rows, matrix

    def scale_by(self, scales: FloatArray) -> None:
        """From now on, features come scaled."""
        self._scales = scales
        for matrix in self._kept:
            scale(matrix, scales)

    def _scaled(self, rows: IntArray) -> scipy.sparse.csr_matrix:
        matrix = self._kind.matrix(*self._corpus, rows)
        if self._scales is not None:
            scale(matrix, self._scales)
        return matrix


def scale(matrix: scipy.sparse.csr_matrix, scales: FloatArray) -> None:
    """Multiply features by `scales` and bring every row to length 1, in place."""
    _scale(matrix.data, matrix.indices, matrix.indptr, scales)


def count_by_class(
    matrix: scipy.sparse.csr_matrix, labels: npt.NDArray[np.uint8], rows_with: npt.NDArray[np.float64]
) -> None:
    """Add to `rows_with` (2, 2**bits) how many rows of each class have each feature."""
    _count_by_class(matrix.indices, matrix.indptr, labels, rows_with)


@numba.njit(inline="always")
def _mix(value: np.uint64) -> np.uint64:
    """Spread the bits of `value` over all 64 (the finaliser of MurmurHash3)."""
    value ^= value >> MIX_SHIFT
    value *= MIX_FACTORS[0]
    value ^= value >> MIX_SHIFT
    value *= MIX_FACTORS[1]
    return value ^ (value >> MIX_SHIFT)


@numba.njit(inline="always")
def _joined(key: np.uint64, token: np.uint64) -> np.uint64:
    """The key of a run of words with one more word."""
    return _mix(key * JOIN_FACTOR + token)


@numba.njit(inline="always")
def _hash_row(tokens, first, last, kind, found):  # type: ignore[no-untyped-def]
    """Write the buckets of all features of a row into `found`; return how many these are."""
    bits, longest, gaps = kind
    shift = np.uint64(64 - bits)
    size = 0
    for begin in range(first, last):
        key = np.uint64(0)
        for end in range(begin, min(begin + longest, last)):
            if tokens[end] == UNK:
                break
            key = _joined(key, np.uint64(tokens[end]))
            found[size] = np.int32(key >> shift)
            size += 1
        apart = _joined(np.uint64(0), np.uint64(tokens[begin])) + np.uint64(1)  # not that of neighbours
        for end in range(begin + 2, min(begin + 2 + gaps, last)):
            if tokens[begin] != UNK and tokens[end] != UNK:
                found[size] = np.int32(_joined(apart, np.uint64(tokens[end])) >> shift)
                size += 1
    return size


@numba.njit(nogil=True, cache=True)
def _find_ngrams(tokens, offsets, rows, kind, starts, buckets):  # type: ignore[no-untyped-def]
    used = 0
    widest = 0
    for row in rows:
        widest = max(widest, offsets[row + 1] - offsets[row])
    found = np.empty(widest * (kind[1] + kind[2]), np.int32)
    for index, row in enumerate(rows):
        size = _hash_row(tokens, offsets[row], offsets[row + 1], kind, found)
        ordered = np.sort(found[:size])
        for position in range(size):
            if position == 0 or ordered[position] != ordered[position - 1]:
                buckets[used] = ordered[position]
                used += 1
        starts[index + 1] = used
    return used


@numba.njit(nogil=True, cache=True)
def _hash_one_row(row, kind, found):  # type: ignore[no-untyped-def]
    return _hash_row(row, 0, len(row), kind, found)


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


@numba.njit(nogil=True, cache=True)
def _multiply_rows(tokens, offsets, rows, kind, scales, weights, products):  # type: ignore[no-untyped-def]
    widest = 0
    for row in rows:
        widest = max(widest, offsets[row + 1] - offsets[row])
    found = np.empty(widest * (kind[1] + kind[2]), np.int32)
    places = 2
    while places < 2 * len(found):
        places *= 2
    seen = np.empty(places, np.int32)  # a hash table of the buckets of one row, never cleared:
    seen_by = np.full(places, -1, np.int64)  # a place is taken if it was by the same row
    for index, row in enumerate(rows):
        size = _hash_row(tokens, offsets[row], offsets[row + 1], kind, found)
        mask = 1
        while mask < 2 * size:
            mask *= 2
        mask -= 1
        distinct = 0
        for position in range(size):
            bucket = found[position]
            place = bucket & mask
            while seen_by[place] == index and seen[place] != bucket:
                place = (place + 1) & mask
            if seen_by[place] != index:
                seen_by[place], seen[place] = index, bucket
                found[distinct] = bucket
                distinct += 1
        squares = product = 0.0
        for position in range(distinct):  # apart from the loop before, so that many reads are under way
            value = np.float64(scales[found[position]])
            squares += value * value
            product += value * weights[found[position]]
        if squares > 0.0:
            products[index] = product / np.sqrt(squares)
