"""Checkpoints: written whole, verified when read, the newest few kept, each with the best weights so far.

Order on resuming: the newest checkpoint whose digests match; a damaged one is passed over for the one
before; none left means the run starts at step 0.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError
from safetensors.torch import load, save
from torch import Tensor

from sentiscale.atomic import whole_directory, write_file
from sentiscale.errors import DataError
from sentiscale.records import EpochMetrics, PhaseTimes, Record


class TrainState(Record):
    """Where a run stands: all that is not a tensor. Random numbers are functions of seed and step."""

    step: int = 0
    """Optimiser steps done; the next global batch has this number."""
    seconds: float = 0.0
    rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    phases: PhaseTimes = PhaseTimes()
    loss_sum: float = 0.0
    """Training loss summed since the last validation, nats."""
    loss_rows: int = 0
    metrics: list[EpochMetrics] = Field(default_factory=list)
    best_step: int | None = None
    best_accuracy: float = -1.0
    best_loss: float = 0.0
    best_combination: dict[str, float] = Field(default_factory=dict)
    """How the parts are joined at the best step."""
    stale: int = 0
    """Validations since the best one."""
    target_seconds: float | None = None
    """When validation accuracy reached the target; None: not yet, or no target."""
    fingerprint: str = ""
    """Digest of what must not change between runs: data, network, order of rows."""
    digests: dict[str, str] = Field(default_factory=dict)

    @property
    def mean_loss(self) -> float | None:
        """Training loss per row since the last validation; None before the first step."""
        return self.loss_sum / self.loss_rows if self.loss_rows else None


@dataclass(frozen=True)
class Checkpoint:
    """One saved step: its state, and tensors by file (`weights`, `optimizer`, `best`) and name."""

    state: TrainState
    tensors: dict[str, dict[str, Tensor]]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Write `folder/step-N`, then delete older ones beyond the newest `keep`."""
    contents = {f"{name}.safetensors": save(tensors) for name, tensors in checkpoint.tensors.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    state = checkpoint.state.model_copy(update={"digests": digests})
    with whole_directory(folder / f"step-{state.step:08d}", replace=True) as working:
        for name, content in contents.items():
            write_file(working / name, content)
        write_file(working / "state.json", state.model_dump_json(indent=2))
    for old in _saved(folder)[:-keep]:
        shutil.rmtree(old)


def load_latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest sound checkpoint, and a sentence about each damaged one that was passed over."""
    complaints: list[str] = []
    for path in reversed(_saved(folder)):
        try:
            return load_checkpoint(path), complaints
        except DataError as error:
            complaints.append(str(error))
    return None, complaints


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint directory and compare its digests.

    Raises: DataError when a file is missing, cut or changed.
    """
    tensors = {}
    try:
        state = TrainState.model_validate_json((path / "state.json").read_bytes())
        for name, digest in state.digests.items():
            content = (path / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise DataError(f"checkpoint {path} is damaged: {name} does not match its digest.")
            tensors[name.removesuffix(".safetensors")] = load(content)
    except (OSError, ValidationError) as error:
        raise DataError(f"checkpoint {path} is incomplete: {error}.") from error
    return Checkpoint(state, tensors)


def _saved(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
