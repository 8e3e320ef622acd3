"""Trackers record a training run outside its run directory: the protocol, and the data sent to them."""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sentiscale.config import TRAINING_SECTIONS, TrackSettings
from sentiscale.errors import UsageError
from sentiscale.records import EpochMetrics, RunRecord, now
from sentiscale.tracking.upload_queue import UploadQueue

Scalar = bool | int | float | str

NEEDED_MODULES = {"mlflow": "mlflow", "tensorboard": "tensorboardX"}
FACTS = ("layout", "world_size", "threads_per_rank", "precision", "oversubscribed", "data_digest")
BY_CLASS = ("class_weight", "per_class")
"""Mappings by class, which are not flattened: trackers allow few characters in names, and classes any."""
COSTS = (
    "train_seconds",
    "steps",
    "epochs",
    "best_step",
    "rows_per_s",
    "tokens_per_s",
    "flops_utilisation",
    "bytes_reduced_per_step",
)


@dataclass(frozen=True)
class TrackedRun:
    """A run when it starts or resumes."""

    path: Path
    """Absolute path of the run directory."""
    record: RunRecord
    resumed_at: int | None
    """Step the run resumes from; None for a new run."""


class Tracker(Protocol):
    """Records one run.

    Methods are called from one thread in this order: `begin`, `metrics` for each validation, `artefact` for
    each file, `end`. A call that raises is repeated later, so every method must tolerate repeated calls.
    """

    def begin(self, settings: Mapping[str, Scalar], run: TrackedRun) -> None:
        """Create the run, or reopen it when it resumes."""

    def metrics(self, step: int, values: Mapping[str, float], at: float) -> None:
        """Add one point to every curve; `at` is the time of the validation in seconds since 1970."""

    def artefact(self, path: Path) -> None:
        """Store a file of the run directory."""

    def end(self, status: str, scores: Mapping[str, float]) -> None:
        """Close the run with its status (finished, interrupted or failed) and final scores."""


class RunTrackers:
    """The trackers of one run. No method raises, and only `end` waits."""

    def __init__(self, settings: TrackSettings, run: TrackedRun, say: Callable[[str], None]) -> None:
        self.run = run
        self.upload_model = settings.upload_model
        self.queues: list[UploadQueue] = []
        for name in settings.to:
            try:
                self.queues.append(UploadQueue(name, make_tracker(name, settings), say))
            except Exception as error:  # a broken installation can raise anything
                say(f"warning: {name} cannot be loaded and will not record this run: {error}")
        begun_with = settings_of(run.record)
        for queue in self.queues:
            queue.send(lambda tracker: tracker.begin(begun_with, run))

    def metrics(self, metrics: EpochMetrics) -> None:
        values, at = points_of(metrics), now().timestamp()
        for queue in self.queues:
            queue.send(lambda tracker: tracker.metrics(metrics.step, values, at))

    def end(self, record: RunRecord) -> None:
        """Send final scores and files; wait until they have been sent or dropped."""
        status = "failed" if record.status == "running" else record.status
        scores = scores_of(record) if status == "finished" else {}
        for queue in self.queues:
            for path in self._files(finished=status == "finished"):
                queue.send(lambda tracker, path=path: tracker.artefact(path))  # type: ignore[misc]
            queue.send(lambda tracker: tracker.end(status, scores))
        for queue in self.queues:
            queue.close()

    def _files(self, *, finished: bool) -> Iterator[Path]:
        """The record and, if the run has finished, its curves, plots and model."""
        folder = self.run.path
        yield folder / "record.json"
        if finished:
            yield folder / "metrics.jsonl"
            yield from sorted((folder / "plots").glob("*"))
            if self.upload_model:
                yield from sorted((folder / "model").glob("*"))


def check_trackers(settings: TrackSettings) -> None:
    """Check that the library of each tracker is installed.

    Raises: UsageError when one is missing.
    """
    for name in settings.to:
        if importlib.util.find_spec(NEEDED_MODULES[name]) is None:
            raise UsageError(
                f"tracking to {name} needs the package {NEEDED_MODULES[name]}, which is not installed. "
                f"Install it with: pip install 'sentiscale[{name}]', or leave out --track {name}."
            )


def make_tracker(name: str, settings: TrackSettings) -> Tracker:
    """Load the library of a tracker in the training thread.

    Other libraries inspect `sys.modules` and fail at modules that another thread has imported only half
    (scikit-learn at Polars, which MLflow loads).
    """
    if name == "mlflow":
        from sentiscale.tracking.mlflow_run import MlflowRun

        return MlflowRun(settings)
    from sentiscale.tracking.tensorboard_events import TensorboardEvents

    return TensorboardEvents()


def settings_of(record: RunRecord) -> dict[str, Scalar]:
    """Settings and hardware by dotted name, without entries that are None."""
    values = {name: getattr(record, name) for name in FACTS}
    sections = {section: record.settings.get(section, {}) for section in TRAINING_SECTIONS}
    named = {**values, **dict(flat(sections)), **dict(flat({"host": record.host.model_dump()}))}
    named = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in named.items()}
    return {name: value for name, value in named.items() if isinstance(value, Scalar)}


def points_of(metrics: EpochMetrics) -> dict[str, float]:
    """The values of one validation, by column of `metrics.jsonl`."""
    columns = metrics.model_dump(exclude={"step"})
    return {name: float(value) for name, value in columns.items() if value is not None}


def scores_of(record: RunRecord) -> dict[str, float]:
    """Final scores and costs by dotted name, without scores of classes and lists as the confusion matrix."""
    values = dict(flat({"valid": record.valid, "test": record.test or {}}))
    values |= {name: getattr(record, name) for name in COSTS}
    if record.peak_memory_mb_per_rank:
        values["peak_memory_mb"] = max(record.peak_memory_mb_per_rank)
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def flat(nested: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Flatten nested mappings, except those in BY_CLASS, into pairs of dotted name and value."""
    for key, value in nested.items():
        if isinstance(value, Mapping) and key not in BY_CLASS:
            yield from ((f"{key}.{name}", inner) for name, inner in flat(value))
        else:
            yield key, value
