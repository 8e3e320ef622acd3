"""Records of a scaling study: the measured case, and one line of `records.jsonl` per run."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sentiscale.config import ModelSettings, Positive, TrainSettings
from sentiscale.errors import DataError
from sentiscale.records import Amount, Count, Fraction, Host, Record, read_jsonl, valid_as

RECORDS = "records.jsonl"
SHORTEST, LONGEST = 1e-9, 1e12
"""Seconds of a run or a step; within these bounds no ratio of two of them overflows."""

Duration = Annotated[float, Field(ge=SHORTEST, le=LONGEST)]


class Case(Record):
    """A combination of settings to measure; runs of equal cases are repeats."""

    kind: Literal["train", "copies", "prepare", "predict"] = "train"
    """train, prepare, predict or copies. `copies` runs independent serial trainings at the same time, which
    measures the upper limit of the machine."""
    layout: Annotated[str, Field(pattern=r"^[1-9]\d{0,7}x[1-9]\d{0,3}$")] = "1x1"
    """Number of replicas x number of stages, such as 2x1."""
    collectives: bool = True
    """Whether gradients are exchanged between ranks; False for the plain serial run."""
    copies: Positive = 1
    """Number of independent trainings that run at the same time; above 1 only for `copies`."""
    threads_per_rank: Positive = 1
    """Number of PyTorch threads in each rank."""
    batch_size: Count = 0
    """Rows per optimizer step, summed over all ranks or all copies."""
    model: str = ""
    """Cell of the network: lstm or gru."""
    precision: str = ""
    """Number format of the network: fp32, bf16 or fp16."""
    device: str = "cpu"
    """Device of the network: cpu or cuda."""
    scaling: Literal["strong", "weak"] = "strong"
    """strong: `batch_size` is the same for any number of ranks. weak: it grows with the number of ranks."""
    engine: str = ""
    """Engine that prepares or predicts: sentiscale, dask, pandas or polars."""
    engine_workers: Positive = 1
    """Number of processes or threads of that engine."""

    @property
    def ranks(self) -> int:
        data, _, model = self.layout.partition("x")
        return int(data) * int(model or 1) * self.copies

    @property
    def workers(self) -> int:
        """Number of cores in use: ranks x threads, or the workers of an engine."""
        if self.kind in ("prepare", "predict"):
            return self.engine_workers
        return self.ranks * self.threads_per_rank

    @property
    def key(self) -> str:
        return json.dumps(self.model_dump(), sort_keys=True)


class Interference(Record):
    """Load that other processes put on the machine."""

    cores_before: float
    """Number of cores that other processes kept busy just before the run."""
    cores_during: float
    """Number of cores that other processes kept busy during the run."""
    disturbed: bool = False
    """Whether the load was above the limit of the benchmark. A disturbed run is repeated; it is kept only if
    all attempts were disturbed."""


class RankTimes(Record):
    """Time of one rank by phase, in seconds over all timed steps. The phases do not overlap."""

    data: Amount = 0.0
    """Time spent waiting for rows."""
    forward: Amount = 0.0
    """Time of the forward passes."""
    backward: Amount = 0.0
    """Time of the backward passes. On a rank that holds one stage of a pipeline, forward and backward passes
    alternate, and both count as backward."""
    reduce: Amount = 0.0
    """Time of the exchange with other ranks, counted from the arrival of the last rank."""
    waiting: Amount = 0.0
    """Time spent waiting for other ranks: for the slowest rank at an exchange, and for the other stage in a
    pipeline."""
    update: Amount = 0.0
    """Time to update the weights."""

    @property
    def total(self) -> float:
        return self.data + self.forward + self.backward + self.reduce + self.waiting + self.update


class Span(Record):
    """Interval on the timeline of one rank."""

    phase: str
    """Name of the phase: a field of `RankTimes`."""
    step: int
    """Index of the step."""
    begin: float
    """Start in seconds on the monotonic clock of the host, which all its ranks share."""
    end: float
    """End in seconds on the same clock."""


class BenchRun(Record):
    """One run of a case in fresh processes."""

    schema_version: int = 1
    """Version of this record; it increases when a key changes its meaning."""
    case: Case
    """The measured case."""
    repeat: Count
    """Index of the repeat, from 0."""
    seed: Count
    """Seed for the choice of rows and for the order of the runs."""
    amount: dict[str, Annotated[int | float, Field(ge=0, le=1e15)]]
    """Length of the run: {"rows": n}, {"steps": n} or {"target_accuracy": x}."""
    seconds: Duration
    """Duration without warm-up; each step counts with the time of its slowest rank."""
    rows: Count
    """Rows processed in `seconds`; a row counts once per pass."""
    rows_per_s: Amount
    """Throughput: `rows` divided by `seconds`."""
    steps: Count = 0
    """Number of timed optimizer steps; 0 if nothing was trained."""
    step_seconds: list[Duration] = Field(default_factory=list)
    """Time of each step on the slowest rank."""
    warm_up_seconds: Amount = 0.0
    """Time of the steps before the timed ones."""
    start_seconds: Amount = 0.0
    """Time from the start of the processes to the first step."""
    times_per_rank: list[RankTimes] = Field(default_factory=list)
    """Time of the steps by phase, one entry per rank."""
    bytes_per_step: list[Count] = Field(default_factory=list)
    """Bytes that each rank sends per step."""
    peak_memory_mb_per_rank: list[Amount] = Field(default_factory=list)
    """Peak memory of each rank, in MB of 2^20 bytes."""
    accuracy: Fraction | None = None
    """Accuracy on the validation split, if training had a target accuracy."""
    reached: bool | None = None
    """Whether the target accuracy was reached. If so, `seconds` is the time to the target, including
    everything after preparation."""
    phases: dict[str, Amount] = Field(default_factory=dict)
    """Seconds of rank 0 by phase, if training had a target accuracy: wide, vectors, data, compute, reduce,
    update, eval and checkpoint."""
    oversubscribed: bool = False
    """Whether ranks x threads exceed the cores. Such a run shows overhead, not speed."""
    interference: Interference | None = None
    """Load of other processes; None if it was not measured."""
    started_at: datetime
    """Time at which the run started."""
    host: Host
    """Machine that ran it."""
    command: str = ""
    """Command line that measured the run; empty if it was called from Python."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of sentiscale and of the libraries that it computes with, by name."""
    git_commit: str | None = None
    """Git commit of the working directory; None outside a repository."""
    data_digest: str = ""
    """Digest of the prepared data, as in their manifest."""
    embedding_rows: Count = 0
    """Size of the vocabulary. Together with the sizes in `shape`, it determines how many bytes a dense
    exchange would send."""
    shape: Annotated[dict[str, Any], valid_as(ModelSettings), valid_as(TrainSettings)] = Field(
        default_factory=dict
    )
    """Settings of the model, and the mean number of tokens per row."""

    @model_validator(mode="after")
    def _check(self) -> "BenchRun":
        if len(self.times_per_rank) not in (0, self.case.ranks):
            raise ValueError(f"times_per_rank has {len(self.times_per_rank)} of {self.case.ranks} ranks")
        return self


def read_runs(path: Path) -> list[BenchRun]:
    """Read the runs from an output directory of `bench`, or from a `records.jsonl` file.

    Raises: DataError if the file does not exist or contains no runs.
    """
    file = path / RECORDS if path.is_dir() else path
    if not file.exists():
        raise DataError(f"{file} does not exist. Give a directory that `sentiscale bench --out` wrote.")
    runs = list(read_jsonl(file, BenchRun))
    if not runs:
        raise DataError(f"{file} contains no runs. Run `sentiscale bench DATA --out {file.parent}` first.")
    return runs
