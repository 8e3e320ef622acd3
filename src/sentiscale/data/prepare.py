"""Raw reviews to a prepared dataset: encode partitions, find equal texts, count words, write the splits.

The result depends on input and settings alone: not on workers, partitions or the order in which they end.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiscale.config import PrepareSettings, resolve
from sentiscale.data.corpus import Corpus
from sentiscale.data.engine import Engine, open_engine
from sentiscale.data.job import Job, share_out
from sentiscale.data.manifest import Effort, make_manifest
from sentiscale.data.phases import Phases
from sentiscale.data.prepared import MANIFEST, PreparedDataset, write_manifest
from sentiscale.data.workspace import Workspace, workspace
from sentiscale.errors import UsageError
from sentiscale.records import available_cores
from sentiscale.text.compiled import announced_compilation
from sentiscale.util.atomic import check_output
from sentiscale.util.memory import PeakMemory, reused_memory
from sentiscale.util.progress import Progress

PROCESSES_FROM_WORKERS = 9
"""Fewer workers are threads of this process: the kernels release the GIL, while processes take seconds to
start and stop and 150 MB each."""


def prepare(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    test: str | Path | Sequence[str | Path] = (),
    settings: PrepareSettings | None = None,
    workers: int | None = None,
    processes: bool | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> PreparedDataset:
    """Turn review files into a memory-mapped dataset.

    Args:
        inputs: files, globs, folders, named pipes or fsspec URLs, plain or compressed.
        out: directory to make; whole or not at all.
        test: a test set of its own; without one the inputs are split in three.
        settings: how to read and clean; None is the defaults.
        workers: partitions worked on at once; None is one a core.
        processes: whether workers are processes rather than threads; None is from 9 workers on. With
            processes a script must call this under `if __name__ == "__main__":`.
        scheduler: address of a running Dask scheduler whose workers see `out`; None is this machine.
        resume: go on with an interrupted preparation of the same inputs and settings.
        force: replace `out` if it exists.
        progress: who is told how it goes; nobody by default.
        **overrides: single settings, as in `stars_column="stars"`.

    Raises:
        DataError: no usable input.
        UsageError: settings that cannot work, or `out` cannot be written.
        ClusterError: the workers or their scheduler are gone for good; resume=True goes on.
        Interrupted: stopped by a signal; resume=True goes on.
    """
    started_at = time.monotonic()
    settings = _resolved(settings, overrides)
    out = Path(out).absolute()
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}; it must be at least 1.")
    check_output(out, replace=force, marker=MANIFEST)
    hands = _Hands.resolved(workers, processes, scheduler)
    budget = share_out(settings.memory, hands.count, settings.block_mb, processes=hands.processes)
    job = Job(Corpus.find(inputs, settings), Corpus.find(test, settings) if test else None, settings)
    job.check()
    progress = progress or Progress()
    with (
        announced_compilation(progress.say),
        reused_memory(),
        PeakMemory(children=hands.processes) as memory,
        workspace(out, job.plan(budget.block_bytes), resume=resume) as work,
    ):
        with hands.engine(work, progress) as engine:
            phases = Phases(job, work, engine, budget, progress)
            outcome = phases.run()
            count = engine.workers
        effort = Effort(time.monotonic() - started_at, memory.mb, count, phases.seconds)
        write_manifest(work.result, make_manifest(job, outcome, effort))
    return PreparedDataset.open(out, verify=False)


@dataclass(frozen=True)
class _Hands:
    """Who works."""

    count: int
    processes: bool
    """Whether local workers are processes."""
    scheduler: str | None

    @classmethod
    def resolved(cls, workers: int | None, processes: bool | None, scheduler: str | None) -> "_Hands":
        count = workers or available_cores()
        apart = count >= PROCESSES_FROM_WORKERS if processes is None else processes
        return cls(count, apart and scheduler is None, scheduler)

    @contextmanager
    def engine(self, work: Workspace, progress: Progress) -> Iterator[Engine]:
        report = work.result / "reports" / "dask.html"
        with open_engine(
            self.count,
            self.scheduler,
            processes=self.processes,
            folder=work.scratch,
            report=report,
            say=progress.say,
        ) as engine:
            yield engine


def _resolved(settings: PrepareSettings | None, overrides: dict[str, Any]) -> PrepareSettings:
    given = settings.model_dump(exclude_unset=True) if settings else {}
    return resolve(base={"prepare": {**given, **overrides}}).prepare
