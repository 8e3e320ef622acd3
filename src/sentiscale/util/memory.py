"""Let the C library keep freed memory while the same sizes are needed over and over."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import psutil

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


INTERVAL_SECONDS = 0.1
MIB = 2**20


class PeakMemory:
    """A context manager that watches from a thread; short peaks between two looks can be missed."""

    def __init__(self, *, children: bool) -> None:
        """Watch this process; with `children` also its descendants, which means a look at all processes."""
        self.children = children
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    @property
    def mb(self) -> float:
        """Peak so far: resident memory summed over the process tree, in MB of 2^20 bytes."""
        self._peak = max(self._peak, resident_memory(children=self.children))
        return round(self._peak / MIB, 1)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            self._peak = max(self._peak, resident_memory(children=self.children))


def resident_memory(*, children: bool) -> int:
    """Resident bytes of this process and perhaps all its descendants; shared pages count once a process."""
    own = psutil.Process()
    total = int(own.memory_info().rss)
    for process in own.children(recursive=True) if children else ():
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
