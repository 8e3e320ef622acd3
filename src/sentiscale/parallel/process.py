"""What holds for a whole process while torch works in it: threads, denormal numbers, freed memory."""

import ctypes
import sys
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


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""


@contextmanager
def reused_memory() -> Iterator[None]:
    """Let glibc keep freed memory for the next allocation inside the block.

    By default it gives every tensor of some megabytes back to the system when it is freed, so each training
    step gets all its pages anew, zeroed by the kernel. Does nothing without glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, 65_536)  # glibc's own values
        libc.mallopt(M_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use `threads` threads inside the block, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
