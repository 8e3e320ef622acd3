"""Rows that an exported model is checked on: labelled ones of the user's, else generated ones."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.prepared import MANIFEST, SPLITS, PreparedDataset
from sentiscale.errors import DataError
from sentiscale.modeldir import SavedModel
from sentiscale.predictor import Predictor
from sentiscale.synthetic.output import blocks
from sentiscale.text.vocab import UNK

IntArray = npt.NDArray[np.int64]
LabelArray = npt.NDArray[np.uint8]

MOST_ROWS = 10_000
"""Rows looked at: at a few thousand a second, seconds for each form of the model."""
GENERATED_ROWS = 1000
DRAWN_ROWS = 256


@dataclass(frozen=True)
class CheckRows:
    """Token ids back to back, row i being tokens[offsets[i]:offsets[i + 1]], and what is known of them."""

    tokens: npt.NDArray[Any]
    """Ids of all rows."""
    offsets: IntArray
    """Where each begins (rows + 1)."""
    labels: LabelArray | None
    """0 negative, 1 positive; None for generated rows, whose labels are not those the model learnt."""
    source: str
    """Where they come from, in words."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def spread(self, most: int) -> "CheckRows":
        """At most so many of them, evenly spaced."""
        if len(self) <= most:
            return self
        rows = np.linspace(0, len(self) - 1, most).astype(np.int64)
        tokens, offsets = gathered([self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows])
        labels = None if self.labels is None else self.labels[rows]
        return CheckRows(tokens, offsets, labels, self.source)


def labelled_rows(predictor: Predictor, source: str | Path, settings: PrepareSettings) -> CheckRows:
    """Rows of prepared data (the test split, else the next one that has rows) or of a labelled file.

    Raises: DataError when it cannot be read, holds no labelled row, or was cleaned by another rule.
    """
    if (Path(source) / MANIFEST).exists():
        return _of_prepared(predictor.model, PreparedDataset.open(source)).spread(MOST_ROWS)
    return _of_files(predictor, str(source), settings).spread(MOST_ROWS)


def generated_rows(predictor: Predictor) -> CheckRows:
    """Generated reviews, and ids drawn at random of all lengths, the empty row and the longest included."""
    reviews = [line.partition(b" ")[2] for block in blocks(GENERATED_ROWS) for line in block.splitlines()]
    encoded = predictor.encoder.encode(pa.array(reviews, pa.large_binary()))
    config, generator = predictor.model.config, np.random.default_rng(0)
    lengths = generator.integers(0, config.stored_tokens + 1, DRAWN_ROWS)
    lengths[:4] = 0, 1, config.stored_tokens, min(config.max_tokens + 1, config.stored_tokens)
    drawn = [generator.integers(UNK, len(predictor.model.vocab), length) for length in lengths]
    drawn[1][:] = UNK  # a row without a known word
    rows = [encoded.ids[start:end] for start, end in pairwise(encoded.offsets)]
    return CheckRows(*gathered([*rows, *drawn]), None, f"{len(rows) + len(drawn):,} generated rows")


def gathered(rows: list[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], IntArray]:
    """Rows back to back and where each begins."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return np.concatenate([np.zeros(0, np.int32), *rows]), offsets


def _of_prepared(model: SavedModel, dataset: PreparedDataset) -> CheckRows:
    wanted = model.config.cleaning
    if dataset.manifest.cleaning != wanted:
        raise DataError(
            f"{dataset.path} was cleaned with '{dataset.manifest.cleaning}', the model reads '{wanted}'. "
            "Check on a raw labelled file, or on data prepared with that rule."
        )
    name = next((name for name in reversed(SPLITS) if dataset.manifest.rows.get(name)), "test")
    split = dataset.split(name)
    tokens = np.asarray(split.tokens)
    if dataset.vocab != model.vocab:
        known = [model.vocab.id_of(word) for word in dataset.vocab.words]
        known[:2] = [0, UNK]
        tokens = np.array(known, np.int32)[tokens]
    return CheckRows(
        tokens, np.asarray(split.offsets), np.asarray(split.labels), f"split '{name}' of {dataset.path}"
    )


def _of_files(predictor: Predictor, source: str, settings: PrepareSettings) -> CheckRows:
    rows: list[npt.NDArray[Any]] = []
    labels = [np.zeros(0, np.uint8)]
    for block in Corpus.find([source], settings).blocks():
        encoded = predictor.encoder.encode(block.text)
        rows += [encoded.ids[start:end] for start, end in pairwise(encoded.offsets)]
        labels.append(block.labels)
    if not rows:
        raise DataError(f"{source} holds no labelled review. Give a file with labels, or prepared data.")
    return CheckRows(*gathered(rows), np.concatenate(labels), source)
