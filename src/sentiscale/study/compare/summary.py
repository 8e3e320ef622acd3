"""Runs in a table: medians and ranges over the seeds of each contestant and point."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sentiscale.records import Record
from sentiscale.study.compare.records import CompareRun

TARGETS = ("0.90", "0.92", "0.9215", "0.926", "0.93", "0.935", "0.94", "0.945")
"""Accuracies whose time is noted."""

NEVER = float("inf")


class Row(Record):
    """What the runs of one contestant at one point came to."""

    model: str
    """Contestant, as in `--models`."""
    point: str
    """Which of its points; empty where it has one."""
    seeds: list[int]
    """One a run."""
    train_seconds_median: float | None
    """Wall time of training, reading left out."""
    test_accuracy_median: float | None
    """Over the seeds; None where only steps were timed."""
    test_accuracy_min: float | None
    """The worst seed's."""
    test_accuracy_max: float | None
    """The best seed's."""
    valid_accuracy_median: float | None
    """The same of the validation split."""
    core_seconds_median: float | None
    """Processor time of training, over all threads and processes."""
    read_seconds_median: float
    """Turning prepared data into what the contestant reads; not part of training."""
    rows_per_s: float | None
    """Training rows a second, median; a row counts once a pass."""
    rows_per_s_min: float | None
    """The slowest seed's."""
    rows_per_s_max: float | None
    """The fastest seed's."""
    projected_seconds: float | None
    """Of full training at the measured speed, where nobody waited for it."""
    to_accuracy: dict[str, float | None]
    """Seconds to the first validation with this accuracy; None where half of the runs or fewer got there."""

    @property
    def name(self) -> str:
        """Contestant and point."""
        return f"{self.model} ({self.point})" if self.point else self.model


def summarise(runs: Sequence[CompareRun]) -> list[Row]:
    """One row for each contestant and point, in the order of the runs."""
    groups: dict[tuple[str, str], list[CompareRun]] = {}
    for run in runs:
        groups.setdefault((run.model, run.point), []).append(run)
    return [row_of(group) for group in groups.values()]


def row_of(runs: Sequence[CompareRun]) -> Row:
    """The row of one contestant's runs at one point."""
    test = _values(runs, lambda run: accuracy_of(run.test))
    speed = _values(runs, lambda run: run.rows_per_s)
    return Row(
        model=runs[0].model,
        point=runs[0].point,
        seeds=[run.seed for run in runs],
        train_seconds_median=_middle(_values(runs, lambda run: run.train_seconds)),
        test_accuracy_median=_middle(test),
        test_accuracy_min=min(test, default=None),
        test_accuracy_max=max(test, default=None),
        valid_accuracy_median=_middle(_values(runs, lambda run: accuracy_of(run.valid))),
        core_seconds_median=_middle(_values(runs, lambda run: run.cpu_seconds)),
        read_seconds_median=median(run.read_seconds for run in runs),
        rows_per_s=_middle(speed),
        rows_per_s_min=min(speed, default=None),
        rows_per_s_max=max(speed, default=None),
        projected_seconds=_middle(_values(runs, lambda run: run.projected_seconds)),
        to_accuracy={target: _time_to(runs, float(target)) for target in TARGETS},
    )


def first_reached(run: CompareRun, target: float) -> float:
    """Training seconds at the first validation of a run with this accuracy; infinite where none has it."""
    points = [(point.seconds, point.valid_accuracy) for point in run.curve]
    if not points and run.valid and run.train_seconds is not None:
        points = [(run.train_seconds, run.valid["accuracy"])]
    return next((seconds for seconds, accuracy in points if accuracy >= target), NEVER)


def accuracy_of(scores: dict[str, Any] | None) -> float | None:
    """The accuracy among scores, where there are any."""
    return None if scores is None else float(scores["accuracy"])


def _time_to(runs: Sequence[CompareRun], target: float) -> float | None:
    seconds = median(first_reached(run, target) for run in runs)
    return None if seconds == NEVER else round(seconds, 2)


def _values(runs: Sequence[CompareRun], of: Callable[[CompareRun], float | None]) -> list[float]:
    return [value for value in map(of, runs) if value is not None]


def _middle(values: Sequence[float]) -> float | None:
    return median(values) if values else None


Point = tuple[float, float]
"""Seconds of training, accuracy between 0 and 1."""


@dataclass(frozen=True)
class End:
    """Where the runs of one point ended, on the test split."""

    name: str
    place: Point
    """Medians."""
    low: float
    high: float
    """Least and largest accuracy over the seeds."""


@dataclass(frozen=True)
class Series:
    """One contestant."""

    model: str
    curve: list[Point]
    """Validation accuracy on the way; empty for those that cannot be looked at half-way."""
    ends: list[End]
    """By rising time."""

    @property
    def all_points(self) -> list[Point]:
        """Everything that is drawn."""
        return [*self.curve, *(end.place for end in self.ends)]


def series_of(runs: Sequence[CompareRun]) -> list[Series]:
    """One series for each contestant that was trained to the end, in the order of the runs."""
    trained = [run for run in runs if run.test is not None and run.train_seconds is not None]
    found = []
    for model in dict.fromkeys(run.model for run in trained):
        mine = [run for run in trained if run.model == model]
        points = dict.fromkeys(run.point for run in mine)
        ends = [_end([run for run in mine if run.point == point]) for point in points]
        curve = median_curve([run for run in mine if run.point == mine[-1].point])
        found.append(Series(model, curve, sorted(ends, key=lambda end: end.place)))
    return found


def median_curve(runs: Sequence[CompareRun]) -> list[Point]:
    """Medians of the runs' first, second, … validation, as far as all have one; none at 0 seconds."""
    matched = zip(*(run.curve for run in runs), strict=False)
    points = [
        (median(point.seconds for point in same), median(point.valid_accuracy for point in same))
        for same in matched
    ]
    return [(seconds, accuracy) for seconds, accuracy in points if seconds > 0]


def _end(runs: Sequence[CompareRun]) -> End:
    accuracies = [run.test["accuracy"] for run in runs if run.test]
    seconds = median(run.train_seconds or 0.0 for run in runs)
    return End(runs[0].point, (seconds, median(accuracies)), min(accuracies), max(accuracies))
