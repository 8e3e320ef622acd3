"""Measure how busy the machine is: cores in use and processor time."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

WORKING = ("user", "nice", "system", "irq", "softirq", "steal")
"""Kinds of processor time that count as busy. `steal` is time taken by other virtual machines of the host."""


def busy_seconds() -> float:
    """Busy time of all cores since the machine started, in seconds summed over cores."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in WORKING))


class CoreMeter:
    """Mean number of busy cores since the meter was created."""

    def __init__(self) -> None:
        self.began_at, self.busy, self.own = time.perf_counter(), busy_seconds(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Return the number of cores kept busy by all processes, and by this process."""
        seconds = max(time.perf_counter() - self.began_at, 1e-9)
        return (busy_seconds() - self.busy) / seconds, (time.process_time() - self.own) / seconds


LOOK_SECONDS = 0.2
"""Duration of one measurement of other processes. The kernel counts processor time in steps of 10 ms."""

MOST_LOOKS = 10


def other_cores(seconds: float = LOOK_SECONDS) -> float:
    """Number of cores that other processes keep busy. This process sleeps during the measurement."""
    meter = CoreMeter()
    time.sleep(seconds)
    everybody, own = meter.read()
    return max(0.0, everybody - own)


def wait_for_quiet(limit: float, looks: int = MOST_LOOKS) -> float:
    """Wait until other processes keep at most `limit` cores busy; return the last measured number.

    At most `looks` measurements are made.
    """
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
    """Wall-clock and processor time, summed over all `running()` blocks."""

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
