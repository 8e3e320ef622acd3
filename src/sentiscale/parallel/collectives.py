"""Messages between ranks other than gradients and activations. They do nothing for a group of one (None).

All ranks must make the same decisions: by which norm gradients are clipped, and whether to skip a step, to
stop, or to report divergence. Each of these decisions is computed from values exchanged here.
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
    """Stack the tensors of all members along a new first dimension."""
    if group is None:
        return tensor[None]
    gathered = tensor.new_empty(dist.get_world_size(group), *tensor.shape)
    dist.all_gather(list(gathered.unbind()), tensor, group=group)
    return gathered


def gather_numbers(numbers: Sequence[float], world: World) -> list[list[float]]:
    tensor = torch.tensor(numbers, dtype=torch.float64)
    if world.host_group is not None and world.layout.model == 1:
        return [row.tolist() for row in world.host_group.all_gather(tensor)]
    return [row.tolist() for row in all_gather(tensor, world.everyone)]


def share_text(text: str, world: World) -> str:
    """Return rank 0's text on every rank. Objects are sent as JSON, which unlike pickle runs no code."""
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
    padded = torch.zeros(int(sizes.max()) + 1, dtype=torch.uint8)  # torch.frombuffer rejects empty buffers
    padded[: len(content) + 1] = torch.frombuffer(content + b" ", dtype=torch.uint8)
    texts = all_gather(padded, world.everyone)
    return [row[:size].numpy().tobytes().decode() for row, size in zip(texts, sizes.tolist(), strict=True)]


def only_rank_0(world: World, action: Callable[[], None]) -> None:
    """Run `action` on rank 0 while the other ranks wait."""
    if world.is_main:
        action()
    barrier(world)


def barrier(world: World) -> None:
    gather_numbers([0.0], world)


@dataclass(frozen=True)
class StepReport:
    """State of one rank before the weights change. Only rank 0's `out_of_time` and `save` count."""

    loss_sum: float = 0.0
    norm_squared: float = 0.0
    """Squared norm of the clipped gradients of this rank's stage, already summed over replicas."""
    finite: bool = True
    stop: bool = False
    out_of_time: bool = False
    save: bool = False


@dataclass(frozen=True)
class StepSummary:
    """Conclusions drawn from the reports of all ranks; the same on every rank."""

    loss_sum: float
    norm: float
    """Norm of the clipped gradients over all stages."""
    broken_ranks: tuple[int, ...]
    """Ranks whose loss is infinite or NaN."""
    finite: bool
    stop: bool
    out_of_time: bool
    save: bool


def agree(report: StepReport, world: World) -> StepSummary:
    """Exchange the step reports of all ranks in one small message, and combine them."""
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
