"""State of a run in progress on one rank, and the record of the run."""

import json
import math
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset, Split
from sentiscale.model.wide import WideModel
from sentiscale.parallel.runner import FloatArray
from sentiscale.parallel.world import World
from sentiscale.records import EpochMetrics, Host, RunRecord, git_commit, now, package_versions
from sentiscale.training.budget import TimeBudget
from sentiscale.training.checkpoint import TrainState
from sentiscale.training.clock import PhaseClock
from sentiscale.training.hardware import Hardware
from sentiscale.training.optimizer import learning_rate
from sentiscale.training.run_directory import RunDir
from sentiscale.training.step import Learner
from sentiscale.util.processes import signal_handler


@dataclass(frozen=True)
class TrainJob:
    dataset: PreparedDataset
    run_dir: RunDir
    settings: Settings
    """Resolved settings: defaults that depend on the data are replaced by numbers."""
    resume: bool = False
    force: bool = False
    layout_choice: dict[str, Any] | None = None
    """Measurements behind the layout that `--layout auto` chose, stored in the record."""
    started_at: float = field(default_factory=time.monotonic)
    """Value of time.monotonic(), which all processes of a machine share, when a time limit began to count."""

    def write(self, path: Path) -> Path:
        """Write the job as JSON without `force`, because a rank never has to replace a run."""
        document = {
            "dataset": str(self.dataset.path.absolute()),
            "out": str(self.run_dir.path.absolute()),
            "settings": self.settings.model_dump(mode="json"),
            "resume": self.resume,
            "layout_choice": self.layout_choice,
            "started_at": self.started_at,
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "TrainJob":
        document = json.loads(path.read_bytes())
        return cls(
            PreparedDataset.open(document["dataset"]),
            RunDir(Path(document["out"])),
            Settings.model_validate(document["settings"]),
            resume=document["resume"],
            layout_choice=document["layout_choice"],
            started_at=document["started_at"],
        )


@dataclass
class StopRequest:
    received: signal.Signals | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Record SIGINT and SIGTERM inside the block; a second signal has its usual effect at once.

    Outside the main thread, where handlers cannot be set, a stop is never requested.
    """
    stop = StopRequest()

    def note(number: signal.Signals) -> None:
        stop.received = number
        signal.signal(number, replaced[number])

    with signal_handler(note, signal.SIGINT, signal.SIGTERM) as replaced:
        yield stop


@dataclass
class Training:
    settings: Settings
    dataset: PreparedDataset
    train_split: Split
    valid_split: Split
    """Rows used to choose the best weights; a time limit may allow only a sample."""
    row_weights: FloatArray | None
    """Weights of the training rows in the loss, with a mean of 1; None if all are 1."""
    run_dir: RunDir
    learner: Learner
    wide: WideModel | None
    """The n-gram model; only on rank 0."""
    valid_wide: FloatArray | None
    """Logits of the n-gram model on the validation rows; only on rank 0."""
    state: TrainState
    best: dict[str, Tensor]
    """This rank's tensors of the network at the best validation so far."""
    clock: PhaseClock
    saved_at: float
    """Value of time.monotonic() at the last checkpoint, or at the start."""
    record: RunRecord
    """The record as it was when the run started."""
    node_threads: int
    """Threads of all ranks on this machine."""
    budget: TimeBudget
    """What is left of a time limit."""
    most_scored: int | None = None
    """Maximum number of rows of a split to score, which a time limit sets."""
    best_logits: FloatArray | None = None
    """The network's logits of the best validation; None if that was in an earlier part of the run."""
    stop: StopRequest = field(default_factory=StopRequest)
    on_metrics: Callable[[EpochMetrics], None] = lambda metrics: None
    """Called on rank 0 with each validation."""
    bytes_sent: int = 0
    """Bytes sent by this rank in the steps of this process."""
    steps_here: int = 0
    """Number of steps in this process, without those before resuming."""

    @property
    def world(self) -> World:
        return self.learner.world

    @property
    def batch_size(self) -> int:
        return self.settings.train.batch_size_for(len(self.train_split))

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.train_split) // self.batch_size)

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole run, including those before resuming."""
        return max(1, math.ceil(self.settings.train.epochs_for(len(self.train_split)) * self.steps_per_epoch))

    def learning_rate(self, step: int) -> float:
        train = self.settings.train
        return learning_rate(
            step, self.total_steps, peak=train.lr, warmup_steps=train.warmup_steps, schedule=train.schedule
        )


def new_record(job: TrainJob, hardware: Hardware) -> RunRecord:
    return RunRecord(
        id=uuid.uuid4().hex[:12],
        started_at=now(),
        argv=sys.argv,
        settings=job.settings.model_dump(mode="json"),
        precision=hardware.precision.name,
        layout=str(hardware.layout),
        layout_choice=job.layout_choice,
        world_size=hardware.layout.world_size,
        threads_per_rank=hardware.threads,
        oversubscribed=hardware.oversubscribed,
        seed=job.settings.train.seed,
        data_digest=job.dataset.manifest.digest,
        data=job.dataset.described(),
        host=Host.current(torch.cuda.get_device_name() if torch.cuda.is_available() else None),
        versions=package_versions("sentiscale", "torch", "numpy", "scikit-learn", "numba", "pyarrow"),
        git_commit=git_commit(),
    )


Status = Literal["running", "finished", "interrupted", "failed"]


def current_record(training: Training, status: Status, seconds: float) -> RunRecord:
    """The record with all current values; `seconds` is the training time."""
    state, phases = training.state, training.clock.times()
    step_seconds = max(phases.step_seconds, 1e-9)
    reached = state.target_seconds is not None
    return training.record.model_copy(
        update={
            "status": status,
            "finished_at": None if status == "running" else datetime.now(UTC),
            "phases": phases,
            "train_seconds": round(seconds, 3),
            "steps": state.step,
            "epochs": state.step / training.steps_per_epoch,
            "rows_per_s": state.rows / step_seconds,
            "tokens_per_s": state.tokens / step_seconds,
            "cuts": state.cuts,
            "metrics": state.metrics,
            "best_step": state.best_step,
            "target": {
                "accuracy": training.settings.train.target_accuracy,
                "reached": reached,
                "seconds": state.target_seconds,
            },
        }
    )


def write_record(training: Training, status: Status, error: BaseException | None = None) -> None:
    """Write record.json with all current values, on rank 0."""
    if training.world.is_main:
        record = current_record(training, status, training.clock.seconds())
        failure = f"{type(error).__name__}: {error}" if error else None
        training.run_dir.write_record(record.model_copy(update={"failure": failure}))
