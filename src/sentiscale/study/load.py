"""What processes take of the machine: cores kept busy and processor time."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

WORKING = ("user", "nice", "system", "irq", "softirq", "steal")
"""Kinds of processor time that are work. Stolen time went to other virtual machines of the same host."""


def busy_seconds() -> float:
    """Seconds for which this machine's cores have worked since it started, summed over cores."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in WORKING))


class CoreMeter:
    """Mean number of busy cores since its construction."""

    def __init__(self) -> None:
        self.began_at, self.busy, self.own = time.perf_counter(), busy_seconds(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Cores that all processes kept busy, and the part of this process."""
        seconds = max(time.perf_counter() - self.began_at, 1e-9)
        return (busy_seconds() - self.busy) / seconds, (time.process_time() - self.own) / seconds


LOOK_SECONDS = 0.2
"""Length of a look at the other processes; the kernel counts processor time in hundredths of a second."""

MOST_LOOKS = 10


def other_cores(seconds: float = LOOK_SECONDS) -> float:
    """Cores that other processes keep busy right now; this one sleeps meanwhile."""
    meter = CoreMeter()
    time.sleep(seconds)
    everybody, own = meter.read()
    return max(0.0, everybody - own)


def wait_for_quiet(limit: float, looks: int = MOST_LOOKS) -> float:
    """Wait until other processes keep at most `limit` cores busy, up to `looks` times; the last value."""
    for _ in range(looks):
        busy = other_cores()
        if busy <= limit:
            break
    return busy


def processor_seconds(*, descendants_only: bool = False) -> float:
    """User and system time of this process, its threads, and its descendants that have ended."""
    kinds = (
        (resource.RUSAGE_CHILDREN,) if descendants_only else (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    usages = [resource.getrusage(kind) for kind in kinds]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Stopwatch:
    """Wall and processor time, summed over the blocks it runs for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        started_at, cpu = time.perf_counter(), processor_seconds()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started_at
            self.cpu_seconds += processor_seconds() - cpu
