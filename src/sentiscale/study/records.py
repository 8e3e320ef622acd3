"""What a scaling study keeps: the case that was measured, and one line of `records.jsonl` a run."""

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from sentiscale.records import Host, Record

SCHEMA_VERSION = 1

Kind = Literal["train", "copies", "prepare", "predict"]
"""`copies`: serial trainings at once that know nothing of each other: what the machine itself can give."""


class Case(Record):
    """What is measured; equal cases are repeats of each other."""

    kind: Kind = "train"
    """train, prepare, predict, or copies: trainings at once that know nothing of each other."""
    layout: str = "1x1"
    """Replicas x stages."""
    collectives: bool = True
    """Whether gradients go through the exchange between ranks; False for the plain serial run of one rank."""
    copies: int = 1
    """Independent trainings at once; more than 1 only for `copies`."""
    threads_per_rank: int = 1
    """Threads that torch uses in each rank."""
    batch_size: int = 0
    """Rows of an optimiser step over all ranks, or over all copies."""
    model: str = ""
    """lstm or gru."""
    precision: str = ""
    """Arithmetic of the network: fp32, bf16, fp16."""
    device: str = "cpu"
    """cpu or cuda."""
    scaling: Literal["strong", "weak"] = "strong"
    """Strong: `batch_size` is the same for any number of ranks. Weak: it grows with them."""
    engine: str = ""
    """Of preparation and prediction: sentiscale, dask, pandas, polars."""
    engine_workers: int = 1
    """Processes or threads of that engine."""

    @property
    def ranks(self) -> int:
        """Processes that compute."""
        data, _, model = self.layout.partition("x")
        return int(data) * int(model or 1) * self.copies

    @property
    def workers(self) -> int:
        """Cores it keeps busy: ranks x threads."""
        if self.kind in ("prepare", "predict"):
            return self.engine_workers
        return self.ranks * self.threads_per_rank

    @property
    def key(self) -> str:
        """Equal for equal cases."""
        return json.dumps(self.model_dump(), sort_keys=True)


class Interference(Record):
    """What else the machine was doing."""

    cores_before: float
    """Cores that other processes kept busy just before the run."""
    cores_during: float
    """The same during it."""
    disturbed: bool = False
    """More than the bench allows; such a run is repeated, and kept only if all repeats were disturbed."""


class RankTimes(Record):
    """Where one rank's time went, in seconds over all timed steps; each second counted once."""

    data: float = 0.0
    """Waiting for rows."""
    forward: float = 0.0
    """Forward passes."""
    backward: float = 0.0
    """Of a rank that holds a stage, forward and backward passes alternate; all of it counts as backward."""
    reduce: float = 0.0
    """Exchange with other ranks, from the moment the last of them has come to it."""
    waiting: float = 0.0
    """For other ranks: at the exchange for the slowest, between stages for the partner."""
    update: float = 0.0
    """Changing the weights."""

    @property
    def total(self) -> float:
        """Of the steps."""
        return self.data + self.forward + self.backward + self.reduce + self.waiting + self.update


class Span(Record):
    """A stretch of one rank's time, for a timeline."""

    phase: str
    """A field of `RankTimes`."""
    step: int
    """Number of the step it belongs to."""
    begin: float
    """Seconds on the host's monotonic clock, the same for all ranks of one host."""
    end: float
    """The same."""


class BenchRun(Record):
    """One run of a case in fresh processes."""

    schema_version: int = SCHEMA_VERSION
    """Of this record; it grows when a key changes its meaning."""
    case: Case
    """What was measured."""
    repeat: int
    """Which repeat of the case this is, from 0."""
    seed: int
    """What the rows and the order of the runs were drawn from."""
    amount: dict[str, Any]
    """What was run: {"rows": n}, {"steps": n} or {"target_accuracy": x}."""
    seconds: float
    """Of the amount, warm-up left out; steps take as long as their slowest rank."""
    rows: int
    """Rows gone through in these seconds, a row counting once a pass."""
    rows_per_s: float
    """`rows` over `seconds`."""
    steps: int = 0
    """Timed optimiser steps; 0 where nothing was trained."""
    step_seconds: list[float] = Field(default_factory=list)
    """Of each step, on its slowest rank."""
    warm_up_seconds: float = 0.0
    """Steps before the timed ones."""
    start_seconds: float = 0.0
    """From starting the processes to the first step."""
    times_per_rank: list[RankTimes] = Field(default_factory=list)
    """Where the timed steps went, by rank."""
    bytes_per_step: list[int] = Field(default_factory=list)
    """Sent, by rank."""
    peak_memory_mb_per_rank: list[float] = Field(default_factory=list)
    """Largest memory of each rank, in MB of 2^20 bytes."""
    accuracy: float | None = None
    """On the validation split, where training went on to a target."""
    reached: bool | None = None
    """Whether it did; `seconds` then is the time to it, everything after preparation included."""
    phases: dict[str, float] = Field(default_factory=dict)
    """Seconds of rank 0 where training went on to a target: wide, vectors, data, compute, reduce, update,
    eval, checkpoint."""
    oversubscribed: bool = False
    """More ranks x threads than cores: shows overhead, no speed."""
    interference: Interference | None = None
    """What else the machine did; None where it was not looked at."""
    started_at: datetime
    """When the run began."""
    host: Host
    """The machine."""
    command: str = ""
    """The command that measured it; empty where Python did."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of sentiscale and the libraries it computes with, by name."""
    git_commit: str | None = None
    """Commit of the folder the command was called in; None outside of a repository."""
    data_digest: str = ""
    """Identity of the prepared data, as in their manifest."""
    embedding_rows: int = 0
    """Vocabulary; with the model's sizes in `shape` it tells what a dense exchange would send."""
    shape: dict[str, Any] = Field(default_factory=dict)
    """Settings of the model, and tokens a row on average."""
