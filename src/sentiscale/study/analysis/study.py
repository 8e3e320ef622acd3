"""The results of a scaling study as plain numbers; tables, charts and sentences are made from them."""

import re
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from sentiscale.records import Host
from sentiscale.study.analysis.wording import OTHER_WORK, case_name, case_with_flags, is_bare, is_serial
from sentiscale.study.records import Case
from sentiscale.util.numbers import many

Interval = tuple[float, float]
"""Ends of a 95 % interval."""


@dataclass(frozen=True)
class StudyRow:
    """All repeats of one case, compared with the base of its family."""

    case: Case
    repeats: int
    disturbed: int
    """Repeats during which other processes were busy."""
    seconds_median: float
    seconds_ci95: Interval | None
    """None with a single repeat, which has no spread."""
    rows_per_s: float
    """Median; 0 where only seconds are known."""
    speedup: float | None = None
    """Over the base; None without one. In weak scaling: work done a second, over the base's."""
    speedup_ci95: Interval | None = None
    """None where there is no speedup or no spread."""
    efficiency: float | None = None
    """Speedup over cores, relative to the base: 1 at the base."""
    karp_flatt: float | None = None
    """Experimentally determined serial share (Karp & Flatt, 1990); None at the base."""
    oversubscribed: bool = False
    """More ranks x threads than cores: measures overhead, not speed."""
    waiting_share: float | None = None
    """Share of the steps spent in the exchange and waiting, on the rank with the most of it."""
    times: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Milliseconds of a step by phase: least and most over ranks, medians over repeats."""
    bytes_per_step: int = 0
    """Sent by the rank that sends most."""
    peak_memory_mb_per_rank: list[float] = field(default_factory=list)
    """Median over repeats, by rank, in MB of 2^20 bytes."""
    accuracy: float | None = None
    """Median over repeats, where training went on to a target."""
    reached: int | None = None
    """How many repeats reached the target accuracy; None without a target."""
    costs: tuple[float, ...] = ()
    """What is compared, by repeat, ascending: seconds a row, or seconds of the whole run where it ends at an
    accuracy or its rows are not known."""

    @property
    def workers(self) -> int:
        return self.case.workers

    @property
    def cost(self) -> float:
        return median(self.costs)

    @property
    def name(self) -> str:
        """The case in a few words."""
        return case_name(self.case)

    @property
    def full_name(self) -> str:
        """The case with its flags."""
        return case_with_flags(self.case)

    @property
    def peak_memory(self) -> float:
        """MB of the rank that took most; 0 where it was not measured."""
        return max(self.peak_memory_mb_per_rank, default=0.0)

    @property
    def is_serial(self) -> bool:
        return is_serial(self.case)

    @property
    def is_bare(self) -> bool:
        """Whether only a number of workers is known of it."""
        return is_bare(self.case)

    @property
    def is_complete(self) -> bool:
        """Whether every repeat reached its target accuracy; True without a target."""
        return self.reached in (None, self.repeats)

    @property
    def is_comparable(self) -> bool:
        """Whether it may enter a fit or a recommendation."""
        return self.case.kind != "copies" and self.is_complete and not self.oversubscribed

    @property
    def is_candidate(self) -> bool:
        """Whether one would train this way; DDP with one rank and copies are measured for comparison only."""
        return self.case.kind == "train" and self.is_comparable and (self.is_serial or self.workers > 1)

    @property
    def is_data_parallel(self) -> bool:
        """Whether laws are fitted to it: ranks of one thread each, or plain serial."""
        case = self.case
        one_thread = case.kind == "train" and case.layout.endswith("x1") and case.threads_per_rank == 1
        return one_thread and self.is_comparable and (case.ranks > 1 or not case.collectives)


@dataclass(frozen=True)
class Fit:
    """A law fitted to throughput over cores, without oversubscribed rows."""

    model: str
    """amdahl or usl."""
    parameters: dict[str, float]
    """amdahl: serial share `sigma`, rate of one core `lambda`; usl: `kappa` (coherence) as well."""
    intervals: dict[str, Interval]
    """95 %, of each parameter."""
    residual: float
    """Root of the mean squared relative difference between law and medians."""
    points: int
    """Different numbers of cores it was fitted to."""
    best_workers: float | None
    """Where the law has its maximum; None if it has none."""
    trusted_up_to: int
    """Twice the largest number of cores measured: the law is not extrapolated beyond."""
    caveat: str = ""
    """Why it cannot be trusted, such as too few points; empty if it can."""


class FamilyKey(NamedTuple):
    """What all cases of a family have in common."""

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
    """Rows of a step; in weak scaling, of a step and replica."""
    amount: str = ""


@dataclass(frozen=True)
class Family:
    """Cases that differ only in how they are spread over cores; speedups are computed within a family."""

    name: str
    """As a heading, such as "LSTM, 128 rows a step, bf16"."""
    scaling: str
    """strong or weak."""
    base: str
    """What speedups are over, in words."""
    rows: list[StudyRow]
    """The base first, then by layout, threads and cores; copies last."""
    fits: list[Fit]
    """Of data-parallel cases with one thread a rank; empty with fewer than two counts."""
    trend: str
    """How the Karp-Flatt shares change with the cores, in words."""
    key: FamilyKey = field(default_factory=FamilyKey)

    @property
    def base_row(self) -> StudyRow | None:
        """The row that speedups are over."""
        return self.rows[0] if self.rows and self.rows[0].speedup == 1 else None

    @property
    def base_name(self) -> str:
        """The base in a few words."""
        base = self.base_row
        if base is None:
            return "nothing"
        return "plain serial" if base.is_serial and not base.is_bare else base.full_name

    @property
    def has_speedups(self) -> bool:
        return any(row.speedup is not None for row in self.rows)

    @property
    def is_other_work(self) -> bool:
        """Whether it is about preparation or prediction, not training."""
        return bool(self.rows) and all(row.case.kind in OTHER_WORK for row in self.rows)

    @property
    def is_bare(self) -> bool:
        """Whether it comes from a table of timings."""
        return all(row.is_bare for row in self.rows)

    @property
    def trainings(self) -> list[StudyRow]:
        """Trainings on no more ranks than cores, copies left out."""
        return [row for row in self.rows if row.case.kind == "train" and not row.oversubscribed]

    @property
    def best_row(self) -> StudyRow | None:
        """The fastest training, by speedup where there is one."""
        compared = [row for row in self.trainings if row.speedup is not None]
        if compared:
            return max(compared, key=lambda row: row.speedup or 0)
        return min(self.trainings, key=lambda row: row.seconds_median, default=None)


@dataclass(frozen=True)
class Recommendation:
    """Which layout to use, why, and how certain that is."""

    layout: str
    """Replicas x stages."""
    threads: int
    """Threads of each rank."""
    why: str
    """In words, with the figures."""
    confidence: str
    """In words, with the evidence."""


@dataclass(frozen=True)
class Study:
    """Everything a report shows."""

    families: list[Family]
    """The family of the recommendation comes first."""
    recommendation: Recommendation | None
    """None where nothing can be recommended."""
    findings: list[str]
    """Sentences, the most important first: layouts, model, precision, batch size, memory, preparation."""
    caveats: list[str]
    """What cannot be concluded, and why."""
    hosts: list[Host]
    """Machines the runs were made on."""
    commands: list[str] = field(default_factory=list)
    """Commands that measured; empty where Python did."""
    amounts: list[str] = field(default_factory=list)
    """How much each training run did, in words."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries, by name."""
    git_commits: list[str] = field(default_factory=list)
    """Commits of the code that was measured."""

    @property
    def is_bare(self) -> bool:
        """Whether it comes from a table of timings."""
        return all(family.is_bare for family in self.families)

    @property
    def headline(self) -> str:
        """What to do, in one sentence."""
        found = self.recommendation
        if found is None:
            return "No recommendation follows from these runs."
        if not re.fullmatch(r"\d+x\d+", found.layout):
            return found.layout
        replicas, stages = map(int, found.layout.split("x"))
        if self.is_bare:
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
        if found is None or self.is_bare:
            return ""
        return f"--layout {found.layout} --threads-per-rank {found.threads}"
