"""Measure the memory of processes, and make the C library reuse freed memory."""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import psutil

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt (malloc.h)."""
SAMPLES_PER_SECOND = 40
REFRESH_SECONDS = 0.2
"""Interval between searches for new child processes. A search reads all processes of the machine, so it costs
more than reading the memory of known ones (6 % of a core at ten searches per second)."""
MIB = 2**20


@contextmanager
def reused_memory() -> Iterator[None]:
    """Make glibc keep freed memory for later allocations inside the block.

    By default, glibc returns freed arrays of several megabytes to the system, so every training step and
    every partition requests new pages, which the kernel zeroes. Does nothing without glibc.
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
        libc.mallopt(M_MMAP_MAX, 65_536)  # glibc's defaults
        libc.mallopt(M_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


class PeakMemory:
    """A context manager that samples resident memory on a thread; it can miss peaks between two samples."""

    def __init__(self, pid: int | None = None, *, children: bool = True) -> None:
        """Measure a process, by default this one, and with `children` all its descendants.

        Pages shared between processes count once per process.
        """
        self.peak = 0
        """Peak resident memory in bytes."""
        self.anonymous = 0
        """Peak resident memory in bytes, without pages of mapped files and shared memory."""
        self.processes = 0
        """Maximum number of processes at once."""
        self.samples = 0
        self.longest_gap = 0.0
        """Longest interval between two samples, in seconds."""
        self._root = psutil.Process(pid or os.getpid())
        self._children = children
        self._known = [self._root]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def mb(self) -> float:
        """Peak resident memory so far, in MB of 2^20 bytes."""
        self._sample()
        return round(self.peak / MIB, 1)

    def _watch(self) -> None:
        sampled_at = refreshed_at = time.perf_counter()
        while not self._stop.wait(1 / SAMPLES_PER_SECOND):
            now = time.perf_counter()
            self.longest_gap = max(self.longest_gap, now - sampled_at)
            sampled_at = now
            if self._children and now - refreshed_at > REFRESH_SECONDS:
                refreshed_at = now
                self._known = [self._root, *_descendants(self._root)]
            self._sample()

    def _sample(self) -> None:
        resident = anonymous = alive = 0
        for process in self._known:
            try:
                memory = process.memory_info()
            except psutil.Error:  # the process has ended
                continue
            resident += memory.rss
            anonymous += memory.rss - getattr(memory, "shared", 0)
            alive += 1
        self.peak = max(self.peak, resident)
        self.anonymous = max(self.anonymous, anonymous)
        self.processes = max(self.processes, alive)
        self.samples += 1


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []
