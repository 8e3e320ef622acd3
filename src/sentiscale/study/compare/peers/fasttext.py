"""fastText (Joulin et al., 2017), by its own library."""

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
"""Distance of probabilities from 0 and 1, so that logits are finite."""

M_PERTURB, COMPLEMENT_OF_ZERO = -6, 0xFF
"""Parameter of glibc's mallopt (malloc.h); new memory is filled with the complement of its value."""


def train(task: CompareTask, folder: Path) -> CompareOutcome:
    """Train and score; writing the file that fastText reads is not part of training."""
    import fasttext

    dataset, recipe = PreparedDataset.open(task.data, verify=False), task.job.recipe
    file, reading, watch = folder / "train.txt", Stopwatch(), Stopwatch()
    with reading.running():
        write_fasttext(dataset, "train", file, task.job.seed)
    with zeroed_memory(), watch.running():
        # Seeds 0 and 1 are the same for its generator.
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
    """Let glibc fill what it allocates inside the block with zeros.

    fastText 0.9.3 and wheels built from it initialize only the first tenth or two of their first weights:
    where another array was in that memory before, training ends in "Encountered NaN". 0.9.2 began with
    zeros, and this reproduces its results to the last digit. Does nothing without glibc.
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
    """Probability of "positive" from the likelier label; 0.5 where fastText knows no word of a row."""
    if len(labels) == 0:
        return 0.5
    return float(shares[0]) if labels[0] == POSITIVE else 1 - float(shares[0])


def logits_of(positive_probability: npt.ArrayLike) -> FloatArray:
    """Logits (rows,) of probabilities (rows,) of "positive"."""
    probability = np.clip(np.asarray(positive_probability, np.float64), LEAST_DOUBT, 1 - LEAST_DOUBT)
    logits: FloatArray = np.log(probability / (1 - probability)).astype(np.float32)
    return logits
