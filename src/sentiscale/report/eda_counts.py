"""Count words and word pairs by class, and rows by length, in a prepared dataset with bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiscale.config import TrainSettings
from sentiscale.data.prepared import SPLITS, PreparedDataset, Split
from sentiscale.text.compiled import check_array, check_indices, check_offsets, kernel
from sentiscale.text.vocab import SPECIAL
from sentiscale.util.progress import Progress

Counts = NDArray[np.int64]

PAIR_COUNTS = 2**25
"""Most entries of the table of pairs (134 MB). Pairs are counted exactly, but only among so many of the most
frequent words that the table has this size: 4,096 words for two classes."""
MOST_TOKENS = 1_000_000_000
"""Largest number of training tokens to read; if there are more, only every k-th row is read."""
BLOCK_ROWS = 65_536
NO_NUMBER = np.int64(-1)


@dataclass(frozen=True)
class WordUse:
    """Occurrences of words and word pairs in the training rows that were read."""

    words: Counts
    """(K, vocabulary): tokens by class and word id, including padding and unknown."""
    pair_table: NDArray[np.uint32]
    """(K, n, n): adjacent pairs (first, second) of the n most frequent words by class; index 0 is id 2."""
    every: int
    """Every `every`-th row was read; 1 means all rows."""

    @property
    def tokens(self) -> int:
        return int(self.words.sum())

    def pairs(self, at_least: int) -> tuple[Counts, Counts]:
        """Word ids (pairs, 2) and counts (K, pairs) of the pairs that occur at least `at_least` times."""
        flat = self.pair_table.reshape(len(self.pair_table), -1)
        found = np.flatnonzero(flat.sum(axis=0, dtype=np.uint32) >= at_least)
        ids = np.stack(np.divmod(found, self.pair_table.shape[1]), axis=1) + len(SPECIAL)
        return ids, flat[:, found].astype(np.int64)

    @property
    def pair_words(self) -> int:
        """Number of most frequent words among which pairs were counted."""
        return int(self.pair_table.shape[1])

    @property
    def pair_totals(self) -> Counts:
        totals: Counts = self.pair_table.sum(axis=(1, 2), dtype=np.int64)
        return totals


class RowBlock(NamedTuple):
    """Consecutive rows of a split."""

    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    """Start of each row in `tokens` (rows + 1,)."""
    labels: NDArray[np.uint8]


def count_words(dataset: PreparedDataset, progress: Progress, *, most_tokens: int = MOST_TOKENS) -> WordUse:
    """Count words and adjacent pairs in the training rows.

    Raises: DataError when there are no training rows or their files are inconsistent.
    """
    split = dataset.split("train")
    every = -(-len(split.tokens) // most_tokens)
    classes = len(dataset.manifest.classes)
    width = min(isqrt(PAIR_COUNTS // classes), max(dataset.manifest.vocab_size - len(SPECIAL), 1))
    words = np.zeros((classes, dataset.manifest.vocab_size), np.int64)
    pairs = np.zeros((classes, width, width), np.uint32)
    with progress.task("count words", len(split), "rows") as advance:
        for first, rows in enumerate(row_blocks(split)):
            phase = -first * BLOCK_ROWS % every
            check_offsets(rows.offsets, len(rows.tokens))
            check_indices("tokens", rows.tokens, words.shape[1])
            check_array("labels", rows.labels, np.uint8, (len(rows.offsets) - 1,))
            check_indices("labels", rows.labels, classes)
            _count(rows.tokens, rows.offsets, rows.labels, phase, every, words, pairs)
            advance(len(rows.labels), "")
    return WordUse(words, pairs, every)


def count_lengths(dataset: PreparedDataset) -> Counts:
    """Count the rows of all splits by class and stored length; returns (K, longest + 1)."""
    counts = np.zeros((len(dataset.manifest.classes), 1), np.int64)
    for split in filled_splits(dataset):
        for start in range(0, len(split), BLOCK_ROWS):
            lengths = np.diff(split.offsets[start : start + BLOCK_ROWS + 1])
            labels = split.labels[start : start + BLOCK_ROWS]
            width = max(int(lengths.max()) + 1, counts.shape[1])
            counts = np.pad(counts, ((0, 0), (0, width - counts.shape[1])))
            for label in range(len(counts)):
                counts[label] += np.bincount(lengths[labels == label], minlength=width)
    return counts


def filled_splits(dataset: PreparedDataset) -> list[Split]:
    return [dataset.split(name) for name in SPLITS if dataset.manifest.rows.get(name)]


def row_blocks(split: Split) -> Iterator[RowBlock]:
    """Yield blocks of consecutive rows; blocks are mapped separately, so that earlier ones are released."""
    path = getattr(split.tokens, "filename", None)
    for start in range(0, len(split), BLOCK_ROWS):
        offsets = np.array(split.offsets[start : start + BLOCK_ROWS + 1])
        begin, count = int(offsets[0]), int(offsets[-1] - offsets[0])
        if path is None or not count:
            tokens = split.tokens[begin : begin + count]
        else:
            dtype = split.tokens.dtype
            tokens = np.memmap(path, dtype, mode="r", offset=begin * dtype.itemsize, shape=(count,))
        yield RowBlock(tokens, offsets - begin, np.asarray(split.labels[start : start + BLOCK_ROWS]))


@kernel
def _count(
    tokens: NDArray[Any],
    offsets: NDArray[np.int64],
    labels: NDArray[np.uint8],
    phase: int,
    every: int,
    words: Counts,
    pairs: NDArray[np.uint32],
) -> None:
    """Count every `every`-th row, starting at `phase`; pairs do not cross row boundaries."""
    width = pairs.shape[1]
    for row in range(phase, len(labels), every):
        label = labels[row]
        previous = NO_NUMBER
        for place in range(offsets[row], offsets[row + 1]):
            word = np.int64(tokens[place])
            words[label, word] += 1
            number = word - 2 if 2 <= word < width + 2 else NO_NUMBER
            if previous >= 0 and number >= 0:
                pairs[label, previous, number] += 1
            previous = number


USUAL_CUTS = (50, 100, 128, 200, 256, 400, 512)
TRAINING_CUT: int = TrainSettings().max_tokens
"""Number of tokens of a review that training reads by default."""
MOST_BINS = 52


@dataclass(frozen=True)
class Cut:
    """Effect of truncating reviews to `max_tokens`."""

    max_tokens: int
    tokens_kept: float
    """Share of all tokens that are kept."""
    rows_whole: float
    """Share of rows that are not truncated."""


@dataclass(frozen=True)
class Lengths:
    counts: Counts
    """(K, longest + 1): rows by class and stored length."""
    max_tokens: int
    """Number of tokens to which preparation truncates reviews."""
    cut_rows: int
    """Number of rows that preparation truncated."""
    cut_tokens: int
    """Number of tokens that preparation removed; 0 also if preparation did not count them."""

    @cached_property
    def _per_length(self) -> Counts:
        total: Counts = self.counts.sum(axis=0)
        return total

    @property
    def rows(self) -> int:
        return int(self._per_length.sum())

    @property
    def stored_tokens(self) -> int:
        return int(self._per_length @ np.arange(len(self._per_length)))

    @property
    def all_tokens(self) -> int:
        """Number of tokens before truncation, as far as they were counted."""
        return self.stored_tokens + self.cut_tokens

    @property
    def mean(self) -> float:
        return self.stored_tokens / max(self.rows, 1)

    def quantile(self, share: float, label: int | None = None) -> int:
        """Length that this share of the rows does not exceed; 0 without rows. `label` selects a class."""
        counts = self._per_length if label is None else self.counts[label]
        return int(np.searchsorted(np.cumsum(counts), share * counts.sum()))

    def cut(self, max_tokens: int) -> Cut:
        """Effect of truncation to `max_tokens`, which must not exceed the preparation's value."""
        lengths = np.arange(len(self._per_length))
        kept = int(self._per_length @ np.minimum(lengths, max_tokens))
        whole = int(self._per_length[: max_tokens + 1].sum())
        if max_tokens >= self.max_tokens:
            whole -= self.cut_rows
        return Cut(max_tokens, kept / max(self.all_tokens, 1), whole / max(self.rows, 1))

    def usual_cuts(self) -> list[Cut]:
        """Effects of the usual cut-offs below the longest stored row, and of the preparation's cut-off."""
        longest = min(self.max_tokens, len(self._per_length) - 1)
        chosen = {length for length in (*USUAL_CUTS, TRAINING_CUT) if length < longest}
        return [self.cut(length) for length in sorted(chosen | {self.max_tokens})]

    def histogram(self) -> tuple[NDArray[np.int64], Counts]:
        """Histogram of rows by length, in bins whose width is a round number.

        Returns: edges (bins + 1,), where bin i contains lengths from edges[i] + 1 to edges[i + 1]; and rows
        (K, bins) by class.
        """
        longest = max(len(self._per_length) - 1, 1)
        width = round_width(longest / MOST_BINS)
        edges = np.arange(0, longest + width, width)
        padded = np.pad(self.counts[:, 1:], ((0, 0), (0, int(edges[-1]) - longest)))
        return edges, padded.reshape(len(padded), -1, width).sum(axis=2)


def round_width(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, … that is not below `least`."""
    width = 1
    while width < least:
        width = width * 5 // 2 if str(width).startswith("2") else width * 2
    return width
