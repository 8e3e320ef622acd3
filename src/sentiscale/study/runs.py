"""Find training runs below folders, whatever state they are in, and sum each up."""

import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from sentiscale.data.prepared import MANIFEST
from sentiscale.errors import DataError, UsageError
from sentiscale.records import Record, RunRecord
from sentiscale.study.analysis.intervals import wilson
from sentiscale.tracking.tracker import flat
from sentiscale.training.run_directory import RunDir

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


OWN_NAMES = (
    "checkpoints",
    "plots",
    "tensorboard",
    "record.json",
    "metrics.jsonl",
    "mlflow.json",
    "train.log",
)
"""What training writes besides the model; anything else in a run directory is somebody's own."""
UNFINISHED = re.compile(r"\.(?:model|record\.json|metrics\.jsonl|curves\.\w+)\..+\.(?:tmp|old)")
"""What a killed process left of a file or directory that it was writing."""


class Removal(Record):
    """What would go from one run."""

    run: str
    """Path of the run directory."""
    status: Status
    """As in `RunSummary`."""
    paths: list[str]
    """Files and folders that would go."""
    bytes: int
    """Of all of them."""
    why: str
    """Why they are no longer needed."""


def plan_cleaning(runs: Iterable[RunSummary]) -> list[Removal]:
    """What can go from these runs, nothing being deleted yet; runs with nothing to remove are left out."""
    planned = (removal_of(run) for run in runs)
    return [removal for removal in planned if removal is not None and removal.paths]


def removal_of(run: RunSummary) -> Removal | None:
    """What can go from one run; None while it runs."""
    path = Path(run.run)
    if run.status == "running":
        return None
    if run.status == "finished":
        names, why = ["checkpoints"], "it is finished; it could no longer be resumed with more epochs"
    elif RunDir(path).model.exists():
        names, why = ["checkpoints"], f"it is {run.status}, but has a model from before; that stays"
    else:
        names, why = list(OWN_NAMES), f"it is {run.status} and has no model; it could not be resumed any more"
    found = [path / name for name in names] + sorted(
        file for file in path.iterdir() if UNFINISHED.fullmatch(file.name)
    )
    # A link may lead to what belongs to others.
    mine = [file for file in found if file.exists() and not file.is_symlink()]
    return Removal(
        run=run.run,
        status=run.status,
        paths=[str(file) for file in mine],
        bytes=sum(map(size_of, mine)),
        why=why,
    )


def carry_out(removals: Sequence[Removal]) -> list[Removal]:
    """Delete what was planned; a run whose state has changed since is left alone and not returned."""
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
    """Bytes of a file, or of all files below a directory; links are not followed."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


FACTS = (
    "layout",
    "world_size",
    "threads_per_rank",
    "precision",
    "oversubscribed",
    "data_digest",
    "git_commit",
)
UNIMPORTANT = {"host.load_1m", "data.path"}
"""Differ between any two runs, and explain nothing."""
SCORES = ("accuracy", "loss", "f1", "auc", "ece", "rows")
COSTS = ("train_seconds", "rows_per_s", "tokens_per_s", "steps", "epochs", "best_step")

Value = bool | int | float | str | list[Any] | None


class Line(Record):
    """One setting or figure, with its value in each run; None where a run has none."""

    name: str
    """As in the record, dotted: train.lr, test.accuracy."""
    values: list[Value]
    """In the order of the runs."""


class RunComparison(Record):
    """Runs side by side; every line has a value for each, in the order of `runs`."""

    runs: list[str]
    """Paths of the run directories."""
    settings: list[Line]
    """Only those that differ."""
    results: list[Line]
    """Scores and costs."""
    notes: list[str]
    """What a reader should know before drawing conclusions, one sentence each."""


def compare_runs(paths: Sequence[str | Path]) -> RunComparison:
    """Set runs side by side.

    Raises:
        UsageError: fewer than two.
        DataError: a path is no run, or its record cannot be read.
    """
    if len(paths) < 2:
        raise UsageError(f"there is nothing to compare with {len(paths)} run. Give two or more.")
    records = [_record(Path(path)) for path in paths]
    return RunComparison(
        runs=[str(path) for path in paths],
        settings=differences([settings_of(record) for record in records]),
        results=results_of(records),
        notes=notes_on(records),
    )


def differences(settings: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Names whose values are not the same in all, in the order of their first appearance."""
    names = dict.fromkeys(name for values in settings for name in values)
    lines = (Line(name=name, values=[values.get(name) for values in settings]) for name in names)
    return [line for line in lines if any(value != line.values[0] for value in line.values)]


def settings_of(record: RunRecord) -> dict[str, Any]:
    """All that was set, and what it ran on, by dotted name; a preparation's settings are not the run's."""
    settings = {name: values for name, values in record.settings.items() if name not in ("prepare", "track")}
    data = record.data.model_dump(exclude={"labels"}) if record.data else {}
    named = {
        **{name: getattr(record, name) for name in FACTS},
        **dict(flat(settings)),
        **dict(flat({"data": data, "host": record.host.model_dump(), "version": record.versions})),
    }
    return {name: value for name, value in named.items() if name not in UNIMPORTANT}


def results_of(records: Sequence[RunRecord]) -> list[Line]:
    """Scores and costs, those that at least one run has."""
    found = [dict(_results(record)) for record in records]
    names = dict.fromkeys(name for values in found for name in values)
    lines = [Line(name=name, values=[values.get(name) for values in found]) for name in names]
    return [line for line in lines if any(value is not None for value in line.values)]


def notes_on(records: Sequence[RunRecord]) -> list[str]:
    """What keeps these figures from being compared, or from meaning much."""
    notes = []
    if len({record.data_digest for record in records}) > 1:
        notes.append("The runs were trained and tested on different data: their scores do not compare.")
    hosts = {(record.host.cpu_model, record.host.cores, record.host.gpu) for record in records}
    if len(hosts) > 1:
        notes.append("They ran on different machines: seconds and reviews/s do not compare.")
    unfinished = sum(record.status != "finished" for record in records)
    if unfinished:
        notes.append(f"{unfinished} of {len(records)} did not finish: their figures are of the last record.")
    intervals = [_interval(record.test) for record in records]
    known = [interval for interval in intervals if interval is not None]
    if len(known) > 1 and max(low for low, _ in known) <= min(high for _, high in known):
        notes.append(
            "The 95 % intervals of all test accuracies overlap: the difference may be chance. "
            "Several seeds tell more; `sentiscale compare` trains them."
        )
    return notes


def _record(path: Path) -> RunRecord:
    record = read_record(RunDir(path)) if is_run(path) else None
    if record is None:
        problem = "has no readable record.json" if is_run(path) else "is no run directory"
        raise DataError(f"{path} {problem}. `sentiscale runs` lists the runs below a folder.")
    return record


def _results(record: RunRecord) -> list[tuple[str, Value]]:
    lines: list[tuple[str, Value]] = [("status", record.status)]
    for split, scores in (("test", record.test), ("valid", record.valid or None)):
        lines += [(f"{split}.{name}", (scores or {}).get(name)) for name in SCORES]
        interval = _interval(scores)
        if interval is not None:
            lines.insert(-len(SCORES) + 1, (f"{split}.accuracy_ci95", [round(end, 4) for end in interval]))
    peaks = record.peak_memory_mb_per_rank
    return [
        *lines,
        *((name, getattr(record, name)) for name in COSTS),
        ("peak_memory_mb", max(peaks) if peaks else None),
        ("failure", record.failure),
    ]


def _interval(scores: Mapping[str, Any] | None) -> tuple[float, float] | None:
    if not scores or not scores.get("confusion"):
        return None
    (true_negative, false_positive), (false_negative, true_positive) = scores["confusion"]
    right = true_negative + true_positive
    return wilson(right, right + false_positive + false_negative)
