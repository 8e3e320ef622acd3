"""What holds for a whole process while torch works in it: threads, denormal numbers, peak memory."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside the block.

    Gradients that vanish over hundreds of tokens become denormal, and CPUs multiply such numbers up to a
    hundred times slower. Threads inherit the mode when they are started, so enter the block before torch's
    thread pool exists. Afterwards the calling thread has the usual arithmetic again.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use `threads` threads inside the block, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory of this process so far, in MB of 2**20 bytes: resident, or on the graphics processor."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
