"""Score a peer's predictions as ours are scored, and say what its run took."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.model.metrics import score
from sentiscale.records import package_versions
from sentiscale.study.compare.records import Outcome, Stopwatch
from sentiscale.text.vocab import UNK

FloatArray = npt.NDArray[np.float32]
Predict = Callable[[Split], FloatArray]
"""Split → logits (rows,)."""

LEAST_DOUBT = 1e-6
"""Probabilities are kept this far from 0 and 1, so that the logit is a number."""


def logits_of(positive_probability: npt.ArrayLike) -> FloatArray:
    """Logits (rows,) of probabilities (rows,) of "positive"."""
    probability = np.clip(np.asarray(positive_probability, np.float64), LEAST_DOUBT, 1 - LEAST_DOUBT)
    logits: FloatArray = np.log(probability / (1 - probability)).astype(np.float32)
    return logits


def scored(dataset: PreparedDataset, split: str, predict: Predict) -> dict[str, Any]:
    """All scores on a split."""
    rows = dataset.split(split)
    return score(predict(rows), np.asarray(rows.labels)).model_dump()


def outcome(dataset: PreparedDataset, watch: Stopwatch, predict: Predict, *packages: str) -> Outcome:
    """Score a trained peer on validation and test, the latter once."""
    return Outcome(
        train_seconds=round(watch.seconds, 3),
        cpu_seconds=round(watch.cpu_seconds, 3),
        valid=scored(dataset, "valid", predict),
        test=scored(dataset, "test", predict),
        versions=package_versions("sentiscale", "numpy", *packages),
    )


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
