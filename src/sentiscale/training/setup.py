"""Everything a run needs before its first step: checks, wide part, network, optimiser, resumed state."""

import hashlib
import json
import math
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save
from torch import Tensor

from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.errors import UsageError
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.wide import WideModel, fit_wide
from sentiscale.model.word_vectors import learn_vectors, rows_to_read
from sentiscale.parallel.collectives import barrier
from sentiscale.parallel.cpu import ran_on_onednn
from sentiscale.parallel.precision import LossScaler, Precision
from sentiscale.parallel.runner import FloatArray, Stage
from sentiscale.parallel.world import World
from sentiscale.records import EpochMetrics, Host, RunRecord, git_commit, now, package_versions
from sentiscale.training.checkpoint import Holding, TrainState, find_latest, load_state, load_tensors
from sentiscale.training.clock import PhaseClock
from sentiscale.training.hardware import Hardware, Place
from sentiscale.training.job import Job
from sentiscale.training.run_directory import RunDir, logger
from sentiscale.training.step import Learner, plan_of
from sentiscale.util.atomic import write_file
from sentiscale.util.progress import Progress

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
"""Training settings that may differ when a run is resumed: they do not change what a step does."""


@dataclass
class Training:
    """A run in progress, as one rank sees it."""

    settings: Settings
    """Resolved: with numbers for all that depends on the data."""
    dataset: PreparedDataset
    """The prepared data."""
    train_split: Split
    """Rows to learn from."""
    valid_split: Split
    """Rows to choose the best weights by."""
    run_dir: RunDir
    """Where everything is written."""
    learner: Learner
    """Network, optimiser and loss scale."""
    wide: WideModel | None
    """Rank 0 only."""
    valid_wide: FloatArray | None
    """The wide part's logits on the validation rows; rank 0 only."""
    state: TrainState
    """Where the run stands."""
    best: dict[str, Tensor]
    """What this rank owned of the network at the best validation so far."""
    clock: PhaseClock
    """Seconds by phase."""
    saved_at: float
    """time.monotonic() of the last checkpoint, or of the start."""
    record: RunRecord
    """What is known of the run from its start."""
    on_metrics: Callable[[EpochMetrics], None] = lambda metrics: None
    """Told of every validation, on rank 0."""
    bytes_sent: int = 0
    """By this rank, in the steps of this process."""
    steps_here: int = 0
    """Steps of this process: without those that a resumed run did before."""

    @property
    def world(self) -> World:
        """The ranks of this run."""
        return self.learner.world

    @property
    def batch_size(self) -> int:
        """Global rows of a step."""
        return self.settings.train.batch_size_for(len(self.train_split))

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the training rows."""
        return -(-len(self.train_split) // self.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, earlier parts of a resumed one included."""
        return max(1, math.ceil(self.settings.train.epochs_for(len(self.train_split)) * self.steps_per_epoch))


def set_up(job: Job, place: Place, progress: Progress) -> Training:
    """Build everything; to resume, take up the newest sound checkpoint.

    Raises:
        UsageError: settings that differ from those of the run to resume.
        DataError: a split is missing.
    """
    world, hardware, dataset, settings = place.world, place.hardware, job.dataset, job.settings
    clock = PhaseClock(note=place.note)
    train_split, valid_split = dataset.split("train"), dataset.split("valid")
    learner = Learner.build(plan_of(settings, hardware, dataset.manifest.vocab_size), world)
    state = TrainState(fingerprint=fingerprint(settings, hardware.precision, dataset.manifest.digest))
    best: dict[str, Tensor] = {}
    if job.resume:
        state, best = take_up(job.run_dir, state, learner, progress)
        clock = PhaseClock(state.phases, state.seconds, place.note)
    warn_off_the_fast_path(learner.runner, progress)

    wide = valid_wide = None
    if settings.wide.enabled:
        with clock.phase("wide"):
            if world.is_main:
                wide = wide_part(train_split, settings, job.run_dir, hardware.node_threads, progress)
                valid_wide = wide.logits(valid_split.tokens, valid_split.offsets)
            barrier(world)
    return Training(
        settings,
        dataset,
        train_split,
        valid_split,
        job.run_dir,
        learner,
        wide,
        valid_wide,
        state,
        best,
        clock,
        time.monotonic(),
        new_record(settings, hardware, dataset),
    )


def fingerprint(settings: Settings, precision: Precision, data_digest: str) -> str:
    """Digest of all that decides what a step does."""
    decisive: dict[str, Any] = settings.model_dump(mode="json", include={"model", "wide", "vectors", "train"})
    decisive["train"] = {
        key: value for key, value in decisive["train"].items() if key not in NOT_DECISIVE
    } | {"precision": precision.name}
    content = json.dumps([decisive, data_digest], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def holding_of(learner: Learner, best: dict[str, Tensor]) -> Holding:
    """What this rank owns, by quantity and name, as a checkpoint stores it."""
    found: dict[str, Tensor] = {f"weights/{name}": value for name, value in learner.runner.owned().items()}
    for name, (mean, square) in learner.optimizer.moments.items():
        found |= {f"mean/{name}": mean, f"square/{name}": square}
    found |= {f"best/{name}": value for name, value in best.items()}
    rows = {key for key in found if key.partition("/")[2] in learner.runner.tables}
    return Holding(
        whole={key: value for key, value in found.items() if key not in rows},
        rows={key: found[key] for key in rows},
    )


def take_up(
    run_dir: RunDir, fresh: TrainState, learner: Learner, progress: Progress
) -> tuple[TrainState, dict[str, Tensor]]:
    """Load the newest sound checkpoint into network and optimiser; the fresh state when there is none."""
    world, runner = learner.world, learner.runner
    path, complaints = find_latest(run_dir.checkpoints, world)
    for complaint in complaints:
        progress.say(f"passed over: {complaint}")
    if path is None:
        progress.say(f"no checkpoint in {run_dir.path}; starting at step 0")
        if world.is_main:
            run_dir.wide.unlink(missing_ok=True)  # it may have been solved with other settings
        return fresh, {}
    state = load_state(path)
    if state.fingerprint != fresh.fingerprint:
        raise UsageError(
            f"{run_dir.path} was trained with other settings or other data. Resume it with the same ones "
            "(only layout, threads, device, time limit, target and checkpoints may differ), or choose "
            "another --out."
        )
    best = {name: torch.empty_like(value) for name, value in runner.owned().items()}
    load_tensors(path, holding_of(learner, best), world.replica, world.layout.data)
    runner.restore(runner.owned())
    learner.optimizer.steps = state.optimizer_steps
    learner.scaler = LossScaler(runner.plan.precision, state.loss_scale, state.good_steps)
    if world.is_main:
        run_dir.rewrite_metrics(state.metrics)
    progress.say(f"resuming {run_dir.path} at step {state.step:,}")
    return state, best


def wide_part(
    split: Split, settings: Settings, run_dir: RunDir, threads: int, progress: Progress
) -> WideModel:
    """Solve the wide part, or read it back where an earlier part of this run has solved it."""
    if run_dir.wide.exists():
        arrays = load_file(run_dir.wide)
        ngrams = Ngrams(settings.wide.bits, settings.wide.longest, settings.wide.gaps)
        return WideModel(arrays["scales"], arrays["weights"], float(arrays["intercept"][0]), ngrams)
    progress.say(f"solving the wide part on {len(split):,} rows")
    wide = fit_wide(
        np.asarray(split.tokens),
        np.asarray(split.offsets),
        np.asarray(split.labels),
        settings.wide,
        seed=settings.train.seed,
        threads=threads,
    )
    arrays = {"scales": wide.scales, "weights": wide.weights, "intercept": np.array([wide.intercept])}
    write_file(run_dir.wide, save(arrays))
    return wide


def warn_off_the_fast_path(runner: Stage, progress: Progress) -> None:
    """Say so when an LSTM on the CPU does not run on oneDNN's fused kernel."""
    plan, cell = runner.plan, runner.net.recurrent.cell
    if runner.device.type != "cpu" or plan.model.cell != "lstm" or cell.weight_ih_l0.is_meta:
        return
    if plan.precision.name == "fp64":  # exact on purpose
        return
    with plan.precision.autocast(runner.device):
        out_BTH, _ = cell(torch.zeros(2, 8, plan.model.embedding_dim))
    if not ran_on_onednn(out_BTH):
        message = (
            "this LSTM does not run on oneDNN's fused kernel: expect several times the time; see `doctor`"
        )
        logger.warning(message)
        progress.say(f"warning: {message}")


def new_record(settings: Settings, hardware: Hardware, dataset: PreparedDataset) -> RunRecord:
    """The record at the start of a run."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    resolved = settings.model_dump(mode="json")
    return RunRecord(
        id=uuid.uuid4().hex[:12],
        started_at=now(),
        argv=sys.argv,
        settings=resolved,
        precision=hardware.precision.name,
        layout=str(hardware.layout),
        world_size=hardware.layout.world_size,
        threads_per_rank=hardware.threads,
        oversubscribed=hardware.oversubscribed,
        seed=settings.train.seed,
        data_digest=dataset.manifest.digest,
        data=dataset.described(),
        host=Host.current(gpu),
        versions=package_versions("sentiscale", "torch", "numpy", "scikit-learn", "numba", "pyarrow"),
        git_commit=git_commit(),
    )


def start_with_vectors(training: Training, threads: int, progress: Progress) -> None:
    """Learn first word vectors and begin with them; a time limit ends the learning early."""
    settings, split, clock = training.settings, training.train_split, training.clock
    limit = settings.train.time_limit
    vectors = None
    with clock.phase("vectors"):
        if training.world.is_main:
            rows = rows_to_read(len(split), len(split.tokens), settings.vectors)
            with progress.task("word vectors", rows, "rows") as advance:

                def keep_going(rows: float) -> bool:
                    advance(rows, "")
                    return limit is None or clock.seconds() < limit

                vectors = learn_vectors(
                    np.asarray(split.tokens),
                    np.asarray(split.offsets),
                    (training.dataset.manifest.vocab_size, settings.model.embedding_dim),
                    settings.vectors,
                    seed=settings.train.seed,
                    threads=threads,
                    keep_going=keep_going,
                )
        training.learner.runner.start_from(vectors)
