"""Records of measurements and runs, and the JSON lines they are stored in."""

import errno
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import psutil
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sentiscale.errors import LONGEST_QUOTE, DataError, quoted
from sentiscale.util.atomic import disk_error
from sentiscale.util.files import MAX_JSON_BYTES, open_regular, read_bytes

SCHEMA_VERSION = 1
CGROUP = Path("/sys/fs/cgroup")

RecordT = TypeVar("RecordT", bound=BaseModel)


Count = Annotated[int, Field(ge=0, lt=2**63)]
Amount = Annotated[float, Field(ge=0, le=1e15)]
"""A duration, a size or a rate. The bound keeps sums and squares finite."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A loss or a learning rate, which may be huge in a run that diverges."""


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    json.dumps(value, allow_nan=False)  # raises ValueError
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(_finite)]
"""Values without a fixed type; numbers are finite."""


def valid_as(kind: type[BaseModel], *required: str) -> AfterValidator:
    """Return a validator of dictionaries: keys that are fields of `kind` must have valid values.

    A dictionary that is not empty must have the `required` keys; others may be missing, as in older records.
    """

    def check(value: dict[str, Any]) -> dict[str, Any]:
        if value and not set(required) <= set(value):
            raise ValueError(f"the keys must include {', '.join(required)}")
        try:
            kind.model_validate({name: value[name] for name in kind.model_fields if name in value})
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                if problem["type"] != "missing":
                    raise ValueError(_explain(problem)) from error
        return value

    return AfterValidator(check)


class Record(BaseModel):
    """Base of everything that is written as JSON; unknown keys of later versions are ignored on reading."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


Interval = tuple[float, float]
"""Lower and upper end of a 95 % interval."""


class CalibrationBin(Record):
    """One bin of a reliability diagram: mean confidence and accuracy of rows with similar confidence."""

    low: Fraction
    """Lower edge of the bin; confidence is the probability of the most probable class."""
    high: Fraction
    """Upper edge of the bin."""
    rows: Count
    """Number of rows in the bin."""
    confidence: Fraction
    """Mean confidence of the bin's rows."""
    accuracy: Fraction
    """Share of the bin's rows predicted correctly."""


class ClassScores(Record):
    """Scores of one class."""

    precision: Fraction
    """Share of the rows given this label that are of this class; 0 if there are none."""
    recall: Fraction
    """Share of the class's rows that are given its label; 0 if there are none."""
    f1: Fraction
    """Harmonic mean of precision and recall."""
    rows: Count
    """Number of rows of this class."""
    intervals: dict[str, Interval] = Field(default_factory=dict)
    """95 % intervals of precision, recall and F1; empty unless they were asked for."""


class Scores(Record):
    """Scores of predictions on labelled rows.

    `f1`, `precision` and `recall` are those of the second of two classes ("positive"), as in scikit-learn,
    and means over all classes that occur if there are more.
    """

    accuracy: Fraction
    """Share of rows labelled correctly, of those that are not labelled unsure."""
    loss: Loss
    """Mean cross-entropy, in nats."""
    f1: Fraction
    """Harmonic mean of precision and recall."""
    precision: Fraction
    """Share of the rows labelled positive that are positive; 0 if no row is labelled positive."""
    recall: Fraction
    """Share of the positive rows that are labelled positive; 0 if no row is positive."""
    auc: Fraction | None
    """Area under the ROC curve, of each class against the rest; None unless all classes occur."""
    ece: Fraction
    """Expected calibration error over 15 confidence bins of equal width (Guo et al., 2017)."""
    rows: Count
    """Number of scored rows."""
    sampled_from: Count | None = None
    """Rows of the split, if a time limit left time to score only a random sample; None if all were scored."""
    unsure: Count = 0
    """Number of rows labelled unsure; they count as missed in every recall."""
    confusion: list[list[Count]]
    """Number of rows by true class (list) and label (entry), in the order of the classes, without unsure."""
    classes: tuple[str, ...] = ("negative", "positive")
    """Names of the classes."""
    per_class: dict[str, ClassScores] = Field(default_factory=dict)
    """Scores of each class; empty in records written before this field existed, as the following."""
    macro_f1: Fraction | None = None
    """Mean F1 of the classes that occur in labels or predictions."""
    balanced_accuracy: Fraction | None = None
    """Mean recall of the classes that occur."""
    majority_share: Fraction | None = None
    """Share of the most frequent class: the accuracy of a model that always predicts it."""
    mae: Amount | None = None
    """Mean absolute error of the predicted stars; None if the classes are not stars."""
    quadratic_kappa: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Cohen's kappa of the stars with quadratic weights (Cohen, 1968); None if they are not stars."""
    short_share: Fraction | None = None
    """Share of the rows that the n-gram model answered without the network; None without a cascade."""
    short_accuracy: Fraction | None = None
    """Accuracy of these rows; None if there are none."""
    network_accuracy: Fraction | None = None
    """Accuracy of the other rows; None without a cascade or such rows."""
    binary_accuracy: Fraction | None = None
    """For stars and neutral reviews, the accuracy of the more probable side on rows with a side."""
    intervals: dict[str, Interval] = Field(default_factory=dict)
    """95 % intervals by name of the score; empty unless they were asked for."""
    calibration: list[CalibrationBin] = Field(default_factory=list)
    """The non-empty bins, by confidence; an empty list in records written before this field existed."""


class PhaseTimes(Record):
    """Seconds of a training run by phase; the rest of its time is start-up and logging."""

    wide: Amount = 0.0
    """Fitting the n-gram model, including its validation logits."""
    vectors: Amount = 0.0
    """Learning initial word vectors."""
    data: Amount = 0.0
    """Waiting for the rows of the next step."""
    compute: Amount = 0.0
    """Forward and backward passes."""
    reduce: Amount = 0.0
    """Exchanging data with other ranks, including waiting for them."""
    update: Amount = 0.0
    """Updating the weights."""
    eval: Amount = 0.0
    """Validations."""
    checkpoint: Amount = 0.0
    """Writing checkpoints."""

    @property
    def step_seconds(self) -> float:
        return self.data + self.compute + self.reduce + self.update

    @property
    def waiting_share(self) -> float:
        """Share of the step time spent on exchanging data with other ranks."""
        return self.reduce / self.step_seconds if self.step_seconds > 0 else 0.0


class Host(Record):
    """Machine of a measurement."""

    cpu_model: str
    """Name of the processor."""
    cores: Count
    """Cores this process may use."""
    memory_mb: Count
    """Total memory in MB of 2^20 bytes."""
    gpu: str | None = None
    """Name of the GPU that was used; None if no GPU was used."""
    system: str
    """Operating system, its version and the processor architecture."""
    python: str
    """Python version."""
    load_1m: Amount
    """Load average over the last minute when the measurement started."""

    @classmethod
    def current(cls, gpu: str | None = None) -> "Host":
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

    epoch: Amount
    """Epochs so far, including the fraction of the current epoch."""
    step: Count
    """Number of optimizer steps done."""
    seconds: Amount
    """Seconds since training began; everything after `prepare` counts."""
    train_loss: Loss | None
    """Mean loss of the network over the training rows since the last validation; None at step 0."""
    valid_accuracy: Fraction
    """Share of the validation rows that network and n-gram model together predict correctly."""
    valid_loss: Loss
    """Mean cross-entropy of the validation rows, in nats."""
    learning_rate: Loss
    """Learning rate of the next step."""


class TrainedOn(Record):
    """Prepared data of a training run, as it was when the run started."""

    path: str
    """Directory of the prepared data, as given to the command."""
    rows: dict[str, Count]
    """Number of rows per split."""
    labels: dict[str, dict[str, Count]]
    """Number of rows per class and split."""
    cleaning: str
    """Cleaning profile: alpha or words."""
    vocab_size: Count
    """Number of words in the vocabulary, including padding and unknown."""
    duplicates: Count
    """Number of rows that preparation dropped as duplicates."""
    inputs: list[str]
    """Input files, including those of the test set."""


class TimeLimitCuts(Record):
    """What a time limit left out of a run; None stands for nothing left out."""

    wide_rows: Count | None = None
    """Number of training rows that the n-gram model was fitted on; 0 if it was left out."""
    wide_passes: Amount | None = None
    """Number of passes over these rows."""
    vector_rows: Count | None = None
    """Number of rows that the word vectors were learnt from, over all passes; 0 if they were left out."""
    scored_rows: Count | None = None
    """Maximum number of rows of a split that are scored: a random sample of larger splits."""


class RunRecord(Record):
    """Everything recorded about one training run."""

    schema_version: int = SCHEMA_VERSION
    """Version of the record format; it increases when a key changes its meaning."""
    id: str
    """Random id, new for each start and each resumption."""
    started_at: datetime
    """Start time; of a resumed run, the time of resuming."""
    finished_at: datetime | None = None
    """End time for any status; None while the run is in progress."""
    argv: list[str]
    """The command and its arguments."""
    settings: dict[str, JsonObject]
    """All resolved settings, by section."""
    layout: str
    """DATAxMODEL: replicas x stages."""
    world_size: Count
    """Number of ranks: replicas times stages."""
    threads_per_rank: Count
    """Number of torch threads per rank."""
    precision: str = "fp32"
    """Arithmetic of the network: fp32, bf16, fp16 or fp64."""
    oversubscribed: bool = False
    """Whether there were more threads than cores: the times then show overhead, not speed."""
    layout_choice: JsonObject | None = None
    """Measurements and reasons of the chosen layout if it was `auto`."""
    seed: Count
    """Seed of all random numbers."""
    data_digest: str
    """Digest of the prepared data, as in its manifest."""
    data: TrainedOn | None = None
    """The prepared data; None in records written before this field existed."""
    host: Host
    """The machine of rank 0."""
    versions: dict[str, str]
    """Versions of sentiscale and its computing libraries, by name."""
    git_commit: str | None = None
    """Git commit of the current directory; None outside a repository."""
    phases: PhaseTimes = PhaseTimes()
    """Seconds of rank 0 by phase."""
    phases_per_rank: list[PhaseTimes] = Field(default_factory=list)
    """Seconds of every rank by phase; empty until the run is finished."""
    train_seconds: Amount = 0.0
    """Seconds after `prepare`, without scoring the test split, summed over resumed parts."""
    steps: Count = 0
    """Number of optimizer steps done."""
    epochs: Amount = 0.0
    """Number of passes over the training rows."""
    rows_per_s: Amount = 0.0
    """Training rows per second of step time: data, compute, reduce and update."""
    tokens_per_s: Amount = 0.0
    """Tokens, without padding, per second of step time."""
    flops_utilisation: Amount | None = None
    """Share of the measured matrix-multiply peak of the cores; None on a GPU."""
    bytes_reduced_per_step: Count = 0
    """Bytes sent in an average step by the rank that sends most."""
    peak_memory_mb_per_rank: list[Amount] = Field(default_factory=list)
    """Peak resident memory of each rank in MB of 2^20 bytes, including pages of the mapped token file, which
    the system can drop; on a GPU, allocated memory of the GPU."""
    cuts: TimeLimitCuts = TimeLimitCuts()
    """What a time limit left out."""
    metrics: list[EpochMetrics] = Field(default_factory=list)
    """One entry per validation."""
    best_step: Count | None = None
    """Step whose weights are in the model directory."""
    valid: Annotated[dict[str, Any], valid_as(Scores, "accuracy")] = Field(default_factory=dict)
    """Scores of the final model on the validation split; empty until the run is finished."""
    test: Annotated[dict[str, Any], valid_as(Scores, "accuracy")] | None = None
    """Scores on the test split, which is used once; None without a test split."""
    cascade: JsonObject | None = None
    """Rule by which rows skip the network: `margin`, the smallest one of the n-gram model's logits, and
    `short_share`, the share of the validation rows; None without a cascade."""
    target: JsonObject | None = None
    """Target `accuracy`, whether it was `reached`, and after how many `seconds`; None without a target."""
    status: Literal["running", "finished", "interrupted", "failed"] = "running"
    """Status of the run; only a finished run is sure to have a model."""
    failure: str | None = None
    """Class and message of the error that ended the run."""


def reason_of(error: Exception) -> str:
    """Return why a file could not be read: the first validation error, or the system's message."""
    if isinstance(error, ValidationError):
        return _explain(error.errors(include_url=False)[0])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not where:
        return message
    where = where if where.isprintable() and len(where) <= LONGEST_QUOTE else quoted(where)
    got = "" if problem["type"] in ("missing", "value_error") else f" is {quoted(problem['input'])}"
    return f"{where}{got}: {message}"


def load_record(path: Path, kind: type[RecordT]) -> RecordT:
    """Read a JSON file of one record.

    Raises: DataError when it is not such a record; FileNotFoundError or NotADirectoryError when it is
        missing.
    """
    try:
        return kind.model_validate_json(read_bytes(path, MAX_JSON_BYTES))
    except ValidationError as error:
        raise DataError(f"{path} is damaged: {reason_of(error)}.") from error


def append_jsonl(path: Path, record: BaseModel) -> None:
    """Append one record as a line; a line that cannot be written completely is removed.

    Raises: SentiscaleError when the disk is full or fails.
    """
    line = record.model_dump_json().encode() + b"\n"
    try:
        with open(path, "ab", buffering=0) as file:
            end = file.tell()
            if file.write(line) != len(line):  # disk full; half a line would make the file unreadable
                file.truncate(end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise disk_error(path, error) from error


def read_jsonl(path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """Yield the records of a JSON Lines file.

    Raises: DataError naming file and line when the file or a line cannot be read.
    """
    try:
        with open_regular(path) as file:
            for number, line in enumerate(file, 1):
                try:
                    yield kind.model_validate_json(line)
                except ValidationError as error:
                    raise DataError(
                        f"{path}:{number} is not a {kind.__name__}: {reason_of(error)}. "
                        "Copy the file again, or delete the line to continue without it."
                    ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error


def now() -> datetime:
    return datetime.now(UTC)


def available_cores() -> int:
    """Number of cores this process may use: its affinity, limited by a container's quota rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else min(cores, max(1, math.ceil(quota)))


def cpu_quota(cgroup: Path = CGROUP) -> float | None:
    """CPU quota of a control group (a container) in cores; None without a limit."""
    old = cgroup / "cpu"
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        else:  # version 1 of control groups
            quota, period = ((old / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None
    return cores if cores > 0 else None


def package_versions(*names: str) -> dict[str, str]:
    """Installed versions of distributions, without those that are not installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def command_line() -> str:
    """The `sentiscale` command line of this process; empty for other programs."""
    program = Path(sys.argv[0])
    if program.name == "sentiscale" or program.parts[-2:] == ("sentiscale", "__main__.py"):
        return shlex.join(["sentiscale", *sys.argv[1:]])
    return ""


def git_commit() -> str | None:
    """Git commit of the current directory; None outside a repository."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
