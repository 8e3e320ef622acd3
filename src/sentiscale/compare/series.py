"""What a picture shows of a contestant: its curve, and where its runs ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sentiscale.compare.runs import CompareRun

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
