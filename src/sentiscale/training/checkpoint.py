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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sentiscale.errors import DataError
from sentiscale.parallel.collectives import barrier, gather_texts, share_text
from sentiscale.parallel.world import World
from sentiscale.records import Amount, Count, EpochMetrics, Loss, PhaseTimes, Record, TimeLimitCuts, reason_of
from sentiscale.util.atomic import whole_directory, write_file
from sentiscale.util.files import open_regular, read_json

STEP_NAME = re.compile(r"step-\d{8,12}")


class TrainState(Record):
    """State of a run except its tensors; the same on every rank.

    No generator state is stored, because random numbers are functions of seed and step.
    """

    step: Count = 0
    """Number of global batches done, which is also the number of the next one."""
    optimizer_steps: Count = 0
    """Optimizer steps: `step` minus the steps that fp16 skipped."""
    loss_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Loss scale of fp16; None for other precisions."""
    good_steps: Count = 0
    """Steps since the loss scale last changed."""
    seconds: Amount = 0.0
    """Seconds of training so far, including earlier parts of a resumed run."""
    rows: Count = 0
    """Training rows processed; a row counts once per epoch."""
    tokens: Count = 0
    """Tokens of these rows without padding."""
    padded_tokens: Count = 0
    """Tokens of these rows with padding, which is what the network computes."""
    phases: PhaseTimes = PhaseTimes()
    """Seconds of this rank by phase."""
    loss_sum: Loss = 0.0
    """Sum of the training loss since the last validation, in nats."""
    loss_rows: Count = 0
    """Number of rows in `loss_sum`."""
    metrics: list[EpochMetrics] = Field(default_factory=list)
    """One entry per validation."""
    best_step: Count | None = None
    """Step of the best validation so far; None before the first."""
    best_accuracy: Annotated[float, Field(ge=-1, le=1)] = -1.0
    """Validation accuracy at the best step."""
    best_loss: Loss = 0.0
    """Validation loss at the best step, in nats."""
    best_combination: dict[Literal["net", "wide", "bias"], FiniteFloat | tuple[FiniteFloat, ...]] = Field(
        default_factory=dict
    )
    """Weights that combine network and n-gram model at the best step."""
    stale: Count = 0
    """Number of validations since the best one."""
    cuts: TimeLimitCuts = TimeLimitCuts()
    """What a time limit has left out so far."""
    target_seconds: Amount | None = None
    """Seconds until validation accuracy reached the target; None if it did not, or without a target."""
    fingerprint: str = ""
    """Digest of everything that must not change when the run is resumed: data, network, order of rows."""
    digests: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every file of the checkpoint."""
    digest: str = ""
    """SHA-256 of the other fields; empty in checkpoints written before this field existed."""

    @property
    def stage_files(self) -> list[str]:
        """Names of the files of all stages, which must be in `digests`."""
        count = sum(name.startswith("stage-") for name in self.digests)
        return [f"stage-{number}.safetensors" for number in range(count)]

    @property
    def rows_files(self) -> list[str]:
        """Names of the files of all replicas; empty if the embedding is in a stage's file."""
        count = len(self.digests) - len(self.stage_files)
        return [f"rows-{number}-of-{count}.safetensors" for number in range(count)]

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
    path = folder / _name(state.step)
    with whole_directory(path, replace=True) if world.is_main else nullcontext(path) as working:
        shared = Path(share_text(str(working), world))
        digests = _write_files(shared, owned, world)
        if world.is_main:
            document = state.model_copy(update={"digests": digests}).model_dump(mode="json")
            document["digest"] = _state_digest(document)
            write_file(working / "state.json", json.dumps(document, indent=2))
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
            with open_regular(path / name) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"checkpoint {path} is incomplete: {error}.") from error
        if found != digest:
            raise DataError(f"checkpoint {path} is damaged: {name} does not match its digest.")
    return state


def load_state(path: Path) -> TrainState:
    """Read `state.json` of a checkpoint.

    Raises: DataError when it is missing or damaged, or does not list the files of a checkpoint.
    """
    try:
        document = read_json(path / "state.json")
        state = TrainState.model_validate(document)
    except (OSError, DataError, ValidationError) as error:
        raise DataError(f"checkpoint {path} is incomplete: {reason_of(error)}.") from error
    if state.digest and state.digest != _state_digest(document):
        raise DataError(f"checkpoint {path} is damaged: state.json does not match its digest.")
    if path.name != _name(state.step):
        raise DataError(f"checkpoint {path} is damaged: state.json is of step {state.step}.")
    if not state.stage_files or set(state.digests) != {*state.stage_files, *state.rows_files}:
        raise DataError(
            f"checkpoint {path} is damaged: the digests in state.json are not those of its files."
        )
    return state


def load_tensors(path: Path, state: TrainState, into: OwnedTensors, replica: int, replicas: int) -> None:
    """Read the tensors that a rank owns from a checkpoint of any layout.

    `into.rows` are rows `replica`, `replica + replicas`, ... of the full matrices.

    Raises: DataError when the checkpoint lacks a tensor, or has one of another shape or type, or with a value
        that is not finite.
    """
    missing = set(into.whole)
    for name in state.stage_files:
        with _tensors(path, name) as file:
            for key in missing & set(file.keys()):
                tensor = file.get_tensor(key)
                _check_tensor(path, key, tensor, into.whole[key].dtype, into.whole[key].shape)
                into.whole[key].copy_(tensor)
                missing.discard(key)
    if missing:
        raise DataError(
            f"checkpoint {path} has no {', '.join(sorted(missing))}: it belongs to another network."
        )
    found = dict.fromkeys(into.rows, 0)
    for first, name in enumerate(state.rows_files):
        with _tensors(path, name) as file:
            for key, tensor in into.rows.items():
                part = file.get_tensor(key)
                _check_tensor(path, key, part, tensor.dtype, (len(part), *tensor.shape[1:]))
                row = torch.arange(len(part)) * len(state.rows_files) + first
                mine = row % replicas == replica
                place = row[mine] // replicas
                found[key] += len(place)
                if len(place) and int(place[-1]) < len(tensor):
                    tensor[place] = part[mine].to(tensor)
    for key, count in found.items():
        if count != len(into.rows[key]):
            raise DataError(
                f"checkpoint {path} has {count} of {len(into.rows[key])} rows of {key}: "
                "it belongs to another network."
            )


@contextmanager
def _tensors(path: Path, name: str) -> Iterator[Any]:
    """Open a file of tensors; errors of reading it are DataErrors."""
    try:
        with safe_open(path / name, "pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise DataError(f"checkpoint {path} is damaged: {name}: {error}.") from error


def _check_tensor(path: Path, key: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    if tensor.dtype != dtype or tensor.shape != shape:
        raise DataError(
            f"checkpoint {path} has {key} as {tensor.dtype} {tuple(tensor.shape)}, not {dtype} "
            f"{tuple(shape)}: it belongs to another network."
        )
    if not torch.isfinite(tensor).all():
        raise DataError(f"checkpoint {path} is damaged: {key} has a value that is not finite.")


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
    """Directories of checkpoints, the oldest first; whatever else is in the folder is ignored."""
    found = [path for path in folder.glob("step-*") if STEP_NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _state_digest(document: Mapping[str, Any]) -> str:
    content = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
