"""Records of a scaling study: the measured case, and one line of `records.jsonl` per run."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sentiscale.errors import DataError
from sentiscale.records import Host, Record, read_jsonl

RECORDS = "records.jsonl"


class Case(Record):
    """A combination of settings to measure; runs of equal cases are repeats."""

    kind: Literal["train", "copies", "prepare", "predict"] = "train"
    """train, prepare, predict, or copies: independent serial trainings at once, the machine's upper limit."""
    layout: str = "1x1"
    """Replicas x stages."""
    collectives: bool = True
    """Whether gradients go through the exchange between ranks; False for the plain serial run."""
    copies: int = 1
    """Independent trainings at once; more than 1 only for `copies`."""
    threads_per_rank: int = 1
    """Threads of torch in each rank."""
    batch_size: int = 0
    """Rows of an optimizer step over all ranks, or over all copies."""
    model: str = ""
    """lstm or gru."""
    precision: str = ""
    """Arithmetic of the network: fp32, bf16, fp16."""
    device: str = "cpu"
    """cpu or cuda."""
    scaling: Literal["strong", "weak"] = "strong"
    """Strong: `batch_size` is the same for any number of ranks. Weak: it grows with them."""
    engine: str = ""
    """Engine of preparation and prediction: sentiscale, dask, pandas, polars."""
    engine_workers: int = 1
    """Processes or threads of that engine."""

    @property
    def ranks(self) -> int:
        data, _, model = self.layout.partition("x")
        return int(data) * int(model or 1) * self.copies

    @property
    def workers(self) -> int:
        """Cores in use: ranks x threads."""
        if self.kind in ("prepare", "predict"):
            return self.engine_workers
        return self.ranks * self.threads_per_rank

    @property
    def key(self) -> str:
        return json.dumps(self.model_dump(), sort_keys=True)


class Interference(Record):
    """Load of other processes on the machine."""

    cores_before: float
    """Cores that other processes kept busy just before the run."""
    cores_during: float
    """The same during the run."""
    disturbed: bool = False
    """Above the limit of the bench. Such a run is repeated, and kept only if all attempts were disturbed."""


class RankTimes(Record):
    """One rank's time by phase, in seconds over all timed steps; each second counts once."""

    data: float = 0.0
    """Waiting for rows."""
    forward: float = 0.0
    """Forward passes."""
    backward: float = 0.0
    """Backward passes. On a rank that holds a stage the passes alternate, and both count as backward."""
    reduce: float = 0.0
    """Exchange with other ranks, from the arrival of the last of them."""
    waiting: float = 0.0
    """Waiting for other ranks: at the exchange for the slowest, between stages for the partner."""
    update: float = 0.0
    """Updating the weights."""

    @property
    def total(self) -> float:
        return self.data + self.forward + self.backward + self.reduce + self.waiting + self.update


class Span(Record):
    """An interval of one rank's time, for a timeline."""

    phase: str
    """A field of `RankTimes`."""
    step: int
    """Number of the step."""
    begin: float
    """Seconds on the host's monotonic clock, which all ranks of a host share."""
    end: float
    """On the same clock."""


class BenchRun(Record):
    """One run of a case in fresh processes."""

    schema_version: int = 1
    """Version of this record; it grows when a key changes its meaning."""
    case: Case
    """The measured case."""
    repeat: int
    """Index of the repeat, from 0."""
    seed: int
    """Seed of the rows and of the order of the runs."""
    amount: dict[str, Any]
    """Length of the run: {"rows": n}, {"steps": n} or {"target_accuracy": x}."""
    seconds: float
    """Time without warm-up; a step takes as long as its slowest rank."""
    rows: int
    """Rows processed in that time; a row counts once per pass."""
    rows_per_s: float
    """`rows` over `seconds`."""
    steps: int = 0
    """Timed optimizer steps; 0 where nothing was trained."""
    step_seconds: list[float] = Field(default_factory=list)
    """Time of each step on its slowest rank."""
    warm_up_seconds: float = 0.0
    """Time of the steps before the timed ones."""
    start_seconds: float = 0.0
    """From the start of the processes to the first step."""
    times_per_rank: list[RankTimes] = Field(default_factory=list)
    """Time of the steps by phase, for each rank."""
    bytes_per_step: list[int] = Field(default_factory=list)
    """Bytes that each rank sent."""
    peak_memory_mb_per_rank: list[float] = Field(default_factory=list)
    """Largest memory of each rank, in MB of 2^20 bytes."""
    accuracy: float | None = None
    """On the validation split, where training had a target."""
    reached: bool | None = None
    """Whether the target was reached; `seconds` then is the time to it, everything after preparation
    included."""
    phases: dict[str, float] = Field(default_factory=dict)
    """Seconds of rank 0 where training had a target: wide, vectors, data, compute, reduce, update, eval,
    checkpoint."""
    oversubscribed: bool = False
    """More ranks x threads than cores: such a run shows overhead, not speed."""
    interference: Interference | None = None
    """Load of other processes; None where it was not measured."""
    started_at: datetime
    """Start of the run."""
    host: Host
    """The machine."""
    command: str = ""
    """The command that measured it; empty if called from Python."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of sentiscale and the libraries it computes with, by name."""
    git_commit: str | None = None
    """Commit of the folder that the command was called in; None outside of a repository."""
    data_digest: str = ""
    """Identity of the prepared data, as in their manifest."""
    embedding_rows: int = 0
    """Size of the vocabulary; with the sizes in `shape` it determines what a dense exchange would send."""
    shape: dict[str, Any] = Field(default_factory=dict)
    """Settings of the model, and mean tokens per row."""


def read_runs(path: Path) -> list[BenchRun]:
    """The runs in a directory of `bench`, or in a file of such lines.

    Raises: DataError if there are none.
    """
    file = path / RECORDS if path.is_dir() else path
    if not file.exists():
        raise DataError(f"{file} is not there. Give a directory that `sentiscale bench --out` wrote.")
    runs = list(read_jsonl(file, BenchRun))
    if not runs:
        raise DataError(f"{file} holds no runs. Run `sentiscale bench DATA --out {file.parent}` first.")
    return runs
