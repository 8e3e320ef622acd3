"""The ranks of a run, and this one's place among them: process groups along both axes of the mesh."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from sentiscale.parallel.layout import Layout

Group = dist.ProcessGroup


@dataclass(frozen=True)
class World:
    """Where this rank stands. A group is None where it would have one member: nothing is sent then."""

    layout: Layout
    rank: int
    device: torch.device
    everyone: Group | None = None
    replicas: Group | None = None
    """Data axis: the ranks that hold the same stage."""
    inward: Group | None = None
    """Model axis, from the stage with embedding and head to the recurrent one."""
    outward: Group | None = None
    """The same two ranks, for what travels back: on NCCL, each direction needs an order of its own."""

    @property
    def replica(self) -> int:
        """Which rows of a global batch are this rank's: every `layout.data`-th from this one on."""
        return self.layout.place(self.rank)[0]

    @property
    def stage(self) -> int:
        """0 holds the embedding and the head (and in one stage everything), 1 the recurrent layer."""
        return self.layout.place(self.rank)[1]

    @property
    def partner(self) -> int:
        """The rank of the other stage of this replica."""
        first, second = self.layout.stages_of(self.replica)
        return second if self.rank == first else first

    @property
    def is_main(self) -> bool:
        """Whether this rank writes, logs and talks for all."""
        return self.rank == 0


def alone(device: torch.device) -> World:
    """The world of a single rank."""
    return World(Layout(1, 1), 0, device)


@contextmanager
def join(
    layout: Layout, rank: int, device: torch.device, store: Store, timeout_s: float
) -> Iterator[World]:
    """Meet the other ranks through `store`, and make the groups.

    gloo carries what is in memory, NCCL what is on graphics processors: one group serves both. A
    collective that takes longer than `timeout_s` seconds fails.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=layout.world_size, timeout=timedelta(seconds=timeout_s)
    )
    try:
        replica, stage = layout.place(rank)
        # Every rank takes part in making every group, its own or not.
        replicas = [dist.new_group(layout.replicas_of(stage)) for stage in range(layout.model)]
        pairs = [
            [dist.new_group(layout.stages_of(replica)) for _ in range(2)]
            if layout.model > 1
            else [None, None]
            for replica in range(layout.data)
        ]
        yield World(
            layout, rank, device,
            everyone=dist.group.WORLD,
            replicas=replicas[stage] if layout.data > 1 else None,
            inward=pairs[replica][0],
            outward=pairs[replica][1],
        )  # fmt: skip
    finally:
        dist.destroy_process_group()
