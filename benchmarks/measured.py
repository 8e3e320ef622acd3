"""Run a command in a fresh process, and say what it took: seconds, CPU, peak memory of its process tree.

Memory is that of sentiscale.study.load, which says what counts. For the largest single process
the kernel's own high-water mark is exact and is taken where it is the larger number, so for a command that is
one process the peak is exact. (That mark starts from the size of this process, about 30 MiB.)
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from math import comb
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import psutil

from sentiscale.records import Host, Record, git_commit, package_versions
from sentiscale.util.memory import PeakMemory

PRIORITY = 10
"""Real-time priority of what is measured, where it is asked for."""

PAUSE_SECONDS = 2.0
"""Before a disturbed run is repeated."""

MIB = 2**20


class Taken(Record):
    """What one process took, with all its descendants."""

    seconds: float
    """From the start of the process to its end, by the wall clock."""
    cpu_seconds: float
    """User and system time, descendants included."""
    peak_mib: float
    """Largest resident memory of the tree in MiB (2^20 bytes)."""
    anonymous_mib: float
    """The same without pages of mapped files and shared memory, by sampling alone."""
    processes: int
    """Most processes seen at once."""
    samples: int
    longest_gap: float
    """Seconds between two looks at the memory, at worst."""
    others: float
    """Cores that all other programs used meanwhile, on average."""
    stolen: float
    """Cores that the hypervisor gave to others meanwhile, on average."""
    kept: bool = True
    """False where others were busy and another run took its place."""


TakenT = TypeVar("TakenT", bound=Taken)


class Interval(NamedTuple):
    """A median and the order statistics that enclose it."""

    median: float
    low: float
    high: float
    coverage: float
    """Chance that the interval holds the true median, whatever the distribution."""


def interval(values: Sequence[float], wanted: float = 0.95) -> Interval:
    """The median and the narrowest symmetric pair of order statistics that holds it with chance `wanted`.

    Five values cannot give 0.95: their whole range holds the true median with chance 0.9375. Then, as with
    any smaller number, the range and its chance are returned. Six values are enough.
    """
    ordered = sorted(values)
    n = len(ordered)
    best = Interval(median(ordered), ordered[0], ordered[-1], 1 - 2 * 0.5**n)
    for drop in range(1, (n + 1) // 2):
        coverage = 1 - 2 * sum(comb(n, k) for k in range(drop + 1)) * 0.5**n
        if coverage < wanted:
            break
        best = Interval(best.median, ordered[drop], ordered[-1 - drop], coverage)
    return best


def provenance() -> dict[str, Any]:
    """Where figures of training come from: host and load, versions, commit."""
    return {
        "host": Host.current().model_dump(),
        "versions": package_versions("sentiscale", "torch", "numpy"),
        "git_commit": git_commit(),
    }


def run(command: Sequence[str], *, realtime: bool = False) -> tuple[Taken, str]:
    """Run a command to its end; returns what it took and its standard output.

    Raises: SystemExit with the end of its messages when it fails.
    """
    command = at_priority(command, realtime=realtime)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as messages:
        before, started_at = psutil.cpu_times(), time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=messages, stdin=subprocess.DEVNULL)
        with PeakMemory(process.pid) as watch:
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started_at
        own = usage.ru_utime + usage.ru_stime
        busy, stolen = _busy_since(before)
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
        out.seek(0)
        messages.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{messages.read()[-4000:]}")
        own_peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        taken = Taken(
            seconds=round(seconds, 4),
            cpu_seconds=round(own, 3),
            peak_mib=round(max(watch.peak, own_peak) / MIB, 1),
            anonymous_mib=round(watch.anonymous / MIB, 1),
            processes=watch.processes,
            samples=watch.samples,
            longest_gap=round(watch.longest_gap, 4),
            others=round(max(busy - own, 0.0) / seconds, 3),
            stolen=round(stolen / seconds, 3),
        )
        return taken, out.read()


def undisturbed(attempt: Callable[[], TakenT], limits: argparse.Namespace) -> Iterator[TakenT]:
    """Yield runs until one was disturbed by at most `limits.others` cores, at most 1 + `limits.again` runs.

    Only the last one is kept. What decides is what others did, never how long the run itself took. With
    real-time priority other programs only get what a run leaves over, so then the hypervisor alone counts.
    """
    for left in reversed(range(1 + limits.again)):
        found = attempt()
        disturbance = found.stolen + (0.0 if limits.realtime else found.others)
        if left == 0 or disturbance <= limits.others:
            yield found
            return
        yield found.model_copy(update={"kept": False})
        time.sleep(PAUSE_SECONDS)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that every benchmark of preparation takes."""
    add = parser.add_argument
    add("--out", type=Path, help="JSON lines; new ones are appended")
    add("--table", type=Path, metavar="RECORDS", help="only print the tables of an earlier run")
    add("--cores", type=int, default=2)
    add("--seed", type=int, default=0, help="of all that is random")
    add("--scratch", type=Path, help="folder for inputs and outputs; default: the system's")
    add("--prepare-args", default="", help="more options for sentiscale prepare")
    add("--realtime", action="store_true", help="with priority over other programs (needs root)")
    add(
        "--others",
        type=float,
        default=0.2,
        help="repeat a run that others disturbed by more cores (default 0.2)",
    )
    add("--again", type=int, default=2, help="but at most so many times (default 2)")


def at_priority(command: Sequence[str], *, realtime: bool) -> list[str]:
    """The command, with the priority of what is measured: below this process, above all others."""
    return ["chrt", "--rr", str(PRIORITY), *command] if realtime else list(command)


def settle(scratch: Path) -> None:
    """Remove what a run left and have the disk finish, so that the next run does not pay for it."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    os.sync()


def use_cores(cores: int, *, realtime: bool = False) -> None:
    """Keep this process and all it starts to `cores` cores; with realtime, watch with precedence.

    Raises: SystemExit when the machine has fewer cores or does not allow real-time priority.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if cores > len(allowed):
        sys.exit(f"--cores is {cores}, but {len(allowed)} are visible; give at most {len(allowed)}")
    os.sched_setaffinity(0, allowed[:cores])
    if realtime:  # above the processes that are measured, or a look would have to wait for their turn to end
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY + 1))
        except PermissionError:
            sys.exit("--realtime needs the right to set real-time priority (root); leave it out")


def _busy_since(before: Any) -> tuple[float, float]:
    """Seconds for which the cores have worked, and those the hypervisor kept from them, since `before`."""
    now = psutil.cpu_times()
    spent = {name: getattr(now, name) - getattr(before, name) for name in now._fields}
    working = ("user", "nice", "system", "irq", "softirq")  # user includes the time of guests
    return sum(spent.get(name, 0.0) for name in working), spent.get("steal", 0.0)
