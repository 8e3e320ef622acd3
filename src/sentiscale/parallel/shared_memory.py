"""Collectives between processes of one host through memory they share, instead of through sockets.

Gloo moves everything through TCP and threads of its own, which take the cores away from the network they
serve: on two busy cores that cost a quarter of a step. Here a rank writes what it has into its slot, all
wait for each other, and each reads what it needs. Two sets of slots take turns, so that nobody writes where
another still reads: whoever begins the operation after the next has seen all others end this one.

A rank tells that it has arrived by a counter. That its data are visible by then holds where the processor
keeps the order of stores, so only x86 takes this way.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

ALIGNMENT = 64
"""Bytes: a cache line, so that two ranks never write to the same one."""

SPIN_SECONDS = 2e-4
"""How long a waiting rank only yields; then it sleeps between looks."""

NAP_SECONDS = 5e-5

LOOK_SECONDS = 0.2
"""How often a waiting rank looks whether the others are alive."""


class HostGroup:
    """The ranks of one host that hold the same stage; `index` is this one's place among `size`."""

    def __init__(self, counters: Tensor, slots: Tensor, index: int, processes: Sequence[int]) -> None:
        """`counters` (size, 8) int64 of zeros, `slots` (2, size, capacity) bytes: both shared by all."""
        self.index, self.size = index, len(processes)
        self._processes = processes
        self._counters = counters.numpy()[:, 0]
        self._slots = slots
        self._turn = 0
        self._operation = 0

    def barrier(self) -> None:
        """Wait for the others.

        Raises: RuntimeError when one of them has ended.
        """
        self._turn += 1
        self._counters[self.index] = self._turn
        started_at = time.perf_counter()
        look_at = started_at + LOOK_SECONDS
        while int(self._counters.min()) < self._turn:
            now = time.perf_counter()
            time.sleep(0 if now - started_at < SPIN_SECONDS else NAP_SECONDS)
            if now >= look_at:
                self._check_others()
                look_at = now + LOOK_SECONDS

    def all_gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all, one after the other along a new first dimension; shapes are the same."""
        slots = self._next_slots()
        self._write(slots[self.index], [tensor])
        self.barrier()
        return torch.stack([_read(slot, 0, tensor)[0] for slot in slots])

    def all_reduce(self, flat: Tensor) -> None:
        """Sum a flat tensor over all, in place: each rank adds up one part of it for everybody."""
        slots = [_read(slot, 0, flat)[0] for slot in self._next_slots()]
        slots[self.index].copy_(flat)
        self.barrier()
        parts = [slot.tensor_split(self.size) for slot in slots]
        parts[self.index][self.index].copy_(sum_in_order([part[self.index] for part in parts]))
        self.barrier()
        for rank, part in enumerate(flat.tensor_split(self.size)):
            part.copy_(parts[rank][rank])

    def swap(self, tensors: Sequence[Tensor], to_each: Tensor) -> list[Tensor]:
        """Hand out rows: the first `to_each[0]` rows of each tensor to rank 0, the next to rank 1, ...

        Returns what the others had for this rank, by rank. Tensors are (rows, ...) or (rows,).
        """
        slots = self._next_slots()
        self._write(slots[self.index], [to_each, *tensors])
        self.barrier()
        found: list[list[Tensor]] = [[] for _ in tensors]
        for slot in slots:
            counts, offset = _read(slot, 0, to_each)
            first, rows = int(counts[: self.index].sum()), int(counts.sum())
            for place, tensor in enumerate(tensors):
                theirs, offset = _read(slot, offset, tensor, rows)
                found[place].append(theirs[first : first + int(counts[self.index])])
        return [torch.cat(parts) for parts in found]

    def _next_slots(self) -> Tensor:
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
                raise RuntimeError(f"connection closed by peer: process {process} on this host has ended")


def sum_in_order(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors, first to last: the same on every rank."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total


def slots_bytes(*sizes: int) -> int:
    """Capacity for tensors of these sizes in bytes, one after the other."""
    return sum(_aligned(size) for size in sizes)


def _read(slot: Tensor, offset: int, like: Tensor, rows: int | None = None) -> tuple[Tensor, int]:
    """A view of a slot's bytes from `offset` as a tensor like `like`, and where the next one begins."""
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
