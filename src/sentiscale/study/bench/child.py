"""The process of one run: `python -m sentiscale.study.bench.child {prepare,predict} JOB OUTCOME`."""

import json
import os
import resource
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from sentiscale.errors import SentiscaleError
from sentiscale.records import Record
from sentiscale.study.bench.peers_prepare import CLEANERS
from sentiscale.study.bench.steps import Meter
from sentiscale.util.atomic import write_file
from sentiscale.util.processes import call, failure, with_threads


class PrepareJob(Record):
    """Clean files in one of the ways of `cleaners`."""

    engine: str
    """sentiscale, pandas, dask or polars."""
    workers: int
    """Processes or threads it may use."""
    files: list[Path]
    """Plain fastText files."""
    warm_up: Path
    """The first lines of the files: cleaned before the clock runs."""
    folder: Path
    """An empty folder for outputs."""


class PredictJob(Record):
    """Label texts with a model."""

    model: Path
    """The model directory."""
    texts: Path
    """One JSON list of strings."""
    threads: int
    """Threads that torch may use."""
    batch_size: int
    """Texts that are handed over at once."""


class Timed(Record):
    """What the process measured on its own clock."""

    began_at: float
    """When it began to work, on the host's monotonic clock: libraries are loaded, processes started."""
    warm_up_seconds: float
    """Of the work done before, which is not counted."""
    seconds: float
    """Of the work itself."""
    rows: int
    """Written, or labelled."""
    bytes_out: int = 0
    """Written to the disk."""


WARM_UP_TEXTS = 512


def prepare(job: PrepareJob) -> Timed:
    """Clean the files once, after a few lines of them."""
    out = job.folder / "out"
    with CLEANERS[job.engine](job.workers) as clean:
        began_at = time.perf_counter()
        clean([job.warm_up], job.folder / "warm-up")
        warm_at = time.perf_counter()
        clean(job.files, out)
        ended_at = time.perf_counter()
    return Timed(
        began_at=began_at,
        warm_up_seconds=warm_at - began_at,
        seconds=ended_at - warm_at,
        rows=rows_of(out),
        bytes_out=sum(path.stat().st_size for path in (out, *out.rglob("*")) if path.is_file()),
    )


def rows_of(out: Path) -> int:
    """Rows of prepared data, or of a Parquet file."""
    if out.is_dir():
        from sentiscale.data.prepared import PreparedDataset

        return sum(PreparedDataset.open(out, verify=False).manifest.rows.values())
    import pyarrow.parquet as pq  # only now: not every engine needs it, and memory is measured

    return int(pq.read_metadata(out).num_rows)


def predict(job: PredictJob) -> Timed:
    """Label the texts once, after some of them."""
    from sentiscale.inference.predictor import Predictor
    from sentiscale.parallel.cpu import torch_threads

    texts: list[str] = json.loads(job.texts.read_bytes())
    with torch_threads(job.threads):
        predictor = Predictor.load(job.model)
        began_at = time.perf_counter()
        for _ in predictor.stream(texts[:WARM_UP_TEXTS], job.batch_size):
            pass
        warm_at = time.perf_counter()
        rows = sum(1 for _ in predictor.stream(texts, job.batch_size))
        ended_at = time.perf_counter()
    return Timed(began_at=began_at, warm_up_seconds=warm_at - began_at, seconds=ended_at - warm_at, rows=rows)


def main(what: str, job: str, out: str) -> int:
    """Do one job; returns the exit code."""
    text = Path(job).read_bytes()
    try:
        if what == "predict":
            found = predict(PredictJob.model_validate_json(text))
        else:
            found = prepare(PrepareJob.model_validate_json(text))
    except SentiscaleError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    write_file(Path(out), found.model_dump_json())
    return 0


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
        command = [sys.executable, "-m", "sentiscale.study.bench.child", what, str(task), str(outcome)]
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


if __name__ == "__main__":  # Dask's processes import this module as well
    sys.exit(main(*sys.argv[1:]))
