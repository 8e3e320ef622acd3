"""Settings: frozen, validated, read from TOML, and overridden by `--set section.key=value` and by flags.

Later sources take precedence: defaults, preset (or the settings of a resumed run), `--config FILE.toml`,
`--set`, flags. Every run stores its resolved settings.
"""

import codecs
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from sentiscale.errors import DataError, UsageError, did_you_mean, quoted
from sentiscale.util.files import read_toml as read_toml_file

Cleaning = Literal["alpha", "words"]
CLEANING_VERSIONS: dict[Cleaning, int] = {"alpha": 1, "words": 2}
"""Newest version of each cleaning profile; older data and models keep theirs."""
Cell = Literal["lstm", "gru"]
Quoting = Literal["auto", "standard", "backslash", "none"]
ClassKind = Literal["binary", "ternary", "stars", "labels"]
TrackerName = Literal["mlflow", "tensorboard"]
Positive = Annotated[int, Field(ge=1, lt=2**63)]
Share = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1, le=8192)]
StoredTokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
ReadTokens = Annotated[int, Field(ge=2, le=2**31 - 1)]
NgramWords = Annotated[int, Field(ge=1, le=3)]
NgramGaps = Annotated[int, Field(ge=0, le=4)]


def _ascending(scale: tuple[float, float]) -> tuple[float, float]:
    if not scale[0] < scale[1]:
        raise ValueError(f"the scale is {scale[0]:g} to {scale[1]:g}; the first number must be the lower one")
    return scale


Finite = Annotated[float, Field(allow_inf_nan=False)]
StarsScale = Annotated[tuple[Finite, Finite], AfterValidator(_ascending)]
MAX_MAP_BYTES = 8_000
"""Maximum size of `label_map`, which models store in their small config.toml."""
DEFAULT_SCALE: StarsScale = (1.0, 5.0)
SectionT = TypeVar("SectionT", bound=BaseModel)


DELIMITER_NAMES = {"comma": ",", "tab": "\t", "\\t": "\t", "semicolon": ";", "pipe": "|", "space": " "}
"""Names of delimiters that are difficult to type in a shell or a settings file."""


class Section(BaseModel):
    """One section of the settings; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


MAX_WORDS = 10_000_000
"""Maximum size of a vocabulary."""
MIN_BITS, MAX_BITS = 8, 28
"""Range of the base-2 logarithm of the n-gram model's number of buckets."""
MAX_WIDE_WEIGHTS = 2**25
"""Default limit of the weights of an n-gram model, 4 bytes each."""
FEW_ROWS = 40_000
"""Number of training rows below which a smaller model and more steps work better."""


def _pairs(text: str) -> list[tuple[str, str]]:
    """Parse NAME=VALUE,... where a name may have commas; empty if the text has any other form."""
    entries = re.findall(r"(.+?)=([^,=]+)(?:,|$)", text)
    if sum(len(name) + len(value) + 2 for name, value in entries) != len(text.rstrip(",")) + 1:
        return []
    return [(name.strip(), value.strip()) for name, value in entries]


class PrepareSettings(Section):
    """How raw reviews are turned into a prepared dataset."""

    format: str = "auto"
    """Input format: fasttext, csv, jsonl, parquet, excel or files; auto detects it by content or name."""
    encoding: str = "auto"
    """Encoding of text files, such as windows-1252; auto is UTF-8, or UTF-16 and UTF-32 where detected."""
    text_column: str | None = None
    """Column or JSON key with the review. Not set: detected by name (text, review, content, …)."""
    title_column: str | None = None
    """Column prepended to the review with a colon. Not set: title, summary or similar, if present."""
    label_column: str | None = None
    """Column with 0/1, 1/2, negative/positive or __label__1/__label__2. Not set: detected by name."""
    stars_column: str | None = None
    """Column with 1-5 stars: 1-2 negative, 4-5 positive, 3 dropped and counted. Not set: detected by name."""
    weight_column: str | None = None
    """Column with a weight from 0 on for each row, such as 2.5. Not set: all rows weigh the same."""
    classes: ClassKind = "binary"
    """binary: negative and positive. ternary: also neutral. stars: a class per star. labels: as they are."""
    label_map: dict[str, Annotated[str, Field(min_length=1, max_length=400)]] | None = None
    """Classes of labels: good=positive,bad=negative,3=drop; drop leaves rows out."""
    min_class_rows: Positive = 10
    """Minimum number of rows of a class with classes = "labels"; rarer labels are refused."""
    stars_scale: StarsScale | None = None
    """Lowest and highest star, such as 0-10: lower 40 % negative, upper 40 % positive. Not set: 1-5."""
    delimiter: str | None = None
    """Delimiter of a CSV file: one character, or comma, tab, semicolon, pipe, space. Not set: detected."""
    quoting: Quoting = "auto"
    r"""Quotes of a CSV file. standard: "" in quotes is a quote. backslash: also \". none: quotes are text."""
    header: bool | None = None
    """Whether the first row of a CSV file names the columns. Not set: yes, except for known review sets."""
    columns: tuple[str, ...] | None = None
    """Names of all columns of a CSV file in order. Not set: those of the header; without one, 1, 2, 3, …"""
    split: tuple[float, ...] | None = None
    """Shares of train, valid and test; they sum to 1. Not set: 0.8, 0.1, 0.1; with a test set 0.95, 0.05."""
    clean: Cleaning = "words"
    """Cleaning profile. alpha: only lower-case letters and spaces. words: keeps negation, digits, ! and ?."""
    vocab_size: Annotated[int, Field(ge=3, le=MAX_WORDS)] = 120_000
    """Maximum size of the vocabulary, including padding and unknown."""
    min_count: Positive = 2
    """Minimum count of a word in the training split; rarer words are unknown."""
    max_tokens: StoredTokens = 512
    """Maximum tokens stored per review; longer reviews are truncated at the end."""
    dedupe: bool = True
    """Keep only the first of equal cleaned texts. Copies of test texts are removed from training instead."""
    keep_text: bool = False
    """Also store the raw text of every kept row in text/ (Parquet)."""
    block_mb: Annotated[float, Field(gt=0, le=1024)] = 8.0
    """Megabytes of raw input per task; does not affect the result."""
    memory: ByteSize | None = None
    """Memory limit of all processes, such as 2GB; does not affect the result. Not set: 0.9 GB on 2 cores."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        if name != "auto":
            try:
                "a".encode(name)
                codecs.getincrementaldecoder(name)("surrogateescape").decode(b"", True)
            except (LookupError, UnicodeError):  # as idna, which has no error handlers
                raise ValueError(
                    f"'{name}' is no encoding of text; auto, utf-8, utf-16, windows-1252, ..."
                ) from None
        return name

    @property
    def codec(self) -> str | None:
        """The encoding that was named; None for auto."""
        return None if self.encoding == "auto" else self.encoding

    @field_validator("label_map")
    @classmethod
    def _short_map(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is not None and (size := len(json.dumps(value))) > MAX_MAP_BYTES:
            raise ValueError(f"label_map takes {size:,} bytes as JSON; at most {MAX_MAP_BYTES:,} are allowed")
        return value

    @field_validator("label_map", mode="before")
    @classmethod
    def _label_map(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        entries = _pairs(value)
        if not entries or any(kind == "CLASS" for _, kind in entries):
            raise ValueError(
                f"label_map is '{value}'; it takes VALUE=CLASS, with names of classes, separated by commas, "
                "such as good=positive,bad=negative,3=drop"
            )
        return dict(entries)

    @field_validator("stars_scale", mode="before")
    @classmethod
    def _stars_scale(cls, value: Any) -> Any:
        if isinstance(value, str):
            found = re.fullmatch(r"\s*(-?[\d.]+)\s*-\s*(-?[\d.]+)\s*", value)
            if found is None:
                raise ValueError(f"stars_scale is '{value}'; it takes LOWEST-HIGHEST, such as 1-10")
            return found.groups()
        return value

    @field_validator("delimiter")
    @classmethod
    def _delimiter(cls, value: str | None) -> str | None:
        value = DELIMITER_NAMES.get(value.lower(), value) if value is not None else None
        if value is not None and (len(value) != 1 or not value.isascii() or value in '"\\\r\n\0'):
            raise ValueError(
                f"delimiter is {value!r}; allowed are {', '.join(DELIMITER_NAMES)} and one ASCII character "
                "other than a quote, a backslash or a line break"
            )
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _columns(cls, value: Any) -> Any:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> "PrepareSettings":
        if self.columns is not None and len(set(self.columns)) < len(self.columns):
            raise ValueError(f"columns are {', '.join(self.columns)}; each name may occur only once")
        if self.classes == "stars" and self.stars_scale is not None:
            low, high = math.ceil(self.stars_scale[0]), math.floor(self.stars_scale[1])
            if not 1 <= high - low < 100:
                raise ValueError(
                    f"stars_scale has {max(0, high - low + 1)} whole numbers, each of which is a class; "
                    "from 2 to 100 are allowed"
                )
        if self.split is not None and (
            len(self.split) not in (2, 3) or min(self.split) < 0 or abs(sum(self.split) - 1) > 1e-6
        ):
            raise ValueError(f"split is {self.split}; it needs two or three shares >= 0 that add to 1")
        return self


class ModelSettings(Section):
    """Architecture of the recurrent network."""

    cell: Cell = "lstm"
    """Recurrent cell: lstm or gru. On CPUs, only the LSTM has a fused kernel."""
    embedding_dim: Width = 128
    """Size of a word vector."""
    hidden_dim: Width = 128
    """Units of a recurrent layer, per direction."""
    layers: Annotated[int, Field(ge=1, le=32)] = 1
    """Number of stacked recurrent layers."""
    bidirectional: bool = False
    """Read the text in both directions, which takes twice the time."""
    pooling: Literal["max", "max_mean", "last"] = "max_mean"
    """Reduction of the outputs of a row to one vector."""
    dropout: Share = 0.2
    """Dropout rate of the pooled vector."""
    head: Literal["softmax", "ordinal"] | None = None
    """Output layer for three or more classes; ordinal is for stars and neutral. Not set: softmax."""

    def resolved(self, classes: int, kind: ClassKind) -> "ModelSettings":
        """The settings for a number and kind of classes; two classes need no choice of an output layer.

        Raises: UsageError when the head needs an order that the classes do not have.
        """
        if self.head == "ordinal" and kind == "labels":
            raise UsageError(
                "head = ordinal needs classes in an order; labels have none. Use head = softmax."
            )
        return self.model_copy(update={"head": (self.head or "softmax") if classes > 2 else None})


class WideSettings(Section):
    """The linear model on hashed n-grams that is combined with the network."""

    enabled: bool = True
    """Train the n-gram model; false trains only the recurrent network."""
    bits: Annotated[int, Field(ge=MIN_BITS, le=MAX_BITS)] = 23
    """Use 2**bits hash buckets of 8 bytes each, or for K > 2 classes of 4 + 4 K. Not set: 21 below 40,000
    rows, and as many as keep the weights of all classes below 128 MiB."""
    longest: NgramWords = 3
    """Longest n-gram: 1 for words, 2 with pairs, 3 with triples. Not set: 2 below 40,000 rows."""
    gaps: NgramGaps = 2
    """Maximum number of words between the two words of a pair. Not set: 0 below 40,000 rows."""
    alpha: Annotated[float, Field(gt=0)] = 2e-7
    """L2 penalty of the logistic regression, with more than two classes on the weights of a row's features.
    Not set: 1e-6 below 40,000 rows."""
    passes: Positive = 5
    """Number of passes of stochastic gradient descent over the training rows."""

    def resolved(self, rows: int, classes: int = 2) -> "WideSettings":
        """The settings for `rows` training rows and a number of classes.

        Few rows cannot fill many buckets; and with many classes, a bucket has many weights.
        """
        values = {"bits": 21, "longest": 2, "gaps": 0, "alpha": 1e-6} if rows < FEW_ROWS else {}
        if classes > 2:
            most = (MAX_WIDE_WEIGHTS // classes).bit_length() - 1
            values["bits"] = min(values.get("bits", self.bits), most)
        return self.model_copy(
            update={key: value for key, value in values.items() if key not in self.model_fields_set}
        )


class CascadeSettings(Section):
    """Which rows the network need not read, because the n-gram model is sure of them.

    Training chooses the smallest margin of the n-gram model's logits at which the answers on the validation
    rows differ from those of both models together by no more than these bounds.
    """

    enabled: bool = True
    """Let the n-gram model alone answer the rows of which it is sure; false: the network reads all rows."""
    max_changed: Share = 0.0005
    """Largest share of rows whose label may change; on rows that were not used to choose, expect more."""
    max_accuracy_loss: Share = 0.0005
    """Largest loss of accuracy."""
    max_loss_increase: Annotated[float, Field(ge=0)] = 0.007
    """Largest increase of the log loss, in nats per row."""
    max_ece_increase: Share = 0.005
    """Largest increase of the expected calibration error."""
    least_rows: Positive = 1000
    """Smallest number of validation rows; fewer cannot show such small changes, so there is no cascade."""


class VectorSettings(Section):
    """How initial word vectors are learnt from the texts, without labels."""

    enabled: bool = True
    """Learn initial word vectors; false starts with random vectors."""
    passes: Annotated[float, Field(gt=0)] = 2.0
    """Number of passes over the training rows."""
    most_tokens: Positive = 60_000_000
    """Maximum number of tokens over all passes, because large collections need fewer passes."""
    window: Positive = 5
    """Maximum number of neighbours on each side of a word."""
    negatives: Positive = 5
    """Number of negative samples per word."""
    rate: Annotated[float, Field(gt=0)] = 0.05
    """Initial learning rate; it falls linearly to 0."""


class TrainSettings(Section):
    """How the network is trained."""

    epochs: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Number of passes over the training rows; may be fractional. Not set: 2, or 4 below 40,000 rows."""
    batch_size: Positive | None = None
    """Rows per step over all ranks, for any layout. Not set: 128, or 32 below 40,000 rows."""
    lr: Annotated[float, Field(gt=0)] = 4e-3
    """Maximum learning rate of Adam."""
    warmup_steps: Annotated[int, Field(ge=0, lt=2**63)] = 100
    """Steps over which the learning rate rises from 0."""
    schedule: Literal["linear", "constant"] = "linear"
    """Learning rate after the warm-up: linear decay to 0 at the last step, or constant."""
    class_weight: Literal["balanced"] | dict[str, float] | None = None
    """Weight of each class in the loss, as negative=3,positive=1; balanced: inverse to its rows."""
    max_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Limit of the gradient norm of the network without its embedding; 1e9 means no limit."""
    max_tokens: ReadTokens = 400
    """Maximum tokens per review that the network reads: half from the start, half from the end."""
    word_dropout: Share = 0.0
    """Share of tokens replaced by the unknown word during training."""
    validate_every: Annotated[float, Field(gt=1e-9, le=1e6)] = 0.25
    """Epochs between validations."""
    patience: Positive | None = None
    """Stop after this many validations without improvement. Not set: never."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of initial weights, row order and all other random numbers."""
    target_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    """Stop when validation accuracy reaches this value. Not set: train all epochs."""
    time_limit: Annotated[float, Field(gt=0)] | None = None
    """End after this many seconds, including n-gram model, scores and writing; rows are sampled where they
    would take too long. Not set: no limit."""
    checkpoint_every: Positive | None = None
    """Steps between checkpoints. Not set: only `checkpoint_seconds` applies."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between checkpoints; the last step and a signal also save one."""
    keep_checkpoints: Positive = 2
    """Number of checkpoints to keep."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the network."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp64"] = "auto"
    """Arithmetic of the network; auto uses bf16 where the hardware multiplies it faster, else fp32."""
    layout: str | None = None
    """DATAxMODEL (replicas x stages), or auto. Not set: on a CPU, one replica per core with at least 32 rows
    per step each; on a GPU, one process; under torchrun, every rank is a replica."""
    threads_per_rank: Positive | None = None
    """Threads per rank. Not set: cores divided by ranks."""
    oversubscribe: bool = False
    """Allow more threads than cores; this measures overhead and is never fast."""
    micro_batches: Annotated[int, Field(ge=1, le=1024)] = 2
    """Number of micro-batches per step with two stages, so that both stages work at the same time."""
    gradient_compression: Literal["none", "bf16", "fp16"] = "none"
    """Precision of gradients sent between replicas; 16 bits halve the bytes and keep fewer digits."""
    recurrent_device: str | None = None
    """Device of the recurrent layer, such as cuda:1, when one process uses two. Not set: the same device."""
    embedding_gradients: Literal["sparse", "dense"] = "sparse"
    """sparse sends and updates only the rows used in a step; dense the whole table, for comparison."""
    max_restarts: Annotated[int, Field(ge=0)] = 0
    """Maximum automatic restarts from the last checkpoint after a rank has failed."""
    silence_limit: Annotated[float, Field(gt=0)] = 6.0
    """Seconds without a heartbeat after which a rank counts as hung and the run ends."""

    @field_validator("class_weight", mode="before")
    @classmethod
    def _class_weight(cls, value: Any) -> Any:
        if value in (None, "none", "balanced"):
            return None if value == "none" else value
        parts = _pairs(value) if isinstance(value, str) else []
        weights = dict(parts) if parts else value
        try:
            numbers = [float(number) for number in weights.values()]
        except (AttributeError, TypeError, ValueError):
            numbers = []
        if not numbers or not all(0 < number <= 1e9 for number in numbers) or len(parts) > len(numbers):
            raise ValueError(
                f"class_weight is {quoted(value)}; it is none, balanced, or the weight of each class, "
                "greater than 0, as negative=3,positive=1"
            )
        return weights

    def resolved(self, rows: int) -> "TrainSettings":
        """The settings with the defaults for `rows` training rows."""
        numbers = {"epochs": self.epochs_for(rows), "batch_size": self.batch_size_for(rows)}
        return self.model_copy(update=numbers)

    def epochs_for(self, rows: int) -> float:
        return self.epochs or (4.0 if rows < FEW_ROWS else 2.0)

    def batch_size_for(self, rows: int) -> int:
        return self.batch_size or (32 if rows < FEW_ROWS else 128)


class TrackSettings(Section):
    """Trackers that record a training run; they do not affect the training."""

    to: tuple[TrackerName, ...] = ()
    """mlflow, tensorboard, or both separated by a comma. Empty: only the run directory is written."""
    mlflow_uri: str | None = None
    """MLflow server or store, without a password. Not set: MLFLOW_TRACKING_URI."""
    experiment: Annotated[str, Field(min_length=1)] = "sentiscale"
    """MLflow experiment of the run."""
    upload_model: bool = True
    """Also upload the model directory, tens of megabytes, to MLflow."""
    answer_seconds: Annotated[int, Field(ge=1)] = 10
    """Timeout of a request to the server in seconds; MLFLOW_HTTP_REQUEST_TIMEOUT takes precedence."""

    @field_validator("to", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",")]
        return list(dict.fromkeys(name for name in names if name not in ("", "none")))

    @field_validator("mlflow_uri")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        if value is not None and "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "it contains a name or a password, and settings are stored in the run. "
                "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
            )
        return value


class Settings(Section):
    """All settings, by section."""

    prepare: PrepareSettings = PrepareSettings()
    """How raw reviews are turned into a prepared dataset."""
    model: ModelSettings = ModelSettings()
    """Architecture of the network."""
    wide: WideSettings = WideSettings()
    """The linear n-gram model that is combined with the network."""
    cascade: CascadeSettings = CascadeSettings()
    """Which rows the network need not read."""
    vectors: VectorSettings = VectorSettings()
    """How initial word vectors are learnt."""
    train: TrainSettings = TrainSettings()
    """How the network is trained."""
    track: TrackSettings = TrackSettings()
    """Trackers that record a run."""

    def resolved(self, rows: int, classes: int = 2, kind: ClassKind = "binary") -> "Settings":
        """The settings with the defaults for `rows` training rows and the classes of the data."""
        sections = {
            "model": self.model.resolved(classes, kind),
            "wide": self.wide.resolved(rows, classes),
            "train": self.train.resolved(rows),
        }
        return self.model_copy(update=sections)


PREPARE_FLAGS = {
    name: f"prepare.{name}" for name in PrepareSettings.model_fields if name not in ("keep_text", "block_mb")
}
"""Flags of `prepare` and the settings they override."""

_TRAIN_FLAGS = (
    "epochs batch_size lr seed device precision layout threads_per_rank target_accuracy time_limit "
    "checkpoint_every oversubscribe micro_batches max_restarts class_weight"
)
TRAIN_FLAGS = {
    "model": "model.cell",
    "wide": "wide.enabled",
    "track": "track.to",
    **{name: f"train.{name}" for name in _TRAIN_FLAGS.split()},
}
"""Flags of `train` and the settings they override."""

TRAINING_SECTIONS = ("model", "wide", "cascade", "vectors", "train")
"""Sections of the settings that describe a training run."""
PRESETS = ("fast", "balanced", "accurate")
"""Names of the files in configs/, from fast to accurate; settings files and flags take precedence."""


def preset_values(name: str | None) -> dict[str, Any]:
    """Return the settings of a preset; None means `balanced`.

    Raises: UsageError for a name that is not a preset.
    """
    if name is not None and name not in PRESETS:
        raise UsageError(f"preset is '{name}'.{did_you_mean(name, PRESETS)} Allowed: {', '.join(PRESETS)}.")
    return read_toml(Path(__file__).with_name("configs") / f"{name or 'balanced'}.toml")


def resolve(
    *,
    config: Path | None = None,
    base: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge all sources into validated settings.

    Args:
        config: a TOML file with any of the sections.
        base: nested values of a preset or a stored run; all other sources take precedence.
        overrides: `section.key=value` strings; the value is parsed as TOML or, failing that, used as text.
        flags: values by dotted key; None means that the flag was not used.

    Raises:
        UsageError: a file cannot be read, a key is unknown (with a suggestion) or a value is out of range.
    """
    values: dict[str, Any] = {}
    for nested in (base or {}, read_toml(config) if config else {}):
        _merge(values, nested)
    values.pop("serve", None)  # one file may serve all verbs; `serve` validates that section
    for text in overrides:
        key, _, raw = text.partition("=")
        if not raw or "." not in key:
            raise UsageError(f"--set got '{text}'; it takes section.key=value, as in prepare.min_count=3.")
        _merge(values, _nest(key.strip(), parse_value(raw.strip())))
    for key, value in (flags or {}).items():
        if value is not None:
            _merge(values, _nest(key, value))
    return validate(Settings, values)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises: UsageError when the file cannot be read or is not TOML.
    """
    try:
        return read_toml_file(path)
    except OSError as error:
        raise UsageError(f"cannot read settings file {path}: {error.strerror}.") from error
    except DataError as error:
        raise UsageError(str(error)) from error


def parse_value(raw: str) -> Any:
    """Parse the value of `--set` as TOML or, failing that, return the text itself."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except (ValueError, RecursionError):  # ValueError also for an integer of 5,000 digits
        return raw


def validate(section: type[SectionT], values: Mapping[str, Any], *prefix: str) -> SectionT:
    """Validate values; messages name settings by dotted path, starting with `prefix`.

    Raises: UsageError for an unknown key (with a suggestion) or a value out of range.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        problems = [_explain(section, problem, prefix) for problem in error.errors()]
        raise UsageError("\n".join(problems)) from error


def _explain(section: type[BaseModel], problem: Any, prefix: tuple[str, ...]) -> str:
    location = [str(part) for part in problem["loc"]]
    name = ".".join((*prefix, *location))
    if problem["type"] == "extra_forbidden":
        fields = section.model_fields
        for part in location[:-1]:
            fields = getattr(fields[part].annotation, "model_fields", {})
        return f"unknown setting '{name}'.{did_you_mean(location[-1], fields)} Allowed: {', '.join(fields)}."
    if problem["type"] == "value_error":  # our own validators write complete messages
        return f"{name}: {problem['ctx']['error']}."
    return f"{name} is {problem['input']!r}: {problem['msg']}."


def _nest(dotted: str, value: Any) -> dict[str, Any]:
    for part in reversed(dotted.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
