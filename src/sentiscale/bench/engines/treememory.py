"""Peak memory of another process and all its descendants, looked at from outside while it runs.

It is resident memory (RSS) summed over the tree. What that says and what it does not:

- a page that two processes share counts once in each; a page of a mapped file counts while it is mapped in,
  though the system could drop it at once (`anonymous` is the sum without such pages);
- the page cache of files that are read and written, and memory in kernel buffers, do not count;
- a peak between two looks is missed, as is a child process that lives shorter than REFRESH_SECONDS.
"""

import threading
import time
from types import TracebackType

import psutil

SAMPLES_PER_SECOND = 40
REFRESH_SECONDS = 0.2
"""How often new child processes are looked for; that costs more than a look at known ones."""


class TreeMemory:
    """A context manager that watches from a thread."""

    def __init__(self, pid: int) -> None:
        """Watch the process `pid` and what it starts."""
        self.peak = 0
        """Bytes."""
        self.anonymous = 0
        """Bytes, without pages of mapped files and shared memory."""
        self.processes = 0
        """Most seen at once."""
        self.samples = 0
        self.longest_gap = 0.0
        """Seconds between two looks, at worst."""
        self._root = psutil.Process(pid)
        self._known = [self._root]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tree-memory", daemon=True)

    def __enter__(self) -> "TreeMemory":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        looked_at = refreshed_at = time.perf_counter()
        while not self._stop.wait(1 / SAMPLES_PER_SECOND):
            now = time.perf_counter()
            self.longest_gap = max(self.longest_gap, now - looked_at)
            looked_at = now
            if now - refreshed_at > REFRESH_SECONDS:
                refreshed_at = now
                self._known = [self._root, *_descendants(self._root)]
            self._look()

    def _look(self) -> None:
        resident = anonymous = alive = 0
        for process in self._known:
            try:
                memory = process.memory_info()
            except psutil.Error:
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
