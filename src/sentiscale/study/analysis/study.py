"""Results of a scaling study, from which tables, charts and sentences are created."""

import re
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from sentiscale.records import Host
from sentiscale.study.analysis.wording import (
    OTHER_WORK,
    case_name,
    case_with_flags,
    has_only_times,
    is_serial,
)
from sentiscale.study.records import Case
from sentiscale.util.numbers import many

Interval = tuple[float, float]
"""Lower and upper end of a 95 % interval."""


@dataclass(frozen=True)
class StudyRow:
    """All repeats of one case, compared with the base of its family."""

    case: Case
    repeats: int
    disturbed: int
    """Number of repeats during which other processes were busy."""
    seconds_median: float
    seconds_ci95: Interval | None
    """None with a single repeat."""
    rows_per_s: float
    """Median over repeats; 0 if only seconds are known."""
    speedup: float | None = None
    """Speedup over the base; None without a base. In weak scaling, the ratio of work per second."""
    speedup_ci95: Interval | None = None
    """None without a speedup, or if a case was run only once."""
    efficiency: float | None = None
    """Speedup divided by the number of cores relative to the base; 1 for the base."""
    karp_flatt: float | None = None
    """Experimentally determined serial share (Karp & Flatt, 1990); None for the base."""
    oversubscribed: bool = False
    """Whether ranks x threads exceed the cores; such a case shows overhead, not speed."""
    waiting_share: float | None = None
    """Share of the step time spent in the exchange and waiting, on the rank where it is largest."""
    times: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Milliseconds per step by phase: minimum and maximum over ranks, each the median over repeats."""
    bytes_per_step: int = 0
    """Bytes sent per step by the rank that sends most."""
    peak_memory_mb_per_rank: list[float] = field(default_factory=list)
    """Peak memory by rank, median over repeats, in MB of 2^20 bytes."""
    accuracy: float | None = None
    """Median over repeats, if training had a target accuracy."""
    reached: int | None = None
    """Number of repeats that reached the target accuracy; None without a target."""
    costs: tuple[float, ...] = ()
    """Cost of each repeat, ascending, on which speedups are based: seconds per row, or seconds per run if
    training had a target accuracy or the number of rows is unknown."""

    @property
    def workers(self) -> int:
        return self.case.workers

    @property
    def cost(self) -> float:
        return median(self.costs)

    @property
    def name(self) -> str:
        """Short name of the case."""
        return case_name(self.case)

    @property
    def full_name(self) -> str:
        """Name of the case with the flags that select it."""
        return case_with_flags(self.case)

    @property
    def peak_memory(self) -> float:
        """Largest peak memory of a rank in MB; 0 if it was not measured."""
        return max(self.peak_memory_mb_per_rank, default=0.0)

    @property
    def is_serial(self) -> bool:
        return is_serial(self.case)

    @property
    def has_only_times(self) -> bool:
        """Whether only the number of workers and times are known."""
        return has_only_times(self.case)

    @property
    def is_complete(self) -> bool:
        """Whether every repeat reached its target accuracy; True without a target."""
        return self.reached in (None, self.repeats)

    @property
    def is_comparable(self) -> bool:
        """Whether the row can be used in a fit or a recommendation."""
        return self.case.kind != "copies" and self.is_complete and not self.oversubscribed

    @property
    def is_candidate(self) -> bool:
        """Whether the case can be recommended. DDP with one rank and copies serve only for comparison."""
        return self.case.kind == "train" and self.is_comparable and (self.is_serial or self.workers > 1)

    @property
    def is_data_parallel(self) -> bool:
        """Whether scaling laws are fitted to the row: replicas with one thread each, or plain serial."""
        case = self.case
        one_thread = case.kind == "train" and case.layout.endswith("x1") and case.threads_per_rank == 1
        return one_thread and self.is_comparable and (case.ranks > 1 or not case.collectives)


@dataclass(frozen=True)
class Fit:
    """A scaling law fitted to throughput by number of cores, without oversubscribed rows."""

    model: str
    """Name of the law: amdahl or usl."""
    parameters: dict[str, float]
    """Serial share `sigma` and rate of one core `lambda`; for usl, also the coherence cost `kappa`."""
    intervals: dict[str, Interval]
    """95 % interval of each parameter; empty if the noise cannot be estimated."""
    residual: float
    """Root mean square of the relative differences between the law and the measured medians."""
    points: int
    """Number of different core counts in the fit."""
    best_workers: float | None
    """Number of cores at which the law has its maximum; None without a maximum."""
    trusted_up_to: int
    """Twice the largest measured number of cores; the law is not extrapolated beyond this."""
    caveat: str = ""
    """Reasons not to trust the fit, such as too few points; empty if there are none."""


class FamilyKey(NamedTuple):
    """Properties that all cases of a family share."""

    kind: str = "train"
    """train, prepare or predict."""
    host: str = ""
    data: str = ""
    device: str = ""
    scaling: str = "strong"
    engine: str = ""
    model: str = ""
    precision: str = ""
    batch_size: int = 0
    """Rows per step; in weak scaling, rows per step and replica."""
    amount: str = ""


@dataclass(frozen=True)
class Family:
    """Cases that differ only in how they use the cores. Speedups are computed within a family."""

    name: str
    """Heading, such as "LSTM, 128 rows a step, bf16"."""
    scaling: str
    """strong or weak."""
    base: str
    """Description of the base of the speedups."""
    rows: list[StudyRow]
    """The base first, then ordered by layout, threads and cores; copies last."""
    fits: list[Fit]
    """Fits to the data-parallel cases with one thread per rank; empty with fewer than two numbers of
    cores."""
    trend: str
    """Sentences about how the serial share (Karp-Flatt) changes with the number of cores."""
    key: FamilyKey = field(default_factory=FamilyKey)

    @property
    def base_row(self) -> StudyRow | None:
        """The row to which speedups are relative; None if there is none."""
        return self.rows[0] if self.rows and self.rows[0].speedup == 1 else None

    @property
    def base_name(self) -> str:
        """Short name of the base."""
        base = self.base_row
        if base is None:
            return "nothing"
        return "plain serial" if base.is_serial and not base.has_only_times else base.full_name

    @property
    def has_speedups(self) -> bool:
        return any(row.speedup is not None for row in self.rows)

    @property
    def is_other_work(self) -> bool:
        """Whether the family measures preparation or prediction instead of training."""
        return bool(self.rows) and all(row.case.kind in OTHER_WORK for row in self.rows)

    @property
    def has_only_times(self) -> bool:
        """Whether it comes from a table of timings."""
        return all(row.has_only_times for row in self.rows)

    @property
    def trainings(self) -> list[StudyRow]:
        """Trainings that are not oversubscribed, without copies."""
        return [row for row in self.rows if row.case.kind == "train" and not row.oversubscribed]

    @property
    def best_row(self) -> StudyRow | None:
        """The training with the highest speedup; without speedups, the one with the shortest time."""
        compared = [row for row in self.trainings if row.speedup is not None]
        if compared:
            return max(compared, key=lambda row: row.speedup or 0)
        return min(self.trainings, key=lambda row: row.seconds_median, default=None)


@dataclass(frozen=True)
class Recommendation:
    """A recommended layout, with the reasons and the confidence."""

    layout: str
    """Number of replicas x number of stages, such as 2x1."""
    threads: int
    """Number of threads per rank."""
    why: str
    """Sentence with the reason and the figures."""
    confidence: str
    """Sentences about the confidence, with the evidence."""


@dataclass(frozen=True)
class Study:
    """Everything that a report shows."""

    families: list[Family]
    """Families of cases; the one on which the recommendation is based comes first."""
    recommendation: Recommendation | None
    """None if nothing can be recommended."""
    findings: list[str]
    """Sentences, the most important first: layouts, model, precision, batch size, memory, preparation."""
    caveats: list[str]
    """Sentences about what cannot be concluded, and why."""
    hosts: list[Host]
    """Machines on which the runs were measured."""
    commands: list[str] = field(default_factory=list)
    """Command lines that measured the runs; empty if they were called from Python."""
    amounts: list[str] = field(default_factory=list)
    """Descriptions of the length of a training run."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries, by name."""
    git_commits: list[str] = field(default_factory=list)
    """Git commits of the measured code."""

    @property
    def has_only_times(self) -> bool:
        """Whether it comes from a table of timings."""
        return all(family.has_only_times for family in self.families)

    @property
    def headline(self) -> str:
        """The recommendation in one sentence."""
        found = self.recommendation
        if found is None:
            return "No recommendation follows from these runs."
        if not re.fullmatch(r"\d+x\d+", found.layout):
            return found.layout
        replicas, stages = map(int, found.layout.split("x"))
        if self.has_only_times:
            return f"Use {many(replicas * stages * found.threads, 'worker')}."
        threads = many(found.threads, "thread")
        if replicas * stages == 1:
            return f"Train in one process with {threads}."
        if stages == 1:
            return f"Train with {many(replicas, 'replica')} of {threads} each."
        ranks = f"{stages} stages" if replicas == 1 else f"{many(replicas, 'replica')} of {stages} stages"
        return f"Train with {ranks}, {threads} each."

    @property
    def flags(self) -> str:
        """The recommendation as flags of `sentiscale train`; empty for a table of timings."""
        found = self.recommendation
        if found is None or self.has_only_times:
            return ""
        return f"--layout {found.layout} --threads-per-rank {found.threads}"
