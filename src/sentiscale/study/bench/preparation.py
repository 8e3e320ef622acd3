"""Benchmark cases of preparation, by engine and number of workers.

Only `sentiscale` prepares completely. The other engines clean the texts but do not count words, split without
leaks, encode or verify, so their rows per second measure less work. Compare them with `sentiscale-clean`,
which does the same work as they do. The keys `does` and `complete` in the `shape` of a record state which
work was measured.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from sentiscale.data.corpus import Corpus
from sentiscale.data.sources import Stream
from sentiscale.errors import DataError, UsageError
from sentiscale.records import available_cores
from sentiscale.study.bench.engines import PrepareBenchJob, TimedWork
from sentiscale.study.bench.plan import LeftOut, doubling
from sentiscale.study.bench.training import changed_shape, new_record
from sentiscale.study.harness import run_fresh
from sentiscale.study.records import BenchRun, Case
from sentiscale.util.processes import with_threads

WARM_UP_MB = 2
CHUNK = 2**20
LIBRARIES = ("sentiscale", "numpy", "numba", "pyarrow", "torch", "dask", "distributed", "pandas", "polars")


@dataclass(frozen=True)
class TimedTexts:
    """Texts to prepare or to label."""

    rows: int
    digest: str


@dataclass(frozen=True)
class RawFiles(TimedTexts):
    """Plain review files with fastText lines. The digest covers their content."""

    names: list[str]
    plain: list[Path]  # the files, or decompressed copies
    head: Path  # the first lines of the first file
    size: int  # total bytes of the plain files


def raw_files(given: Sequence[str | Path], folder: Path) -> RawFiles:
    """Inspect review files, and decompress compressed files into `folder`.

    Raises:
        UsageError: if a file is not in fastText format, the only format that every engine reads.
        DataError: if a file is missing or damaged, or all files are empty.
    """
    corpus = Corpus.find(list(given))
    for source in corpus.sources:
        if source.table.format != "fasttext" or source.pipe is not None:
            kind = "a pipe" if source.pipe else source.table.format
            raise UsageError(
                f"--prepare got {source.path}, {kind}; engines are compared on files with fastText lines "
                "(`__label__2 text`), plain or compressed. "
                "`sentiscale synth` creates such files."
            )
    files = [plain(Path(path), folder / f"input-{n}.txt") for n, path in enumerate(corpus.paths)]
    rows, size, digest = 0, 0, hashlib.sha256()
    for path in files:
        chunk = b""
        with open(path, "rb") as file:
            while more := file.read(CHUNK):
                chunk, rows, size = more, rows + more.count(b"\n"), size + len(more)
                digest.update(more)
        rows += chunk[-1:] not in (b"", b"\n")  # a last line without a line break
    if rows == 0:
        raise DataError(f"{', '.join(corpus.paths)}: no line of text to prepare. Give files with reviews.")
    names = [Path(path).name for path in corpus.paths]
    return RawFiles(rows, digest.hexdigest(), names, files, head(files[0], folder / "head.txt"), size)


def plain(path: Path, copy: Path) -> Path:
    """Return the file, or a decompressed copy of it. Both are read, so that they are in the page cache."""
    with Stream.detected(str(path)) as stream:
        stored = path if stream.compression is None else copy
        with open("/dev/null" if stored == path else copy, "wb") as file:
            while chunk := stream.read(CHUNK):
                file.write(chunk)
    return stored


def head(path: Path, copy: Path) -> Path:
    """Copy the first lines of a file, about `WARM_UP_MB` megabytes."""
    with open(path, "rb") as file:
        start = file.read(WARM_UP_MB * 10**6)
        whole = not file.read(1)
    copy.write_bytes(start if whole else start[: start.rfind(b"\n") + 1])
    return copy


CLEANS = "cleans (a-z only), drops empty and equal texts, writes one Parquet file"
COMPLETE = (
    "cleans (words), reports bad rows, drops equal texts, splits without leaks, counts words, "
    "encodes, checks, writes a prepared dataset"
)


@dataclass(frozen=True)
class BenchEngine:
    """An engine that prepares or cleans review files."""

    name: str
    cleaner: str  # key of `engines.CLEANERS`
    needs: tuple[str, ...] = ()  # modules that must be importable
    scales: bool = True  # whether the engine can use several workers
    complete: bool = False  # whether the engine prepares data for training; otherwise it only cleans

    @property
    def missing(self) -> str | None:
        """Message about missing modules and how to install them; None if there are none."""
        lacking = [name for name in self.needs if find_spec(name) is None]
        return f"it needs {', '.join(lacking)}: pip install 'sentiscale[bench]'" if lacking else None

    def case(self, workers: int) -> Case:
        return Case(kind="prepare", engine=self.name, engine_workers=workers, collectives=False)


ENGINES = {
    engine.name: engine
    for engine in (
        BenchEngine("sentiscale", "sentiscale", complete=True),
        BenchEngine("sentiscale-clean", "sentiscale-clean"),
        BenchEngine("dask", "dask", ("pandas",)),
        BenchEngine("pandas", "pandas", ("pandas",), scales=False),
        BenchEngine("polars", "polars-dedupe", ("polars",)),
    )
}


class ProcessCases(ABC):
    """Benchmark cases that time a function on texts in a fresh process."""

    texts: TimedTexts
    out: Path
    """Directory of the study, for temporary output and the messages of a failed run."""
    function: ClassVar[str]
    """Timed function as `module:name`. It takes a job and a folder, and returns `TimedWork`."""

    @abstractmethod
    def job_of(self, case: Case) -> tuple[BaseModel, str]:
        """Return the argument of the function, and the label of the run in messages."""

    @abstractmethod
    def shape_of(self, case: Case) -> dict[str, Any]:
        """Description of the measured work. Stored runs with a different shape belong to another study."""

    def results_of(self, work: TimedWork) -> dict[str, Any]:
        return {}

    def run(self, case: Case, repeat: int) -> tuple[BenchRun, float]:
        """Run a case once, and return its record and the number of cores that other processes kept busy.

        Raises: SentiscaleError if the run fails.
        """
        job, label = self.job_of(case)
        variables = with_threads(case.engine_workers)
        fresh = run_fresh(
            self.function, job, TimedWork, label=label, out=self.out, variables=variables, watch_memory=True
        )
        work, rows = fresh.outcome, self.texts.rows
        run = new_record(
            case,
            repeat,
            LIBRARIES,
            seed=0,  # the work involves no randomness
            amount={"rows": rows},
            seconds=work.seconds,
            rows=rows,
            rows_per_s=rows / max(work.seconds, 1e-9),
            warm_up_seconds=round(work.warm_up_seconds, 4),
            start_seconds=round(work.began_at - fresh.started_at, 4),
            peak_memory_mb_per_rank=[round(fresh.peak_memory_mb, 1)],
            data_digest=self.texts.digest,
            shape={
                **self.shape_of(case),
                **self.results_of(work),
                "cpu_seconds": round(fresh.cpu_seconds, 2),
            },
        )
        return run, fresh.other_cores

    def mismatches(self, run: BenchRun) -> Iterator[str]:
        """Reasons why a stored run does not belong to this study."""
        if run.data_digest != self.texts.digest:
            yield f"they were made of other texts ({run.data_digest[:8]}, now {self.texts.digest[:8]})"
        yield from changed_shape(run, self.shape_of(run.case))


@dataclass(frozen=True)
class PreparationCases(ProcessCases):
    """Cases of kind `prepare`."""

    texts: RawFiles
    out: Path
    workers: Sequence[int] = ()
    """Numbers of workers; empty for 1, 2, 4, ... up to all cores."""

    function = "sentiscale.study.bench.engines:time_engine"

    @property
    def cases(self) -> list[Case]:
        """Installed engines, each with every number of workers that it supports."""
        counts = sorted(set(self.workers)) or doubling(available_cores())
        return [
            engine.case(count)
            for engine in ENGINES.values()
            if engine.missing is None
            for count in (counts if engine.scales else [1])
        ]

    @property
    def left_out(self) -> list[LeftOut]:
        """Engines that are not installed."""
        missing = [(engine.case(1), engine.missing) for engine in ENGINES.values()]
        return [LeftOut(case=case, reason=reason) for case, reason in missing if reason]

    def job_of(self, case: Case) -> tuple[PrepareBenchJob, str]:
        job = PrepareBenchJob(
            engine=ENGINES[case.engine].cleaner,
            workers=case.engine_workers,
            files=self.texts.plain,
            warm_up=self.texts.head,
        )
        return job, f"preparation with {case.engine}, {case.engine_workers} workers"

    def shape_of(self, case: Case) -> dict[str, Any]:
        complete = ENGINES[case.engine].complete
        does = COMPLETE if complete else CLEANS
        return {"bytes_in": self.texts.size, "complete": complete, "does": does}

    def results_of(self, work: TimedWork) -> dict[str, Any]:
        return {
            "files": self.texts.names,
            "rows_out": work.rows,
            "bytes_out": work.bytes_out,
            "mb_per_s": round(self.texts.size / 1e6 / max(work.seconds, 1e-9), 2),
        }
