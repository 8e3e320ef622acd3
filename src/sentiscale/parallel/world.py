"""The ranks of a run, and this rank's place on the mesh: process groups along both axes."""

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from sentiscale.parallel.layout import Layout

if TYPE_CHECKING:
    from sentiscale.parallel.shared_memory import HostGroup

Group = dist.ProcessGroup


@dataclass(frozen=True)
class World:
    """This rank's place on the mesh. A group with one member is None; nothing is sent to it."""

    layout: Layout
    rank: int
    """Rank number from 0, over all hosts."""
    device: torch.device
    everyone: Group | None = None
    replicas: Group | None = None
    """Data axis: ranks that hold the same stage."""
    neighbours: Group | None = None
    """Replicas on this host; they can share memory."""
    neighbour_ranks: tuple[int, ...] = (0,)
    counterparts: Group | None = None
    """One replica per host: an update sent to them reaches each host once."""
    inward: Group | None = None
    """Model axis, from the stage with embedding and head to the recurrent stage."""
    outward: Group | None = None
    """The same two ranks in the opposite direction: NCCL needs a separate order for each direction."""
    host_group: "HostGroup | None" = None
    """The replicas, if all of them exchange data through shared memory."""

    @property
    def replica(self) -> int:
        """Replica number; its rows of a global batch are every `layout.data`-th, starting at this number."""
        return self.layout.place(self.rank)[0]

    @property
    def stage(self) -> int:
        """Stage number: 0 holds the embedding and the head (or the whole network), 1 the recurrent layer."""
        return self.layout.place(self.rank)[1]

    @property
    def partner(self) -> int:
        first, second = self.layout.stages_of(self.replica)
        return second if self.rank == first else first

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files, logs and shows progress for all ranks."""
        return self.rank == 0

    @property
    def leads_neighbours(self) -> bool:
        return self.rank == self.neighbour_ranks[0]


def single_rank(device: torch.device) -> World:
    return World(Layout(1, 1), 0, device)


@contextmanager
def join(
    layout: Layout, rank: int, device: torch.device, store: Store, timeout_s: float, host: str | None = None
) -> Iterator[World]:
    """Connect to the other ranks through `store` and create the process groups.

    gloo carries CPU tensors and NCCL carries CUDA tensors; one group serves both. A collective that takes
    longer than `timeout_s` seconds fails. Ranks with the same `host` share memory.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=layout.world_size, timeout=timedelta(seconds=timeout_s)
    )
    try:
        store.set(f"host/{rank}", host or f"{platform.node()} {process_space()}")
        hosts = [store.get(f"host/{each}").decode() for each in range(layout.world_size)]
        yield _place(layout, rank, device, hosts)
    finally:
        dist.destroy_process_group()


@cache
def process_space() -> str:
    """Identify the kernel and container; equal in processes that see each other's process ids."""
    with suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot_id} {os.readlink('/proc/self/ns/pid')}"
    return platform.node()


def _place(layout: Layout, rank: int, device: torch.device, hosts: Sequence[str]) -> World:
    """Create all groups in the same order on every rank, because PyTorch requires all to take part."""
    everyone = dist.group.WORLD
    all_replicas = [layout.replicas_of(each) for each in range(layout.model)]
    all_neighbours = [group for ranks in all_replicas for group in by_host(ranks, hosts)]
    all_counterparts = [group for ranks in all_replicas for group in zip(*by_host(ranks, hosts), strict=True)]
    all_pairs = [layout.stages_of(each) for each in range(layout.data)]
    replicas, neighbours, counterparts, inward, outward = (
        _own_group(groups, rank)
        for groups in (all_replicas, all_neighbours, all_counterparts, all_pairs, all_pairs)
    )
    neighbour_ranks = next(tuple(group) for group in all_neighbours if rank in group)
    return World(
        layout, rank, device, everyone, replicas, neighbours, neighbour_ranks, counterparts, inward, outward
    )


def by_host(ranks: Sequence[int], hosts: Sequence[str]) -> list[list[int]]:
    """Group ranks by host; each rank is a group of its own if hosts have different numbers of ranks."""
    groups: dict[str, list[int]] = {}
    for rank in ranks:
        groups.setdefault(hosts[rank], []).append(rank)
    alike = len({len(group) for group in groups.values()}) == 1
    return list(groups.values()) if alike else [[rank] for rank in ranks]


def _own_group(groups: Sequence[Sequence[int]], rank: int) -> Group | None:
    own = None
    for ranks in groups:
        if len(ranks) > 1:
            made = dist.new_group(list(ranks))
            own = made if rank in ranks else own
    return own
