"""What is measured and kept: counts, phases, the host, one record a run; JSON lines in and out."""

import errno
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeVar

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sentiscale.errors import DataError
from sentiscale.util.atomic import disk_error

SCHEMA_VERSION = 1

RecordT = TypeVar("RecordT", bound=BaseModel)


class Record(BaseModel):
    """Base of everything that is written as JSON; unknown keys of later versions are ignored on reading."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class EvalCounts(Record):
    """Sums over evaluated rows; adding two of them gives the counts of both sets together."""

    true_positive: int = 0
    """Positive rows that were called positive."""
    false_positive: int = 0
    """Negative rows that were called positive."""
    true_negative: int = 0
    """Negative rows that were called negative."""
    false_negative: int = 0
    """Positive rows that were called negative."""
    loss_sum: float = 0.0
    """Binary cross-entropy summed over rows, in nats."""

    def __add__(self, other: "EvalCounts") -> "EvalCounts":
        return EvalCounts(
            **{name: getattr(self, name) + getattr(other, name) for name in EvalCounts.model_fields}
        )

    @cached_property
    def rows(self) -> int:
        """Rows counted."""
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative

    @property
    def accuracy(self) -> float:
        """Share of rows labelled correctly; 0 without rows."""
        return (self.true_positive + self.true_negative) / max(self.rows, 1)

    @property
    def loss(self) -> float:
        """Mean binary cross-entropy per row in nats; 0 without rows."""
        return self.loss_sum / max(self.rows, 1)


class PhaseTimes(Record):
    """Seconds of a training run by phase; what is left of the whole is start-up and logging."""

    wide: float = 0.0
    """Solving the linear part, its validation logits included."""
    vectors: float = 0.0
    """Learning first word vectors."""
    data: float = 0.0
    """Waiting for the rows of the next step."""
    compute: float = 0.0
    """Forward and backward passes."""
    reduce: float = 0.0
    """Exchange with other ranks, waiting for them included."""
    update: float = 0.0
    """Changing the weights."""
    eval: float = 0.0
    """Validations."""
    checkpoint: float = 0.0
    """Writing checkpoints."""

    @property
    def step_seconds(self) -> float:
        """Of the training steps themselves."""
        return self.data + self.compute + self.reduce + self.update

    @property
    def waiting_share(self) -> float:
        """What part of the steps went into exchange with other ranks, waiting for them included."""
        return self.reduce / self.step_seconds if self.step_seconds > 0 else 0.0


class Host(Record):
    """The machine a figure was measured on."""

    cpu_model: str
    """As the processor names itself."""
    cores: int
    """Cores this process may use."""
    memory_mb: int
    """All memory of the machine, in MB of 2^20 bytes."""
    gpu: str | None = None
    """Name of the graphics processor that was used; None without one."""
    system: str
    """Operating system, its version, and the kind of processor."""
    python: str
    """Version of Python."""
    load_1m: float
    """Average number of running processes over the last minute, at the start."""

    @classmethod
    def current(cls, gpu: str | None = None) -> "Host":
        """Describe this machine."""
        return cls(
            cpu_model=_cpu_model(),
            cores=available_cores(),
            memory_mb=psutil.virtual_memory().total // 2**20,
            gpu=gpu,
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            python=platform.python_version(),
            load_1m=round(os.getloadavg()[0], 2),
        )


class EpochMetrics(Record):
    """One validation during a run."""

    epoch: float
    """Epochs finished; fractions count rows within an epoch."""
    step: int
    """Optimiser steps done."""
    seconds: float
    """Seconds since training began, everything after `prepare` included."""
    train_loss: float | None
    """Mean loss of the network over the training rows since the last validation; None at step 0."""
    valid_accuracy: float
    """Share of the validation rows labelled correctly, both parts of the model joined."""
    valid_loss: float
    """Mean binary cross-entropy of the validation rows, in nats."""
    learning_rate: float
    """That of the step that follows."""


class TrainedOn(Record):
    """The prepared data of a training run, as it was then."""

    path: str
    """The directory, as it was named."""
    rows: dict[str, int]
    """Of each split."""
    labels: dict[str, dict[str, int]]
    """Rows of each class in each split."""
    cleaning: str
    """Cleaning profile: alpha or words."""
    vocab_size: int
    """Words of the vocabulary, padding and unknown included."""
    duplicates: int
    """Rows that preparation dropped because an equal text was kept."""
    inputs: list[str]
    """Files it was prepared from, the named test set included."""


class RunRecord(Record):
    """All there is to know about one training run."""

    schema_version: int = SCHEMA_VERSION
    """Of this record; it grows when a key changes its meaning."""
    id: str
    """Drawn at random at every start, so `--resume` gives another one."""
    started_at: datetime
    """When it began; after `--resume`, when it was gone on with."""
    finished_at: datetime | None = None
    """When it ended, whatever the status; None while it runs."""
    argv: list[str]
    """The command and its arguments."""
    settings: dict[str, Any]
    """All resolved settings, by section."""
    layout: str
    """Replicas x stages."""
    world_size: int
    """Ranks: replicas times stages."""
    threads_per_rank: int
    """Threads that torch used in each rank."""
    precision: str = "fp32"
    """Arithmetic of the network: fp32, bf16, fp16 or fp64."""
    oversubscribed: bool = False
    """More threads than cores: the times show overhead, not speed."""
    layout_choice: dict[str, Any] | None = None
    """What was measured and why it was chosen, where the layout was `auto`."""
    seed: int
    """What everything drawn at random was drawn from."""
    data_digest: str
    """Identity of the prepared data, as in their manifest."""
    data: TrainedOn | None = None
    """None in records from before it was kept."""
    host: Host
    """The machine of rank 0."""
    versions: dict[str, str]
    """Of sentiscale and the libraries it computes with, by name."""
    git_commit: str | None = None
    """Commit of the folder the command was called in; None outside of a repository."""
    phases: PhaseTimes = PhaseTimes()
    """Of rank 0."""
    phases_per_rank: list[PhaseTimes] = Field(default_factory=list)
    """The same of every rank, by rank; empty until the run is finished."""
    train_seconds: float = 0.0
    """Everything after `prepare` but scoring the test split, resumed parts added up."""
    steps: int = 0
    """Optimiser steps done."""
    epochs: float = 0.0
    """Passes over the training rows, with fractions."""
    rows_per_s: float = 0.0
    """Training rows over the time of the steps: data, compute, reduce and update."""
    tokens_per_s: float = 0.0
    """Their tokens without padding, over the same time."""
    flops_utilisation: float | None = None
    """Share of the cores' measured matrix-multiply peak; None on a graphics processor."""
    bytes_reduced_per_step: int = 0
    """Sent in a mean step by the rank that sends most."""
    peak_memory_mb_per_rank: list[float] = Field(default_factory=list)
    """Largest memory of each rank, in MB of 2^20 bytes."""
    metrics: list[EpochMetrics] = Field(default_factory=list)
    """One entry a validation."""
    best_step: int | None = None
    """The step whose weights the model directory holds."""
    valid: dict[str, Any] = Field(default_factory=dict)
    """Scores of the written model on the validation split; empty until the run is finished."""
    test: dict[str, Any] | None = None
    """The same on the test split, looked at once; None without one."""
    target: dict[str, Any] | None = None
    """`accuracy` that was asked for, whether it was `reached`, after how many `seconds`."""
    status: Literal["running", "finished", "interrupted", "failed"] = "running"
    """finished: there is a model. The others say why there may be none."""
    failure: str | None = None
    """Kind and message of the error that ended it."""


def reason_of(error: Exception) -> str:
    """Why a file could not be read, in a few words: of several problems with its fields, the first."""
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        return f"{where}: {problem['msg']}" if where else str(problem["msg"])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def append_jsonl(path: Path, record: BaseModel) -> None:
    """Append one record as a line, wholly or not at all.

    Raises: SentiscaleError when the disk is full or fails.
    """
    line = record.model_dump_json().encode() + b"\n"
    try:
        with open(path, "ab", buffering=0) as file:
            end = file.tell()
            if file.write(line) != len(line):  # the disk is full; half a line would spoil the file
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise disk_error(path, error) from error


def read_jsonl(path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """Yield the records of a JSON-lines file.

    Raises: DataError when the file cannot be read, or naming file and line where a line is no such record.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield kind.model_validate_json(line)
                except ValidationError as error:
                    raise DataError(
                        f"{path}:{number} is not a {kind.__name__}: {reason_of(error)}. "
                        "Copy the file again, or take the line out to go on without it."
                    ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def available_cores() -> int:
    """Cores this process may use: its affinity, and a container's share of processor time, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *_container_cores(Path("/sys/fs/cgroup"))])


def _container_cores(cgroup: Path) -> list[int]:
    """Cores that a container's quota amounts to; empty without one. Versions 2 and 1 of Linux' cgroups."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        except OSError:
            return []
    if not quota.strip().isdigit():  # "max" or -1: no limit
        return []
    return [max(1, -(-int(quota) // int(period)))]


def package_versions(*names: str) -> dict[str, str]:
    """Installed versions of the named distributions; absent ones are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def command_line() -> str:
    """The `sentiscale` command that this process runs; empty where Python was called otherwise."""
    program = Path(sys.argv[0])
    if program.name == "sentiscale" or program.parts[-2:] == ("sentiscale", "__main__.py"):
        return shlex.join(["sentiscale", *sys.argv[1:]])
    return ""


def git_commit() -> str | None:
    """The commit of the current directory's repository, or None."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def dump_json(document: dict[str, Any]) -> str:
    """One JSON document as the command line prints it."""
    return json.dumps(document, indent=2, default=str)


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
