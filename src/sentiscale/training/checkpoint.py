"""Checkpoints: written by all ranks together, atomically, and verified when read. Only the newest are kept.

A checkpoint is a directory `step-N` with `state.json` and one file per part of the model:

- `stage-S.safetensors`, written by the first replica: parameters of stage S without the embedding;
- `rows-R-of-D.safetensors`, written by replica R of D: rows R, R + D, R + 2D, ... of the embedding.

Each file holds weights, both moving averages of Adam and the best weights so far, so a run with any other
layout can assemble its own parts from them. Resuming uses the newest checkpoint whose digests match: a
damaged one is skipped in favour of the previous one, and without any the run starts at step 0.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field, ValidationError
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from sentiscale.errors import DataError
from sentiscale.parallel.collectives import barrier, gather_texts, share_text
from sentiscale.parallel.world import World
from sentiscale.records import EpochMetrics, PhaseTimes, Record, reason_of
from sentiscale.util.atomic import whole_directory, write_file

ROWS_FILE = re.compile(r"rows-(\d+)-of-(\d+)\.safetensors")


class TrainState(Record):
    """State of a run except its tensors; the same on every rank.

    No generator state is stored, because random numbers are functions of seed and step.
    """

    step: int = 0
    """Number of global batches done, which is also the number of the next one."""
    optimizer_steps: int = 0
    """Optimizer steps: `step` minus the steps that fp16 skipped."""
    loss_scale: float | None = None
    """Loss scale of fp16; None for other precisions."""
    good_steps: int = 0
    """Steps since the loss scale last changed."""
    seconds: float = 0.0
    """Seconds of training so far, including earlier parts of a resumed run."""
    rows: int = 0
    """Training rows processed; a row counts once per epoch."""
    tokens: int = 0
    """Tokens of these rows without padding."""
    padded_tokens: int = 0
    """Tokens of these rows with padding, which is what the network computes."""
    phases: PhaseTimes = PhaseTimes()
    """Seconds of this rank by phase."""
    loss_sum: float = 0.0
    """Sum of the training loss since the last validation, in nats."""
    loss_rows: int = 0
    """Number of rows in `loss_sum`."""
    metrics: list[EpochMetrics] = Field(default_factory=list)
    """One entry per validation."""
    best_step: int | None = None
    """Step of the best validation so far; None before the first."""
    best_accuracy: float = -1.0
    """Validation accuracy at the best step."""
    best_loss: float = 0.0
    """Validation loss at the best step, in nats."""
    best_combination: dict[str, float] = Field(default_factory=dict)
    """Weights that combine network and n-gram model at the best step."""
    stale: int = 0
    """Number of validations since the best one."""
    target_seconds: float | None = None
    """Seconds until validation accuracy reached the target; None if it did not, or without a target."""
    fingerprint: str = ""
    """Digest of everything that must not change when the run is resumed: data, network, order of rows."""
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every file of the checkpoint."""

    @property
    def mean_loss(self) -> float | None:
        """Training loss per row since the last validation; None before the first step."""
        return self.loss_sum / self.loss_rows if self.loss_rows else None


@dataclass(frozen=True)
class OwnedTensors:
    """Tensors of one rank by `quantity/parameter`; quantities are `weights`, `mean`, `square`, `best`."""

    whole: Mapping[str, Tensor]
    """All parameters except the embedding."""
    rows: Mapping[str, Tensor]
    """This replica's rows of the embedding."""


def save_checkpoint(folder: Path, state: TrainState, owned: OwnedTensors, world: World, keep: int) -> None:
    """Write `folder/step-N` on all ranks together, then delete all but the newest `keep` checkpoints."""
    path = folder / f"step-{state.step:08d}"
    with whole_directory(path, replace=True) if world.is_main else nullcontext(path) as working:
        shared = Path(share_text(str(working), world))
        digests = _write_files(shared, owned, world)
        if world.is_main:
            complete = state.model_copy(update={"digests": digests})
            write_file(working / "state.json", complete.model_dump_json(indent=2))
    if world.is_main:
        for old in saved_checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    barrier(world)


def find_latest(folder: Path, world: World) -> tuple[Path | None, list[str]]:
    """Find the newest valid checkpoint and the errors of newer, damaged ones, on rank 0 for all ranks."""
    found: Path | None = None
    complaints: list[str] = []
    for path in reversed(saved_checkpoints(folder)) if world.is_main else []:
        try:
            verify(path)
        except DataError as error:
            complaints.append(str(error))
        else:
            found = path
            break
    document = json.loads(share_text(json.dumps([str(found or ""), complaints]), world))
    return Path(document[0]) if document[0] else None, document[1]


def verify(path: Path) -> TrainState:
    """Read a checkpoint's state and compare the digests of its files.

    Raises: DataError when a file is missing, truncated or changed.
    """
    state = load_state(path)
    for name, digest in state.digests.items():
        try:
            with open(path / name, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"checkpoint {path} is incomplete: {error}.") from error
        if found != digest:
            raise DataError(f"checkpoint {path} is damaged: {name} does not match its digest.")
    return state


def load_state(path: Path) -> TrainState:
    """Read `state.json` of a checkpoint.

    Raises: DataError when it is missing or damaged.
    """
    try:
        return TrainState.model_validate_json((path / "state.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"checkpoint {path} is incomplete: {reason_of(error)}.") from error


def load_tensors(path: Path, into: OwnedTensors, replica: int, replicas: int) -> None:
    """Read the tensors that a rank owns from a checkpoint of any layout.

    `into.rows` are rows `replica`, `replica + replicas`, ... of the full matrices.

    Raises: DataError when the checkpoint lacks a tensor.
    """
    missing = set(into.whole)
    for file in sorted(path.glob("stage-*.safetensors")):
        with safe_open(file, "pt") as opened:
            for name in missing & set(opened.keys()):
                into.whole[name].copy_(opened.get_tensor(name))
                missing.discard(name)
    if missing:
        raise DataError(
            f"checkpoint {path} has no {', '.join(sorted(missing))}: it belongs to another network."
        )
    for file in sorted(path.glob("rows-*.safetensors")):
        if match := ROWS_FILE.fullmatch(file.name):
            first, step = int(match[1]), int(match[2])
            with safe_open(file, "pt") as opened:
                for name, tensor in into.rows.items():
                    part = opened.get_tensor(name)
                    row = torch.arange(len(part)) * step + first
                    mine = row % replicas == replica
                    tensor[row[mine] // replicas] = part[mine].to(tensor)


def _write_files(folder: Path, owned: OwnedTensors, world: World) -> dict[str, str]:
    """Write this rank's files; return the digests of all ranks' files."""
    files: dict[str, Mapping[str, Tensor]] = {}
    if world.replica == 0:
        files[f"stage-{world.stage}.safetensors"] = owned.whole
    if owned.rows:
        files[f"rows-{world.replica}-of-{world.layout.data}.safetensors"] = owned.rows
    digests = {}
    for name, tensors in files.items():
        content = save({key: value.cpu().contiguous() for key, value in tensors.items()})
        write_file(folder / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    everyones: dict[str, str] = {}
    for text in gather_texts(json.dumps(digests), world):
        everyones |= json.loads(text)
    return everyones


def saved_checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
