"""Setup before the first step: checks, n-gram model, network, optimizer and resumed state."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from sentiscale.config import Settings, WideSettings
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.errors import DataError, Interrupted, UsageError
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.wide import WideModel, check_wide_memory, fit_wide, no_limit
from sentiscale.model.word_vectors import learn_vectors, rows_to_read
from sentiscale.parallel.collectives import barrier, share_text
from sentiscale.parallel.cpu import flushed_denormals, ran_on_onednn, torch_threads
from sentiscale.parallel.precision import LossScaler, Precision
from sentiscale.parallel.runner import Runner
from sentiscale.records import TimeLimitCuts, reason_of
from sentiscale.tracking.tracker import RunTrackers, TrackedRun
from sentiscale.training.budget import TimeBudget
from sentiscale.training.checkpoint import OwnedTensors, TrainState, find_latest, load_state, load_tensors
from sentiscale.training.clock import PhaseClock
from sentiscale.training.hardware import RankContext
from sentiscale.training.row_weights import row_weights
from sentiscale.training.run import Training, TrainJob, new_record, stop_on_signals, write_record
from sentiscale.training.run_directory import RunDir, logger
from sentiscale.training.step import Learner, runner_config
from sentiscale.training.validate import sampled, scoring_seconds
from sentiscale.util.atomic import write_file
from sentiscale.util.files import open_regular
from sentiscale.util.memory import reused_memory
from sentiscale.util.progress import Progress

ADDED_LATER = (("model", "head"), ("train", "class_weight"))
"""Settings that checkpoints of earlier versions do not know; they can be resumed if these are None."""
NOT_DECISIVE = {
    "time_limit",
    "target_accuracy",
    "checkpoint_every",
    "checkpoint_seconds",
    "keep_checkpoints",
    "layout",
    "threads_per_rank",
    "oversubscribe",
    "micro_batches",
    "device",
    "recurrent_device",
    "max_restarts",
    "silence_limit",
}
"""Training settings that may differ when a run is resumed: they do not affect the result of a step."""


@contextmanager
def open_run(job: TrainJob, place: RankContext, progress: Progress) -> Iterator[Training]:
    """Set up a run for the block; when it ends, write its outcome to the record and the trackers."""
    with set_up(job, place, progress) as training:
        write_record(training, "running")
        with tracked(training, progress, resumed=job.resume):
            try:
                yield training
            except BaseException as error:
                write_record(training, "interrupted" if isinstance(error, Interrupted) else "failed", error)
                raise


@contextmanager
def tracked(training: Training, progress: Progress, *, resumed: bool) -> Iterator[None]:
    """Report the run to the configured trackers on rank 0; after the block they receive the final record."""
    settings, run_dir = training.settings.track, training.run_dir
    if not settings.to or not training.world.is_main:
        yield
        return

    def say(message: str) -> None:
        logger.warning(message.removeprefix("warning: "))
        progress.say(message)

    step = training.state.step if resumed else None
    trackers = RunTrackers(settings, TrackedRun(run_dir.path.absolute(), training.record, step), say)
    for earlier in training.state.metrics:  # a tracker added when resuming has not received these
        trackers.metrics(earlier)
    training.on_metrics = trackers.metrics
    try:
        yield
    finally:
        trackers.end(run_dir.read_record())


@contextmanager
def set_up(job: TrainJob, place: RankContext, progress: Progress) -> Iterator[Training]:
    """Prepare this process and build the run; with `job.resume`, load the newest valid checkpoint.

    Raises:
        UsageError: settings that differ from those of the run to resume.
        DataError: a split is missing.
    """
    world, hardware, dataset, settings = place.world, place.hardware, job.dataset, job.settings
    with (
        flushed_denormals(),
        reused_memory(),
        torch_threads(hardware.threads),
        job.run_dir.logging() if world.is_main else nullcontext(),
        stop_on_signals() as stop,
    ):
        clock = PhaseClock(on_phase=place.on_phase)
        train_split, valid_split = dataset.split("train"), dataset.split("valid")
        if world.is_main:
            check_for_model(dataset)
        weights = row_weights(train_split, settings.train, dataset.manifest)
        learner = Learner.build(runner_config(settings, hardware, dataset.manifest), world)
        state = TrainState(fingerprint=fingerprint(settings, hardware.precision, dataset.manifest.digest))
        best: dict[str, Tensor] = {}
        if job.resume:
            state, best = load_checkpoint(job.run_dir, state, learner, progress)
            clock = PhaseClock(state.phases, state.seconds, place.on_phase)
        warn_about_slow_kernel(learner.runner, progress)
        budget = TimeBudget(settings.train.time_limit, job.started_at, earlier=state.seconds)
        training = Training(
            settings,
            dataset,
            train_split,
            valid_split,
            weights,
            job.run_dir,
            learner,
            None,
            None,
            state,
            best,
            clock,
            time.monotonic(),
            new_record(job, hardware),
            hardware.node_threads,
            budget,
            stop=stop,
        )
        if settings.wide.enabled:
            with clock.phase("wide"):
                add_wide(training, progress)
        choose_scored_rows(training)
        if training.wide is not None:
            with clock.phase("wide"):
                valid = training.valid_split
                training.valid_wide = training.wide.logits(valid.tokens, valid.offsets)
        yield training


def add_wide(training: Training, progress: Progress) -> None:
    """Fit the n-gram model on rank 0, or read that of the run; note on every rank what a time limit cut."""
    if training.world.is_main:
        training.wide = fit_in_time(training, progress)
    cuts = training.state.cuts
    if training.state.step == 0 and training.budget.limit is not None:
        cuts = cuts.model_copy(update=wide_cuts(training.wide))
        cuts = TimeLimitCuts.model_validate_json(share_text(cuts.model_dump_json(), training.world))
        say_cut(training, wide_cut(training), progress)
    training.state = training.state.model_copy(update={"cuts": cuts})
    barrier(training.world)


def fit_in_time(training: Training, progress: Progress) -> WideModel | None:
    """Return the n-gram model; None if a time limit leaves it out.

    A resumed run gets the model that it started with: a second fit could end elsewhere.
    """
    cuts, budget, settings = training.state.cuts, training.budget, training.settings
    classes, spent = len(training.dataset.manifest.classes), no_limit
    if cuts.wide_rows:
        return read_wide(training.run_dir.wide, settings.wide, classes)
    if training.state.step == 0 and budget.limit is not None:
        spent = budget.stopwatch(budget.wide_seconds())
    if cuts.wide_rows == 0 or spent() >= 1:
        return None
    return load_or_fit_wide(
        replace(training.train_split, weights=training.row_weights),
        settings,
        training.run_dir,
        training.node_threads,
        progress,
        classes=classes,
        spent=spent,
    )


def wide_cuts(wide: WideModel | None) -> dict[str, float]:
    """Fields of `TimeLimitCuts` for an n-gram model that was left out, or whose fit ended early."""
    if wide is None:
        return {"wide_rows": 0, "wide_passes": 0.0}
    return {"wide_rows": wide.rows, "wide_passes": wide.passes} if wide.rows else {}


def choose_scored_rows(training: Training) -> None:
    """Limit the rows that are scored to what a share of the time limit allows; all ranks agree.

    A resumed run keeps its validation rows, because accuracies of other rows do not compare.
    """
    budget, split, state = training.budget, training.valid_split, training.state
    train, runner = training.settings.train, training.learner.runner
    per_row = 0.0
    if budget.limit is not None:
        with training.clock.phase("eval"):
            per_row = scoring_seconds(runner, split, training.wide, train.max_tokens, train.seed)
            training.most_scored = int(share_text(str(budget.scored_rows(per_row)), training.world))
    test_rows, most = training.dataset.manifest.rows["test"], training.most_scored
    if state.step == 0:
        cut = most if most is not None and most < max(len(split), test_rows) else None
        training.state = state.model_copy(update={"cuts": state.cuts.model_copy(update={"scored_rows": cut})})
    training.valid_split = sampled(split, training.state.cuts.scored_rows, train.seed)
    budget.scoring = per_row * (len(training.valid_split) + min(test_rows, most or test_rows))


def check_for_model(dataset: PreparedDataset) -> None:
    """Check what is needed only after the last step: the test split and the words of the vocabulary."""
    manifest = dataset.manifest
    if manifest.rows["test"]:
        dataset.split("test")
    dataset.vocab.check_cleaning(manifest.cleaning, manifest.cleaning_version)


def fingerprint(settings: Settings, precision: Precision, data_digest: str) -> str:
    """Digest of everything that determines the result of a step."""
    decisive: dict[str, Any] = settings.model_dump(mode="json", include={"model", "wide", "vectors", "train"})
    decisive["train"] = {
        key: value for key, value in decisive["train"].items() if key not in NOT_DECISIVE
    } | {"precision": precision.name}
    for section, name in ADDED_LATER:
        if decisive[section][name] is None:
            del decisive[section][name]
    content = json.dumps([decisive, data_digest], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def owned_tensors(learner: Learner, best: dict[str, Tensor]) -> OwnedTensors:
    """Tensors this rank stores in a checkpoint: weights, both moments and the best weights."""
    found: dict[str, Tensor] = {f"weights/{name}": value for name, value in learner.runner.owned().items()}
    for name, (mean, square) in learner.optimizer.moments.items():
        found |= {f"mean/{name}": mean, f"square/{name}": square}
    found |= {f"best/{name}": value for name, value in best.items()}
    rows = {key for key in found if key.partition("/")[2] in learner.runner.tables}
    return OwnedTensors(
        whole={key: value for key, value in found.items() if key not in rows},
        rows={key: found[key] for key in rows},
    )


def load_checkpoint(
    run_dir: RunDir, fresh: TrainState, learner: Learner, progress: Progress
) -> tuple[TrainState, dict[str, Tensor]]:
    """Load the newest valid checkpoint; return its state and best weights, or `fresh` if there is none."""
    world, runner = learner.world, learner.runner
    path, complaints = find_latest(run_dir.checkpoints, world)
    for complaint in complaints:
        progress.say(f"skipped: {complaint}")
    if path is None:
        progress.say(f"no checkpoint in {run_dir.path}; starting at step 0")
        if world.is_main:
            run_dir.wide.unlink(missing_ok=True)  # it may have been fitted with other settings
        return fresh, {}
    state = load_state(path)
    if state.fingerprint != fresh.fingerprint:
        raise UsageError(
            f"{run_dir.path} was trained with different settings or data. Resume it with the same ones "
            "(only layout, threads, device, time limit, target and checkpoints may differ), or choose "
            "another --out."
        )
    best = {name: torch.empty_like(value) for name, value in runner.owned().items()}
    load_tensors(path, state, owned_tensors(learner, best), world.replica, world.layout.data)
    runner.restore(runner.owned())
    learner.optimizer.steps = state.optimizer_steps
    learner.scaler = LossScaler(runner.config.precision, state.loss_scale, state.good_steps)
    if world.is_main:
        run_dir.rewrite_metrics(state.metrics)
    progress.say(f"resuming {run_dir.path} at step {state.step:,}")
    return state, best


def load_or_fit_wide(
    split: Split,
    settings: Settings,
    run_dir: RunDir,
    threads: int,
    progress: Progress,
    *,
    classes: int = 2,
    spent: Callable[[], float] = no_limit,
) -> WideModel:
    """Fit the n-gram model, or load it if an earlier part of this run has fitted it.

    `spent` ends the fit early, as in `fit_wide`.

    Raises: SentiscaleError when it needs more memory than there is.
    """
    if run_dir.wide.exists():
        try:
            return read_wide(run_dir.wide, settings.wide, classes)
        except DataError as error:  # fitting it again gives the same numbers
            progress.say(f"skipped: {error}")
    if classes > 2:
        size = check_wide_memory(settings.wide.bits, classes)
        progress.say(
            f"n-gram model: {classes} classes x 2**{settings.wide.bits} buckets, {size / 1e6:,.0f} MB"
        )
    progress.say(f"fitting the n-gram model on {len(split):,} rows")
    wide = fit_wide(
        np.asarray(split.tokens),
        np.asarray(split.offsets),
        np.asarray(split.labels),
        settings.wide,
        classes=classes,
        seed=settings.train.seed,
        threads=threads,
        row_weights=split.weights,
        spent=spent,
    )
    intercept = np.atleast_1d(np.array(wide.intercept))
    arrays = {"scales": wide.scales, "weights": wide.weights, "intercept": intercept}
    write_file(run_dir.wide, save(arrays, {"sha256": _arrays_digest(arrays)}))
    return wide


def read_wide(path: Path, settings: WideSettings, classes: int = 2) -> WideModel:
    """Read an n-gram model that an earlier part of the run has fitted.

    Raises: DataError when the file is damaged or does not fit the settings.
    """
    try:
        open_regular(path).close()
        with safe_open(path, "numpy") as file:
            found = file.metadata()
            arrays = {name: file.get_tensor(name) for name in ("scales", "weights", "intercept")}
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: NumPy has no such type
        raise DataError(f"{path} is damaged: {reason_of(error)}.") from error
    if found != {"sha256": _arrays_digest(arrays)}:
        raise DataError(f"{path} is damaged: its numbers do not match their digest.")
    shapes = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    buckets, outputs = (2**settings.bits,), () if classes == 2 else (classes,)
    if shapes != {
        "scales": (buckets, "float32"),
        "weights": (buckets + outputs, "float32"),
        "intercept": (outputs or (1,), "float64"),
    }:
        raise DataError(f"{path} does not fit the settings: it has {shapes}.")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise DataError(f"{path} is damaged: a value is not finite.")
    ngrams = Ngrams(settings.bits, settings.longest, settings.gaps)
    intercept = tuple(arrays["intercept"].tolist())
    return WideModel(arrays["scales"], arrays["weights"], intercept[0] if classes == 2 else intercept, ngrams)


def _arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def warn_about_slow_kernel(runner: Runner, progress: Progress) -> None:
    config, cell = runner.config, runner.net.recurrent.cell
    if runner.device.type != "cpu" or config.model.cell != "lstm" or cell.weight_ih_l0.is_meta:
        return
    if config.precision.name == "fp64":  # chosen for accuracy; oneDNN has no fp64 kernel
        return
    with config.precision.autocast(runner.device):
        out_BTH, _ = cell(torch.zeros(2, 8, config.model.embedding_dim))
    if not ran_on_onednn(out_BTH):
        message = (
            "this LSTM does not run on oneDNN's fused kernel, so training takes several times as long. Run "
            "`sentiscale doctor` to find out why."
        )
        logger.warning(message)
        progress.say(f"warning: {message}")


def start_from_word_vectors(training: Training, progress: Progress) -> None:
    """Learn word vectors and initialize the embedding with them; a time limit ends the learning early."""
    settings, split = training.settings, training.train_split
    seconds = float(share_text(str(training.budget.vector_seconds()), training.world))
    vectors, read = None, 0.0
    total = rows_to_read(len(split), len(split.tokens), settings.vectors)
    if seconds > 0:
        with training.clock.phase("vectors"):
            if training.world.is_main:
                vectors, read = learn_in_time(training, total, seconds, progress)
            training.learner.runner.start_from(vectors)
    read = float(share_text(str(read), training.world))
    if read < total:
        cuts = training.state.cuts.model_copy(update={"vector_rows": round(read)})
        training.state = training.state.model_copy(update={"cuts": cuts})
        amount = f"were learnt from {read:,.0f} of {total:,} rows" if read else "were left out"
        say_cut(training, f"word vectors {amount}", progress)


def learn_in_time(
    training: Training, total: int, seconds: float, progress: Progress
) -> tuple[NDArray[np.float32], float]:
    """Learn word vectors for at most `seconds`; return them and the number of rows read, of `total`."""
    settings, split, read = training.settings, training.train_split, 0.0
    spent = training.budget.stopwatch(seconds)
    with progress.task("word vectors", total, "rows") as advance:

        def has_time(rows: float) -> bool:
            nonlocal read
            read += rows
            advance(rows, "")
            return spent() < 1

        vectors = learn_vectors(
            np.asarray(split.tokens),
            np.asarray(split.offsets),
            (training.dataset.manifest.vocab_size, settings.model.embedding_dim),
            settings.vectors,
            seed=settings.train.seed,
            threads=training.node_threads,
            keep_going=has_time,
        )
    return vectors, read


def wide_cut(training: Training) -> str:
    """What a time limit cut from the n-gram model; empty if nothing."""
    wide, rows, budget = training.wide, len(training.train_split), training.budget
    if wide is None:
        enough = max(30, round(10 * budget.used()))
        return (
            f"there is no n-gram model, because {budget.used():.1f} s of {budget.limit:g} s were used before "
            f"it. To fit it, train with --force --time-limit {enough}"
        )
    return (
        f"the n-gram model was fitted on {wide.rows:,} of {rows:,} rows, {wide.passes:.1f} passes"
        if wide.rows
        else ""
    )


def say_cut(training: Training, cut: str, progress: Progress) -> None:
    """Log and display, on rank 0, what a time limit cut."""
    if cut and training.world.is_main:
        logger.info("time limit: %s", cut)
        progress.say(f"time limit: {cut}")
