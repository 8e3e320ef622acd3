"""Train the network of a peer or time its steps, and score it in the same way as sentiscale."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiscale.data.batches import IntArray, sorted_order
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.model.metrics import score
from sentiscale.model.network import logits_shape
from sentiscale.records import package_versions
from sentiscale.study.compare.records import CompareJob, CompareOutcome, CurvePoint
from sentiscale.study.load import Stopwatch
from sentiscale.text.vocab import UNK

FloatArray = npt.NDArray[np.float32]
Predict = Callable[[Split], FloatArray]
"""Compute the logits of a split, (rows,) for two classes or (rows, K)."""

WARM_UP_STEPS = 8
"""Number of untimed first steps, as for sentiscale in `study.bench.steps`."""

ROWS_TO_SCORE = 512
VALIDATIONS_PER_EPOCH = 2
ROWS_AT_ONCE = 50_000
LABEL = "__label__"


class PeerNetwork(Protocol):
    """A recurrent network with its optimizer."""

    packages: tuple[str, ...]

    def step(self, split: Split, rows: IntArray) -> None:
        """Perform one training step on these rows."""

    def logits(self, split: Split, rows: IntArray) -> FloatArray:
        """Logits of these rows, (rows,) for two classes or (rows, K)."""


def train_network(job: CompareJob, network: PeerNetwork, dataset: PreparedDataset) -> CompareOutcome:
    """Train for the epochs of the recipe or until the time limit, and validate every half epoch.

    Validations do not count as training time. The final model has the weights of the last step. If the
    conditions set a number of steps, only these are timed.
    """
    if job.conditions.steps:
        return time_network(job, network, dataset)
    split, watch = dataset.split("train"), Stopwatch()
    per_epoch = -(-len(split) // job.recipe["batch_size"])
    total = max(1, round(job.recipe["epochs"] * per_epoch))
    every = max(1, per_epoch // VALIDATIONS_PER_EPOCH)
    limit = job.conditions.time_limit or float("inf")

    def predict(rows: Split) -> FloatArray:
        """Logits in the order of the rows, computed in batches of rows of similar length."""
        logits = np.zeros(logits_shape(len(rows), dataset.manifest.class_set.outputs), np.float32)
        for batch in sorted_order(np.clip(rows.lengths, 1, job.recipe["max_tokens"]), ROWS_TO_SCORE):
            logits[batch] = network.logits(rows, batch)
        return logits

    curve, trained = [], 0
    for step, rows in enumerate(itertools.islice(shuffled(job, len(split)), total), 1):
        with watch.running():
            network.step(split, rows)
        trained += len(rows)
        ends = step == total or watch.seconds >= limit
        if ends or step % every == 0:
            accuracy = scored(dataset, "valid", predict)["accuracy"]
            curve.append(CurvePoint(seconds=round(watch.seconds, 3), valid_accuracy=accuracy))
        if ends:
            break
    outcome = outcome_of(dataset, watch, predict, *network.packages)
    return outcome.model_copy(update={"curve": curve, "rows_per_s": round(trained / watch.seconds, 1)})


def time_network(job: CompareJob, network: PeerNetwork, dataset: PreparedDataset) -> CompareOutcome:
    """Time steps after a warm-up, and project the time for the epochs of the recipe from them."""
    split, watch = dataset.split("train"), Stopwatch()
    warm_up = job.recipe.get("warm_up", WARM_UP_STEPS)
    steps = job.conditions.steps or job.recipe["steps"]
    timed = 0
    for step, rows in enumerate(itertools.islice(shuffled(job, len(split)), warm_up + steps)):
        if step < warm_up:
            network.step(split, rows)
            continue
        with watch.running():
            network.step(split, rows)
        timed += len(rows)
    return CompareOutcome(
        rows_per_s=round(timed / watch.seconds, 3),
        projected_seconds=round(job.recipe["epochs"] * len(split) * watch.seconds / timed, 1),
        versions=package_versions("sentiscale", "numpy", *network.packages),
    )


def shuffled(job: CompareJob, rows: int) -> Iterator[IntArray]:
    """Yield the batches of an endless series of shuffled epochs. Batches mix rows of all lengths."""
    generator = np.random.default_rng(job.seed)
    size = job.recipe["batch_size"]
    while True:
        order = generator.permutation(rows)
        yield from (order[start : start + size] for start in range(0, rows, size))


def scored(dataset: PreparedDataset, split: str, predict: Predict) -> dict[str, Any]:
    rows = dataset.split(split)
    return score(predict(rows), np.asarray(rows.labels), dataset.manifest.class_set).model_dump()


def outcome_of(
    dataset: PreparedDataset, watch: Stopwatch, predict: Predict, *packages: str
) -> CompareOutcome:
    """Score a trained peer on the validation and the test split. `watch` holds its training time."""
    return CompareOutcome(
        train_seconds=round(watch.seconds, 3),
        cpu_seconds=round(watch.cpu_seconds, 3),
        valid=scored(dataset, "valid", predict),
        test=scored(dataset, "test", predict),
        versions=package_versions("sentiscale", "numpy", *packages),
    )


def texts(dataset: PreparedDataset, split: str) -> Iterator[str]:
    """Yield each row of a split as text: words of the vocabulary, separated by spaces."""
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
    """Write a split in fastText format, one label and text per line, in random order.

    The label of the first class is __label__1.
    """
    labels, rows = dataset.split(split).labels, list(texts(dataset, split))
    with open(path, "w", encoding="utf-8") as file:
        for row in np.random.default_rng(seed).permutation(len(rows)):
            file.write(f"{LABEL}{labels[row] + 1} {rows[row]}\n")
