"""Gradients of everything but the embedding: flat buckets, summed over the replicas.

Each gradient is a view into its bucket (as in PyTorch DDP; Li et al., 2020, "PyTorch Distributed"), so
nothing is copied. Through gloo or NCCL a bucket is sent as soon as its last gradient is there, while the
backward pass still runs; buckets leave in the same order on every rank. Replicas that share memory add
their buckets up after the backward pass: the adding is the ranks' own work, so there is nothing to overlap.
Unlike DDP this sums instead of averaging, and waits where the clock can see it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sentiscale.parallel.world import World

BUCKET_BYTES = 512 * 1024
"""A bucket is closed when it has this many: large enough to be worth a message, small enough to overlap."""


@dataclass
class Bucket:
    """Neighbouring parameters whose gradients travel together."""

    parameters: list[nn.Parameter]
    """In the order their gradients come in."""
    gradients: Tensor
    """Flat; the parameters' gradients are views of it."""
    missing: int = 0
    """Gradients that the running backward pass still owes."""
    on_wire: Tensor | None = None
    """What was sent: `gradients` themselves, or rounded."""
    work: dist.Work | None = field(default=None, repr=False)
    """The exchange that is under way."""


class DenseGradients:
    """The gradients of some parameters, and how they are summed over the data axis."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        world: World,
        wire_dtype: torch.dtype | None = None,
    ) -> None:
        """`wire_dtype` is what gradients are rounded to while they travel."""
        self.group = world.replicas
        self.host = world.host
        self.wire_dtype = wire_dtype
        self.buckets = [_bucket(chosen) for chosen in _groups(list(parameters.values()))]
        self.bytes_sent = 0
        self._next = 0
        for bucket in self.buckets:
            for parameter in bucket.parameters:
                # A hook sees its own bucket only, so it must be bound here.
                parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    lambda _, bucket=bucket: self._arrived(bucket)
                )

    def expect(self, backward_passes: int) -> None:
        """Forget the gradients; the next ones are complete after this many backward passes."""
        self.bytes_sent = self._next = 0
        for bucket in self.buckets:
            bucket.gradients.zero_()
            bucket.missing = backward_passes * len(bucket.parameters)

    def finish(self) -> int:
        """Wait until all sums are there; return the bytes this rank has sent.

        Raises: RuntimeError when a gradient never came.
        """
        missing = [bucket for bucket in self.buckets if bucket.missing]
        if missing:
            raise RuntimeError(f"{len(missing)} of {len(self.buckets)} gradient buckets are not complete")
        for bucket in self.buckets:
            if self.host is not None and bucket.on_wire is not None:
                self.host.all_reduce(bucket.on_wire)
            if bucket.work is not None:
                bucket.work.wait()
            if bucket.on_wire is not None and bucket.on_wire is not bucket.gradients:
                bucket.gradients.copy_(bucket.on_wire)
            bucket.work = bucket.on_wire = None
        return self.bytes_sent

    def norm_squared(self) -> float:
        """Sum of the squares of all gradients."""
        return sum(torch.dot(bucket.gradients, bucket.gradients).item() for bucket in self.buckets)

    def _arrived(self, bucket: Bucket) -> None:
        bucket.missing -= 1
        while self._next < len(self.buckets) and self.buckets[self._next].missing == 0:
            self._send(self.buckets[self._next])
            self._next += 1

    def _send(self, bucket: Bucket) -> None:
        if self.group is None:
            return
        travelling = bucket.gradients if self.wire_dtype is None else bucket.gradients.to(self.wire_dtype)
        bucket.on_wire = travelling
        if self.host is None:
            bucket.work = dist.all_reduce(travelling, group=self.group, async_op=True)
        self.bytes_sent += travelling.numel() * travelling.element_size()


def _groups(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Cut the parameters into buckets, last ones first: that is about the order their gradients come in."""
    groups: list[list[nn.Parameter]] = []
    size = BUCKET_BYTES
    for parameter in reversed(parameters):
        if size >= BUCKET_BYTES or parameter.device != groups[-1][0].device:
            groups.append([])
            size = 0
        groups[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return groups


def _bucket(parameters: list[nn.Parameter]) -> Bucket:
    first = parameters[0]
    flat = torch.zeros(sum(p.numel() for p in parameters), dtype=first.dtype, device=first.device)
    start = 0
    for parameter in parameters:
        parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return Bucket(parameters, flat)
