"""One copy of a tensor for all replicas on a host, in memory that belongs to no file."""

import os
import sys
from math import prod

import torch
from torch import Tensor

from sentiscale.parallel.collectives import all_gather
from sentiscale.parallel.world import World

NOT_OFFERED = -1
"""Instead of a file descriptor."""


def shared_on_host(tensor: Tensor, world: World) -> Tensor | None:
    """A tensor that all neighbours of `world` read and write, with what is in that of the first of them.

    The memory goes when the last process that uses it ends, however it ends. All replicas must call this.
    Returns None, on all of them, where one host does not offer it: then every rank keeps its own copy.
    """
    offered = _offer(tensor) if world.leads_neighbours else None
    place = torch.tensor([os.getpid(), NOT_OFFERED if offered is None else offered])
    process, descriptor = all_gather(place, world.neighbours)[0].tolist()
    mapped = None if descriptor == NOT_OFFERED else _map(f"/proc/{process}/fd/{descriptor}", tensor)
    everywhere = all_gather(torch.tensor([mapped is not None]), world.replicas).all()
    if offered is not None:
        if mapped is not None:
            mapped.copy_(tensor)
        os.close(offered)
    all_gather(place, world.neighbours)  # nobody reads before it is filled
    return mapped if everywhere else None


def _offer(tensor: Tensor) -> int | None:
    if sys.platform != "linux" or tensor.device.type != "cpu":
        return None
    try:
        descriptor = os.memfd_create("sentiscale")
        os.posix_fallocate(descriptor, 0, max(1, tensor.numel() * tensor.element_size()))
    except OSError:
        return None
    return descriptor


def _map(path: str, like: Tensor) -> Tensor | None:
    try:
        flat = torch.from_file(path, shared=True, size=prod(like.shape), dtype=like.dtype)
    except RuntimeError:
        return None
    return flat.view(like.shape)
