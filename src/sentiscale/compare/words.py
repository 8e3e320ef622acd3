"""Prepared data as words again, for peers that have their own way of reading text."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentiscale.data.prepared import PreparedDataset
from sentiscale.text.vocab import UNK

ROWS_AT_ONCE = 50_000
NEGATIVE, POSITIVE = LABELS = "__label__1", "__label__2"


def texts(dataset: PreparedDataset, split: str) -> Iterator[str]:
    """Yield each row of a split as words with a space between; words outside the vocabulary are left out."""
    words = pa.array(dataset.vocab.words, pa.string())
    rows = dataset.split(split)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        offsets = np.asarray(rows.offsets[start : start + ROWS_AT_ONCE + 1])
        tokens = np.asarray(rows.tokens[offsets[0] : offsets[-1]], np.int32)
        known = tokens > UNK
        before = np.concatenate([[0], np.cumsum(known)])[offsets - offsets[0]]
        lists = pa.ListArray.from_arrays(pa.array(before, pa.int32()), words.take(pa.array(tokens[known])))
        yield from pc.binary_join(lists, " ").to_pylist()


def write_fasttext(dataset: PreparedDataset, split: str, path: Path, seed: int) -> None:
    """Write a split as fastText reads it, a label and the words a line; it wants them shuffled."""
    labels, rows = dataset.split(split).labels, list(texts(dataset, split))
    with open(path, "w", encoding="utf-8") as file:
        for row in np.random.default_rng(seed).permutation(len(rows)):
            file.write(f"{LABELS[labels[row]]} {rows[row]}\n")
