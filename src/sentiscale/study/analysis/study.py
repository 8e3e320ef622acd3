"""What a scaling study has found: plain numbers, from which table, charts and sentences are made."""

from dataclasses import dataclass, field

from sentiscale.records import Host
from sentiscale.study.records import Case

Interval = tuple[float, float]
"""Ends of a 95 % interval."""


@dataclass(frozen=True)
class StudyRow:
    """All repeats of one case, beside the base of its family."""

    case: Case
    """What was measured."""
    repeats: int
    """Runs of it."""
    disturbed: int
    """Repeats during which other processes were busy."""
    seconds_median: float
    """Of the amount of work, over the repeats."""
    seconds_ci95: Interval | None
    """None with a single repeat: there is nothing to tell a spread from."""
    rows_per_s: float
    """Median; 0 where only seconds are known."""
    speedup: float | None
    """Over the base; None without one. In weak scaling: work done a second, over the base's."""
    speedup_ci95: Interval | None
    """None where there is no speedup or no spread."""
    efficiency: float | None
    """Speedup over cores, relative to the base: 1 at the base."""
    karp_flatt: float | None
    """Experimentally determined serial share (Karp & Flatt, 1990); None at the base."""
    oversubscribed: bool
    """More ranks x threads than cores: shows overhead, no speed."""
    waiting_share: float | None
    """Of the steps: exchange and waiting for others, on the rank with the most of it."""
    times: dict[str, tuple[float, float]]
    """Milliseconds of a step by phase: least and most over ranks, medians over repeats."""
    bytes_per_step: int
    """Sent by the rank that sends most."""
    peak_memory_mb_per_rank: list[float]
    """Median over repeats, by rank, in MB of 2^20 bytes."""
    accuracy: float | None
    """Median over repeats, where training went on to a target."""
    reached: int | None
    """How many repeats came to the target accuracy; None without a target."""

    @property
    def workers(self) -> int:
        """Cores: ranks x threads."""
        return self.case.workers


@dataclass(frozen=True)
class Fit:
    """A law fitted to throughput over cores; oversubscribed rows have no part in it."""

    model: str
    """amdahl or usl."""
    parameters: dict[str, float]
    """amdahl: serial share `sigma`, rate of one core `lambda`; usl: `kappa` (coherence) as well."""
    intervals: dict[str, Interval]
    """95 %, of each parameter."""
    residual: float
    """Root of the mean squared relative difference between law and medians."""
    points: int
    """Different numbers of cores it rests on."""
    best_workers: float | None
    """Where the law has its maximum; None if it has none."""
    trusted_up_to: int
    """Twice the largest number of cores measured: not to be stretched beyond."""
    caveat: str = ""
    """Why it cannot be trusted, if it cannot, such as too few points."""


@dataclass(frozen=True)
class Family:
    """Cases that differ only in how they are spread over cores: what a speedup may be computed within."""

    name: str
    """As a heading, such as "LSTM, 128 rows a step, bf16"."""
    scaling: str
    """strong or weak."""
    base: str
    """What speedups are over, in words."""
    rows: list[StudyRow]
    """Serial first, then by layout, threads and cores; the copies last."""
    fits: list[Fit]
    """Of data-parallel cases with one thread a rank; empty with fewer than two counts."""
    trend: str
    """What the Karp-Flatt shares say, in words."""


@dataclass(frozen=True)
class Recommendation:
    """What to use, why, and how sure that is."""

    layout: str
    """Replicas x stages."""
    threads: int
    """Of each rank."""
    why: str
    """In words, with the figures."""
    confidence: str
    """In words, with what it rests on."""


@dataclass(frozen=True)
class Study:
    """Everything a report shows."""

    families: list[Family]
    """The one the recommendation is from first."""
    recommendation: Recommendation | None
    """None where nothing can be recommended."""
    findings: list[str]
    """Sentences, the most important first: layouts, model, precision, batch size, memory, preparation."""
    caveats: list[str]
    """What cannot be concluded, and why."""
    hosts: list[Host]
    """Machines the runs were made on."""
    commands: list[str] = field(default_factory=list)
    """Those that measured; empty where Python did."""
    amounts: list[str] = field(default_factory=list)
    """How much each training run did, in words."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the libraries, by name."""
    git_commits: list[str] = field(default_factory=list)
    """Commits the runs were made at."""
