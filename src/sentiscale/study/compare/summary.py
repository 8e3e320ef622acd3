"""Summarize runs as a table and as curves: medians and ranges over the seeds of each contestant and point."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sentiscale.records import Record
from sentiscale.study.compare.records import CompareRun

TARGETS = ("0.90", "0.92", "0.9215", "0.926", "0.93", "0.935", "0.94", "0.945")
"""Validation accuracies for which the time to reach them is reported."""

SCORES = ("macro_f1", "balanced_accuracy", "mae", "quadratic_kappa", "loss", "ece")
"""Scores that are summarized besides accuracy."""

NEVER = float("inf")


class CompareRow(Record):
    """Summary of the runs of one contestant at one point."""

    model: str
    """Name of the contestant, as in `--models`."""
    point: str
    """Name of the point; empty if the contestant has only one."""
    seeds: list[int]
    """Seeds of the runs, one per run."""
    train_seconds_median: float | None
    """Wall-clock time of training without reading, median over seeds."""
    test_accuracy_median: float | None
    """Accuracy on the test split, median over seeds; None if only steps were timed."""
    test_accuracy_min: float | None
    """Accuracy of the worst seed on the test split."""
    test_accuracy_max: float | None
    """Accuracy of the best seed on the test split."""
    test_scores_median: dict[str, float]
    """Other scores on the test split, median over seeds: those of SCORES that the runs have."""
    valid_scores_median: dict[str, float]
    """The same on the validation split."""
    valid_accuracy_median: float | None
    """Accuracy on the validation split, median over seeds."""
    core_seconds_median: float | None
    """Processor time of training over all threads and processes, median over seeds."""
    read_seconds_median: float
    """Time to convert the prepared data for the contestant, which is not part of training; median over
    seeds."""
    rows_per_s: float | None
    """Training rows per second, median over seeds; a row counts once per pass."""
    rows_per_s_min: float | None
    """Training rows per second of the slowest seed."""
    rows_per_s_max: float | None
    """Training rows per second of the fastest seed."""
    projected_seconds: float | None
    """Projected time of the full training at the measured speed, if only steps were timed."""
    to_accuracy: dict[str, float | None]
    """Training seconds to the first validation with each accuracy, median over seeds; None if half of the
    runs or more did not reach it."""

    @property
    def name(self) -> str:
        return f"{self.model} ({self.point})" if self.point else self.model


def summarise(runs: Sequence[CompareRun]) -> list[CompareRow]:
    """Summarize the runs in one row per contestant and point, in the order of the runs."""
    groups: dict[tuple[str, str], list[CompareRun]] = {}
    for run in runs:
        groups.setdefault((run.model, run.point), []).append(run)
    return [row_of(group) for group in groups.values()]


def row_of(runs: Sequence[CompareRun]) -> CompareRow:
    def values(of: Callable[[CompareRun], float | None]) -> list[float]:
        return [value for value in map(of, runs) if value is not None]

    def middle(of: Callable[[CompareRun], float | None]) -> float | None:
        return median(values(of)) if values(of) else None

    test = values(lambda run: run.test["accuracy"] if run.test else None)
    speed = values(lambda run: run.rows_per_s)
    times = {target: median(first_reached(run, float(target)) for run in runs) for target in TARGETS}
    return CompareRow(
        model=runs[0].model,
        point=runs[0].point,
        seeds=[run.seed for run in runs],
        train_seconds_median=middle(lambda run: run.train_seconds),
        test_accuracy_median=median(test) if test else None,
        test_accuracy_min=min(test, default=None),
        test_accuracy_max=max(test, default=None),
        test_scores_median=scores_median([run.test for run in runs if run.test]),
        valid_scores_median=scores_median([run.valid for run in runs if run.valid]),
        valid_accuracy_median=middle(lambda run: run.valid["accuracy"] if run.valid else None),
        core_seconds_median=middle(lambda run: run.cpu_seconds),
        read_seconds_median=median(run.read_seconds for run in runs),
        rows_per_s=median(speed) if speed else None,
        rows_per_s_min=min(speed, default=None),
        rows_per_s_max=max(speed, default=None),
        projected_seconds=middle(lambda run: run.projected_seconds),
        to_accuracy={
            target: None if seconds == NEVER else round(seconds, 2) for target, seconds in times.items()
        },
    )


def scores_median(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the median of each of SCORES that all of `scores` have."""
    found = {name: [float(each[name]) for each in scores if each.get(name) is not None] for name in SCORES}
    return {name: median(values) for name, values in found.items() if values and len(values) == len(scores)}


def first_reached(run: CompareRun, target: float) -> float:
    """Training seconds up to the first validation with at least this accuracy; infinite if there is none."""
    points = [(point.seconds, point.valid_accuracy) for point in run.curve]
    if not points and run.valid and run.train_seconds is not None:
        points = [(run.train_seconds, run.valid["accuracy"])]
    return next((seconds for seconds, accuracy in points if accuracy >= target), NEVER)


CurveXY = tuple[float, float]
"""Training time in seconds, and accuracy between 0 and 1."""


@dataclass(frozen=True)
class FinalScore:
    """Test accuracy of the runs of one point at the end of training."""

    name: str
    place: CurveXY  # medians over seeds
    low: float  # accuracy of the worst seed
    high: float  # accuracy of the best seed


@dataclass(frozen=True)
class AccuracyCurve:
    """Data of one contestant for the picture."""

    model: str
    curve: list[CurveXY]  # validation accuracy during training; empty for contestants without validations
    ends: list[FinalScore]  # one per point, in ascending order of time

    @property
    def all_points(self) -> list[CurveXY]:
        return [*self.curve, *(end.place for end in self.ends)]


def curves_of(runs: Sequence[CompareRun]) -> list[AccuracyCurve]:
    """Create one curve for each contestant that was trained to the end, in the order of the runs."""
    trained = [run for run in runs if run.test is not None and run.train_seconds is not None]
    curves = []
    for model in dict.fromkeys(run.model for run in trained):
        mine = [run for run in trained if run.model == model]
        points = dict.fromkeys(run.point for run in mine)
        ends = [_final_score([run for run in mine if run.point == point]) for point in points]
        curve = median_curve([run for run in mine if run.point == mine[-1].point])
        curves.append(AccuracyCurve(model, curve, sorted(ends, key=lambda end: end.place)))
    return curves


def median_curve(runs: Sequence[CompareRun]) -> list[CurveXY]:
    """Medians over runs of the first, second, ... validation, up to the shortest curve.

    Points at 0 seconds are omitted, because the time axis is logarithmic.
    """
    matched = zip(*(run.curve for run in runs), strict=False)
    points = [
        (median(point.seconds for point in same), median(point.valid_accuracy for point in same))
        for same in matched
    ]
    return [(seconds, accuracy) for seconds, accuracy in points if seconds > 0]


def _final_score(runs: Sequence[CompareRun]) -> FinalScore:
    accuracies = [run.test["accuracy"] for run in runs if run.test]
    seconds = median(run.train_seconds or 0.0 for run in runs)
    return FinalScore(runs[0].point, (seconds, median(accuracies)), min(accuracies), max(accuracies))
