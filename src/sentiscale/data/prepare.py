"""Prepare raw reviews: encode partitions, find duplicate texts, count words and write the splits.

The result depends only on input and settings, not on workers, partitions or the order of completion.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

from sentiscale.config import PrepareSettings, resolve
from sentiscale.data.engine import open_engine
from sentiscale.data.job import Paths, PrepareJob, share_out
from sentiscale.data.manifest import Effort, make_manifest
from sentiscale.data.phases import Phases
from sentiscale.data.prepared import MANIFEST, PreparedDataset, write_manifest
from sentiscale.data.workspace import workspace
from sentiscale.errors import UsageError
from sentiscale.records import available_cores
from sentiscale.text.compiled import announced_compilation
from sentiscale.util.atomic import check_output
from sentiscale.util.memory import PeakMemory, reused_memory
from sentiscale.util.progress import Progress

PROCESSES_FROM_WORKERS = 9
"""Number of workers from which they are processes. Fewer run as threads: the kernels release the GIL, and
processes take seconds to start and stop and use 150 MB each (decision 3)."""


def prepare(
    inputs: Paths,
    out: str | Path,
    *,
    test: Paths = (),
    settings: PrepareSettings | None = None,
    workers: int | None = None,
    processes: bool | None = None,
    scheduler: str | None = None,
    report: bool = False,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> PreparedDataset:
    """Prepare review files as a memory-mapped dataset.

    Args:
        inputs: files, globs, folders, named pipes or fsspec URLs, plain or compressed.
        out: dataset directory to write; it is created only if preparation succeeds.
        test: files of a separate test set; without one, the inputs are split into train, valid and test.
        settings: how to read and clean reviews; None for the defaults.
        workers: number of partitions processed at once; None for one per core.
        processes: whether workers are processes rather than threads; None uses processes from 9 workers on.
            With processes, a script must call this function under `if __name__ == "__main__":`.
        scheduler: address of a running Dask scheduler whose workers see `out`; None runs on this machine.
        report: draw Dask's performance report, `reports/dask.html`, for threads too; they then run in Dask.
        resume: continue an interrupted preparation of the same inputs and settings.
        force: replace `out` if it exists.
        progress: object that displays progress; None for no display.
        **overrides: individual settings, such as `stars_column="stars"`.

    Raises:
        DataError: there is no usable input.
        UsageError: the settings are invalid, or `out` cannot be written.
        ClusterError: the workers are permanently lost. Continue with `resume=True`.
        Interrupted: a signal stopped the preparation. Continue with `resume=True`.
    """
    started_at = time.monotonic()
    explicit = settings.model_dump(exclude_unset=True) if settings else {}
    settings = resolve(base={"prepare": {**explicit, **overrides}}).prepare
    out = Path(out).absolute()
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}; it must be at least 1.")
    check_output(out, replace=force, marker=MANIFEST)
    workers = workers or available_cores()
    processes = scheduler is None and (workers >= PROCESSES_FROM_WORKERS if processes is None else processes)
    budget = share_out(settings.memory, workers, settings.block_mb, processes=processes)
    job = PrepareJob.find(inputs, test, settings)
    progress = progress or Progress()
    start_engine = partial(
        open_engine, workers, scheduler, processes=processes, with_dask=report, say=progress.say
    )
    with (
        announced_compilation(progress.say),
        reused_memory(),
        PeakMemory(children=processes) as memory,
        workspace(out, job.plan(budget.block_bytes), resume=resume) as work,
    ):
        with start_engine(folder=work.scratch, report=work.result / "reports" / "dask.html") as engine:
            phases = Phases(job, work, engine, budget, progress)
            outcome = phases.run()
        effort = Effort(time.monotonic() - started_at, memory.mb, engine.workers, phases.seconds)
        write_manifest(work.result, make_manifest(job, outcome, effort))
    return PreparedDataset.open(out, verify=False)
