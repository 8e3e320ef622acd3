"""Everything a run needs before its first step: checks, wide part, network, optimiser, resumed state."""

import hashlib
import json
import math
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save
from torch import Tensor

from sentiscale.atomic import write_file
from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.errors import UsageError
from sentiscale.model import SentimentNet
from sentiscale.parallel.layout import Layout
from sentiscale.parallel.onednn import ran_on_onednn
from sentiscale.parallel.precision import Precision, choose_device
from sentiscale.parallel.whole import WholeRunner
from sentiscale.progress import Progress
from sentiscale.records import Host, RunRecord, available_cores, git_commit, now, package_versions
from sentiscale.training.checkpoint import TrainState, load_latest
from sentiscale.training.clock import PhaseClock
from sentiscale.training.evaluate import FloatArray
from sentiscale.training.optimizer import RowSparseAdam
from sentiscale.training.rundir import RunDir, logger
from sentiscale.wide import WideModel, solve

NOT_DECISIVE = {"time_limit", "target_accuracy", "checkpoint_every", "keep_checkpoints", "threads_per_rank"}
"""Training settings that may differ when a run is resumed: they do not change what a step does."""


@dataclass
class Training:
    """A run in progress."""

    settings: Settings
    dataset: PreparedDataset
    train_split: Split
    valid_split: Split
    run_dir: RunDir
    runner: WholeRunner
    optimizer: RowSparseAdam
    wide: WideModel | None
    valid_wide: FloatArray | None
    """The wide part's logits on the validation rows."""
    state: TrainState
    best_weights: dict[str, Tensor]
    """A copy of the network's weights at the best validation so far."""
    clock: PhaseClock
    saved_at: float
    """time.monotonic() of the last checkpoint, or of the start."""
    record: RunRecord

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


@dataclass(frozen=True)
class Hardware:
    """What a run computes on."""

    layout: Layout
    device: torch.device
    precision: Precision
    threads: int
    """Of each rank."""

    @classmethod
    def choose(cls, settings: Settings) -> "Hardware":
        """Resolve the settings on this machine.

        Raises: UsageError when they cannot run here.
        """
        layout = Layout.parse(settings.train.layout)
        device = choose_device(settings.train.device)
        precision = Precision.choose(settings.train.precision, device, settings.model.cell)
        threads = settings.train.threads_per_rank or max(1, available_cores() // layout.world_size)
        return cls(layout, device, precision, threads)


def set_up(
    dataset: PreparedDataset,
    run_dir: RunDir,
    settings: Settings,
    hardware: Hardware,
    *,
    resume: bool,
    progress: Progress,
) -> Training:
    """Build everything; with `resume`, take up the newest sound checkpoint.

    Raises:
        UsageError: settings that differ from those of the run to resume.
        DataError: a split is missing.
    """
    clock = PhaseClock()
    torch.manual_seed(settings.train.seed)
    train_split, valid_split = dataset.split("train"), dataset.split("valid")

    net = SentimentNet(settings.model, dataset.manifest.vocab_size)
    runner = WholeRunner(net, hardware.precision, hardware.device)
    optimizer = RowSparseAdam(runner.parameters(), settings.train.lr)
    state = TrainState(fingerprint=fingerprint(settings, hardware.precision, dataset.manifest.digest))
    best: dict[str, Tensor] = {}
    if resume:
        state, best = take_up(run_dir, state, runner, optimizer, progress)
        clock = PhaseClock(state.phases, state.seconds)
    warn_off_the_fast_path(runner, settings, progress)

    wide = valid_wide = None
    if settings.wide.enabled:
        with clock.phase("wide"):
            wide = wide_part(train_split, settings, run_dir, hardware.threads, progress)
            valid_wide = wide.logits(valid_split.tokens, valid_split.offsets)
    return Training(
        settings, dataset, train_split, valid_split, run_dir, runner, optimizer, wide, valid_wide,
        state, best, clock, time.monotonic(),
        new_record(settings, hardware, dataset.manifest.digest),
    )  # fmt: skip


def fingerprint(settings: Settings, precision: Precision, data_digest: str) -> str:
    """Digest of all that decides what a step does."""
    decisive: dict[str, Any] = settings.model_dump(mode="json", include={"model", "wide", "train"})
    decisive["train"] = {
        key: value for key, value in decisive["train"].items() if key not in NOT_DECISIVE
    } | {"precision": precision.name}
    content = json.dumps([decisive, data_digest], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def take_up(
    run_dir: RunDir, fresh: TrainState, runner: WholeRunner, optimizer: RowSparseAdam, progress: Progress
) -> tuple[TrainState, dict[str, Tensor]]:
    """Load the newest sound checkpoint into network and optimiser; the fresh state when there is none."""
    checkpoint, complaints = load_latest(run_dir.checkpoints)
    for complaint in complaints:
        progress.say(f"passed over: {complaint}")
    if checkpoint is None:
        progress.say(f"no checkpoint in {run_dir.path}; starting at step 0")
        run_dir.wide.unlink(missing_ok=True)  # it may have been solved with other settings
        return fresh, {}
    if checkpoint.state.fingerprint != fresh.fingerprint:
        raise UsageError(
            f"{run_dir.path} was trained with other settings or other data. Resume it with the same ones "
            "(only time limit, target, checkpoints and threads may differ), or choose another --out."
        )
    runner.net.load_state_dict(checkpoint.tensors["weights"])
    optimizer.load_state(checkpoint.tensors["optimizer"])
    run_dir.rewrite_metrics(checkpoint.state.metrics)
    progress.say(f"resuming {run_dir.path} at step {checkpoint.state.step:,}")
    return checkpoint.state, checkpoint.tensors["best"]


def wide_part(
    split: Split, settings: Settings, run_dir: RunDir, threads: int, progress: Progress
) -> WideModel:
    """Solve the wide part, or read it back where an earlier part of this run has solved it."""
    if run_dir.wide.exists():
        arrays = load_file(run_dir.wide)
        return WideModel(
            arrays["idf"], arrays["weights"], float(arrays["intercept"][0]), settings.wide.longest
        )
    progress.say(f"solving the wide part on {len(split):,} rows")
    wide = solve(
        np.asarray(split.tokens),
        np.asarray(split.offsets),
        np.asarray(split.labels),
        settings.wide,
        seed=settings.train.seed,
        threads=threads,
    )
    arrays = {"idf": wide.idf, "weights": wide.weights, "intercept": np.array([wide.intercept])}
    write_file(run_dir.wide, save(arrays))
    return wide


def warn_off_the_fast_path(runner: WholeRunner, settings: Settings, progress: Progress) -> None:
    """Say so when an LSTM on the CPU does not run on oneDNN's fused kernel."""
    if runner.device.type != "cpu" or settings.model.cell != "lstm":
        return
    probe_BTE = torch.zeros(2, 8, settings.model.embedding_dim)
    with runner.precision.autocast(runner.device):
        out_BTH, _ = runner.net.recurrent.cell(probe_BTE)
    if not ran_on_onednn(out_BTH):
        message = (
            "this LSTM does not run on oneDNN's fused kernel: expect several times the time; see `doctor`"
        )
        logger.warning(message)
        progress.say(f"warning: {message}")


def new_record(settings: Settings, hardware: Hardware, data_digest: str) -> RunRecord:
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
        seed=settings.train.seed,
        data_digest=data_digest,
        host=Host.current(gpu),
        versions=package_versions("sentiscale", "torch", "numpy", "scikit-learn", "numba", "pyarrow"),
        git_commit=git_commit(),
    )
