"""Preparation by engine and workers: sentiscale's, and what pandas, Dask and Polars do of it.

`sentiscale` prepares completely. All others only clean: they stop where counting words, splitting without
leaks, encoding and checking begin. So their rows a second are not those of the same work; `sentiscale-clean`
does what they do, no more, and is what they compare with. Each record says which of the two it was: `does`
and `complete` in its `shape`.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sentiscale.bench.engines.beside import changed, record, worker_counts
from sentiscale.bench.engines.fresh import run as run_fresh
from sentiscale.bench.engines.inputs import RawFiles
from sentiscale.bench.engines.jobs import PrepareJob
from sentiscale.bench.plan import LeftOut
from sentiscale.measurements import BenchRun, Case
from sentiscale.records import available_cores

CLEANS = "cleans (a-z only), drops empty and equal texts, writes one Parquet file"
COMPLETE = (
    "cleans (words), reports bad rows, drops equal texts, splits without leaks, counts words, "
    "encodes, checks, writes a prepared dataset"
)


@dataclass(frozen=True)
class Engine:
    """One way to prepare."""

    name: str
    cleaner: str
    """Its name in `cleaners.CLEANERS`."""
    needs: tuple[str, ...] = ()
    """What must be importable."""
    scales: bool = True
    """Whether it can take more than one worker."""
    complete: bool = False
    """Whether it prepares all that training needs; else it only cleans."""

    @property
    def missing(self) -> str | None:
        """What it lacks here, and how to get it, or None."""
        lacking = [name for name in self.needs if find_spec(name) is None]
        return f"it needs {', '.join(lacking)}: pip install 'sentiscale[bench]'" if lacking else None

    def case(self, workers: int) -> Case:
        """The case of so many workers."""
        return Case(kind="prepare", engine=self.name, engine_workers=workers, collectives=False)


ENGINES = (
    Engine("sentiscale", "sentiscale", complete=True),
    Engine("sentiscale-clean", "sentiscale-clean"),
    Engine("dask", "dask", ("pandas",)),
    Engine("pandas", "pandas", ("pandas",), scales=False),
    Engine("polars", "polars-dedupe", ("polars",)),
)


@dataclass(frozen=True)
class Preparing:
    """Cases of kind `prepare`."""

    files: RawFiles
    folder: Path
    """Where outputs are written and removed, and messages of a failed run are kept."""
    workers: tuple[int, ...] = ()
    """How many to try; empty is 1, 2, 4, ... up to all cores."""

    @property
    def cases(self) -> list[Case]:
        """Engines that are installed, each with every number of workers it can take."""
        counts = worker_counts(available_cores(), self.workers)
        return [
            engine.case(count)
            for engine in ENGINES
            if engine.missing is None
            for count in (counts if engine.scales else [1])
        ]

    @property
    def left_out(self) -> list[LeftOut]:
        """Engines that are not installed."""
        return [LeftOut(case=engine.case(1), reason=engine.missing) for engine in ENGINES if engine.missing]

    def run(self, case: Case, repeat: int) -> tuple[BenchRun, float]:
        """Prepare the files once, into a temporary folder.

        Raises: SentiscaleError when the engine fails.
        """
        engine = engine_called(case.engine)
        with tempfile.TemporaryDirectory(prefix=".prepare-", dir=self.folder) as name:
            job = PrepareJob(
                engine=engine.cleaner,
                workers=case.engine_workers,
                files=self.files.plain,
                warm_up=self.files.head,
                folder=Path(name).resolve(),
            )
            label = f"preparation with {case.engine}, {case.engine_workers} workers"
            done = run_fresh(job, label, self.folder, case.engine_workers)
        shape = {
            **self._shape(engine),
            "files": self.files.names,
            "rows_out": done.timed.rows,
            "bytes_out": done.timed.bytes_out,
            "mb_per_s": round(self.files.size / 1e6 / max(done.timed.seconds, 1e-9), 2),
        }
        kept = record(case, repeat, done, self.files.digest, self.files.rows, shape)
        return kept, done.other_cores

    def differences(self, run: BenchRun) -> Iterator[str]:
        """Why a kept run was another preparation."""
        yield from changed(run, self.files.digest, self._shape(engine_called(run.case.engine)))

    def _shape(self, engine: Engine) -> dict[str, object]:
        does = COMPLETE if engine.complete else CLEANS
        return {"bytes_in": self.files.size, "complete": engine.complete, "does": does}


def engine_called(name: str) -> Engine:
    """The engine of this name."""
    return next(engine for engine in ENGINES if engine.name == name)
