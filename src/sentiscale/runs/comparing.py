"""Two runs or more side by side: the settings in which they differ, and what came of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentiscale.analysis.proportions import wilson
from sentiscale.errors import DataError, UsageError
from sentiscale.records import Record, RunRecord
from sentiscale.runs.found import is_run, read_record
from sentiscale.tracking.figures import flat
from sentiscale.training.rundir import RunDir

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
