"""Score the network and the n-gram model on a split: all ranks compute logits, rank 0 scores them."""

import time
from dataclasses import asdict

import numpy as np
import torch

from sentiscale.data.batches import make_batch, sorted_order, token_lengths
from sentiscale.data.prepared import Split
from sentiscale.errors import SentiscaleError
from sentiscale.model.metrics import score
from sentiscale.model.network import logits_shape
from sentiscale.model.wide import Combination, WideModel
from sentiscale.parallel.collectives import all_reduce, share_text
from sentiscale.parallel.runner import FloatArray, Runner
from sentiscale.records import EpochMetrics, Record
from sentiscale.training.checkpoint import TrainState
from sentiscale.training.row_weights import mean_one
from sentiscale.training.run import Training
from sentiscale.training.run_directory import logger
from sentiscale.util.progress import Progress

EVAL_BATCH = 256
"""Number of rows per global batch."""


def network_logits(runner: Runner, split: Split, max_tokens: int) -> FloatArray:
    """Return the logits of the network alone, (rows,) or (rows, K), in the split's order, on every rank.

    Each replica computes its share of every batch and leaves the other entries zero, so the sum over all
    ranks contains each row's exact logit. Filler rows are dropped.

    Raises: SentiscaleError on every rank when a logit is infinite or NaN.
    """
    world = runner.world
    logits = np.zeros(logits_shape(len(split), runner.config.outputs), np.float32)
    for rows in sorted_order(token_lengths(split, max_tokens), EVAL_BATCH):
        batch = make_batch(split, rows, max_tokens, data_rank=world.replica, data_size=world.layout.data)
        real = batch.weights_B > 0
        logits[rows[batch.places_B[real]]] = runner.logits(batch)[real]
    found = np.asarray(all_reduce(torch.from_numpy(logits), world.everyone))
    if not np.isfinite(found).all():
        raise SentiscaleError(
            "the network's logits became infinite or NaN: training diverged. Train again with --force and a "
            "lower --lr (half of it is a good start)."
        )
    return found


def sampled(split: Split, most: int | None, seed: int) -> Split:
    """Return at most `most` random rows of a split, the same ones for the same seed; all if it is None."""
    if most is None or len(split) <= most:
        return split
    return split.take(np.sort(np.random.default_rng(seed).permutation(len(split))[:most]))


def scoring_seconds(
    runner: Runner, split: Split, wide: WideModel | None, max_tokens: int, seed: int
) -> float:
    """Measure the seconds that a row takes to score, on two batches; the same call on every rank."""
    probe = sampled(split, 2 * EVAL_BATCH, seed)
    for _ in range(2):  # the first time also compiles
        started_at = time.perf_counter()
        network_logits(runner, probe, max_tokens)
        if wide is not None:
            wide.logits(probe.tokens, probe.offsets)
        seconds = time.perf_counter() - started_at
    return seconds / len(probe)


class ValidationResult(Record):
    """Scores on the validation split, computed on rank 0."""

    metrics: EpochMetrics
    """The metrics, as in a line of metrics.jsonl."""
    combination: dict[str, float | tuple[float, ...]]
    """Weights that combine network and n-gram model: net, wide, bias."""

    def better(self, state: TrainState) -> bool:
        found = (self.metrics.valid_accuracy, -self.metrics.valid_loss)
        return found > (state.best_accuracy, -state.best_loss)


def validate(training: Training, progress: Progress) -> None:
    """Score the validation split, store the best weights and append to the metrics."""
    settings, state = training.settings.train, training.state
    with training.clock.phase("eval", state.step):
        net_logits = network_logits(training.learner.runner, training.valid_split, settings.max_tokens)
        result = score_validation(training, net_logits)
    metrics, better = result.metrics, result.better(state)
    reached = settings.target_accuracy is not None and metrics.valid_accuracy >= settings.target_accuracy
    training.state = state.model_copy(
        update={
            "loss_sum": 0.0,
            "loss_rows": 0,
            "metrics": [*state.metrics, metrics],
            "best_step": state.step if better else state.best_step,
            "best_accuracy": metrics.valid_accuracy if better else state.best_accuracy,
            "best_loss": metrics.valid_loss if better else state.best_loss,
            "best_combination": result.combination if better else state.best_combination,
            "stale": 0 if better else state.stale + 1,
            "target_seconds": state.target_seconds or (metrics.seconds if reached else None),
        }
    )
    if better:
        owned = training.learner.runner.owned()
        training.best = {name: tensor.clone() for name, tensor in owned.items()}
        training.best_logits = net_logits
    if training.world.is_main:
        training.run_dir.append_metrics(metrics)
        training.on_metrics(metrics)
        line = (
            f"epoch {metrics.epoch:.2f}, {metrics.seconds:.0f} s: "
            f"valid accuracy {metrics.valid_accuracy:.4f}, loss {metrics.valid_loss:.4f}"
        )
        logger.info(line)
        progress.say(line)


def score_validation(training: Training, net_logits: FloatArray) -> ValidationResult:
    """Return rank 0's scores on every rank: all must agree on which step is best and when to stop."""
    state, split, text = training.state, training.valid_split, ""
    if training.world.is_main:  # which alone has the n-gram model's logits
        wide_logits, labels = training.valid_wide, np.asarray(split.labels)
        combination = Combination.fit(net_logits, wide_logits, labels, mean_one(split.weights))
        scores = score(
            combination.logits(net_logits, wide_logits), labels, training.dataset.manifest.class_set
        )
        metrics = EpochMetrics(
            epoch=round(state.step / training.steps_per_epoch, 4),
            step=state.step,
            seconds=round(training.clock.seconds(), 3),
            train_loss=state.mean_loss,
            valid_accuracy=scores.accuracy,
            valid_loss=scores.loss,
            learning_rate=training.learning_rate(state.step),
        )
        text = ValidationResult(metrics=metrics, combination=asdict(combination)).model_dump_json()
    return ValidationResult.model_validate_json(share_text(text, training.world))
