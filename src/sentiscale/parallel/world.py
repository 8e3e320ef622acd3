"""The ranks of a run, and this one's place among them: process groups along both axes of the mesh."""

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]

from sentiscale.parallel.layout import Layout
from sentiscale.parallel.shared_memory import HostGroup

Group = dist.ProcessGroup


@dataclass(frozen=True)
class World:
    """Where this rank stands. A group is None where it would have one member: nothing is sent then."""

    layout: Layout
    """Replicas and stages."""
    rank: int
    """From 0, over all hosts."""
    device: torch.device
    """Where this rank computes."""
    everyone: Group | None = None
    replicas: Group | None = None
    """Data axis: the ranks that hold the same stage."""
    neighbours: Group | None = None
    """Those replicas that share this one's host, and so can share memory."""
    neighbour_ranks: tuple[int, ...] = (0,)
    """Ranks of that group."""
    counterparts: Group | None = None
    """One replica of every host: what each passes on to the others reaches all hosts once."""
    inward: Group | None = None
    """Model axis, from the stage with embedding and head to the recurrent one."""
    outward: Group | None = None
    """The same two ranks, for what travels back: on NCCL, each direction needs an order of its own."""
    host: HostGroup | None = None
    """The replicas, where all of them can exchange through memory."""

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

    @property
    def leads_neighbours(self) -> bool:
        """Whether this is the first of the replicas on its host."""
        return self.rank == self.neighbour_ranks[0]


def alone(device: torch.device) -> World:
    """The world of a single rank."""
    return World(Layout(1, 1), 0, device)


@contextmanager
def join(
    layout: Layout, rank: int, device: torch.device, store: Store, timeout_s: float, host: str | None = None
) -> Iterator[World]:
    """Meet the other ranks through `store`, and make the groups.

    gloo carries what is in memory, NCCL what is on graphics processors: one group serves both. A
    collective that takes longer than `timeout_s` seconds fails. Ranks with the same `host` share memory.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=layout.world_size, timeout=timedelta(seconds=timeout_s)
    )
    try:
        store.set(f"host/{rank}", host or this_host())
        hosts = [store.get(f"host/{each}").decode() for each in range(layout.world_size)]
        yield _place(layout, rank, device, hosts)
    finally:
        dist.destroy_process_group()


def this_host() -> str:
    """A name for processes that see each other: host, running kernel and container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _place(layout: Layout, rank: int, device: torch.device, hosts: Sequence[str]) -> World:
    """Make all groups, in the same order on every rank: PyTorch demands that all take part in each."""
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
    """Ranks grouped by host; each on its own where hosts have different numbers of them."""
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
