"""Assign the rows of encoded partitions to splits, count their training words and write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sentiscale.data.duplicates import group_equal
from sentiscale.data.notes import write_notes
from sentiscale.data.oddities import COMMON_WORDS, odd_words
from sentiscale.data.prepared import SPLITS, split_file, token_dtype
from sentiscale.data.shards import shard_rows
from sentiscale.data.wordcount import WordCounts, WordTally
from sentiscale.text.clean import raw_rows
from sentiscale.text.compiled import Bytes, Offsets, check_array, check_indices, kernel
from sentiscale.text.lines import gather
from sentiscale.text.vocab import SPECIAL, UNK, read_table
from sentiscale.text.word_table import WordTable, look_up

TRAIN, VALID, TEST = range(3)
DROPPED = 255
"""Split code of a row that is in no split; other codes are indices into SPLITS."""
FIRST_COMMON = len(SPECIAL)
END_COMMON = FIRST_COMMON + COMMON_WORDS
LENGTH_POWERS = 33
"""Size of the histogram of lengths by powers of two; no text has more than 2^32 tokens."""


@dataclass(frozen=True)
class Placement:
    """Rules that assign the rows of a shard to splits."""

    shard: str
    """File with the encoded partition."""
    is_test: bool
    """Whether the partition belongs to the named test set."""
    shares: tuple[float, ...]
    """Shares of train and valid, and of test unless a test set was given."""
    dedupe: bool
    duplicates: NDArray[np.uint32]
    """Rows whose text occurs in an earlier partition or in the named test set."""
    labels: NDArray[np.uint8]
    """Class of each label code of the shard."""
    classes: int
    """Number of classes."""
    max_tokens: int
    rare: tuple[NDArray[np.uint64], NDArray[np.uint8]]
    """Hashes of the texts of rare classes, ascending, and the split of each; see `RareClasses`."""


class SplitCounts(NamedTuple):
    """Counts of rows and tokens that one or more partitions add to the dataset."""

    tokens: NDArray[np.int64]
    """Number of tokens per split."""
    labels: NDArray[np.int64]
    """Number of rows by split and class, of shape (3, classes)."""
    lengths: NDArray[np.int64]
    """Kept rows by tokens before truncation: entry p counts rows of 2^(p-1) + 1 to 2^p tokens."""
    cut: NDArray[np.int64]
    """Number of kept rows longer than max_tokens, and of their tokens beyond max_tokens."""
    weights: NDArray[np.float64]
    """Sum of the weights per split; 0 without weights."""

    @classmethod
    def total(cls, counts: Sequence["SplitCounts"]) -> "SplitCounts":
        return cls(*(sum(column) for column in zip(*counts, strict=True)))

    @property
    def rows(self) -> NDArray[np.int64]:
        """Number of rows per split."""
        rows: NDArray[np.int64] = self.labels.sum(axis=1)
        return rows


def count_partitions(tasks: Sequence[Placement]) -> tuple[list[SplitCounts], WordCounts]:
    """Count rows and tokens of each shard, and the training words of all shards together."""
    tally = WordTally()
    counts = [_count(task, tally) for task in tasks]
    return counts, WordCounts(*map(np.array, tally.counted()))  # copies: half of a table may be unused


def _count(task: Placement, tally: WordTally) -> SplitCounts:
    arrays = load_file(task.shard)
    splits = _splits(arrays, task)
    lengths = arrays["lengths"].astype(np.int64)
    kept = np.minimum(lengths, task.max_tokens)
    words, offsets = arrays["words"], arrays["words_offsets"]
    counts = count_ids(arrays["ids"], kept, splits == TRAIN, len(offsets) - 1)
    labels = task.labels[arrays["codes"]]
    tally.add(_occurring(words, offsets, counts))
    stays = splits != DROPPED
    over = np.maximum(lengths[stays] - task.max_tokens, 0)
    cells = splits[stays].astype(np.int64) * task.classes + labels[stays]
    by_label = np.bincount(cells, minlength=task.classes * len(SPLITS))
    weights = arrays.get("weights", np.zeros(len(splits), np.float32))
    powers = np.ceil(np.log2(lengths[stays])).astype(np.int64)
    return SplitCounts(
        tokens=np.array([kept[splits == code].sum() for code in range(len(SPLITS))]),
        labels=by_label.reshape(len(SPLITS), task.classes),
        lengths=np.bincount(powers, minlength=LENGTH_POWERS),
        cut=np.array([(over > 0).sum(), over.sum()]),
        weights=np.array([weights[splits == code].sum(dtype=np.float64) for code in range(len(SPLITS))]),
    )


def _occurring(words: Bytes, offsets: Offsets, counts: NDArray[np.int64]) -> WordCounts:
    """Return the words with a count above 0."""
    seen = np.flatnonzero(counts)
    if len(seen) == len(counts):
        return WordCounts(words, offsets, counts)
    data, bounds = raw_rows(gather(words, offsets[seen], offsets[seen + 1]))
    return WordCounts(data, bounds, counts[seen])


def _splits(arrays: Mapping[str, NDArray[Any]], task: Placement) -> NDArray[np.uint8]:
    """Return the split code of every row of a shard."""
    hashes = arrays["hashes"]
    if task.is_test:
        return np.full(len(hashes), TEST, np.uint8)
    splits = split_of(hashes, task.shares)
    if len(task.rare[0]):
        own, own_splits = task.rare
        places = np.minimum(np.searchsorted(own, hashes), len(own) - 1)
        splits = np.where(own[places] == hashes, own_splits[places], splits)
    if task.dedupe:
        groups, _ = group_equal(hashes)
        again = groups[1:] <= np.maximum.accumulate(groups)[:-1]
        splits[1:][again] = DROPPED
        splits[task.duplicates] = DROPPED
    return splits


def split_of(hashes: NDArray[np.uint64], shares: Sequence[float]) -> NDArray[np.uint8]:
    """Assign each hash to a split: compare its low 32 bits, as a fraction, with the cumulative shares."""
    fraction = (hashes & np.uint64(2**32 - 1)).astype(np.float64) / 2**32
    bounds = np.cumsum(shares)[:-1]
    filled = np.flatnonzero(np.asarray(shares) > 0)[-1]  # rounding must not fill a last split of share 0
    splits: NDArray[np.uint8] = np.minimum(np.searchsorted(bounds, fraction, side="right"), filled).astype(
        "u1"
    )
    return splits


@dataclass(frozen=True)
class WriteTask:
    """A partition to write, and its positions in the files of the dataset."""

    placement: Placement
    result: str
    """Directory with the preallocated split files and the vocabulary."""
    vocab: str
    """Vocabulary file."""
    vocab_digest: str
    first_row: tuple[int, ...]
    """Number of rows before this partition, per split."""
    first_token: tuple[int, ...]
    """Number of tokens before this partition, per split."""
    conflicting: NDArray[np.uint64]
    """Hashes of texts with different labels, ascending."""
    notes: str
    """File to write conflicting and unusual rows to."""
    text_part: int | None
    """Number in the names of the partition's text files; None if texts are not kept."""


def write_partitions(tasks: Sequence[WriteTask]) -> list[tuple[NDArray[np.int64], bool]]:
    """Write the rows of the given shards.

    Returns: for each shard, the number of unknown tokens per split and whether it has a notes file.
    """
    return [_write(task) for task in tasks]


def _write(task: WriteTask) -> tuple[NDArray[np.int64], bool]:
    table = _table(task.vocab, task.vocab_digest)
    placement = task.placement
    arrays = load_file(placement.shard)
    splits = _splits(arrays, placement)
    lengths = arrays["lengths"].astype(np.int64)
    kept = np.minimum(lengths, placement.max_tokens)
    labels = placement.labels[arrays["codes"]]
    ids = arrays["ids"]
    numbers = look_up(*raw_rows(shard_rows(arrays, "words")), table, UNK)
    numbers = numbers.astype(token_dtype(len(table.offsets) - 1))
    common = np.zeros(len(kept), np.int64)
    unknown = np.zeros(len(SPLITS), np.int64)
    for code, split in enumerate(SPLITS):
        rows = splits == code
        tokens, unknown[code] = gather_tokens(ids, kept, rows, numbers, common)
        starts = task.first_token[code] + np.cumsum(kept[rows]) - kept[rows]
        _write_at(task.result, split, "tokens", tokens, task.first_token[code])
        _write_at(task.result, split, "offsets", starts, task.first_row[code])
        _write_at(task.result, split, "labels", labels[rows], task.first_row[code])
        if "weights" in arrays:
            _write_at(task.result, split, "weights", arrays["weights"][rows], task.first_row[code])
        if task.text_part is not None and rows.any():
            _write_text(task, split, shard_rows(arrays, "text").filter(pa.array(rows)))
    oddities = arrays["oddities"] | odd_words(lengths, common)
    oddities[splits == DROPPED] = 0
    conflict = np.isin(arrays["hashes"], task.conflicting, kind="sort")
    noted = np.flatnonzero(conflict | (oddities > 0))
    if len(noted):
        columns = {"label": labels, "split": splits, "conflict": conflict, "oddities": oddities}
        write_notes(Path(task.notes), arrays, placement.max_tokens, noted, columns)
    return unknown, len(noted) > 0


@lru_cache(maxsize=1)
def _table(path: str, digest: str) -> WordTable:
    """Read the vocabulary, once per process; `digest` prevents reuse of an earlier run's vocabulary."""
    del digest
    return read_table(Path(path))


def _write_at(directory: str, split: str, part: str, values: NDArray[Any], place: int) -> None:
    """Write values to a preallocated file, starting at element `place`."""
    if len(values):
        with open(Path(directory) / split_file(split, part), "r+b") as file:
            file.seek(place * values.itemsize)
            file.write(np.ascontiguousarray(values).data)


def _write_text(task: WriteTask, split: str, text: pa.Array) -> None:
    part = Path(task.result) / "text" / split / f"{task.text_part:06d}.parquet"
    part.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": text.cast(pa.large_string())}), part)


def _check_rows(ids: NDArray[Any], kept: NDArray[np.int64], chosen: NDArray[np.bool_]) -> None:
    """Raise ValueError unless row r can have kept[r] of the ids."""
    check_array("ids", ids, np.integer, (-1,))
    check_indices("kept", kept, len(ids) + 1)
    check_array("chosen", chosen, np.bool_, kept.shape)
    if kept.sum() != len(ids):
        raise ValueError(f"rows of {kept.sum()} tokens in total have {len(ids)} ids")


def count_ids(
    ids: NDArray[Any], kept: NDArray[np.int64], chosen: NDArray[np.bool_], words: int
) -> NDArray[np.int64]:
    """Count the occurrences of each word in the chosen rows; row r has kept[r] ids."""
    _check_rows(ids, kept, chosen)
    check_indices("ids", ids, words)
    return _count_ids(ids, kept, chosen, words)


@kernel
def _count_ids(
    ids: NDArray[Any], kept: NDArray[np.int64], chosen: NDArray[np.bool_], words: int
) -> NDArray[np.int64]:
    counts = np.zeros(words, np.int64)
    at = 0
    for row in range(len(kept)):
        if chosen[row]:
            for n in range(at, at + kept[row]):
                counts[ids[n]] += 1
        at += kept[row]
    return counts


def gather_tokens(
    ids: NDArray[Any],
    kept: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    numbers: NDArray[Any],
    common: NDArray[np.int64],
) -> tuple[NDArray[Any], int]:
    """Return the tokens numbers[id] of the chosen rows, and how many of them are unknown.

    Also counts the common words of each chosen row in `common`.
    """
    _check_rows(ids, kept, chosen)
    check_indices("ids", ids, len(numbers))
    check_array("common", common, np.int64, kept.shape)
    tokens = np.empty(kept[chosen].sum(), numbers.dtype)
    return tokens, _gather_tokens(ids, kept, chosen, numbers, tokens, common)


@kernel
def _gather_tokens(
    ids: NDArray[Any],
    kept: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    numbers: NDArray[Any],
    tokens: NDArray[Any],
    common: NDArray[np.int64],
) -> int:
    unknown = at = place = 0
    for row in range(len(kept)):
        if chosen[row]:
            usual = 0
            for n in range(at, at + kept[row]):
                token = numbers[ids[n]]
                tokens[place] = token
                place += 1
                unknown += token == UNK
                usual += FIRST_COMMON <= token < END_COMMON
            common[row] = usual
        at += kept[row]
    return unknown
