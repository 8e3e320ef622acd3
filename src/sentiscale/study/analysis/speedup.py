"""Speedup, efficiency and serial share of measured cases over a base: one row of the report a case."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from sentiscale.study.analysis.intervals import median_interval, ratio_interval
from sentiscale.study.analysis.study import Interval, StudyRow
from sentiscale.study.analysis.words import is_serial
from sentiscale.study.records import BenchRun, Case, RankTimes

PHASES = ("data", "forward", "backward", "reduce", "waiting", "update")


@dataclass(frozen=True)
class Measured:
    """All repeats of one case."""

    case: Case
    """Which case."""
    seconds: tuple[float, ...]
    """Ascending."""
    costs: tuple[float, ...]
    """What is compared, ascending: seconds a row; seconds of the whole where it is a time to an accuracy, or
    where nobody said how many rows there were."""
    runs: tuple[BenchRun, ...] = ()
    """Empty where only times are known."""
    oversubscribed: bool = False
    """More ranks x threads than cores."""

    @property
    def cost(self) -> float:
        """Median of the costs."""
        return median(self.costs)

    @property
    def complete(self) -> bool:
        """Whether every repeat came to the accuracy it was to reach; True without one."""
        return all(run.reached is not False for run in self.runs)

    @property
    def is_serial(self) -> bool:
        """Plain training on one core."""
        return is_serial(self.case)

    @property
    def is_data_parallel(self) -> bool:
        """Whether laws are fitted to it: ranks of one thread each, or plain serial."""
        case = self.case
        alike = case.kind == "train" and case.layout.endswith("x1") and case.threads_per_rank == 1
        return alike and self.counts and (case.ranks > 1 or not case.collectives)

    @property
    def counts(self) -> bool:
        """Whether it may enter a fit or a recommendation."""
        return self.case.kind != "copies" and self.complete and not self.oversubscribed


def measured(runs: Sequence[BenchRun]) -> Measured:
    """Bring the runs of one case together; in whatever order they come."""
    runs = sorted(runs, key=lambda run: (run.seconds, run.started_at))
    case = runs[0].case
    return Measured(
        case=case,
        seconds=tuple(run.seconds for run in runs),
        costs=tuple(sorted(map(_cost, runs))),
        runs=tuple(runs),
        oversubscribed=any(run.oversubscribed or _exceeds_cores(run) for run in runs),
    )


def row_of(found: Measured, base: Measured | None) -> StudyRow:
    """The row of a case beside the base of its family."""
    speedup, interval = over(found, base) if base else (None, None)
    cores = found.case.workers / base.case.workers if base else 1.0
    runs = found.runs
    return StudyRow(
        case=found.case,
        repeats=len(found.seconds),
        disturbed=sum(run.interference is not None and run.interference.disturbed for run in runs),
        seconds_median=median(found.seconds),
        seconds_ci95=median_interval(found.seconds),
        rows_per_s=_middle(runs, lambda run: run.rows_per_s) or 0.0,
        speedup=speedup,
        speedup_ci95=interval,
        efficiency=None if speedup is None else speedup / cores,
        karp_flatt=_serial_share(found, speedup, cores),
        oversubscribed=found.oversubscribed,
        waiting_share=_middle(runs, _waiting_share),
        times=_times(runs),
        bytes_per_step=round(_middle(runs, lambda run: max(run.bytes_per_step, default=0)) or 0),
        peak_memory_mb_per_rank=_by_rank(runs),
        accuracy=_middle(runs, lambda run: run.accuracy),
        reached=sum(bool(run.reached) for run in runs)
        if any(run.reached is not None for run in runs)
        else None,
    )


def peak_memory(row: StudyRow) -> float:
    """MB of the rank that took most; 0 where it was not measured."""
    return max(row.peak_memory_mb_per_rank, default=0.0)


def over(found: Measured, base: Measured) -> tuple[float | None, Interval | None]:
    """How many times as fast `found` is as `base`, with its interval; None where a target was missed."""
    if not (found.complete and base.complete):
        return None, None
    if found is base:
        return 1.0, None  # by definition; there is nothing uncertain about it
    return base.cost / found.cost, ratio_interval(base.costs, found.costs)


def karp_flatt(speedup: float, cores: float) -> float:
    """The share of serial work that would explain a speedup (Karp & Flatt, 1990).

    Args:
        speedup: over the base.
        cores: as multiples of the base's; above 1.
    """
    return (1 / speedup - 1 / cores) / (1 - 1 / cores)


def _serial_share(found: Measured, speedup: float | None, cores: float) -> float | None:
    """Of strong scaling only: the formula supposes that the amount of work stays the same."""
    case = found.case
    if speedup is None or cores <= 1 or case.kind == "copies" or case.scaling == "weak":
        return None
    return karp_flatt(speedup, cores)


def _cost(run: BenchRun) -> float:
    to_target = "target_accuracy" in run.amount
    return run.seconds if to_target or run.rows_per_s <= 0 else 1 / run.rows_per_s


def _exceeds_cores(run: BenchRun) -> bool:
    return (
        run.case.device == "cpu"
        and run.case.kind in ("train", "copies")
        and run.case.workers > run.host.cores
    )


def _waiting_share(run: BenchRun) -> float | None:
    shares = [(times.reduce + times.waiting) / times.total for times in run.times_per_rank if times.total > 0]
    return max(shares, default=None)


def _times(runs: Sequence[BenchRun]) -> dict[str, tuple[float, float]]:
    """Milliseconds of a step by phase: least and most over ranks, medians over repeats."""
    timed = [run for run in runs if run.times_per_rank and run.steps > 0]
    if not timed:
        return {}

    def milliseconds(phase: str, choose: Callable[[list[float]], float]) -> float:
        return median(choose(_of_ranks(run.times_per_rank, phase)) / run.steps * 1e3 for run in timed)

    return {phase: (milliseconds(phase, min), milliseconds(phase, max)) for phase in PHASES}


def _of_ranks(ranks: Sequence[RankTimes], phase: str) -> list[float]:
    return [float(getattr(times, phase)) for times in ranks]


def _by_rank(runs: Sequence[BenchRun]) -> list[float]:
    """Medians over repeats, rank by rank."""
    known = [run.peak_memory_mb_per_rank for run in runs if run.peak_memory_mb_per_rank]
    ranks = min(map(len, known), default=0)
    return [median(of_run[rank] for of_run in known) for rank in range(ranks)]


def _middle(runs: Sequence[BenchRun], of: Callable[[BenchRun], float | None]) -> float | None:
    values = [value for value in map(of, runs) if value is not None]
    return median(values) if values else None
