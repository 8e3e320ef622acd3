"""Train and score fastText (Joulin et al., 2017) with its own library."""

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.study.compare.peers.training import LABEL, FloatArray, outcome_of, texts, write_fasttext
from sentiscale.study.compare.records import CompareOutcome, CompareTask
from sentiscale.study.load import Stopwatch

Chances = npt.NDArray[np.float64]

LEAST_DOUBT = 1e-6
"""Minimum distance of probabilities from 0 and 1, which keeps logits finite."""

M_PERTURB, COMPLEMENT_OF_ZERO = -6, 0xFF
"""Parameter of glibc's mallopt (malloc.h), and its value. New memory is filled with the complement of the
value, here 0."""


def train(task: CompareTask, folder: Path) -> CompareOutcome:
    """Train and score. Writing the input file of fastText is not part of the training time."""
    import fasttext

    dataset, recipe = PreparedDataset.open(task.data, verify=False), task.job.recipe
    file, reading, watch = folder / "train.txt", Stopwatch(), Stopwatch()
    with reading.running():
        write_fasttext(dataset, "train", file, task.job.seed)
    with zeroed_memory(), watch.running():
        # Seed + 1, because fastText's generator returns the same numbers for seeds 0 and 1.
        model = fasttext.train_supervised(
            str(file), thread=task.job.conditions.threads, seed=task.job.seed + 1, verbose=0, **recipe
        )

    def predict(split: Split) -> FloatArray:
        labels, shares = model.predict(list(texts(dataset, split.name)), k=-1)
        return logits_of(probabilities(labels, shares, len(dataset.manifest.classes)))

    outcome = outcome_of(dataset, watch, predict, "fasttext-numpy2", "fasttext", "fasttext-wheel")
    rows = recipe["epoch"] * dataset.manifest.rows["train"]
    update = {"read_seconds": round(reading.seconds, 3), "rows_per_s": round(rows / watch.seconds, 1)}
    return outcome.model_copy(update=update)


@contextmanager
def zeroed_memory() -> Iterator[None]:
    """Make glibc fill memory that is allocated inside the block with zeros.

    fastText 0.9.3 and wheels built from it initialize only the first 10 to 20 % of their weights. If the
    memory of the others was used before, training fails with "Encountered NaN". Version 0.9.2 started from
    zeros; with this context, 0.9.3 reproduces its results exactly. It has no effect without glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(M_PERTURB, COMPLEMENT_OF_ZERO)
    try:
        yield
    finally:
        libc.mallopt(M_PERTURB, 0)


def probabilities(labels: Sequence[Sequence[str]], shares: Sequence[Any], classes: int) -> Chances:
    """Probabilities (rows, K) of the classes; equal ones if fastText knows no word of the row."""
    chances = np.full((len(labels), classes), 1 / classes)
    for row, (names, values) in enumerate(zip(labels, shares, strict=True)):
        if len(names):
            chances[row] = 0.0
            chances[row, [int(name.removeprefix(LABEL)) - 1 for name in names]] = values
    return chances


def logits_of(chances: Chances) -> FloatArray:
    """Convert probabilities (rows, K) to logits: (rows,) for two classes, otherwise (rows, K)."""
    chances = np.clip(chances, LEAST_DOUBT, 1 - LEAST_DOUBT)
    logits = np.log(chances)
    binary = chances.shape[1] == 2
    return (logits[:, 1] - logits[:, 0] if binary else logits).astype(np.float32)
