"""What the machine's cores do besides our own work."""

import time

import psutil

WORKING = ("user", "nice", "system", "irq", "softirq", "steal")
"""Kinds of processor time that are work: ours or others'. Steal went to other machines of the same host."""


def busy_seconds() -> float:
    """Seconds for which this machine's cores have worked since it was started, added up over cores."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in WORKING))


class Meter:
    """Cores that were kept busy, by this process and by all together, since it was made."""

    def __init__(self) -> None:
        self.began_at, self.busy, self.own = time.perf_counter(), busy_seconds(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Cores that all processes kept busy, and those of them that this process did."""
        seconds = max(time.perf_counter() - self.began_at, 1e-9)
        return (busy_seconds() - self.busy) / seconds, (time.process_time() - self.own) / seconds
