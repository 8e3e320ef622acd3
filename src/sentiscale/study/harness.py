"""Measurements in fresh processes that can be interrupted and resumed, for `bench` and `compare`.

A job file goes in, a fresh process runs one function on it, an outcome file comes out. Finished runs are
lines of `records.jsonl`, and the same command continues after them. As a program, it is that process.
"""

import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, get_type_hints

from pydantic import BaseModel

from sentiscale.errors import Interrupted, SentiscaleError
from sentiscale.records import Record, append_jsonl
from sentiscale.study.load import CoreMeter, processor_seconds
from sentiscale.util.atomic import make_directory, write_file
from sentiscale.util.memory import MIB, PeakMemory
from sentiscale.util.processes import call, failure

OutcomeT = TypeVar("OutcomeT", bound=BaseModel)
JobT = TypeVar("JobT")
RunT = TypeVar("RunT", bound=Record)


@dataclass(frozen=True)
class FreshRun(Generic[OutcomeT]):
    """The outcome of a process that ended well, and what the process took."""

    outcome: OutcomeT
    started_at: float  # on the host's monotonic clock
    seconds: float
    cpu_seconds: float  # of the whole process and its descendants, start included
    peak_memory_mb: float  # of the process tree, in MB of 2^20 bytes; 0 where it was not watched
    other_cores: float  # that other processes kept busy meanwhile


def run_fresh(
    function: str,
    job: BaseModel,
    outcome: type[OutcomeT],
    *,
    label: str,
    out: Path,
    variables: Mapping[str, str],
    watch_memory: bool = False,
) -> FreshRun[OutcomeT]:
    """Run `function(job, folder)` in a fresh process, with a temporary folder under `out`.

    Args:
        function: `module:name`. A string, so that this process need not load the libraries that it uses.
        job: its argument, handed over as JSON.
        outcome: type of its result.
        label: name of the run for messages, such as "polars with 2 workers".
        out: directory of the study, where the messages of a failed run are kept.
        variables: environment of the process.
        watch_memory: sample the memory of the process tree, which costs some processor time.

    Raises: SentiscaleError if the process fails.
    """
    trees: list[PeakMemory] = []

    def watch(pid: int) -> AbstractContextManager[object]:
        if not watch_memory:
            return nullcontext()
        trees.append(PeakMemory(pid))
        return trees[0]

    with tempfile.TemporaryDirectory(prefix=".run-", dir=out) as name:
        folder = Path(name).resolve()
        job_file, outcome_file, log = (folder / name for name in ("job.json", "outcome.json", "messages.log"))
        job_file.write_text(job.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", __name__, function, str(job_file), str(outcome_file)]
        os.sync()  # otherwise the output of earlier runs may be written to disk during this one
        meter, cpu = CoreMeter(), processor_seconds(descendants_only=True)
        code = call(command, log, variables, watch)
        seconds = time.perf_counter() - meter.began_at
        cpu = processor_seconds(descendants_only=True) - cpu
        everybody, own = meter.read()
        if code != 0 or not outcome_file.exists():
            raise failure(f"the run of {label}", code, log, out / "failed.log")
        return FreshRun(
            outcome=outcome.model_validate_json(outcome_file.read_bytes()),
            started_at=meter.began_at,
            seconds=seconds,
            cpu_seconds=cpu,
            peak_memory_mb=trees[0].peak / MIB if trees else 0.0,
            other_cores=max(0.0, everybody - own - cpu / seconds),
        )


def run_missing(
    jobs: Sequence[JobT],
    finished: dict[str, RunT],
    key_of: Callable[[JobT], str],
    measure: Callable[[JobT], RunT],
    records: Path,
) -> None:
    """Measure the jobs that are not finished, and append each run to `records` and `finished`.

    Raises: Interrupted, by Ctrl-C or SIGTERM; finished runs are kept.
    """
    make_directory(records.parent)
    try:
        for job in jobs:
            if key_of(job) not in finished:
                run = measure(job)
                append_jsonl(records, run)
                finished[key_of(job)] = run
    except (KeyboardInterrupt, Interrupted) as error:
        raise Interrupted(
            f"interrupted; finished runs are kept in {records}. The same command goes on after them."
        ) from error


def main(function: str, job_file: str, outcome_file: str) -> int:
    """Run the function on the job; the job's type is that of its first parameter."""
    module, _, name = function.partition(":")
    target = getattr(importlib.import_module(module), name)
    job_type = next(iter(get_type_hints(target).values()))
    try:
        job = job_type.model_validate_json(Path(job_file).read_bytes())
        outcome = target(job, Path(job_file).parent)
    except SentiscaleError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    write_file(Path(outcome_file), outcome.model_dump_json())
    return 0


if __name__ == "__main__":  # Dask's processes import this module as well
    sys.exit(main(*sys.argv[1:]))
