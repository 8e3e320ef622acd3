"""Train on a prepared dataset: `train` is the whole of it, `train_steps` the loop itself."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from sentiscale.allocator import reused_memory
from sentiscale.config import Settings, TrainSettings
from sentiscale.data.batches import Batch, drop_words, make_batch, token_lengths, training_rows
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import Interrupted, SentiscaleError
from sentiscale.parallel.process import flushed_denormals, torch_threads
from sentiscale.parallel.whole import Runner
from sentiscale.progress import Progress
from sentiscale.records import EpochMetrics, RunRecord
from sentiscale.training.checkpoint import Checkpoint, save_checkpoint
from sentiscale.training.clock import PhaseClock
from sentiscale.training.evaluate import evaluate
from sentiscale.training.finish import finish, write_record
from sentiscale.training.optimizer import RowSparseAdam, learning_rate
from sentiscale.training.rundir import RunDir, logger
from sentiscale.training.setup import Hardware, Training, set_up
from sentiscale.training.signals import StopWish, stop_on_signals


@dataclass(frozen=True)
class StepResult:
    """What one optimiser step did."""

    step: int
    loss_sum: float
    """Training loss summed over the step's rows, in nats."""
    bytes_reduced: int
    batch: Batch


def train(
    dataset: PreparedDataset | str | Path,
    out: str | Path,
    settings: Settings | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Train a model and write the run directory `out`.

    Args:
        dataset: prepared data, opened or as a path.
        out: the run directory.
        settings: what to train and how; with `resume` and None, those of the run in `out`.
        resume: go on from the newest checkpoint in `out`.
        force: replace a run in `out`.
        progress: where to show how it goes.

    Returns: the record, as in `out/record.json`.

    Raises:
        UsageError: settings that cannot work, or `out` exists.
        DataError: prepared data that is missing or damaged.
        Interrupted: SIGINT or SIGTERM; a checkpoint was saved.
        SentiscaleError: the loss is no longer a number; the last checkpoint is sound.
    """
    progress = progress or Progress()
    if not isinstance(dataset, PreparedDataset):
        dataset = PreparedDataset.open(dataset)
    if settings is None:
        settings = Settings.model_validate(RunDir(Path(out)).stored_settings()) if resume else Settings()
    hardware = Hardware.choose(settings)
    train_settings = settings.train.resolved(dataset.manifest.rows.get("train", 0))
    settings = settings.model_copy(update={"train": train_settings})
    run_dir = RunDir.create(Path(out), resume=resume, force=force)
    with (
        flushed_denormals(), reused_memory(), torch_threads(hardware.threads),
        run_dir.logging(), stop_on_signals() as wish,
    ):  # fmt: skip
        training = set_up(dataset, run_dir, settings, hardware, resume=resume, progress=progress)
        write_record(training, "running")
        try:
            reason = fit(training, wish, progress)
        except BaseException as error:
            write_record(training, "interrupted" if isinstance(error, Interrupted) else "failed", error)
            raise
        logger.info("stopped: %s", reason)
        progress.say(f"stopped: {reason}")
        return finish(training)


def fit(training: Training, wish: StopWish, progress: Progress) -> str:
    """Step, validate and save until something says stop; return what did.

    Raises: Interrupted when that was a signal.
    """
    settings, clock = training.settings.train, training.clock
    if validation_missing(training):
        validate(training, progress)
    reason = stop_reason(training, wish)
    if reason:
        return reason
    with progress.task("train", training.total_steps * training.batch_size, "rows") as advance:
        advance(training.state.rows, "")
        batches = batches_from(training, training.state.step)
        rate = rate_of(settings, training.total_steps)
        for result in train_steps(training.runner, training.optimizer, batches, rate, settings, clock):
            count_step(training, result)
            advance(result.batch.rows_global, f"loss {training.state.mean_loss or 0.0:.3f}")
            reason = stop_reason(training, wish)
            if wish:
                save(training)
                raise interrupted(training, wish)
            if reason or validation_missing(training):
                validate(training, progress)
                reason = reason or stop_reason(training, wish)
            if reason or checkpoint_due(training):
                save(training)
            if reason:
                return reason
    raise AssertionError("batches have no end")


def train_steps(
    runner: Runner,
    optimizer: RowSparseAdam,
    batches: Iterable[tuple[int, Batch]],
    rate: Callable[[int], float],
    settings: TrainSettings,
    clock: PhaseClock,
) -> Iterator[StepResult]:
    """One optimiser step per global batch. Random numbers depend on (seed, step) alone."""
    for step, batch in batches:
        torch.manual_seed((settings.seed << 32) + step)
        with clock.phase("compute"):
            loss_sum = runner.forward_backward(batch)
        check_loss(loss_sum, step)
        with clock.phase("reduce"):
            bytes_reduced = runner.reduce_gradients()
        with clock.phase("update"):
            optimizer.clip(settings.max_norm)
            optimizer.step(rate(step))
        yield StepResult(step, loss_sum, bytes_reduced, batch)


def batches_from(training: Training, first_step: int) -> Iterator[tuple[int, Batch]]:
    """Batches of this rank from any step on; the time to make them counts as `data`."""
    split, settings = training.train_split, training.settings.train
    lengths = token_lengths(split, settings.max_tokens)
    steps = training_rows(lengths, training.batch_size, settings.seed, first_step)
    while True:
        with training.clock.phase("data"):
            step, rows = next(steps)
            batch = make_batch(split, rows, settings.max_tokens)
            if settings.word_dropout:
                generator = np.random.default_rng([settings.seed, step])
                batch = drop_words(batch, settings.word_dropout, generator)
        yield step, batch


def rate_of(settings: TrainSettings, total_steps: int) -> Callable[[int], float]:
    """The learning rate as a function of the step."""
    return lambda step: learning_rate(
        step, total_steps, peak=settings.lr, warmup_steps=settings.warmup_steps, schedule=settings.schedule
    )


def count_step(training: Training, result: StepResult) -> None:
    """Add a step to the run's state."""
    state, batch = training.state, result.batch
    training.state = state.model_copy(
        update={
            "step": result.step + 1,
            "rows": state.rows + batch.rows_global,
            "tokens": state.tokens + int(batch.lengths_B.sum()),
            "padded_tokens": state.padded_tokens + batch.ids_BT.size,
            "loss_sum": state.loss_sum + result.loss_sum,
            "loss_rows": state.loss_rows + batch.rows_global,
        }
    )


def check_loss(loss_sum: float, step: int) -> None:
    """Raise SentiscaleError when training has diverged; the parameters are still those before the step."""
    if not math.isfinite(loss_sum):
        raise SentiscaleError(
            f"the loss became {loss_sum} at step {step:,}: training diverged. The last checkpoint is sound; "
            "train again with a lower --lr (half of it is a good start)."
        )


def validation_missing(training: Training) -> bool:
    """Whether the current step ends a validation interval that has not been scored yet."""
    state = training.state
    every = training.settings.train.validate_every * training.steps_per_epoch
    due = state.step // every > (state.step - 1) // every  # true at step 0: the wide part is a model already
    return due and not (state.metrics and state.metrics[-1].step == state.step)


def checkpoint_due(training: Training) -> bool:
    """Whether it is time to save, by steps or by seconds."""
    settings = training.settings.train
    by_steps = settings.checkpoint_every and training.state.step % settings.checkpoint_every == 0
    return bool(by_steps) or time.monotonic() - training.saved_at >= settings.checkpoint_seconds


def stop_reason(training: Training, wish: StopWish) -> str:
    """Why to stop now, or an empty string."""
    settings, state = training.settings.train, training.state
    if wish.signal is not None:
        return f"{wish.signal.name} received"
    if state.target_seconds is not None:
        return f"validation accuracy reached {settings.target_accuracy} after {state.target_seconds:.0f} s"
    if settings.patience is not None and state.stale >= settings.patience:
        return f"no better for {state.stale} validations"
    if state.step >= training.total_steps:
        return f"{settings.epochs:g} epochs done"
    if settings.time_limit is not None and training.clock.seconds() >= settings.time_limit:
        return f"time limit of {settings.time_limit:g} s reached"
    return ""


def interrupted(training: Training, wish: StopWish) -> Interrupted:
    """The error that ends an interrupted run, saying how to go on."""
    return Interrupted(
        f"{wish.signal.name if wish.signal else 'signal'} received; saved at step {training.state.step:,}. "
        f"Go on with: sentiscale train {training.dataset.path} --out {training.run_dir.path} --resume"
    )


def validate(training: Training, progress: Progress) -> None:
    """Score on the validation split, remember the best, write a line of metrics."""
    settings, state = training.settings.train, training.state
    with training.clock.phase("eval"):
        scores, combination = evaluate(
            training.runner, training.valid_split, training.valid_wide, settings.max_tokens
        )
    metrics = EpochMetrics(
        epoch=round(state.step / training.steps_per_epoch, 4),
        step=state.step,
        seconds=round(training.clock.seconds(), 3),
        train_loss=state.mean_loss,
        valid_accuracy=scores.accuracy,
        valid_loss=scores.loss,
        learning_rate=rate_of(settings, training.total_steps)(state.step),
    )
    better = (scores.accuracy, -scores.loss) > (state.best_accuracy, -state.best_loss)
    reached = settings.target_accuracy is not None and scores.accuracy >= settings.target_accuracy
    training.state = state.model_copy(
        update={
            "loss_sum": 0.0,
            "loss_rows": 0,
            "metrics": [*state.metrics, metrics],
            "best_step": state.step if better else state.best_step,
            "best_accuracy": scores.accuracy if better else state.best_accuracy,
            "best_loss": scores.loss if better else state.best_loss,
            "best_combination": asdict(combination) if better else state.best_combination,
            "stale": 0 if better else state.stale + 1,
            "target_seconds": state.target_seconds or (metrics.seconds if reached else None),
        }
    )
    if better:
        weights = training.runner.net.state_dict()
        training.best_weights = {name: tensor.clone() for name, tensor in weights.items()}
    training.run_dir.append_metrics(metrics)
    line = (
        f"epoch {metrics.epoch:.2f}, {metrics.seconds:.0f} s: "
        f"valid accuracy {scores.accuracy:.4f}, loss {scores.loss:.4f}"
    )
    logger.info(line)
    progress.say(line)


def save(training: Training) -> None:
    """Write a checkpoint of the current step."""
    with training.clock.phase("checkpoint"):
        training.state = training.state.model_copy(
            update={"seconds": training.clock.seconds(), "phases": training.clock.times()}
        )
        tensors = {
            "weights": training.runner.net.state_dict(),
            "optimizer": training.optimizer.state(),
            "best": training.best_weights,
        }
        keep = training.settings.train.keep_checkpoints
        save_checkpoint(training.run_dir.checkpoints, Checkpoint(training.state, tensors), keep)
    training.saved_at = time.monotonic()
