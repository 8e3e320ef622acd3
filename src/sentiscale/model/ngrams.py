"""Hash the n-grams of a row into buckets: the features of the n-gram model.

Features are single words, pairs and triples of adjacent words, and pairs with a few words between them
("not ... good"), hashed into 2**bits buckets (Weinberger et al., 2009, "Feature hashing for large scale
multitask learning"). N-grams that contain an unknown word are skipped. The loops are compiled; a plain NumPy
version took 1.55 times as long.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse

from sentiscale.text.compiled import check_array, check_indices, check_spans, kernel
from sentiscale.text.vocab import UNK
from sentiscale.text.word_table import finish_hash

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Tokens = npt.NDArray[Any]
Buckets = npt.NDArray[np.int32]

MOST_CACHED = 120_000_000
"""Maximum number of features cached between passes, at 8 bytes each; if there are more, every pass
recomputes them."""

MOST_BITS, MOST_WORDS = 28, 16
"""Maximum of `Ngrams.bits`, so that a bucket is an int32, and of its `longest` and `gaps`, which keeps the
number of features of a row in an int64."""

JOIN_FACTOR = np.uint64(0x9E3779B97F4A7C15)
"""Factor that an n-gram's key is multiplied by before the next word is added."""


class Ngrams(NamedTuple):
    """Settings that define which n-grams are features, and the number of buckets."""

    bits: int
    """Base-2 logarithm of the number of buckets."""
    longest: int
    """Maximum number of words in an n-gram of adjacent words."""
    gaps: int
    """Maximum number of words between the two words of a pair."""

    @property
    def per_token(self) -> int:
        """Maximum number of features that begin at one token."""
        return self.longest + self.gaps

    def check(self, tokens: Tokens) -> None:
        """Raise ValueError unless the settings and tokens are safe for compiled code."""
        if not (
            1 <= self.bits <= MOST_BITS and 1 <= self.longest <= MOST_WORDS and 0 <= self.gaps <= MOST_WORDS
        ):
            raise ValueError(
                f"{self} is not possible; bits must be from 1 to {MOST_BITS}, longest from 1 to "
                f"{MOST_WORDS}, gaps from 0 to {MOST_WORDS}"
            )
        check_array("tokens", tokens, np.integer, (-1,))

    def matrix(self, tokens: Tokens, offsets: IntArray, rows: IntArray) -> scipy.sparse.csr_matrix:
        """Return a sparse matrix (len(rows), 2**bits) with a one for each feature of each of `rows`."""
        self.check(tokens)
        offsets = checked_offsets(tokens, offsets, rows)
        starts = np.zeros(len(rows) + 1, np.int64)
        buckets = np.empty(int((offsets[rows + 1] - offsets[rows]).sum()) * self.per_token, np.int32)
        used = _find_ngrams(tokens, offsets, rows, self, starts, buckets)
        ones = np.ones(used, np.float32)
        return scipy.sparse.csr_matrix((ones, buckets[:used].copy(), starts), (len(rows), 2**self.bits))

    def products(
        self, tokens: Tokens, offsets: IntArray, rows: IntArray, scales: FloatArray, weights: FloatArray
    ) -> FloatArray:
        """Multiply the scaled `matrix` by `weights`, (2**bits,) or (2**bits, K), without storing it.

        Returns (len(rows),) or (len(rows), K). Each row's features are summed in order of first occurrence,
        in double precision.
        """
        self.check(tokens)
        offsets = checked_offsets(tokens, offsets, rows)
        check_array("scales", scales, np.float32, (2**self.bits,))
        check_array("weights", weights, np.float32, (2**self.bits, -1)[: weights.ndim])
        products = np.zeros((len(rows), *weights.shape[1:]), np.float32)
        multiply = _multiply_rows if weights.ndim == 1 else _multiply_rows_by_class
        multiply(tokens, offsets, rows, self, scales, weights, products)
        return products

    def occurrences(self, row: Tokens) -> tuple[Buckets, list[tuple[int, ...]]]:
        """List every occurrence of a feature in one row of token ids: its bucket and its words' positions.

        Both lists have the same order; a feature that occurs twice is listed twice.
        """
        self.check(row)
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
        used = _hash_one_row(row, self, found)
        return found[:used], places


def checked_offsets(tokens: Tokens, offsets: IntArray, rows: IntArray) -> IntArray:
    """Return contiguous offsets after a check of those that `rows` use.

    Raises: ValueError when a row does not exist or is not within `tokens`.
    """
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    check_indices("rows", rows, len(offsets) - 1)
    check_spans(offsets[rows], offsets[rows + 1], len(tokens))
    return offsets


class FeatureChunks:
    """Iterate over the features of chunks of rows, in order.

    Features are cached if they fit into memory; otherwise each pass recomputes them.
    """

    def __init__(
        self, ngrams: Ngrams, tokens: Tokens, offsets: IntArray, chunks: Sequence[IntArray], threads: int
    ) -> None:
        self.chunks = chunks
        self.cached_share = min(1.0, MOST_CACHED / max(1, len(tokens) * ngrams.per_token))
        """Share of the features that fits into memory; features are cached only if it is 1."""
        self.ngrams, self._corpus = ngrams, (tokens, offsets)
        self._threads = threads
        self._scales: FloatArray | None = None
        self._cache: list[scipy.sparse.csr_matrix] = []

    def __iter__(self) -> Iterator[tuple[IntArray, scipy.sparse.csr_matrix]]:
        """Yield each chunk's rows and features; threads compute a few chunks ahead."""
        if self._cache:
            yield from zip(self.chunks, self._cache, strict=True)
            return
        coming: list[Future[scipy.sparse.csr_matrix]] = []
        pool = ThreadPoolExecutor(self._threads)
        try:
            for index, rows in enumerate(self.chunks):
                ahead = self.chunks[index + len(coming) : index + 2 * self._threads]
                coming += [pool.submit(self._scaled, rows_ahead) for rows_ahead in ahead]
                matrix = coming.pop(0).result()
                if self.cached_share == 1:
                    self._cache.append(matrix)
                yield rows, matrix
        finally:
            pool.shutdown(cancel_futures=True)  # a caller that stops early does not wait for chunks ahead

    def keep_first(self, count: int) -> None:
        """Drop all chunks but the first `count`."""
        self.chunks, self._cache = self.chunks[:count], self._cache[:count]

    def scale_by(self, scales: FloatArray) -> None:
        """Scale the cached features and all features computed later."""
        self._scales = scales
        for matrix in self._cache:
            scale(matrix, scales)

    def _scaled(self, rows: IntArray) -> scipy.sparse.csr_matrix:
        matrix = self.ngrams.matrix(*self._corpus, rows)
        if self._scales is not None:
            scale(matrix, self._scales)
        return matrix


def scale(matrix: scipy.sparse.csr_matrix, scales: FloatArray) -> None:
    """Multiply the features by `scales` and normalise each row to Euclidean length 1, in place."""
    matrix.check_format(full_check=True)
    check_array("scales", scales, np.float32, (matrix.shape[1],))
    _scale(matrix.data, matrix.indices, matrix.indptr, scales)


def count_by_class(
    matrix: scipy.sparse.csr_matrix, labels: npt.NDArray[np.uint8], rows_with: npt.NDArray[Any]
) -> None:
    """Add the number of rows of each class that have each feature to `rows_with` (classes, 2**bits).

    `rows_with` has the type float64 or int32.
    """
    matrix.check_format(full_check=True)
    check_array("labels", labels, np.uint8, (matrix.shape[0],))
    kind = np.int32 if rows_with.dtype == np.int32 else np.float64
    check_array("rows_with", rows_with, kind, (-1, matrix.shape[1]))
    check_indices("labels", labels, len(rows_with))
    _count_by_class(matrix.indices, matrix.indptr, labels, rows_with)


@numba.njit(inline="always")
def _joined(key: np.uint64, token: np.uint64) -> np.uint64:
    """Return the key of an n-gram extended by one word."""
    return finish_hash(key * JOIN_FACTOR + token)


@numba.njit(inline="always")
def _hash_row(tokens: Tokens, first: int, last: int, ngrams: Ngrams, found: Buckets) -> int:
    """Write the buckets of a row's features into `found` and return their number."""
    bits, longest, gaps = ngrams
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
        # The addition makes the key of a pair differ from that of two adjacent words.
        apart = _joined(np.uint64(0), np.uint64(tokens[begin])) + np.uint64(1)
        for end in range(begin + 2, min(begin + 2 + gaps, last)):
            if tokens[begin] != UNK and tokens[end] != UNK:
                found[size] = np.int32(_joined(apart, np.uint64(tokens[end])) >> shift)
                size += 1
    return size


@numba.njit(inline="always")
def _longest_row(offsets: IntArray, rows: IntArray) -> int:
    longest = 0
    for index in range(len(rows)):
        longest = max(longest, offsets[rows[index] + 1] - offsets[rows[index]])
    return longest


@numba.njit(inline="always")
def _sort_distinct(found: Buckets, size: int, bits: int, table: Buckets) -> int:
    """Sort a row's buckets without repetitions and return their number.

    `table` holds only -1, before and after. Buckets are hashes, so each is near its place if they are spread
    over a table by their value. This is as fast as `np.sort`, which takes a second to compile.
    """
    shift = bits
    while shift > 0 and 1 << (bits - shift) < 2 * size:
        shift -= 1
    for position in range(size):
        bucket = found[position]
        place = bucket >> shift
        while 0 <= table[place] < bucket:
            place += 1
        while table[place] >= 0 and table[place] != bucket:
            table[place], bucket = bucket, table[place]
            place += 1
        table[place] = bucket
    distinct = 0
    for place in range((1 << (bits - shift)) + size):
        if table[place] >= 0:
            found[distinct], table[place] = table[place], -1
            distinct += 1
    return distinct


@kernel
def _find_ngrams(
    tokens: Tokens, offsets: IntArray, rows: IntArray, ngrams: Ngrams, starts: Tokens, buckets: Buckets
) -> int:
    used = 0
    found = np.empty(_longest_row(offsets, rows) * (ngrams.longest + ngrams.gaps), np.int32)
    table = np.full(5 * len(found) + 2, -1, np.int32)
    for index in range(len(rows)):
        row = rows[index]
        size = _hash_row(tokens, offsets[row], offsets[row + 1], ngrams, found)
        for position in range(_sort_distinct(found, size, ngrams.bits, table)):
            buckets[used] = found[position]
            used += 1
        starts[index + 1] = used
    return used


@kernel
def _hash_one_row(row: Tokens, ngrams: Ngrams, found: Buckets) -> int:
    return _hash_row(row, 0, len(row), ngrams, found)


@kernel
def _count_by_class(
    buckets: Buckets, starts: Tokens, labels: npt.NDArray[np.uint8], rows_with: npt.NDArray[Any]
) -> None:
    for row in range(len(starts) - 1):
        for position in range(starts[row], starts[row + 1]):
            rows_with[labels[row], buckets[position]] += 1


@kernel
def _scale(values: FloatArray, buckets: Buckets, starts: Tokens, scales: FloatArray) -> None:
    for row in range(len(starts) - 1):
        total = 0.0
        for position in range(starts[row], starts[row + 1]):
            values[position] *= scales[buckets[position]]
            total += values[position] * values[position]
        if total > 0.0:
            factor = np.float32(1.0 / np.sqrt(total))
            for position in range(starts[row], starts[row + 1]):
                values[position] *= factor


@numba.njit(inline="always")
def _distinct(found: Buckets, size: int, index: int, seen: Buckets, seen_by: IntArray) -> int:
    """Move the first occurrence of each of a row's buckets to the front of `found` and return their number.

    `seen` is a hash table of one row's buckets. Instead of being cleared, `seen_by` records the row (`index`)
    that filled each slot.
    """
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
    return distinct


@numba.njit(inline="always")
def _table_size(most: int) -> int:
    places = 2
    while places < 2 * most:
        places *= 2
    return places


@kernel
def _multiply_rows(
    tokens: Tokens,
    offsets: IntArray,
    rows: IntArray,
    ngrams: Ngrams,
    scales: FloatArray,
    weights: FloatArray,
    products: FloatArray,
) -> None:
    found = np.empty(_longest_row(offsets, rows) * (ngrams.longest + ngrams.gaps), np.int32)
    seen = np.empty(_table_size(len(found)), np.int32)
    seen_by = np.full(len(seen), -1, np.int64)
    for index in range(len(rows)):
        row = rows[index]
        size = _hash_row(tokens, offsets[row], offsets[row + 1], ngrams, found)
        distinct = _distinct(found, size, index, seen, seen_by)
        squares = product = 0.0
        for position in range(distinct):  # separate loop, so that memory reads overlap
            value = np.float64(scales[found[position]])
            squares += value * value
            product += value * weights[found[position]]
        if squares > 0.0:
            products[index] = product / np.sqrt(squares)


@kernel
def _multiply_rows_by_class(
    tokens: Tokens,
    offsets: IntArray,
    rows: IntArray,
    ngrams: Ngrams,
    scales: FloatArray,
    weights: FloatArray,
    products: FloatArray,
) -> None:
    found = np.empty(_longest_row(offsets, rows) * (ngrams.longest + ngrams.gaps), np.int32)
    seen = np.empty(_table_size(len(found)), np.int32)
    seen_by = np.full(len(seen), -1, np.int64)
    values = np.empty(len(found))
    for index in range(len(rows)):
        row = rows[index]
        size = _hash_row(tokens, offsets[row], offsets[row + 1], ngrams, found)
        distinct = _distinct(found, size, index, seen, seen_by)
        squares = 0.0
        for position in range(distinct):
            values[position] = scales[found[position]]
            squares += values[position] * values[position]
        if squares > 0.0:
            # A loop for each output: more memory reads overlap than with one loop for all (0.67 of its time).
            for output in range(weights.shape[1]):
                product = 0.0
                for position in range(distinct):
                    product += values[position] * weights[found[position], output]
                products[index, output] = product / np.sqrt(squares)
