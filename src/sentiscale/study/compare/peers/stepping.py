"""Train a peer's network batch by batch, or only time its steps."""

import itertools
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from sentiscale.data.batches import IntArray, sorted_order
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.records import package_versions
from sentiscale.study.compare.peers.scoring import FloatArray, outcome, scored
from sentiscale.study.compare.records import CurvePoint, Job, JobFile, Outcome, Stopwatch

WARM_UP_STEPS = 8
"""As for ours (`sentiscale.study.bench.steps`)."""
ROWS_TO_SCORE = 512
VALIDATIONS_PER_EPOCH = 2


class Network(Protocol):
    """What a recurrent peer can do."""

    packages: tuple[str, ...]

    def step(self, split: Split, rows: IntArray) -> None:
        """Take one training step on these rows."""

    def logits(self, split: Split, rows: IntArray) -> FloatArray:
        """Logits (rows,) of these rows."""


def train_network(task: JobFile, network: Network, dataset: PreparedDataset) -> Outcome:
    """Train to the end of the recipe's epochs or the time limit, validating every half epoch.

    Validations do not count as training time. The weights of the last step are the model.
    """
    job, split, watch = task.job, dataset.split("train"), Stopwatch()
    per_epoch = -(-len(split) // job.recipe["batch_size"])
    total = max(1, round(job.recipe["epochs"] * per_epoch))
    every = max(1, per_epoch // VALIDATIONS_PER_EPOCH)
    limit = job.conditions.time_limit or float("inf")

    def predict(rows: Split) -> FloatArray:
        return predictions(network, rows, job.recipe["max_tokens"])

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
    found = outcome(dataset, watch, predict, *network.packages)
    return found.model_copy(update={"curve": curve, "rows_per_s": round(trained / watch.seconds, 1)})


def time_steps(task: JobFile, network: Network, dataset: PreparedDataset) -> Outcome:
    """Time some steps after a warm-up, and project the recipe's epochs from them."""
    job, split, watch = task.job, dataset.split("train"), Stopwatch()
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
    return Outcome(
        rows_per_s=round(timed / watch.seconds, 3),
        projected_seconds=round(job.recipe["epochs"] * len(split) * watch.seconds / timed, 1),
        versions=package_versions("sentiscale", "numpy", *network.packages),
    )


def shuffled(job: Job, rows: int) -> Iterator[IntArray]:
    """Batches of an endless series of shuffled epochs, rows of all lengths together."""
    generator = np.random.default_rng(job.seed)
    size = job.recipe["batch_size"]
    while True:
        order = generator.permutation(rows)
        yield from (order[start : start + size] for start in range(0, rows, size))


def predictions(network: Network, split: Split, max_tokens: int) -> FloatArray:
    """Logits of all rows in their order; computed in batches of like length."""
    logits = np.zeros(len(split), np.float32)
    for rows in sorted_order(np.clip(split.lengths, 1, max_tokens), ROWS_TO_SCORE):
        logits[rows] = network.logits(split, rows)
    return logits
