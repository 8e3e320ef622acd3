"""Resumable measurements in fresh processes, for `bench` and `compare`.

A fresh process reads a job file, calls one function, and writes an outcome file. Run as a program, this
module is that process. Finished runs are appended to `records.jsonl`, and repeating the command skips them.
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
    """The outcome of a successful process, and the time and memory that the process used."""

    outcome: OutcomeT
    started_at: float  # on the host's monotonic clock
    seconds: float
    cpu_seconds: float  # processor time of the process and its descendants, including startup
    peak_memory_mb: float  # of the process tree, in MB of 2^20 bytes; 0 if memory was not sampled
    other_cores: float  # number of cores that other processes kept busy during the run


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
        function: the function as `module:name`. It is a string so that this process does not have to load the
            libraries that the function uses.
        job: argument of the function, passed as JSON.
        outcome: type of the function's result.
        label: name of the run in messages, such as "polars with 2 workers".
        out: directory of the study. The messages of a failed run are written to `failed.log` there.
        variables: environment variables of the process.
        watch_memory: whether to sample the memory of the process tree, which costs some processor time.

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
    """Measure the jobs that are not in `finished`, and append each run to `records` and `finished`.

    Raises: Interrupted on Ctrl-C or SIGTERM. Finished runs are kept.
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
            f"interrupted; finished runs are kept in {records}. Repeat the command to resume."
        ) from error


def main(function: str, job_file: str, outcome_file: str) -> int:
    """Call `function` with the job, which is parsed as the type of the function's first parameter."""
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


if __name__ == "__main__":  # Dask's worker processes also import this module
    sys.exit(main(*sys.argv[1:]))
