"""Write and read a model directory: the settings, vocabulary and weights that a prediction needs.

The files are `config.toml`, `vocab.txt`, `weights.safetensors`, `digests.json` with the digests of these
three and, for human readers, `record.json` and `thresholds.json`. A model may come from anyone: none of its
files is a pickle, each is read with `util.files`, and every number and array is checked before it reaches
compiled code.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tomli_w
import torch
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from safetensors.torch import save
from torch import Tensor

from sentiscale.config import (
    MAX_BITS,
    MIN_BITS,
    ClassKind,
    Cleaning,
    ModelSettings,
    NgramGaps,
    NgramWords,
    ReadTokens,
    StoredTokens,
)
from sentiscale.errors import DataError, SentiscaleError, quoted
from sentiscale.model.cascade import Cascade
from sentiscale.model.decision import Decision
from sentiscale.model.files import CONFIG, DIGESTS, FILES, RECORD, VOCABULARY, WEIGHTS, model_path
from sentiscale.model.network import SentimentNet, logits_shape
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.thresholds import THRESHOLDS, ThresholdReport
from sentiscale.model.weights import LARGEST, Shape, Tensors, WeightsFile
from sentiscale.model.wide import Combination, WideModel
from sentiscale.records import RunRecord, load_record, reason_of
from sentiscale.text.classes import BINARY, Classes, check_names, listed
from sentiscale.text.clean import check_version
from sentiscale.text.label_reading import LabelReading
from sentiscale.text.labels import label_token
from sentiscale.text.vocab import Vocab, read_vocabulary
from sentiscale.util.atomic import whole_directory, write_file
from sentiscale.util.digests import bytes_digest, file_digests
from sentiscale.util.files import parse_toml, read_bytes, read_json

FORMAT_VERSION = 1
NET, SCALES, WIDE_WEIGHTS = "net.", "wide.scales", "wide.weights"
"""Prefix of the network's tensors, and the arrays of the n-gram model."""
MAX_CONFIG_BYTES = 64 * 2**10


def _bounded(value: float | tuple[float, ...]) -> float | tuple[float, ...]:
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(-LARGEST <= number <= LARGEST for number in numbers):
        raise PydanticCustomError("range", f"magnitudes must be less than or equal to {LARGEST:g}")
    return value


PerClass = Annotated[float | tuple[float, ...], AfterValidator(_bounded)]
"""A number for two classes, or one for each of more classes."""
Chance = Annotated[float, Field(ge=0, le=1)]

logger = logging.getLogger(__name__)


class CombinationWeights(BaseModel):
    """The table `combination` of `config.toml`: the fields of `Combination`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    net: PerClass
    """Factor of the network's logit."""
    wide: PerClass
    """Factor of the n-gram model's logit."""
    bias: PerClass
    """Added to both."""


class CascadeTable(BaseModel):
    """The table `cascade` of `config.toml`: `Cascade` without the factor of the network, which is 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: Annotated[float, Field(ge=0, le=LARGEST)]
    """Smallest margin of a row that skips the network."""
    wide: PerClass
    """Factor of the n-gram model's logit."""
    bias: PerClass
    """Added to it."""


class DecisionTable(BaseModel):
    """The table `thresholds` of `config.toml`: the fields of `Decision`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, Annotated[float, Field(gt=0, le=LARGEST)]] = Field(default_factory=dict)
    """Cost of missing a row, by class; 1 if it is not given."""
    thresholds: dict[str, Chance] = Field(default_factory=dict)
    """Smallest probability at which a class is the label, by class."""
    abstain: dict[str, Chance] = Field(default_factory=dict)
    """Smallest probability of a label that is not unsure, by class."""


class ModelConfig(BaseModel):
    """Contents of `config.toml`: cleaning profile, network shape, and weights that combine the models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    """Version of the directory format; any other version is rejected."""
    cleaning: Cleaning
    """Cleaning profile: alpha or words."""
    cleaning_version: Annotated[int, Field(ge=1, le=1000)] = 1
    """Version of the cleaning profile."""
    max_tokens: ReadTokens
    """Maximum number of tokens of a review that the network reads."""
    stored_tokens: StoredTokens
    """Maximum number of tokens kept of a review, as in preparation; the n-gram model reads all of them."""
    model: ModelSettings
    """Shape of the network."""
    combination: CombinationWeights
    """Weights that combine the logits of the two models."""
    wide_longest: NgramWords | None = None
    """Longest n-gram of the n-gram model; None if there is no n-gram model."""
    wide_gaps: NgramGaps = 0
    """Maximum number of words between the two words of a pair that is a feature of the n-gram model."""
    labels: LabelReading | None = None
    """What the labels of the training data meant; None for models trained before this field existed."""
    wide_intercept: PerClass = 0.0
    """Logit of the n-gram model for a text that has no features."""
    classes: tuple[str, ...] | None = None
    """Names of the classes; None for negative and positive."""
    kind: ClassKind | None = None
    """How the classes were formed; None for binary."""
    cascade: CascadeTable | None = None
    """Which rows skip the network, and how they are calibrated; None if the network reads all rows."""
    thresholds: DecisionTable | None = None
    """How labels follow from probabilities; None for the most probable class."""

    @model_validator(mode="after")
    def _check_classes(self) -> "ModelConfig":
        names, numbers = self.class_set.names, self.class_set.outputs
        check_names(names)
        if self.class_set.kind == "stars":
            stars = tuple(map(float, names))  # a ValueError for other names
            if list(stars) != sorted(set(stars)):
                raise ValueError(f"classes are {listed(names)}; stars must rise")
        if self.class_set.kind in ("binary", "ternary") and len(names) != (2, 3)[self.kind == "ternary"]:
            raise ValueError(f"{self.class_set.kind} classes cannot be {listed(names)}")
        combination = self.combination
        values = [combination.net, combination.wide, combination.bias, self.wide_intercept]
        if self.cascade is not None:
            if self.wide_longest is None:
                raise ValueError("there is a cascade but no n-gram model")
            values += [self.cascade.wide, self.cascade.bias]
        for value in values:
            if isinstance(value, tuple) and (len(value) != numbers or numbers == 1):
                raise ValueError(f"there are {len(value)} numbers for {len(names)} classes")
        for table in (self.thresholds or DecisionTable()).model_dump().values():
            if unknown := set(table) - set(names):
                raise ValueError(f"thresholds: {min(unknown)!r} is no class; classes are {listed(names)}")
        return self

    @property
    def class_set(self) -> Classes:
        return Classes(self.classes or BINARY, self.kind or "binary")

    @property
    def label_reading(self) -> LabelReading | None:
        """What labels in files mean: the same as in the training data, or the names of the classes.

        Raises: DataError when the classes are in an order that labels of files cannot have.
        """
        classes = self.class_set
        if self.labels is not None or classes == Classes():
            return self.labels
        reading = LabelReading(
            values={label_token(name): name for name in classes.names} if classes.kind == "labels" else {},
            stars_scale=(classes.stars[0], classes.stars[-1]) if classes.stars else None,
            kind=classes.kind,
        )
        if reading.class_set != classes:
            raise DataError(
                f"the model has the classes {listed(classes.names)} and was not trained on files, so "
                "labels of files have no meaning for it. Compare its predictions with the labels in Python."
            )
        return reading

    @property
    def decision(self) -> Decision:
        return Decision(self.class_set.names, **(self.thresholds or DecisionTable()).model_dump())


@dataclass(frozen=True)
class SavedModel:
    """The contents of a model directory, in memory."""

    config: ModelConfig
    vocab: Vocab
    net: SentimentNet
    """In evaluation mode."""
    wide: WideModel | None
    combination: Combination
    cascade: Cascade | None = None
    """None if the network reads all rows."""
    finish_loading: Callable[[], None] = lambda: None
    """Wait for the checks that `load_model` left running; see `verify`."""

    def verify(self) -> None:
        """Finish the checks of a loaded model, which must be done before its first answer.

        `load_model` does not wait for the digest of the weights, and the check of the words loads compiled
        functions that the first answer needs anyway.

        Raises: DataError when the weights are not those that were written, or a word is not one that the
            cleaning profile produces.
        """
        self.vocab.check_cleaning(self.config.cleaning, self.config.cleaning_version)
        self.finish_loading()

    @property
    def classes(self) -> Classes:
        return self.config.class_set

    @property
    def parameters(self) -> int:
        """Parameters of the network, plus one weight and one scale per bucket of the n-gram model."""
        own = sum(parameter.numel() for parameter in self.net.parameters())
        return own + (self.wide.weights.size + self.wide.scales.size if self.wide else 0)


def save_model(path: Path, model: SavedModel, record: RunRecord | None = None) -> None:
    """Write the directory atomically, replacing an existing one."""
    tensors: dict[str, Tensor] = {NET + name: value for name, value in model.net.state_dict().items()}
    if model.wide is not None:
        tensors[SCALES] = torch.from_numpy(model.wide.scales)
        tensors[WIDE_WEIGHTS] = torch.from_numpy(model.wide.weights)
    with whole_directory(path, replace=True) as working:
        write_file(working / CONFIG, tomli_w.dumps(model.config.model_dump(exclude_none=True)))
        model.vocab.write(working / VOCABULARY)
        write_file(working / WEIGHTS, save(tensors))
        digests = dict(zip(FILES, file_digests(working / name for name in FILES), strict=True))
        write_file(working / DIGESTS, json.dumps(digests, indent=2) + "\n")
        if record is not None:
            write_file(working / RECORD, record.model_dump_json(indent=2))


def file_states(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return inode, size and time of change of each file, which differ after any change of the model."""
    states = {}
    for file in map(path.joinpath, (*FILES, DIGESTS, THRESHOLDS)):
        if file.exists():
            status = file.stat()
            states[file.name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return states


def store_decision(
    path: Path,
    config: ModelConfig,
    decision: Decision,
    report: ThresholdReport,
    states: Mapping[str, tuple[int, int, int]],
) -> None:
    """Store another decision in a model directory, which is replaced as a whole.

    Files that do not change are the same files as before, so that processes which map the weights share
    their pages with those that load the model later.

    Args:
        path: the model directory.
        config: its settings.
        decision: how labels follow from probabilities.
        report: what the thresholds score; a report without entries is removed.
        states: `file_states` from before the model was loaded.

    Raises: SentiscaleError when the model has changed since then; UsageError when the directory cannot be
        replaced.
    """
    path = path.resolve()  # not a link to the directory
    table = None if decision.is_default else decision_table(decision)
    settings = config.model_copy(update={"thresholds": table}).model_dump(exclude_none=True)
    content = tomli_w.dumps(settings).encode()
    digests = _read_digests(path)
    with whole_directory(path, replace=True, marker=CONFIG) as working:
        shutil.copytree(path, working, symlinks=True, copy_function=_link_or_copy, dirs_exist_ok=True)
        _rewrite(working / CONFIG, content)
        if digests is not None:
            text = json.dumps(digests | {CONFIG: bytes_digest(content)}, indent=2) + "\n"
            _rewrite(working / DIGESTS, text.encode())
        if report.entries:
            _rewrite(working / THRESHOLDS, report.model_dump_json(indent=1).encode())
        else:
            (working / THRESHOLDS).unlink(missing_ok=True)
        if file_states(path) != states:
            raise SentiscaleError(f"{path} changed meanwhile; nothing was stored. Run the command again.")


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # the file system has no hard links
        shutil.copy2(source, target)


def _rewrite(file: Path, content: bytes) -> None:
    """Replace a file by one with the same permissions, those of the directory's settings if it is new."""
    status = (file if file.exists() else file.with_name(CONFIG)).stat()
    write_file(file, content)
    file.chmod(status.st_mode)


def load_model(path: Path) -> SavedModel:
    """Read a model directory that `save_model` wrote, or that of a run directory.

    A model of an earlier version may have no digests.

    Raises: DataError when it is missing, incomplete or damaged, has an unknown format or cleaning version, or
        contains values or weights that `save_model` does not write. `verify` finishes the checks.
    """
    path = model_path(path)
    digests = _read_digests(path)
    config = _read_config(path, digests)
    vocab = _read_vocabulary(path, digests)
    with torch.device("meta"):
        net = SentimentNet(config.model, len(vocab), config.class_set.outputs)
    shapes = {NET + name: tuple(value.shape) for name, value in net.state_dict().items()}
    file = _open_weights(path)
    try:
        tensors = file.read(shapes | _wide_shapes(file, config))
    except DataError:
        if digests is not None:  # a file that was changed is reported as such, whatever is wrong with it
            _check_digest(file.path, digests, file.digest())
        raise
    # The large embedding table stays memory-mapped, so that processes share its pages.
    weights = {
        name: torch.from_numpy(value) if name == NET + "embedding.weight" else _copied(value)
        for name, value in tensors.items()
        if name.startswith(NET)
    }
    net.load_state_dict({name.removeprefix(NET): value for name, value in weights.items()}, assign=True)
    net.eval()
    combination = Combination(**config.combination.model_dump())
    if digests is None:
        finish = partial(_note_missing_digests, path)
    else:
        thread = ThreadPoolExecutor(1)  # one: more would slow down what the caller does meanwhile
        finish = partial(_await_digest, file.path, digests, thread.submit(file.digest))
        thread.shutdown(wait=False)
    wide, cascade = _wide_of(config, tensors), _cascade_of(config)
    return SavedModel(config, vocab, net, wide, combination, cascade, finish)


def model_config(
    *,
    cleaning: Cleaning,
    cleaning_version: int,
    max_tokens: int,
    stored_tokens: int,
    model: ModelSettings,
    wide: WideModel | None,
    combination: Combination,
    **fields: Any,
) -> ModelConfig:
    """Collect the settings that `config.toml` stores; `fields` are other fields of `ModelConfig`."""
    return ModelConfig(
        cleaning=cleaning,
        cleaning_version=cleaning_version,
        max_tokens=max_tokens,
        stored_tokens=stored_tokens,
        model=model,
        combination=CombinationWeights(**asdict(combination)),
        wide_longest=wide.ngrams.longest if wide else None,
        wide_gaps=wide.ngrams.gaps if wide else 0,
        wide_intercept=wide.intercept if wide else 0.0,
        **fields,
    )


def class_settings(classes: Classes, decision: Decision) -> dict[str, Any]:
    """Return the settings that `config.toml` stores of classes and decision; None where they are usual."""
    return {
        "classes": None if classes.names == BINARY else classes.names,
        "kind": None if classes.kind == "binary" else classes.kind,
        "thresholds": None if decision.is_default else decision_table(decision),
    }


def cascade_table(cascade: Cascade | None) -> CascadeTable | None:
    """Return the table of `config.toml` that stores a cascade."""
    if cascade is None:
        return None
    alone = cascade.calibration
    return CascadeTable(margin=cascade.margin, wide=alone.wide, bias=alone.bias)


def decision_table(decision: Decision) -> DecisionTable:
    """Return the table of `config.toml` that stores a decision."""
    return DecisionTable(
        weights=dict(decision.weights), thresholds=dict(decision.thresholds), abstain=dict(decision.abstain)
    )


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of the run that trained the model; empty if it is missing or unreadable."""
    try:
        return load_record(model_path(path) / RECORD, RunRecord).model_dump(mode="json")
    except (OSError, DataError):
        return {}


def _read_digests(path: Path) -> dict[str, str] | None:
    try:
        values = read_json(path / DIGESTS, MAX_CONFIG_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return {name: TypeAdapter(str).validate_python(values[name]) for name in FILES}
    except (KeyError, TypeError, ValidationError) as error:
        raise DataError(
            f"{path / DIGESTS} is damaged: it must be an object with the digests of {', '.join(FILES)}. "
            "Copy the whole directory again."
        ) from error


def _check_digest(path: Path, digests: Mapping[str, str] | None, found: str) -> None:
    if digests is not None and digests[path.name] != found:
        raise DataError(
            f"{path} does not match the digest written with it: it was changed, exchanged or copied half. "
            f"Copy the whole directory again, or remove {DIGESTS} if you changed it on purpose."
        )


def _read_config(path: Path, digests: Mapping[str, str] | None) -> ModelConfig:
    file = path / CONFIG
    try:
        content = read_bytes(file, MAX_CONFIG_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{path} is not a model directory: it has no {CONFIG}. `sentiscale train` writes RUN/model."
        ) from error
    _check_digest(file, digests, bytes_digest(content))
    values = parse_toml(file, content)
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path} has model format {quoted(version)}; this version of sentiscale reads {FORMAT_VERSION}. "
            "Train it again, or use the version of sentiscale that wrote it."
        )
    try:
        config = ModelConfig.model_validate(values)
        check_version(config.cleaning, config.cleaning_version)
    except ValidationError as error:
        raise DataError(f"{file} is damaged: {reason_of(error)}. Copy or train it again.") from error
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    return config


def _read_vocabulary(path: Path, digests: Mapping[str, str] | None) -> Vocab:
    file = path / VOCABULARY
    content = read_vocabulary(file)
    _check_digest(file, digests, bytes_digest(content))
    return Vocab.parse(file, content)


def _open_weights(path: Path) -> WeightsFile:
    try:
        return WeightsFile(path / WEIGHTS)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} has no {WEIGHTS}; copy the whole directory again.") from error


def _wide_shapes(file: WeightsFile, config: ModelConfig) -> dict[str, Shape]:
    """Return the shapes of the n-gram model's arrays, whose size only the arrays themselves state."""
    if config.wide_longest is None:
        return {}
    entry = file.header.get(SCALES)
    shape = entry.shape if entry else (2**MIN_BITS,)  # `read` reports that it is missing
    if shape not in [(2**bits,) for bits in range(MIN_BITS, MAX_BITS + 1)]:
        raise DataError(
            f"{file.path}: {SCALES} has shape {quoted(shape)}; only one dimension of 2**{MIN_BITS} to "
            f"2**{MAX_BITS} numbers, a power of two, is allowed."
        )
    return {SCALES: shape, WIDE_WEIGHTS: shape + logits_shape(1, config.class_set.outputs)[1:]}


def _copied(values: NDArray[np.float32]) -> Tensor:
    """Copy weights to aligned memory, which kernels need, without PyTorch's threads: they add 20 ms."""
    copy = torch.empty(values.shape)
    copy.numpy()[...] = values
    return copy


def _wide_of(config: ModelConfig, tensors: Tensors) -> WideModel | None:
    if config.wide_longest is None:
        return None
    scales, weights = tensors[SCALES], tensors[WIDE_WEIGHTS]
    ngrams = Ngrams(len(scales).bit_length() - 1, config.wide_longest, config.wide_gaps)
    return WideModel(scales, weights, config.wide_intercept, ngrams)


def _cascade_of(config: ModelConfig) -> Cascade | None:
    table = config.cascade
    if table is None:
        return None
    none = 0.0 if config.class_set.outputs == 1 else (0.0,) * config.class_set.outputs
    return Cascade(table.margin, Combination(none, table.wide, table.bias))


def _await_digest(path: Path, digests: Mapping[str, str], found: Future[str]) -> None:
    _check_digest(path, digests, found.result())


@cache  # once for each model
def _note_missing_digests(path: Path) -> None:
    logger.warning(
        "note: %s has no %s, as models of earlier versions: changes of its files go unnoticed.", path, DIGESTS
    )
