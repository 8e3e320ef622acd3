"""Speedup, efficiency and serial share of measured cases, relative to a base case."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from sentiscale.study.analysis.intervals import median_interval, ratio_interval
from sentiscale.study.analysis.study import Interval, StudyRow
from sentiscale.study.records import BenchRun, Case
from sentiscale.util.numbers import with_interval

PHASES = ("data", "forward", "backward", "reduce", "waiting", "update")


class Ratio(NamedTuple):
    """Ratio of the speeds of two cases, formatted as `1.83 (1.79 to 1.86)`."""

    value: float
    ends: Interval | None

    def __str__(self) -> str:
        return with_interval(*self)

    @property
    def includes_one(self) -> bool:
        """Whether the interval includes 1, so that the two cases are not distinguishable."""
        return self.ends is not None and self.ends[0] <= 1 <= self.ends[1]

    @property
    def inverse(self) -> "Ratio":
        return Ratio(1 / self.value, (1 / self.ends[1], 1 / self.ends[0]) if self.ends else None)


def times_as_fast(row: StudyRow, other: StudyRow) -> Ratio:
    """Speed of `row` relative to `other`; above 1 if `row` is faster."""
    return Ratio(other.cost / row.cost, ratio_interval(other.costs, row.costs))


def timed_row(case: Case, seconds: Sequence[float]) -> StudyRow:
    """Create the row of a case from the duration of its repeats only."""
    ascending = tuple(sorted(seconds))
    return StudyRow(
        case=case,
        repeats=len(seconds),
        disturbed=0,
        seconds_median=median(seconds),
        seconds_ci95=median_interval(seconds),
        rows_per_s=0.0,
        costs=ascending,
    )


def measured_row(runs: Sequence[BenchRun]) -> StudyRow:
    """Summarize the runs of one case; their order does not matter."""
    runs = sorted(runs, key=lambda run: (run.seconds, run.started_at))
    has_target = any(run.reached is not None for run in runs)
    return replace(
        timed_row(runs[0].case, [run.seconds for run in runs]),
        disturbed=sum(run.interference is not None and run.interference.disturbed for run in runs),
        rows_per_s=_median(runs, lambda run: run.rows_per_s) or 0.0,
        oversubscribed=any(run.oversubscribed or _exceeds_cores(run) for run in runs),
        waiting_share=_median(runs, _waiting_share),
        times=_phase_times(runs),
        bytes_per_step=round(_median(runs, lambda run: max(run.bytes_per_step, default=0)) or 0),
        peak_memory_mb_per_rank=_memory_by_rank(runs),
        accuracy=_median(runs, lambda run: run.accuracy),
        reached=sum(run.reached is not False for run in runs) if has_target else None,
        costs=tuple(sorted(map(_cost, runs))),
    )


def with_speedup(row: StudyRow, base: StudyRow) -> StudyRow:
    """Add the speedup over the base to the row, unless either of them missed its target accuracy."""
    if not (row.is_complete and base.is_complete):
        return row
    # The speedup of the base over itself is 1 by definition, so it has no interval.
    speedup, interval = (1.0, None) if row is base else times_as_fast(row, base)
    cores = row.workers / base.workers
    # The formula of the serial share assumes a constant amount of work.
    has_serial_share = cores > 1 and row.case.kind != "copies" and row.case.scaling == "strong"
    return replace(
        row,
        speedup=speedup,
        speedup_ci95=interval,
        efficiency=speedup / cores,
        karp_flatt=karp_flatt(speedup, cores) if has_serial_share else None,
    )


def karp_flatt(speedup: float, cores: float) -> float:
    """Share of serial work that would explain a speedup (Karp & Flatt, 1990).

    Args:
        speedup: speedup over the base.
        cores: number of cores, as a multiple of the cores of the base; above 1.
    """
    return (1 / speedup - 1 / cores) / (1 - 1 / cores)


def _cost(run: BenchRun) -> float:
    to_target = "target_accuracy" in run.amount
    return run.seconds if to_target or run.rows_per_s <= 0 else 1 / run.rows_per_s


def _exceeds_cores(run: BenchRun) -> bool:
    trains = run.case.device == "cpu" and run.case.kind in ("train", "copies")
    return trains and run.case.workers > run.host.cores


def _waiting_share(run: BenchRun) -> float | None:
    shares = [(times.reduce + times.waiting) / times.total for times in run.times_per_rank if times.total > 0]
    return max(shares, default=None)


def _phase_times(runs: Sequence[BenchRun]) -> dict[str, tuple[float, float]]:
    timed = [run for run in runs if run.times_per_rank and run.steps > 0]
    if not timed:
        return {}

    def milliseconds(phase: str, extreme: Callable[[list[float]], float]) -> float:
        by_rank = [(run, [getattr(times, phase) for times in run.times_per_rank]) for run in timed]
        return median(extreme(seconds) / run.steps * 1e3 for run, seconds in by_rank)

    return {phase: (milliseconds(phase, min), milliseconds(phase, max)) for phase in PHASES}


def _memory_by_rank(runs: Sequence[BenchRun]) -> list[float]:
    known = [run.peak_memory_mb_per_rank for run in runs if run.peak_memory_mb_per_rank]
    return [median(peaks) for peaks in zip(*known, strict=False)]


def _median(runs: Sequence[BenchRun], of: Callable[[BenchRun], float | None]) -> float | None:
    values = [value for value in map(of, runs) if value is not None]
    return median(values) if values else None
