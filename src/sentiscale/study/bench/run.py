"""One run of a case in fresh processes, and what is kept of it."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.records import (
    Host,
    RunRecord,
    available_cores,
    command_line,
    git_commit,
    now,
    package_versions,
)
from sentiscale.study.bench.child import Done
from sentiscale.study.bench.plan import Amount, LeftOut, settings_of
from sentiscale.study.bench.steps import StepTimes, measure_steps
from sentiscale.study.bench.trace import times_per_rank, with_waiting
from sentiscale.study.records import BenchRun, Case, Span
from sentiscale.training.hardware import Hardware
from sentiscale.training.job import Job, Measuring
from sentiscale.training.launch import launch_ranks
from sentiscale.training.run_directory import RunDir
from sentiscale.util.progress import Progress

VERSIONS = ("sentiscale", "numpy", "numba", "pyarrow", "torch", "dask", "distributed", "pandas", "polars")


class Beside(Protocol):
    """One kind of cases, and how to run them."""

    @property
    def cases(self) -> list[Case]:
        """All cases that can run here."""

    @property
    def left_out(self) -> list[LeftOut]:
        """Cases that cannot."""

    def run(self, case: Case, repeat: int) -> tuple[BenchRun, float]:
        """Run a case in a fresh process; also returns the cores that others kept busy meanwhile.

        Raises: SentiscaleError when it fails; its messages are kept.
        """

    def differences(self, run: BenchRun) -> Iterator[str]:
        """Why a kept run of this kind does not belong to the same study."""


def record(case: Case, repeat: int, done: Done, digest: str, rows: int, shape: dict[str, Any]) -> BenchRun:
    """What is kept of a run; a row is one that went in, whatever came out of it."""
    timed = done.timed
    return BenchRun(
        case=case,
        repeat=repeat,
        seed=0,  # nothing in it is drawn
        amount={"rows": rows},
        seconds=timed.seconds,
        rows=rows,
        rows_per_s=rows / max(timed.seconds, 1e-9),
        warm_up_seconds=round(timed.warm_up_seconds, 4),
        start_seconds=round(done.start_seconds, 4),
        peak_memory_mb_per_rank=[round(done.peak_memory_mb, 1)],
        oversubscribed=case.workers > available_cores(),
        started_at=now(),
        host=Host.current(),
        command=command_line(),
        versions=package_versions(*VERSIONS),
        git_commit=git_commit(),
        data_digest=digest,
        shape={**shape, "cpu_seconds": round(done.cpu_seconds, 2)},
    )


def worker_counts(cores: int, asked: Sequence[int] = ()) -> list[int]:
    """1, 2, 4, ... up to all cores, unless others are asked for."""
    return sorted(set(asked)) or sorted({2**power for power in range(cores.bit_length())} | {cores})


def changed(run: BenchRun, digest: str, shape: dict[str, Any]) -> Iterator[str]:
    """Where a kept run was made of something else."""
    if run.data_digest != digest:
        yield f"they were made of other texts ({run.data_digest[:8]}, now {digest[:8]})"
    for name, value in shape.items():
        if run.shape.get(name) != value:
            yield f"{name} was {run.shape.get(name)}, not {value}"


SHAPE_OF_TRAINING = {
    "max_tokens",
    "micro_batches",
    "embedding_gradients",
    "gradient_compression",
    "word_dropout",
}
"""Settings of training that decide what a step costs, beside those of the model."""


@dataclass(frozen=True)
class Conditions:
    """What all runs of a study share."""

    dataset: PreparedDataset
    """Prepared data."""
    settings: Settings
    """What is trained."""
    amount: Amount
    """How much each run does."""
    seed: int
    """Fixes rows and the order of runs."""
    tokens_per_row: float
    """As the network sees them, on average over the training rows."""
    gpu: str | None = None
    """Name of the graphics processor; None without one."""
    beside: Mapping[str, Beside] = field(default_factory=dict)
    """What is measured beside training, by kind of case: preparation, prediction."""

    @classmethod
    def of(cls, dataset: PreparedDataset, settings: Settings, amount: Amount, seed: int) -> "Conditions":
        """For this data on this machine."""
        import torch

        lengths = dataset.split("train").lengths.clip(1, settings.train.max_tokens)
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        return cls(dataset, settings, amount, seed, round(float(lengths.mean()), 2), gpu)

    def shape_of(self, case: Case) -> dict[str, Any]:
        """What is trained, as records hold it."""
        settings = settings_of(case, self.settings, self.seed)
        training = settings.train.model_dump(mode="json", include=SHAPE_OF_TRAINING)
        return {**settings.model.model_dump(), **training, "tokens_per_row": self.tokens_per_row}


def measured(case: Case, conditions: Conditions, steps: int | None = None) -> tuple[StepTimes, float]:
    """Time the steps of a case; also returns when that began, on the host's monotonic clock."""
    exchange = "never" if case.kind == "copies" else "always" if case.collectives else "needed"
    measuring = Measuring.model_validate({"exchange": exchange, "typical": True, "record": True})
    settings = settings_of(case, conditions.settings, conditions.seed)
    count, began_at = steps or conditions.amount.steps_of(case), time.perf_counter()
    return measure_steps(conditions.dataset.path.absolute(), settings, count, measuring), began_at


def timeline_of(found: StepTimes, case: Case) -> list[list[Span]]:
    """What each rank did when, waiting included."""
    return with_waiting(found.spans_per_rank, case)


def do(case: Case, repeat: int, conditions: Conditions) -> tuple[BenchRun, float]:
    """Run a case once; also returns the cores that others kept busy during it.

    Raises: what the launcher raises.
    """
    if case.kind in conditions.beside:
        run, others = conditions.beside[case.kind].run(case, repeat)
        host = run.host.model_copy(update={"gpu": conditions.gpu})
        return run.model_copy(update={"host": host}), others
    if conditions.amount.target_accuracy is not None:
        return _trained(case, repeat, conditions), 0.0
    started_at = now()
    found, began_at = measured(case, conditions)
    run = _record(case, repeat, conditions).model_copy(
        update={
            "started_at": started_at,
            "seconds": found.seconds,
            "rows": found.rows,
            "rows_per_s": found.rows_per_s,
            "steps": found.steps,
            "step_seconds": [round(seconds, 6) for seconds in found.seconds_by_step],
            "warm_up_seconds": round(found.warm_up_seconds, 4),
            "start_seconds": round(found.first_step_at - began_at, 4),
            "times_per_rank": times_per_rank(timeline_of(found, case)),
            "bytes_per_step": found.bytes_per_step,
            "peak_memory_mb_per_rank": found.peak_memory_mb_per_rank,
        }
    )
    return run, found.other_cores


def _trained(case: Case, repeat: int, conditions: Conditions) -> BenchRun:
    """Train to the target as `sentiscale train` does, in a run directory that is thrown away."""
    settings = settings_of(case, conditions.settings, conditions.seed + repeat)
    target = {"target_accuracy": conditions.amount.target_accuracy}
    settings = settings.model_copy(update={"train": settings.train.model_copy(update=target)})
    settings = settings.resolved(len(conditions.dataset.split("train")))
    run, began_at = _record(case, repeat, conditions), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
        job = Job(conditions.dataset, RunDir(Path(folder, "run")), settings)
        job.run_dir.create(resume=False, force=False)
        record = launch_ranks(job, Hardware.choose(settings), Progress())
    reached = (record.target or {}).get("seconds")
    seconds = reached if reached is not None else record.train_seconds
    rows = record.steps * case.batch_size
    return run.model_copy(
        update={
            "seed": settings.train.seed,
            "seconds": seconds,
            "rows": rows,
            "rows_per_s": rows / max(seconds, 1e-9),
            "steps": record.steps,
            "start_seconds": round(max(0.0, _outside_training(record, began_at)), 4),
            "bytes_per_step": [record.bytes_reduced_per_step],
            "peak_memory_mb_per_rank": record.peak_memory_mb_per_rank,
            "accuracy": record.valid.get("accuracy"),
            "reached": reached is not None,
            "phases": record.phases.model_dump(),
        }
    )


def _outside_training(record: RunRecord, began_at: float) -> float:
    """Seconds since `began_at` that are not training: start, last scores, model directory."""
    return time.perf_counter() - began_at - record.train_seconds


def _record(case: Case, repeat: int, conditions: Conditions) -> BenchRun:
    """What is known of a run before it has begun."""
    return BenchRun(
        case=case,
        repeat=repeat,
        seed=conditions.seed,
        amount=conditions.amount.kept,
        seconds=0.0,
        rows=0,
        rows_per_s=0.0,
        oversubscribed=case.device == "cpu" and case.workers > available_cores(),
        started_at=now(),
        host=Host.current(conditions.gpu),
        command=command_line(),
        versions=package_versions("sentiscale", "torch", "numpy"),
        git_commit=git_commit(),
        data_digest=conditions.dataset.manifest.digest,
        embedding_rows=conditions.dataset.manifest.vocab_size,
        shape=conditions.shape_of(case),
    )
