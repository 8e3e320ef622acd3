"""Find training runs below folders, summarize and compare them, and remove what they no longer need."""

import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from sentiscale.data.prepared import MANIFEST
from sentiscale.errors import DataError, UsageError
from sentiscale.records import Record, RunRecord, load_record
from sentiscale.tracking.tracker import flat
from sentiscale.training.run_directory import RunDir
from sentiscale.util.proportions import wilson

Status = Literal["finished", "running", "interrupted", "failed", "lost", "damaged"]

SILENT_SECONDS = 600.0
"""A run counts as lost if it has written nothing for this long plus two checkpoint intervals."""


class RunSummary(Record):
    """Summary of one training run."""

    run: str
    """Path of the run directory."""
    status: Status
    """Status in the record, or lost (killed without a message), or damaged (the record cannot be read)."""
    started_at: datetime | None = None
    """Time at which the run started."""
    cell: str | None = None
    """Cell of the network: lstm or gru."""
    wide: bool = False
    """Whether the model includes the linear n-gram model."""
    layout: str | None = None
    """Number of replicas x number of stages, such as 2x1."""
    train_rows: int | None = None
    """Number of training rows; None in records written before this field existed."""
    split: Literal["test", "valid"] | None = None
    """Split on which accuracy and loss were computed: test, or valid if the run was not tested."""
    accuracy: float | None = None
    """Share of the rows of `split` that were labelled correctly."""
    loss: float | None = None
    """Mean binary cross-entropy on `split`, in nats."""
    rows: int | None = None
    """Number of rows of `split`."""
    train_seconds: float | None = None
    """Duration of the training without preparation, in seconds; None before the first step."""
    rows_per_s: float | None = None
    """Training rows per second, over the time of the steps."""
    data_digest: str | None = None
    """Digest of the prepared data, as in their manifest."""
    failure: str | None = None
    """Type and message of the error that ended the run."""


def runs_in(folders: Sequence[str | Path]) -> list[RunSummary]:
    """Summarize every run in or below the folders, each once, ordered by path.

    Raises: DataError if a folder does not exist.
    """
    paths: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            problem = "is a file" if folder.exists() else "does not exist"
            raise DataError(f"{folder} {problem}. Give run directories, or folders that contain some.")
        for path in run_directories(folder):
            paths.setdefault(path.resolve(), path)
    return [summary_of(path) for path in sorted(paths.values())]


def run_directories(folder: Path) -> Iterator[Path]:
    """Yield the run directories in or below a folder. Symbolic links and hidden folders are skipped."""
    for place, below, files in os.walk(folder):
        path = Path(place)
        if is_run(path):
            below.clear()
            yield path
        elif MANIFEST in files:  # prepared data
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))


def is_run(path: Path) -> bool:
    """Whether training wrote this directory, even if it ended before it wrote a record."""
    run = RunDir(path)
    if (path / "config.toml").exists():  # a model directory, which also holds a record
        return False
    return sum((run.checkpoints.is_dir(), run.record.exists(), run.log.exists())) >= 2


def summary_of(path: Path) -> RunSummary:
    run = RunDir(path)
    record = read_record(run)
    if record is not None:
        with suppress(TypeError, ValidationError):  # settings of a type that no run writes
            return _summary(run, record)
    status: Status = "running" if run.in_use() else "damaged" if run.record.exists() else "lost"
    return RunSummary(run=str(path), status=status)


def _summary(run: RunDir, record: RunRecord) -> RunSummary:
    begun = record.steps > 0
    return RunSummary(
        run=str(run.path),
        status=actual_status(run, record),
        started_at=record.started_at,
        cell=record.settings.get("model", {}).get("cell"),
        wide=bool(record.settings.get("wide", {}).get("enabled", True)),
        layout=record.layout,
        train_rows=record.data.rows.get("train") if record.data else None,
        train_seconds=record.train_seconds if begun else None,
        rows_per_s=record.rows_per_s if begun else None,
        data_digest=record.data_digest,
        failure=record.failure,
        **scores_of(record),
    )


def read_record(run: RunDir) -> RunRecord | None:
    """Read the record of a run; None if it is missing or cannot be read."""
    try:
        return load_record(run.record, RunRecord)
    except (OSError, DataError):
        return None


def scores_of(record: RunRecord) -> dict[str, Any]:
    """Accuracy and loss on the test split; without a test, those of the best validation."""
    for split, scores in (("test", record.test), ("valid", record.valid)):
        if scores:
            return {"split": split, **{name: scores.get(name) for name in ("accuracy", "loss", "rows")}}
    if record.metrics:
        best = max(record.metrics, key=lambda point: (point.valid_accuracy, -point.valid_loss))
        return {"split": "valid", "accuracy": best.valid_accuracy, "loss": best.valid_loss}
    return {}


def actual_status(run: RunDir, record: RunRecord) -> Status:
    """The recorded status, or "lost" if the record reads "running" but no process trains the run any more.

    Only processes on this machine can be checked. A run on another machine counts as running until it has
    written nothing for `SILENT_SECONDS` plus two checkpoint intervals.
    """
    if run.in_use():
        return "running"
    if record.status == "running":
        written_at = max((file.lstat().st_mtime for file in run.path.rglob("*")), default=0.0)
        checkpoint_seconds = record.settings.get("train", {}).get("checkpoint_seconds", 0.0)
        if time.time() - written_at > SILENT_SECONDS + 2 * checkpoint_seconds:
            return "lost"
    return record.status


def ordered(runs: Iterable[RunSummary], by: str) -> list[RunSummary]:
    """Sort runs by `accuracy` (highest first), `seconds` (shortest first) or `when` (newest first).

    Runs without the value come last.
    """

    def place(run: RunSummary) -> tuple[float, str]:
        places = {
            "accuracy": None if run.accuracy is None else -run.accuracy,
            "seconds": run.train_seconds,
            "when": None if run.started_at is None else -run.started_at.timestamp(),
        }
        value = places[by]
        return (math.inf if value is None else value, run.run)

    return sorted(runs, key=place)


OWN_NAMES = (
    "checkpoints",
    "plots",
    "tensorboard",
    "record.json",
    "metrics.jsonl",
    "mlflow.json",
    "train.log",
)
"""Files that training writes in addition to the model. All other files in a run directory are the user's."""
UNFINISHED = re.compile(r"\.(?:model|record\.json|metrics\.jsonl|curves\.\w+)\..+\.(?:tmp|old)")
"""Temporary files and directories that a killed process leaves behind."""


class Removal(Record):
    """Files to delete from one run."""

    run: str
    """Path of the run directory."""
    status: Status
    """Status of the run, as in `RunSummary`."""
    paths: list[str]
    """Paths of the files and folders to delete."""
    bytes: int
    """Total size in bytes."""
    why: str
    """Reason why these files are no longer needed."""


def plan_cleaning(runs: Iterable[RunSummary]) -> list[Removal]:
    """List what can be deleted from each run, without runs that have nothing to delete."""
    planned = (removal_of(run) for run in runs)
    return [removal for removal in planned if removal is not None and removal.paths]


def removal_of(run: RunSummary) -> Removal | None:
    """List what can be deleted from one run; None if the run is still in progress."""
    path = Path(run.run)
    if run.status == "running":
        return None
    if run.status == "finished":
        names, why = ["checkpoints"], "it is finished; it could no longer be resumed with more epochs"
    elif RunDir(path).model.exists():
        names, why = ["checkpoints"], f"it is {run.status}, but has a model from before; that stays"
    else:
        names, why = list(OWN_NAMES), f"it is {run.status} and has no model; it could not be resumed any more"
    unfinished = sorted(file for file in path.iterdir() if UNFINISHED.fullmatch(file.name))
    # A symbolic link may point to files outside the run.
    files = [
        file
        for file in [*(path / name for name in names), *unfinished]
        if file.exists() and not file.is_symlink()
    ]
    paths = [str(file) for file in files]
    return Removal(run=run.run, status=run.status, paths=paths, bytes=sum(map(size_of, files)), why=why)


def carry_out(removals: Sequence[Removal]) -> list[Removal]:
    """Delete the planned files and return the removals that were carried out.

    A run whose status or files have changed since planning is skipped.
    """
    done = []
    for removal in removals:
        now = removal_of(summary_of(Path(removal.run)))
        if now is None or now.status != removal.status or now.paths != removal.paths:
            continue
        for path in map(Path, removal.paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        folder = Path(removal.run)
        if not any(folder.iterdir()):
            folder.rmdir()
        done.append(removal)
    return done


def size_of(path: Path) -> int:
    """Size in bytes of a file, or of all files below a directory. Symbolic links are not followed."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


COMPARED = (
    "layout",
    "world_size",
    "threads_per_rank",
    "precision",
    "oversubscribed",
    "data_digest",
    "git_commit",
)
UNIMPORTANT = {"host.load_1m", "data.path"}
"""Settings that differ between any two runs and do not explain a difference in results."""
SCORES = ("accuracy", "loss", "f1", "auc", "ece", "rows")
COSTS = ("train_seconds", "rows_per_s", "tokens_per_s", "steps", "epochs", "best_step")

Value = bool | int | float | str | list[Any] | None


class ComparedValue(Record):
    """Values of one setting or result in all compared runs."""

    name: str
    """Dotted name as in the record, such as train.lr or test.accuracy."""
    values: list[Value]
    """One value per run, in the order of the runs; None if a run lacks it."""


class RunComparison(Record):
    """Comparison of several runs. Every `ComparedValue` has one value per run, in the order of `runs`."""

    runs: list[str]
    """Paths of the run directories."""
    settings: list[ComparedValue]
    """Settings that differ between the runs."""
    results: list[ComparedValue]
    """Scores and training costs."""
    notes: list[str]
    """Limits of the comparison, as sentences."""


def compare_runs(paths: Sequence[str | Path]) -> RunComparison:
    """Compare the settings and results of runs.

    Raises:
        UsageError: if there are fewer than two paths.
        DataError: if a path is not a run, or its record cannot be read.
    """
    if len(paths) < 2:
        raise UsageError(f"there is nothing to compare with {len(paths)} run. Give two or more.")
    records = []
    for path in map(Path, paths):
        record = read_record(RunDir(path)) if is_run(path) else None
        if record is None:
            problem = "has no readable record.json" if is_run(path) else "is not a run directory"
            raise DataError(f"{path} {problem}. `sentiscale runs` lists the runs below a folder.")
        records.append(record)
    settings = side_by_side([settings_of(record) for record in records])
    results = side_by_side([results_of(record) for record in records])
    return RunComparison(
        runs=[str(path) for path in paths],
        settings=[line for line in settings if any(value != line.values[0] for value in line.values)],
        results=[line for line in results if any(value is not None for value in line.values)],
        notes=notes_on(records),
    )


def side_by_side(runs: Sequence[Mapping[str, Any]]) -> list[ComparedValue]:
    """Collect the values of all runs by name. Names are in the order of their first appearance."""
    names = dict.fromkeys(name for values in runs for name in values)
    return [ComparedValue(name=name, values=[values.get(name) for values in runs]) for name in names]


def settings_of(record: RunRecord) -> dict[str, Any]:
    """Settings, data, host and versions by dotted name, without the settings of preparation and tracking."""
    settings = {name: values for name, values in record.settings.items() if name not in ("prepare", "track")}
    data = record.data.model_dump(exclude={"labels"}) if record.data else {}
    named = {
        **{name: getattr(record, name) for name in COMPARED},
        **dict(flat(settings)),
        **dict(flat({"data": data, "host": record.host.model_dump(), "version": record.versions})),
    }
    return {name: value for name, value in named.items() if name not in UNIMPORTANT}


def results_of(record: RunRecord) -> dict[str, Value]:
    """Scores and training costs by name."""
    results: dict[str, Value] = {"status": record.status}
    for split, scores in (("test", record.test), ("valid", record.valid or None)):
        for name in SCORES:
            results[f"{split}.{name}"] = (scores or {}).get(name)
            interval = _accuracy_interval(scores) if name == "accuracy" else None
            if interval is not None:
                results[f"{split}.accuracy_ci95"] = [round(end, 4) for end in interval]
    peaks = record.peak_memory_mb_per_rank
    return {
        **results,
        **{name: getattr(record, name) for name in COSTS},
        "peak_memory_mb": max(peaks) if peaks else None,
        "failure": record.failure,
    }


def notes_on(records: Sequence[RunRecord]) -> list[str]:
    """Sentences about what limits the comparison of these runs."""
    notes = []
    if len({record.data_digest for record in records}) > 1:
        notes.append("The runs were trained and tested on different data: their scores are not comparable.")
    if len({(record.host.cpu_model, record.host.cores, record.host.gpu) for record in records}) > 1:
        notes.append("They ran on different machines: seconds and reviews/s are not comparable.")
    unfinished = sum(record.status != "finished" for record in records)
    if unfinished:
        notes.append(f"{unfinished} of {len(records)} did not finish: their figures are of the last record.")
    intervals = [interval for record in records if (interval := _accuracy_interval(record.test))]
    if len(intervals) > 1 and max(low for low, _ in intervals) <= min(high for _, high in intervals):
        notes.append(
            "The 95 % intervals of all test accuracies overlap: the difference may be chance. "
            "Compare several seeds with `sentiscale compare`."
        )
    return notes


def _accuracy_interval(scores: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """95 % confidence interval of the accuracy; None without a confusion matrix."""
    if not scores or not scores.get("confusion"):
        return None
    (true_negative, false_positive), (false_negative, true_positive) = scores["confusion"]
    right = true_negative + true_positive
    return wilson(right, right + false_positive + false_negative)
