"""One run in a fresh process: what it measured, its peak memory, and what others did meanwhile."""

import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sentiscale.bench.engines.jobs import PredictJob, PrepareJob, Timed
from sentiscale.bench.engines.treememory import TreeMemory
from sentiscale.childprocess import call, failure, with_threads
from sentiscale.training.load import Meter

MIB = 2**20


@dataclass(frozen=True)
class Done:
    """A run that has ended well."""

    timed: Timed
    """What it measured itself."""
    start_seconds: float
    """From starting the process to its first piece of work."""
    cpu_seconds: float
    """Of the whole process and its descendants, start included."""
    peak_memory_mb: float
    """Largest resident memory of the process tree, in MB of 2^20 bytes."""
    other_cores: float
    """Cores that processes of others kept busy meanwhile."""


def run(job: PrepareJob | PredictJob, name: str, folder: Path, threads: int) -> Done:
    """Do a job in a process of its own.

    Args:
        job: what to do.
        name: what it is, for a message, such as "polars with 2 workers".
        folder: where messages of a failed run are kept.
        threads: how many the libraries may take.

    Raises: SentiscaleError when it fails.
    """
    what = "predict" if isinstance(job, PredictJob) else "prepare"
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as scratch:
        task, outcome, log = (Path(scratch, name) for name in ("job.json", "outcome.json", "messages.log"))
        task.write_text(job.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "sentiscale.bench.engines.child", what, str(task), str(outcome)]
        watches: list[TreeMemory] = []

        def watch(pid: int) -> TreeMemory:
            watches.append(TreeMemory(pid))
            return watches[0]

        os.sync()  # what earlier runs have written shall not be written now
        meter, cpu, started_at = Meter(), _processor_seconds(), time.perf_counter()
        code = call(command, log, with_threads(threads), watch)
        elapsed, cpu = time.perf_counter() - started_at, _processor_seconds() - cpu
        everybody, own = meter.read()
        if code != 0 or not outcome.exists():
            raise failure(f"the run of {name}", code, log, folder / "failed.log")
        timed = Timed.model_validate_json(outcome.read_bytes())
    return Done(
        timed=timed,
        start_seconds=timed.began_at - started_at,
        cpu_seconds=cpu,
        peak_memory_mb=watches[0].peak / MIB,
        other_cores=max(0.0, everybody - own - cpu / elapsed),
    )


def _processor_seconds() -> float:
    """User and system time of all our processes that have ended, descendants of theirs included."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
