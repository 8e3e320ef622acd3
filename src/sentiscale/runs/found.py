"""Find training runs below folders, whatever state they are in, and sum each up."""

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from sentiscale.data.prepared import MANIFEST
from sentiscale.errors import DataError
from sentiscale.records import Record, RunRecord
from sentiscale.training.rundir import RunDir

Status = Literal["finished", "running", "interrupted", "failed", "lost", "damaged"]
"""lost: killed without a word. damaged: its record cannot be read."""

SILENCE_SECONDS = 600.0
"""A run may write nothing for so long, and two checkpoints more, before it is taken to be lost."""


class RunSummary(Record):
    """One run in a line."""

    run: str
    """Path of the run directory."""
    status: Status
    """That of the record; lost: nobody trains it any more; damaged: its record cannot be read."""
    started_at: datetime | None = None
    """When it began."""
    cell: str | None = None
    """lstm or gru."""
    wide: bool = False
    """Whether it has the linear part."""
    layout: str | None = None
    """Replicas x stages."""
    train_rows: int | None = None
    """None in records from before it was kept."""
    split: Literal["test", "valid"] | None = None
    """On which split accuracy and loss were found: test, or valid where nothing was tested."""
    accuracy: float | None = None
    """Share of that split's rows labelled correctly."""
    loss: float | None = None
    """Mean binary cross-entropy of that split, in nats."""
    rows: int | None = None
    """Of that split."""
    train_seconds: float | None = None
    """Everything after `prepare`; None before the first step."""
    rows_per_s: float | None = None
    """Training rows over the time of the steps."""
    data_digest: str | None = None
    """Identity of the prepared data, as in their manifest."""
    failure: str | None = None
    """Kind and message of the error that ended it."""


def runs_in(folders: Sequence[str | Path]) -> list[RunSummary]:
    """Every run in or below the folders, each once, in the order of their paths.

    Raises: DataError when a folder does not exist.
    """
    found: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            problem = "is a file" if folder.exists() else "does not exist"
            raise DataError(f"{folder} {problem}. Give run directories, or folders that have some in them.")
        for path in run_directories(folder):
            found.setdefault(path.resolve(), path)
    return [summary_of(path) for path in sorted(found.values())]


def run_directories(folder: Path) -> Iterator[Path]:
    """Run directories in or below a folder; links and hidden folders are not followed."""
    for place, below, files in os.walk(folder):
        path = Path(place)
        if is_run(path):
            below.clear()
            yield path
        elif MANIFEST in files:  # prepared data
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))


def is_run(path: Path) -> bool:
    """Whether training wrote this directory, even if it was ended before its first record."""
    run = RunDir(path)
    if (path / "config.toml").exists():  # a model directory: it has a copy of the record
        return False
    return sum((run.checkpoints.is_dir(), run.record.exists(), run.log.exists())) >= 2


def summary_of(path: Path) -> RunSummary:
    """One run in a line, whatever is left of it."""
    run = RunDir(path)
    record = read_record(run)
    if record is None:
        if run.in_use():
            return RunSummary(run=str(path), status="running")
        return RunSummary(run=str(path), status="damaged" if run.record.exists() else "lost")
    model, wide = record.settings.get("model", {}), record.settings.get("wide", {})
    begun = record.steps > 0
    summary = RunSummary(
        run=str(path),
        status=actual_status(run, record),
        started_at=record.started_at,
        cell=model.get("cell"),
        wide=bool(wide.get("enabled", True)),
        layout=record.layout,
        train_rows=record.data.rows.get("train") if record.data else None,
        train_seconds=record.train_seconds if begun else None,
        rows_per_s=record.rows_per_s if begun else None,
        data_digest=record.data_digest,
        failure=record.failure,
    )
    return summary.model_copy(update=scores_of(record))


def read_record(run: RunDir) -> RunRecord | None:
    """The record of a run; None when there is no readable one."""
    try:
        return RunRecord.model_validate_json(run.record.read_bytes())
    except (OSError, ValidationError):
        return None


def scores_of(record: RunRecord) -> dict[str, object]:
    """Accuracy and loss on the test split, else of the best validation."""
    for split, scores in (("test", record.test), ("valid", record.valid)):
        if scores:
            return {"split": split, **{name: scores.get(name) for name in ("accuracy", "loss", "rows")}}
    if record.metrics:
        best = max(record.metrics, key=lambda point: (point.valid_accuracy, -point.valid_loss))
        return {"split": "valid", "accuracy": best.valid_accuracy, "loss": best.valid_loss}
    return {}


def actual_status(run: RunDir, record: RunRecord) -> Status:
    """The status of the record, unless it says "running" of a run that nobody trains any more.

    Whether a process of this machine trains is known. Another machine's is believed until it is silent.
    """
    if run.in_use():
        return "running"
    checkpoint_seconds = record.settings.get("train", {}).get("checkpoint_seconds", 0.0)
    silent_for = time.time() - last_written(run.path)
    if record.status == "running" and silent_for > SILENCE_SECONDS + 2 * checkpoint_seconds:
        return "lost"
    return record.status


def last_written(path: Path) -> float:
    """When the newest file of a directory was written, in seconds since 1970."""
    return max((file.lstat().st_mtime for file in path.rglob("*")), default=0.0)


def ordered(runs: Iterable[RunSummary], by: str) -> list[RunSummary]:
    """Best first: highest accuracy, fewest seconds, or newest; runs without the figure come last."""
    return sorted(runs, key=lambda run: (_place(run, by), run.run))


def _place(run: RunSummary, by: str) -> float:
    """The smaller, the further up."""
    accuracy, seconds, when = run.accuracy, run.train_seconds, run.started_at
    places = {
        "accuracy": None if accuracy is None else -accuracy,
        "seconds": seconds,
        "when": None if when is None else -when.timestamp(),
    }
    place = places[by]
    return math.inf if place is None else place
