"""Train and score fastText (Joulin et al., 2017) with its own library."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.study.compare.peers.training import POSITIVE, FloatArray, outcome_of, texts, write_fasttext
from sentiscale.study.compare.records import CompareOutcome, CompareTask
from sentiscale.study.load import Stopwatch

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
        labels, shares = model.predict(list(texts(dataset, split.name)), k=1)
        return logits_of([positive_share(*row) for row in zip(labels, shares, strict=True)])

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


def positive_share(labels: list[str], shares: list[float]) -> float:
    """Probability of "positive", from the more likely label; 0.5 if fastText knows no word of the row."""
    if len(labels) == 0:
        return 0.5
    return float(shares[0]) if labels[0] == POSITIVE else 1 - float(shares[0])


def logits_of(positive_probability: npt.ArrayLike) -> FloatArray:
    """Convert probabilities (rows,) of "positive" to logits (rows,)."""
    probability = np.clip(np.asarray(positive_probability, np.float64), LEAST_DOUBT, 1 - LEAST_DOUBT)
    logits: FloatArray = np.log(probability / (1 - probability)).astype(np.float32)
    return logits
