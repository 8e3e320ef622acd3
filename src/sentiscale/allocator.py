"""Let the C library keep freed memory while the same sizes are needed over and over."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""


@contextmanager
def reused_memory() -> Iterator[None]:
    """Let glibc keep freed memory for the next allocation inside the block.

    By default it gives every array of some megabytes back to the system when it is freed, so each training
    step and each partition gets all its pages anew, zeroed by the kernel. Does nothing without glibc.
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
