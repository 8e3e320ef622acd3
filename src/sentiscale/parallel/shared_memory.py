"""Memory that replicas on one host share, and collectives that use it instead of sockets.

Gloo sends everything through TCP with its own threads, which take cores away from the network they serve: on
two busy cores that cost a quarter of a step (decision 5). Here each rank writes its data into its slot, all
ranks wait for each other, and each rank reads what it needs.

The memory belongs to no file; the kernel frees it when the last rank ends.
"""

import os
import platform
import sys
import time
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from sentiscale.parallel.collectives import all_gather
from sentiscale.parallel.world import World

ALIGNMENT = 64
"""Bytes of a cache line; with this alignment, two ranks never write to the same line."""

SPIN_SECONDS = 2e-4
"""Time a waiting rank only yields its core; after that it sleeps between checks of the counters."""

SLEEP_SECONDS = 5e-5

LIVENESS_SECONDS = 0.2
"""Interval at which a waiting rank checks that the others are alive."""

NAME = "sentiscale"
"""Name of the memory in /proc."""

NOT_OFFERED = -1
"""Stands for a file descriptor when no memory is offered."""


class HostGroup:
    """The ranks of one host that hold the same stage; `index` is this rank's position among `size`."""

    def __init__(self, counters: Tensor, slots: Tensor, index: int, processes: Sequence[int]) -> None:
        """All ranks share `counters` (size, 8), int64 zeros, and `slots` (2, size, capacity), bytes."""
        self.index, self.size = index, len(processes)
        self._processes = processes
        self._counters = counters.numpy()[:, 0]
        self._slots = slots
        self._turn = 0
        self._operation = 0

    def barrier(self) -> None:
        """Wait until all ranks have arrived.

        Raises: RuntimeError when one of them has ended.
        """
        self._turn += 1
        # This store becomes visible after the preceding stores of data, because x86 keeps the order of
        # stores. Other processors may reorder them, so `host_group` returns None there.
        self._counters[self.index] = self._turn
        started_at = time.perf_counter()
        check_at = started_at + LIVENESS_SECONDS
        while int(self._counters.min()) < self._turn:
            now = time.perf_counter()
            # Only yield at first, as the other ranks usually arrive within microseconds. A rank that kept
            # spinning would take a core from a slower one that is still computing.
            time.sleep(0 if now - started_at < SPIN_SECONDS else SLEEP_SECONDS)
            if now >= check_at:
                self._check_others()
                check_at = now + LIVENESS_SECONDS

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Stack the tensors of all ranks, which have equal shapes, along a new first dimension."""
        slots = self._next_slots()
        self._write(slots[self.index], [tensor])
        self.barrier()
        return torch.stack([_read(slot, 0, tensor)[0] for slot in slots])

    def all_reduce(self, flat: Tensor) -> None:
        # Each rank sums one part for all ranks. That is 1/size of the additions, and one order of summation
        # for all ranks, so the sums are equal to the last bit and weights cannot drift apart.
        slots = [_read(slot, 0, flat)[0] for slot in self._next_slots()]
        slots[self.index].copy_(flat)
        self.barrier()
        parts = [slot.tensor_split(self.size) for slot in slots]
        parts[self.index][self.index].copy_(sum_in_order([part[self.index] for part in parts]))
        self.barrier()
        for rank, part in enumerate(flat.tensor_split(self.size)):
            part.copy_(parts[rank][rank])

    def all_to_all(self, tensors: Sequence[Tensor], to_each: Tensor) -> list[Tensor]:
        """Send the first `to_each[0]` rows of each tensor to rank 0, the next `to_each[1]` to rank 1, ...

        Returns the rows that all ranks sent to this one, by rank. Tensors are (rows, ...) or (rows,).
        """
        slots = self._next_slots()
        self._write(slots[self.index], [to_each, *tensors])
        self.barrier()
        received: list[list[Tensor]] = [[] for _ in tensors]
        for slot in slots:
            counts, offset = _read(slot, 0, to_each)
            first, rows = int(counts[: self.index].sum()), int(counts.sum())
            for place, tensor in enumerate(tensors):
                theirs, offset = _read(slot, offset, tensor, rows)
                received[place].append(theirs[first : first + int(counts[self.index])])
        return [torch.cat(parts) for parts in received]

    def _next_slots(self) -> Tensor:
        # Two sets of slots alternate, so that no rank writes where another still reads: a rank that starts
        # the operation after the next one has seen all others finish this one.
        self._operation += 1
        return self._slots[self._operation % 2]

    def _write(self, slot: Tensor, tensors: Sequence[Tensor]) -> None:
        offset = 0
        for tensor in tensors:
            place, offset = _read(slot, offset, tensor, tensor.shape[0])
            place.copy_(tensor)

    def _check_others(self) -> None:
        for process in self._processes:
            if process != os.getpid() and _has_ended(process):
                # Gloo's wording, so that the failure is attributed to the other rank.
                raise RuntimeError(f"connection closed by peer: process {process} on this host has ended")


def sum_in_order(parts: Sequence[Tensor]) -> Tensor:
    """Sum tensors from first to last, so that the result is the same on every rank."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total


def slots_bytes(*sizes: int) -> int:
    """Capacity needed for tensors of these sizes in bytes."""
    return sum(_aligned(size) for size in sizes)


def _read(slot: Tensor, offset: int, like: Tensor, rows: int | None = None) -> tuple[Tensor, int]:
    """View a slot's bytes from `offset` as a tensor like `like`; also return the next tensor's offset."""
    shape = like.shape if rows is None else (rows, *like.shape[1:])
    size = like.element_size() * int(torch.Size(shape).numel())
    view = slot[offset : offset + size].view(like.dtype).view(shape)
    return view, offset + _aligned(size)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _has_ended(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"


def host_group(world: World, capacity: int) -> HostGroup | None:
    """Create collectives over shared memory of `capacity` bytes per rank, if one CPU host has all replicas.

    All replicas must call this with the same capacity. Returns None if they have to use sockets.
    """
    one_host = world.neighbours is not None and len(world.neighbour_ranks) == world.layout.data
    if not one_host or world.device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return None
    size = world.layout.data
    counters = shared_zeros((size, ALIGNMENT // 8), torch.int64, world, reserve=True)
    # Not reserved: a step rarely fills the slots, and pages that are never touched use no memory.
    slots = shared_zeros((2, size, slots_bytes(capacity)), torch.uint8, world, reserve=False)
    processes = all_gather(torch.tensor([os.getpid()]), world.neighbours).flatten().tolist()
    if counters is None or slots is None:
        return None
    return HostGroup(counters, slots, world.neighbour_ranks.index(world.rank), processes)


def shared_on_host(tensor: Tensor, world: World) -> Tensor | None:
    """Create a tensor that all neighbours of `world` share, initialized with the first neighbour's tensor.

    All replicas must call this. Returns None on all of them if a host cannot share memory; every rank then
    keeps its own copy.
    """
    if tensor.device.type != "cpu":
        return None
    shared = shared_zeros(tensor.shape, tensor.dtype, world, reserve=True)
    if shared is not None and world.leads_neighbours:
        shared.copy_(tensor)
    all_gather(torch.zeros(1), world.neighbours)  # no rank may read before it is filled
    return shared


def shared_zeros(shape: Sequence[int], dtype: torch.dtype, world: World, *, reserve: bool) -> Tensor | None:
    """Create zeros that all neighbours share; `reserve` allocates the memory now instead of on first use.

    Returns None on all replicas if one of them cannot map the memory.
    """
    size = prod(shape)
    offered = _offer(size * dtype.itemsize, reserve) if world.leads_neighbours else None
    place = torch.tensor([os.getpid(), NOT_OFFERED if offered is None else offered])
    process, descriptor = all_gather(place, world.neighbours)[0].tolist()
    mapped = None if descriptor == NOT_OFFERED else _map(f"/proc/{process}/fd/{descriptor}", size, dtype)
    # All or none: a rank that used sockets while the others use memory would wait forever.
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
        if reserve:  # otherwise SIGBUS could kill a rank during training when memory runs out
            os.posix_fallocate(descriptor, 0, max(1, size))
    except OSError:
        return None
    return descriptor


def _map(path: str, size: int, dtype: torch.dtype) -> Tensor | None:
    try:
        if not os.readlink(path).startswith(f"/memfd:{NAME}"):  # the id is from another container
            return None
        return torch.from_file(path, shared=True, size=size, dtype=dtype)
    except (OSError, RuntimeError):
        return None
