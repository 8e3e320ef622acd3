"""Memory that the replicas on a host share: it belongs to no file, and goes when the last of them ends."""

import os
import platform
import sys
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from sentiscale.parallel.collectives import all_gather
from sentiscale.parallel.shared_memory import ALIGNMENT, HostGroup, slots_bytes
from sentiscale.parallel.world import World

NAME = "sentiscale"
"""Of the memory, as /proc shows it."""

NOT_OFFERED = -1
"""Instead of a file descriptor."""


def shared_on_host(tensor: Tensor, world: World) -> Tensor | None:
    """A tensor that all neighbours of `world` read and write, with what is in that of the first of them.

    All replicas must call this. Returns None, on all of them, where one host does not offer such memory:
    then every rank keeps its own copy.
    """
    if tensor.device.type != "cpu":
        return None
    shared = shared_zeros(tensor.shape, tensor.dtype, world, reserve=True)
    if shared is not None and world.leads_neighbours:
        shared.copy_(tensor)
    all_gather(torch.zeros(1), world.neighbours)  # nobody reads before it is filled
    return shared


def host_group(world: World, capacity: int) -> HostGroup | None:
    """Collectives over shared memory for `capacity` bytes a rank, if all replicas are on one CPU-only host.

    All replicas must call this, with the same capacity. None where they have to use sockets.
    """
    alone_on_host = world.neighbours is not None and len(world.neighbour_ranks) == world.layout.data
    if not alone_on_host or world.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return None
    size = world.layout.data
    counters = shared_zeros((size, ALIGNMENT // 8), torch.int64, world, reserve=True)
    slots = shared_zeros((2, size, slots_bytes(capacity)), torch.uint8, world, reserve=False)
    processes = all_gather(torch.tensor([os.getpid()]), world.neighbours).flatten().tolist()
    if counters is None or slots is None:
        return None
    return HostGroup(counters, slots, world.neighbour_ranks.index(world.rank), processes)


def shared_zeros(shape: Sequence[int], dtype: torch.dtype, world: World, *, reserve: bool) -> Tensor | None:
    """Zeros that all neighbours share; with `reserve` the memory is taken now, else when it is first used.

    Returns None on all replicas where one of them cannot have it.
    """
    size = prod(shape)
    offered = _offer(size * dtype.itemsize, reserve) if world.leads_neighbours else None
    place = torch.tensor([os.getpid(), NOT_OFFERED if offered is None else offered])
    process, descriptor = all_gather(place, world.neighbours)[0].tolist()
    mapped = None if descriptor == NOT_OFFERED else _map(f"/proc/{process}/fd/{descriptor}", size, dtype)
    everywhere = all_gather(torch.tensor([mapped is not None]), world.replicas).all()
    if offered is not None:
        os.close(offered)
    return mapped.view(*shape) if mapped is not None and everywhere else None


def _offer(size: int, reserve: bool) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        descriptor = os.memfd_create(NAME)
        os.ftruncate(descriptor, max(1, size))
        if reserve:
            os.posix_fallocate(descriptor, 0, max(1, size))
    except OSError:
        return None
    return descriptor


def _map(path: str, size: int, dtype: torch.dtype) -> Tensor | None:
    try:
        if not os.readlink(path).startswith(f"/memfd:{NAME}"):  # numbers of another container's processes
            return None
        return torch.from_file(path, shared=True, size=size, dtype=dtype)
    except (OSError, RuntimeError):
        return None
