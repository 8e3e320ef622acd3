"""Write and read a model directory: the settings, vocabulary and weights that a prediction needs.

The files are `config.toml`, `vocab.txt`, `weights.safetensors` and, for human readers, `record.json`. None of
them is a pickle, so loading an untrusted model cannot execute code.
"""

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sentiscale.config import Cleaning, ModelSettings
from sentiscale.errors import DataError
from sentiscale.model.network import SentimentNet
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.wide import Combination, WideModel
from sentiscale.records import RunRecord, reason_of
from sentiscale.text.clean import check_version
from sentiscale.text.vocab import Vocab
from sentiscale.util.atomic import whole_directory, write_file

FORMAT_VERSION = 1


class ModelConfig(BaseModel):
    """Contents of `config.toml`: cleaning profile, network shape, and weights that combine the models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    """Version of the directory format; any other version is rejected."""
    cleaning: Cleaning
    """Cleaning profile: alpha or words."""
    cleaning_version: int = 1
    """Version of the cleaning profile."""
    max_tokens: int
    """Maximum number of tokens of a review that the network reads."""
    stored_tokens: int
    """Maximum number of tokens kept of a review, as in preparation; the n-gram model reads all of them."""
    model: ModelSettings
    """Shape of the network."""
    combination: dict[str, float]
    """Weights that combine the logits of the two models: net, wide, bias."""
    wide_longest: int | None = None
    """Longest n-gram of the n-gram model; None if there is no n-gram model."""
    wide_gaps: int = 0
    """Maximum number of words between the two words of a pair that is a feature of the n-gram model."""
    wide_intercept: float = 0.0
    """Logit of the n-gram model for a text that has no features."""


@dataclass(frozen=True)
class SavedModel:
    """The contents of a model directory, in memory."""

    config: ModelConfig
    vocab: Vocab
    net: SentimentNet
    """In evaluation mode."""
    wide: WideModel | None
    combination: Combination

    @property
    def parameters(self) -> int:
        """Parameters of the network, plus one weight and one scale per bucket of the n-gram model."""
        own = sum(parameter.numel() for parameter in self.net.parameters())
        return own + (self.wide.weights.size + self.wide.scales.size if self.wide else 0)


def save_model(path: Path, model: SavedModel, record: RunRecord | None = None) -> None:
    """Write the directory atomically, replacing an existing one."""
    tensors: dict[str, Tensor] = {f"net.{name}": value for name, value in model.net.state_dict().items()}
    if model.wide is not None:
        tensors["wide.scales"] = torch.from_numpy(model.wide.scales)
        tensors["wide.weights"] = torch.from_numpy(model.wide.weights)
    with whole_directory(path, replace=True) as working:
        write_file(working / "config.toml", tomli_w.dumps(model.config.model_dump(exclude_none=True)))
        model.vocab.write(working / "vocab.txt")
        write_file(working / "weights.safetensors", save(tensors))
        if record is not None:
            write_file(working / "record.json", record.model_dump_json(indent=2))


def load_model(path: Path) -> SavedModel:
    """Read a model directory that `save_model` wrote.

    Raises: DataError when it is missing, incomplete or damaged, or has an unknown format or cleaning version.
    """
    config = _read_config(path)
    check_version(config.cleaning, config.cleaning_version)
    vocab = Vocab.read(path / "vocab.txt")
    with torch.device("meta"):
        net = SentimentNet(config.model, len(vocab))
    try:
        tensors = load_file(path / "weights.safetensors")
        weights = {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
        # The large embedding table stays memory-mapped, so that processes share its pages. All other weights
        # are copied, because kernels need aligned memory.
        weights = {k: v if k.startswith("embedding.") else v.clone() for k, v in weights.items()}
        net.load_state_dict(weights, assign=True)
        wide = _wide_of(config, tensors)
    except FileNotFoundError as error:
        raise DataError(f"{path} has no weights.safetensors; copy the whole directory again.") from error
    except (SafetensorError, RuntimeError, KeyError, OSError) as error:
        raise DataError(f"{path}/weights.safetensors is damaged: {error}. Copy or train it again.") from error
    net.eval()
    return SavedModel(config, vocab, net, wide, Combination(**config.combination))


def model_config(
    *,
    cleaning: Cleaning,
    cleaning_version: int,
    max_tokens: int,
    stored_tokens: int,
    model: ModelSettings,
    wide: WideModel | None,
    combination: Combination,
) -> ModelConfig:
    """Collect the settings that `config.toml` stores."""
    return ModelConfig(
        cleaning=cleaning,
        cleaning_version=cleaning_version,
        max_tokens=max_tokens,
        stored_tokens=stored_tokens,
        model=model,
        combination=asdict(combination),
        wide_longest=wide.ngrams.longest if wide else None,
        wide_gaps=wide.ngrams.gaps if wide else 0,
        wide_intercept=wide.intercept if wide else 0.0,
    )


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of the run that trained the model; empty if it is missing or unreadable."""
    try:
        return RunRecord.model_validate_json((path / "record.json").read_bytes()).model_dump(mode="json")
    except (OSError, ValidationError):
        return {}


def _read_config(path: Path) -> ModelConfig:
    try:
        values = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        inside = path / "model"
        remedy = (
            f"Did you mean {inside}?"
            if (inside / "config.toml").exists()
            else "`sentiscale train` writes RUN/model."
        )
        raise DataError(f"{path} is not a model directory: it has no config.toml. {remedy}") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}/config.toml cannot be read: {reason_of(error)}. Copy or train it again."
        ) from error
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path} has model format {version}; this version of sentiscale reads {FORMAT_VERSION}. "
            "Train it again, or use the version of sentiscale that wrote it."
        )
    try:
        return ModelConfig.model_validate(values)
    except ValidationError as error:
        raise DataError(
            f"{path}/config.toml is damaged: {reason_of(error)}. Copy or train it again."
        ) from error


def _wide_of(config: ModelConfig, tensors: dict[str, Tensor]) -> WideModel | None:
    if config.wide_longest is None:
        return None
    scales, weights = tensors["wide.scales"].numpy(), tensors["wide.weights"].numpy()
    ngrams = Ngrams(len(scales).bit_length() - 1, config.wide_longest, config.wide_gaps)
    return WideModel(scales, weights, config.wide_intercept, ngrams)
