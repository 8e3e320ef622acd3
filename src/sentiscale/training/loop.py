"""Train on a prepared dataset: `train` is the whole of it, `fit` steps, validates and saves until the end."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

from sentiscale.config import Settings, TrainSettings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.errors import Interrupted
from sentiscale.model.metrics import Scores
from sentiscale.model.wide import Combination
from sentiscale.parallel.collectives import StepReport, StepVerdict, gather_numbers, only_rank_0, share_text
from sentiscale.parallel.cpu import flushed_denormals, torch_threads
from sentiscale.parallel.rendezvous import RankEnv
from sentiscale.parallel.world import alone
from sentiscale.records import EpochMetrics, Record, RunRecord
from sentiscale.study.bench.auto_layout import choose_layout
from sentiscale.tracking.tracker import RunTrackers, TrackedRun, check_trackers
from sentiscale.training.checkpoint import TrainState, save_checkpoint
from sentiscale.training.finish import evaluate, finish, write_record
from sentiscale.training.hardware import Hardware, Place, taken_place
from sentiscale.training.job import Job
from sentiscale.training.launch import check_same_view, launch_ranks
from sentiscale.training.optimizer import learning_rate
from sentiscale.training.run_directory import RunDir, logger
from sentiscale.training.setup import Training, holding_of, set_up, start_with_vectors
from sentiscale.training.step import StepResult, rank_batches, train_steps
from sentiscale.util.memory import reused_memory
from sentiscale.util.progress import Progress


@contextmanager
def followed(training: Training, progress: Progress, *, resumed: bool) -> Iterator[None]:
    """Have the trackers that the settings name follow rank 0 while the block runs.

    The record as it stands at the end of the block, well or not, says how the run ended.
    """
    settings, run_dir = training.settings.track, training.run_dir
    if not settings.to or not training.world.is_main:
        yield
        return

    def say(message: str) -> None:
        logger.warning(message.removeprefix("warning: "))
        progress.say(message)

    step = training.state.step if resumed else None
    following = RunTrackers(settings, TrackedRun(run_dir.path.absolute(), training.record, step), say)
    for earlier in training.state.metrics:  # what a tracker missed, as one does that was not there before
        following.metrics(earlier)
    training.on_metrics = following.metrics
    try:
        yield
    finally:
        following.end(run_dir.read_record())


class StopWish:
    """Which signal asked to stop, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_on_signals() -> Iterator[StopWish]:
    """Collect SIGINT and SIGTERM while the block runs; a second one acts at once, as it usually would.

    Outside the main thread, where handlers cannot be set, the wish is never made.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        wish.signal = signal.Signals(number)
        signal.signal(number, earlier[signal.Signals(number)])

    for number in earlier:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


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

    With a layout of several ranks this starts one process a rank, unless it is in one of them already
    (torchrun, a batch system): then it takes its place among them, and every rank returns the same.

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
        SentiscaleError: the loss is no longer a number, or a rank failed; the last checkpoint is sound.
    """
    progress = progress or Progress()
    if not isinstance(dataset, PreparedDataset):
        dataset = PreparedDataset.open(dataset)
    if settings is None:
        settings = Settings.model_validate(RunDir(Path(out)).stored_settings()) if resume else Settings()
    settings = settings.resolved(dataset.manifest.rows.get("train", 0))
    check_trackers(settings.track)
    job = Job(dataset, RunDir(Path(out)), settings, resume, force)
    env = RankEnv.current()
    if env is None:
        return begin(job, progress)
    with taken_place(Hardware.choose(settings, env), env, settings.train.silence_limit) as place:
        if not env.own_launcher:  # which has done this before it started the ranks
            # An agent counts only the restarts that a rank of its own host caused.
            attempts = gather_numbers([env.attempt], place.world)
            job = replace(job, resume=resume or max(attempts) > [0])
            only_rank_0(place.world, lambda: job.run_dir.create(resume=job.resume, force=job.force))
            check_same_view(job, place.world)
        return run_rank(job, place, progress if place.world.is_main else Progress())


def begin(job: Job, progress: Progress) -> RunRecord:
    """Train in this process, or in one process a rank."""
    job.run_dir.check(resume=job.resume, force=job.force)
    choice = None
    if job.settings.train.layout == "auto":
        choice = choose_layout(job, progress)
        job = replace(job, settings=choice.settings)
    hardware = Hardware.choose(job.settings)
    job.run_dir.create(resume=job.resume, force=job.force)
    if hardware.layout.world_size > 1:
        record = launch_ranks(job, hardware, progress)
    else:
        record = run_rank(job, Place(alone(hardware.device), hardware), progress)
    if choice is not None:
        record = record.model_copy(update={"layout_choice": choice.as_dict()})
        job.run_dir.write_record(record)
    return record


def run_rank(job: Job, place: Place, progress: Progress) -> RunRecord:
    """Train as one rank: from the checks to the record."""
    with (
        flushed_denormals(),
        reused_memory(),
        torch_threads(place.hardware.threads),
        job.run_dir.logging() if place.world.is_main else nullcontext(),
        stop_on_signals() as wish,
    ):
        training = set_up(job, place, progress)
        write_record(training, "running")
        with followed(training, progress, resumed=job.resume):
            try:
                reason = fit(training, place.hardware.node_threads, wish, progress)
            except BaseException as error:
                write_record(training, "interrupted" if isinstance(error, Interrupted) else "failed", error)
                raise
            logger.info("stopped: %s", reason)
            progress.say(f"stopped: {reason}")
            return finish(training)


def fit(training: Training, threads: int, wish: StopWish, progress: Progress) -> str:
    """Step, validate and save until something says stop; return what did. `threads`: of this machine.

    Raises: Interrupted when that was a signal.
    """
    settings, world, clock = training.settings.train, training.world, training.clock
    if validation_missing(training):
        validate(training, progress)
    reason = stop_reason(training)
    if reason:
        return reason
    if training.state.step == 0 and training.settings.vectors.enabled:
        start_with_vectors(training, threads, progress)
    with progress.task("train", training.total_steps * training.batch_size, "rows") as advance:
        advance(training.state.rows, "")
        rate = rate_of(settings, training.total_steps)
        batches = rank_batches(training.train_split, settings, world, clock, training.state.step)
        for result in train_steps(
            training.learner, batches, rate, settings.max_norm, clock, lambda: wishes(training, wish)
        ):
            count_step(training, result)
            advance(result.batch.rows_global, f"loss {training.state.mean_loss or 0.0:.3f}")
            reason = stop_reason(training, result.verdict)
            if result.verdict.stop:
                save(training)
                raise interrupted(training, wish)
            if reason or validation_missing(training):
                validate(training, progress)
                reason = reason or stop_reason(training)
            if reason or result.verdict.save:
                save(training)
            if reason:
                return reason
    raise AssertionError("batches have no end")


def wishes(training: Training, wish: StopWish) -> StepReport:
    """What this rank's signals and clock ask for, at the end of a step."""
    settings = training.settings.train
    by_steps = settings.checkpoint_every and (training.state.step + 1) % settings.checkpoint_every == 0
    by_time = time.monotonic() - training.saved_at >= settings.checkpoint_seconds
    return StepReport(
        stop=bool(wish),
        out_of_time=settings.time_limit is not None and training.clock.seconds() >= settings.time_limit,
        save=bool(by_steps) or by_time,
    )


def rate_of(settings: TrainSettings, total_steps: int) -> Callable[[int], float]:
    """The learning rate as a function of the step."""
    return lambda step: learning_rate(
        step, total_steps, peak=settings.lr, warmup_steps=settings.warmup_steps, schedule=settings.schedule
    )


def count_step(training: Training, result: StepResult) -> None:
    """Add a step to the run's state; the numbers are those of all ranks."""
    state, batch = training.state, result.batch
    training.bytes_sent += result.bytes_sent
    training.steps_here += 1
    training.state = state.model_copy(
        update={
            "step": result.step + 1,
            "rows": state.rows + batch.rows_global,
            "tokens": state.tokens + batch.tokens_global,
            "padded_tokens": state.padded_tokens + batch.padded_global,
            "loss_sum": state.loss_sum + result.verdict.loss_sum,
            "loss_rows": state.loss_rows + batch.rows_global,
        }
    )


def validation_missing(training: Training) -> bool:
    """Whether the current step ends a validation interval that has not been scored yet."""
    state = training.state
    every = training.settings.train.validate_every * training.steps_per_epoch
    due = state.step // every > (state.step - 1) // every  # true at step 0: the wide part is a model already
    return due and not (state.metrics and state.metrics[-1].step == state.step)


def stop_reason(training: Training, verdict: StepVerdict | None = None) -> str:
    """Why to stop now, or an empty string."""
    settings, state = training.settings.train, training.state
    if verdict is not None and verdict.stop:
        return "a signal was received"
    if state.target_seconds is not None:
        return f"validation accuracy reached {settings.target_accuracy} after {state.target_seconds:.0f} s"
    if settings.patience is not None and state.stale >= settings.patience:
        return f"no better for {state.stale} validations"
    if state.step >= training.total_steps:
        return f"{settings.epochs:g} {'epoch' if settings.epochs == 1 else 'epochs'} done"
    if verdict is not None and verdict.out_of_time:
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
    settings, learner = training.settings.train, training.learner
    with training.clock.phase("eval", training.state.step):
        scored = evaluate(learner.runner, training.valid_split, training.valid_wide, settings.max_tokens)
        outcome = agreed_outcome(training, scored)
    metrics, better = outcome.metrics, outcome.better(training.state)
    reached = settings.target_accuracy is not None and metrics.valid_accuracy >= settings.target_accuracy
    state = training.state
    training.state = state.model_copy(
        update={
            "loss_sum": 0.0,
            "loss_rows": 0,
            "metrics": [*state.metrics, metrics],
            "best_step": state.step if better else state.best_step,
            "best_accuracy": metrics.valid_accuracy if better else state.best_accuracy,
            "best_loss": metrics.valid_loss if better else state.best_loss,
            "best_combination": outcome.combination if better else state.best_combination,
            "stale": 0 if better else state.stale + 1,
            "target_seconds": state.target_seconds or (metrics.seconds if reached else None),
        }
    )
    if better:
        training.best = {name: tensor.clone() for name, tensor in learner.runner.owned().items()}
    if not training.world.is_main:
        return
    training.run_dir.append_metrics(metrics)
    training.on_metrics(metrics)
    line = (
        f"epoch {metrics.epoch:.2f}, {metrics.seconds:.0f} s: "
        f"valid accuracy {metrics.valid_accuracy:.4f}, loss {metrics.valid_loss:.4f}"
    )
    logger.info(line)
    progress.say(line)


class Outcome(Record):
    """What rank 0 found when it scored the validation split."""

    metrics: EpochMetrics
    """As a line of metrics.jsonl."""
    combination: dict[str, float]
    """How the parts were joined for it: net, wide, bias."""

    def better(self, state: TrainState) -> bool:
        """Whether this is the best validation so far."""
        found = (self.metrics.valid_accuracy, -self.metrics.valid_loss)
        return found > (state.best_accuracy, -state.best_loss)


def agreed_outcome(training: Training, scored: tuple[Scores, Combination] | None) -> Outcome:
    """Rank 0's scores, on every rank."""
    state = training.state
    text = ""
    if scored is not None:
        scores, combination = scored
        metrics = EpochMetrics(
            epoch=round(state.step / training.steps_per_epoch, 4),
            step=state.step,
            seconds=round(training.clock.seconds(), 3),
            train_loss=state.mean_loss,
            valid_accuracy=scores.accuracy,
            valid_loss=scores.loss,
            learning_rate=rate_of(training.settings.train, training.total_steps)(state.step),
        )
        text = Outcome(metrics=metrics, combination=asdict(combination)).model_dump_json()
    return Outcome.model_validate_json(share_text(text, training.world))


def save(training: Training) -> None:
    """Write a checkpoint of the current step, all ranks together."""
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
            holding_of(learner, training.best),
            training.world,
            training.settings.train.keep_checkpoints,
        )
    training.saved_at = time.monotonic()
