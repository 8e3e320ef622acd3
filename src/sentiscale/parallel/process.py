"""What holds for a whole process while torch works in it: threads and denormal numbers."""

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
