"""Which row goes where: duplicates out, splits by the hash of the cleaned text, words by frequency."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiscale.data.shards import DROPPED, WordCounts
from sentiscale.text.vocab import SPECIAL, Vocab

TRAIN, VALID, TEST = range(3)
MERGE_EVERY = 64
"""Blocks whose word counts are held before they are added up; bounds memory."""


@dataclass(frozen=True)
class Selection:
    """The split of every usable row."""

    splits: NDArray[np.uint8]
    """0 train, 1 valid, 2 test, 255 dropped."""
    duplicates: int
    """Rows dropped because an equal text was kept."""
    conflicts: int
    """Dropped rows whose label differs from the kept one's."""


def select(
    hashes: NDArray[np.uint64],
    labels: NDArray[np.uint8],
    is_test: NDArray[np.bool_],
    shares: Sequence[float],
    *,
    dedupe: bool,
) -> Selection:
    """Give every row a split.

    Rows of a named test set (`is_test`) all stay, in the test split; other rows equal to one of them
    go. Of equal other rows the first stays. A row's split depends on its text alone.

    Args:
        hashes: of the cleaned texts, in input order.
        labels: 0 or 1.
        is_test: rows of the named test set; all false when there is none.
        shares: of train, valid and (without a named test set) test.
        dedupe: drop duplicates; otherwise every row stays.
    """
    splits = split_of(hashes, shares)
    splits[is_test] = TEST
    if not dedupe:
        return Selection(splits, 0, 0)
    # Test rows first, so that the first of equal rows is one of theirs where there is one.
    order = np.concatenate([np.flatnonzero(is_test), np.flatnonzero(~is_test)])
    _, first, group = np.unique(hashes[order], return_index=True, return_inverse=True)
    kept = np.empty(len(hashes), np.int64)
    kept[order] = order[first[group]]
    dropped = (kept != np.arange(len(hashes))) & ~is_test
    splits[dropped] = DROPPED
    return Selection(splits, int(dropped.sum()), int((labels != labels[kept])[dropped].sum()))


def split_of(hashes: NDArray[np.uint64], shares: Sequence[float]) -> NDArray[np.uint8]:
    """The split of each hash: its low 32 bits, as a fraction, against the cumulated shares."""
    fraction = (hashes & np.uint64(2**32 - 1)).astype(np.float64) / 2**32
    bounds = np.cumsum(shares)[:-1]
    filled = np.flatnonzero(np.asarray(shares) > 0)[-1]  # rounding must not fill an empty last split
    splits: NDArray[np.uint8] = np.minimum(np.searchsorted(bounds, fraction, side="right"), filled).astype(
        "u1"
    )
    return splits


class WordCounter:
    """Adds up the word counts of blocks."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []

    def add(self, part: WordCounts) -> None:
        """Take the counts of one block."""
        self._tables.append(pa.table({"word": part.words, "count": part.counts}))
        if len(self._tables) >= MERGE_EVERY:
            self._tables = [self._merged()]

    def vocabulary(self, size: int, min_count: int) -> Vocab:
        """The most frequent words, at most `size` with the special ones; equal counts by their bytes."""
        table = self._merged()
        table = table.filter(pc.field("count") >= min_count)
        table = table.sort_by([("count", "descending"), ("word", "ascending")]).slice(0, size - len(SPECIAL))
        return Vocab([*SPECIAL, *table["word"].cast(pa.large_string()).to_pylist()])

    def _merged(self) -> pa.Table:
        merged = pa.concat_tables(self._tables).group_by("word").aggregate([("count", "sum")])
        return merged.rename_columns(["word", "count"])
