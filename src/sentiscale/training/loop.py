"""The training loop of one rank: `fit` trains, validates and saves until there is a reason to stop."""

import time

from sentiscale.errors import Interrupted
from sentiscale.parallel.collectives import StepReport, StepSummary, share_text
from sentiscale.training.checkpoint import save_checkpoint
from sentiscale.training.run import Training
from sentiscale.training.run_directory import logger
from sentiscale.training.setup import owned_tensors, start_from_word_vectors
from sentiscale.training.step import StepResult, rank_batches, train_steps
from sentiscale.training.validate import validate
from sentiscale.util.progress import Progress


def fit(training: Training, progress: Progress) -> None:
    """Train until the epochs are done, the target or the time limit is reached, or patience runs out.

    Raises: Interrupted after SIGINT or SIGTERM, once a checkpoint has been saved.
    """
    settings = training.settings.train
    if validation_due(training):
        validate(training, progress)
    reason = stop_reason(training)
    if not reason and training.state.step == 0 and training.settings.vectors.enabled:
        start_from_word_vectors(training, progress)
    if not reason and out_of_time(training):
        reason = time_is_up(training)
    with progress.task("train", training.total_steps * training.batch_size, "rows") as advance:
        advance(training.state.rows, "")
        batches = rank_batches(
            training.train_split,
            settings,
            training.world,
            training.clock,
            training.state.step,
            row_weights=training.row_weights,
        )
        steps = train_steps(
            training.learner,
            batches,
            training.learning_rate,
            settings.max_norm,
            training.clock,
            lambda: step_requests(training),
        )
        while not reason:
            result = next(steps)
            count_step(training, result)
            advance(result.batch.rows_global, f"loss {training.state.mean_loss or 0.0:.3f}")
            if result.summary.stop:
                save(training)
                raise interrupted(training)
            reason = stop_reason(training, result.summary)
            if reason or validation_due(training):
                validate(training, progress)
                reason = reason or stop_reason(training)
            if reason or result.summary.save:
                save(training)
    logger.info("stopped: %s", reason)
    progress.say(f"stopped: {reason}")


def step_requests(training: Training) -> StepReport:
    """Requests of this rank at the end of a step: stop, out of time, save."""
    settings = training.settings.train
    by_steps = settings.checkpoint_every and (training.state.step + 1) % settings.checkpoint_every == 0
    by_time = time.monotonic() - training.saved_at >= settings.checkpoint_seconds
    return StepReport(
        stop=training.stop.received is not None,
        out_of_time=training.budget.over(),
        save=bool(by_steps) or by_time,
    )


def count_step(training: Training, result: StepResult) -> None:
    """Add a step to the run's state; the counts are those of all ranks."""
    state, batch = training.state, result.batch
    training.bytes_sent += result.bytes_sent
    training.steps_here += 1
    training.state = state.model_copy(
        update={
            "step": result.step + 1,
            "rows": state.rows + batch.rows_global,
            "tokens": state.tokens + batch.tokens_global,
            "padded_tokens": state.padded_tokens + batch.padded_global,
            "loss_sum": state.loss_sum + result.summary.loss_sum,
            "loss_rows": state.loss_rows + batch.rows_global,
        }
    )


def validation_due(training: Training) -> bool:
    """Whether the current step ends a validation interval that has not been scored yet."""
    state = training.state
    every = training.settings.train.validate_every * training.steps_per_epoch
    # Also true at step 0, because the n-gram model alone can already predict.
    due = state.step // every > (state.step - 1) // every
    return due and not (state.metrics and state.metrics[-1].step == state.step)


def stop_reason(training: Training, summary: StepSummary | None = None) -> str:
    settings, state = training.settings.train, training.state
    if state.target_seconds is not None:
        return f"validation accuracy reached {settings.target_accuracy} after {state.target_seconds:.0f} s"
    if settings.patience is not None and state.stale >= settings.patience:
        return f"no improvement for {state.stale} validations"
    if state.step >= training.total_steps:
        return f"{settings.epochs:g} {'epoch' if settings.epochs == 1 else 'epochs'} done"
    if summary is not None and summary.out_of_time:
        return time_is_up(training)
    return ""


def out_of_time(training: Training) -> bool:
    """Whether there is no time even for one step; all ranks agree."""
    return share_text("over" if training.budget.over() else "", training.world) == "over"


def time_is_up(training: Training) -> str:
    limit, done = training.budget.limit, training.state.step / training.steps_per_epoch
    return (
        f"time limit of {limit:g} s reached: the network has read {training.state.rows:,} rows, "
        f"{done:.2f} of {training.settings.train.epochs:g} epochs. For more, train with --force and a longer "
        "--time-limit"
    )


def interrupted(training: Training) -> Interrupted:
    """Return the error that ends an interrupted run, with the command that resumes it."""
    number = training.stop.received
    return Interrupted(
        f"{number.name if number else 'signal'} received; saved at step {training.state.step:,}. "
        f"Resume with: sentiscale train {training.dataset.path} --out {training.run_dir.path} --resume"
    )


def save(training: Training) -> None:
    learner = training.learner
    with training.clock.phase("checkpoint", training.state.step):
        training.state = training.state.model_copy(
            update={
                "seconds": training.clock.seconds(),
                "phases": training.clock.times(),
                "optimizer_steps": learner.optimizer.steps,
                "loss_scale": learner.scaler.scale if learner.scaler.enabled else None,
                "good_steps": learner.scaler.good_steps,
            }
        )
        save_checkpoint(
            training.run_dir.checkpoints,
            training.state,
            owned_tensors(learner, training.best),
            training.world,
            training.settings.train.keep_checkpoints,
        )
    training.saved_at = time.monotonic()
