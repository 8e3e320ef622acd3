"""Wall and processor time of the parts of a run that count as training."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up the blocks it is held open for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count this block."""
        started_at, cpu = time.perf_counter(), processor_seconds()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started_at
            self.cpu_seconds += processor_seconds() - cpu


def processor_seconds() -> float:
    """User and system time of this process, all its threads, and its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
