"""Messages between ranks other than gradients and activations. No-ops for a group of one (None).

Everything that must be the same on the whole mesh is decided from what is exchanged here: the norm that
gradients are clipped by, whether a step is skipped, whether to stop, whether training has diverged.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from sentiscale.parallel.world import Group, World


def all_reduce(tensor: Tensor, group: Group | None) -> Tensor:
    if group is not None:
        dist.all_reduce(tensor, group=group)
    return tensor


def all_gather(tensor: Tensor, group: Group | None) -> Tensor:
    """The tensors of all members, one after the other along a new first dimension."""
    if group is None:
        return tensor[None]
    gathered = tensor.new_empty(dist.get_world_size(group), *tensor.shape)
    dist.all_gather(list(gathered.unbind()), tensor, group=group)
    return gathered


def gather_numbers(numbers: Sequence[float], world: World) -> list[list[float]]:
    tensor = torch.tensor(numbers, dtype=torch.float64)
    if world.host is not None and world.layout.model == 1:
        return [row.tolist() for row in world.host.all_gather(tensor)]
    return [row.tolist() for row in all_gather(tensor, world.everyone)]


def share_text(text: str, world: World) -> str:
    """Rank 0's text, on every rank. Objects travel as JSON, which unlike pickle runs no code."""
    if world.everyone is None:
        return text
    content = text.encode()
    size = torch.tensor([len(content)])
    dist.broadcast(size, 0)
    if not size:
        return ""
    data = torch.zeros(int(size), dtype=torch.uint8)
    if world.is_main:
        data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    dist.broadcast(data, 0)
    return data.numpy().tobytes().decode()


def gather_texts(text: str, world: World) -> list[str]:
    content = bytearray(text.encode())
    sizes = all_gather(torch.tensor([len(content)]), world.everyone).flatten()
    padded = torch.zeros(int(sizes.max()) + 1, dtype=torch.uint8)  # PyTorch wraps no empty buffer
    padded[: len(content) + 1] = torch.frombuffer(content + b" ", dtype=torch.uint8)
    texts = all_gather(padded, world.everyone)
    return [row[:size].numpy().tobytes().decode() for row, size in zip(texts, sizes.tolist(), strict=True)]


def only_rank_0(world: World, action: Callable[[], None]) -> None:
    """Do `action` on rank 0; the others wait until it is done."""
    if world.is_main:
        action()
    barrier(world)


def barrier(world: World) -> None:
    gather_numbers([0.0], world)


@dataclass(frozen=True)
class StepReport:
    """One rank's state at a step, before the parameters change; clocks and checkpoints follow rank 0."""

    loss_sum: float = 0.0
    norm_squared: float = 0.0
    """Of the gradients that are clipped, of this rank's stage, already summed over replicas."""
    finite: bool = True
    stop: bool = False
    out_of_time: bool = False
    save: bool = False


@dataclass(frozen=True)
class StepSummary:
    """What all ranks conclude from their reports; the same on each of them."""

    loss_sum: float
    norm: float
    """Of the clipped gradients over all stages."""
    broken_ranks: tuple[int, ...]
    """Ranks whose own loss is not a number."""
    finite: bool
    stop: bool
    out_of_time: bool
    save: bool


def agree(report: StepReport, world: World) -> StepSummary:
    """Exchange the reports of a step: one message of a few numbers."""
    reports = [
        StepReport(loss_sum, norm_squared, *map(bool, flags))
        for loss_sum, norm_squared, *flags in gather_numbers(astuple(report), world)
    ]
    one_replica = reports[: world.layout.model]  # every replica has the same summed gradients
    return StepSummary(
        loss_sum=sum(report.loss_sum for report in reports),
        norm=math.sqrt(sum(report.norm_squared for report in one_replica)),
        broken_ranks=tuple(rank for rank, report in enumerate(reports) if not math.isfinite(report.loss_sum)),
        finite=all(report.finite for report in reports),
        stop=any(report.stop for report in reports),
        out_of_time=reports[0].out_of_time,
        save=reports[0].save,
    )
