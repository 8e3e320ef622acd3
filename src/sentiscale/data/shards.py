"""What a worker does with one block: encode it, count its words, write its rows; and the shard between.

A shard holds a block's usable reviews as ids into the block's own word list. It is written whole or not at
all, so a finished shard need not be made again when an interrupted preparation goes on.
"""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sentiscale.config import Cleaning
from sentiscale.data.corpus import read_reviews
from sentiscale.data.prepared import SPLITS, split_file, token_dtype
from sentiscale.data.sources import Stream
from sentiscale.text.clean import raw_rows
from sentiscale.text.formats import Layout, Reviews
from sentiscale.text.labels import Reason
from sentiscale.text.records import binary_array
from sentiscale.text.tokens import number_new, rule_for
from sentiscale.text.vocab import UNK, Vocab
from sentiscale.text.wordtable import look_up

DROPPED = 255
"""Split code of a row that is kept in no split; others are places in SPLITS."""


@dataclass(frozen=True)
class BlockTask:
    """A raw block and what to do with it; small, for it travels to the worker."""

    path: str
    """File that holds the block's bytes."""
    offset: int
    size: int
    too_long: bool
    layout: Layout
    cleaning: Cleaning
    max_tokens: int
    keep_text: bool
    shard: str
    """Where the shard goes."""


class BlockSummary(NamedTuple):
    """What the client needs to know of a block."""

    hashes: NDArray[np.uint64]
    """Hash of each usable row's cleaned text."""
    codes: NDArray[np.uint8]
    """Label code of each usable row."""
    lengths: NDArray[np.uint32]
    """Tokens of each usable row before cutting."""
    rejects: NDArray[np.int64]
    """Rejected rows by Reason."""
    line_count: int
    size: int
    """Bytes of raw input."""


def encode_block(task: BlockTask) -> BlockSummary:
    """Parse, clean and number one block; write its shard and tell the client what is in it."""
    data = _read_bytes(task)
    reviews = read_reviews(data, task.layout, "required", too_long_record=task.too_long)
    good = np.flatnonzero(reviews.reasons == Reason.NONE)
    text = reviews.text if len(good) == len(reviews.text) else reviews.text.take(pa.array(good))
    numbered, words = number_new(*raw_rows(text), rule_for(task.cleaning, task.max_tokens))
    empty = numbered.lengths == 0
    reviews.reasons[good[empty]] = Reason.EMPTY_AFTER_CLEANING
    arrays: dict[str, NDArray[Any]] = {
        "hashes": numbered.hashes[~empty],
        "codes": reviews.codes[good][~empty],
        "lengths": numbered.lengths[~empty].astype(np.uint32),
        "ids": _narrow(numbered.ids, len(words.offsets) - 1),
        "counts": np.array([reviews.line_count, len(data)]),
    }
    arrays |= {"words": words.data, "words_offsets": words.offsets}
    arrays |= _reject_arrays(reviews)
    if task.keep_text:
        arrays |= _rows("text", text.filter(pa.array(~empty)))
    _write_shard(Path(task.shard), arrays)
    return summary_of(arrays)


def summary_of(arrays: Mapping[str, NDArray[Any]]) -> BlockSummary:
    """The summary of a shard's arrays."""
    line_count, size = arrays["counts"].tolist()
    rejects = np.bincount(arrays["reject_reasons"], minlength=len(Reason))
    return BlockSummary(arrays["hashes"], arrays["codes"], arrays["lengths"], rejects, line_count, size)


def finished_summary(shard: Path) -> BlockSummary | None:
    """The summary of a shard on disk; None when there is none or it is damaged."""
    try:
        with open(shard, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return summary_of(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


class WordCounts(NamedTuple):
    """Words of a block's training rows."""

    words: pa.Array
    counts: NDArray[np.int64]


def count_words(task: tuple[str, NDArray[np.uint8], int]) -> WordCounts:
    """Count the words of a shard's training rows; takes the shard, its rows' split codes and max_tokens."""
    shard, chosen, max_tokens = task
    with np.load(shard, allow_pickle=False) as arrays:
        kept = np.minimum(arrays["lengths"], max_tokens)
        words = _array(arrays, "words")
        in_training = np.repeat(chosen == 0, kept)
        counts = np.bincount(arrays["ids"][in_training], minlength=len(words))
    seen = np.flatnonzero(counts)
    return WordCounts(words.take(pa.array(seen)), counts[seen])


@dataclass(frozen=True)
class WriteTask:
    """Where a block's rows go."""

    shard: str
    result: str
    """Directory with the preallocated split files and the vocabulary."""
    vocab_digest: str
    max_tokens: int
    chosen: NDArray[np.uint8]
    """Split code of each row."""
    labels: NDArray[np.uint8]
    """0 or 1 for each row."""
    first_row: tuple[int, ...]
    """For each split the rows before this block."""
    first_token: tuple[int, ...]
    """For each split the tokens before this block."""
    text_part: int | None
    """Number of the block's text files; None when text is not kept."""


def write_rows(task: WriteTask) -> list[int]:
    """Write a block's rows to their places; returns the unknown tokens of each split."""
    table = _vocab(f"{task.result}/vocab.txt", task.vocab_digest)
    unknown = []
    with np.load(task.shard, allow_pickle=False) as arrays:
        lengths = np.minimum(arrays["lengths"], task.max_tokens)
        words, word_offsets = raw_rows(_array(arrays, "words"))
        numbers = look_up(words, word_offsets, table.table, UNK)
        tokens = numbers.astype(token_dtype(len(table)))[arrays["ids"]]
        text = _array(arrays, "text") if task.text_part is not None else None
    for code, split in enumerate(SPLITS):
        rows = task.chosen == code
        ids = tokens[np.repeat(rows, lengths)]
        starts = task.first_token[code] + np.cumsum(lengths[rows], dtype=np.int64) - lengths[rows]
        first = task.first_row[code]
        _write_at(task.result, split, "tokens", ids, task.first_token[code])
        _write_at(task.result, split, "offsets", starts, first)
        _write_at(task.result, split, "labels", task.labels[rows], first)
        if text is not None and rows.any():
            part = Path(task.result) / "text" / split / f"{task.text_part:06d}.parquet"
            part.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"text": text.filter(pa.array(rows)).cast(pa.large_string())}), part)
        unknown.append(int((ids == UNK).sum()))
    return unknown


class RejectedRows(NamedTuple):
    """Rejected rows of a block."""

    lines: NDArray[np.int64]
    """Line of the block, from 0."""
    reasons: NDArray[np.uint8]
    snippets: pa.Array


def rejected_rows(shard: Path) -> RejectedRows:
    """Read the rejected rows of a shard."""
    with np.load(shard, allow_pickle=False) as arrays:
        snippets = _array(arrays, "reject_text").cast(pa.large_string()).cast(pa.string())
        return RejectedRows(arrays["reject_lines"], arrays["reject_reasons"], snippets)


def _read_bytes(task: BlockTask) -> bytes:
    with Stream(task.path, None) as stream:
        return stream.read_at(task.offset, task.size)


def _narrow(ids: NDArray[np.int32], words: int) -> NDArray[Any]:
    return ids.astype(np.uint16) if words <= 2**16 else ids


def _rows(name: str, values: pa.Array) -> dict[str, NDArray[Any]]:
    """An array of binaries as two plain arrays."""
    data, offsets = raw_rows(values)
    return {name: data[offsets[0] : offsets[-1]], f"{name}_offsets": offsets - offsets[0]}


def _array(arrays: Mapping[str, NDArray[Any]], name: str) -> pa.Array:
    return binary_array(arrays[name], arrays[f"{name}_offsets"])


def _reject_arrays(reviews: Reviews) -> dict[str, NDArray[Any]]:
    bad = np.flatnonzero(reviews.reasons != Reason.NONE)
    arrays: dict[str, NDArray[Any]] = {
        "reject_lines": reviews.lines[bad],
        "reject_reasons": reviews.reasons[bad],
    }
    return arrays | _rows("reject_text", reviews.snippets(bad))


def _write_shard(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)


def _write_at(directory: str, split: str, part: str, values: NDArray[Any], place: int) -> None:
    """Write values to a preallocated file, from element `place` on."""
    if len(values):
        with open(Path(directory) / split_file(split, part), "r+b") as file:
            file.seek(place * values.itemsize)
            file.write(np.ascontiguousarray(values).data)


@lru_cache(maxsize=1)
def _vocab(path: str, digest: str) -> Vocab:
    """The vocabulary, read once a process; the digest keeps the one of an earlier run apart."""
    del digest
    return Vocab.read(Path(path))
