"""Benchmark cases of training: run a case in fresh processes and create its record."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.parallel.launch import launch
from sentiscale.records import Host, available_cores, command_line, git_commit, now, package_versions
from sentiscale.study.bench.plan import Amount, settings_of
from sentiscale.study.bench.steps import MeasureOptions, StepTimes, measure_steps
from sentiscale.study.bench.trace import times_per_rank, with_waiting
from sentiscale.study.records import BenchRun, Case, Span
from sentiscale.training import rank
from sentiscale.training.hardware import Hardware
from sentiscale.training.run import TrainJob
from sentiscale.training.run_directory import RunDir

LIBRARIES = ("sentiscale", "torch", "numpy")
STEP_SETTINGS = {"max_tokens", "micro_batches", "embedding_gradients", "gradient_compression", "word_dropout"}
"""Training settings that affect the cost of a step, in addition to the settings of the model."""


@cache
def gpu_name() -> str | None:
    """Name of the GPU; None if there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def new_record(case: Case, repeat: int, libraries: tuple[str, ...] = LIBRARIES, **values: Any) -> BenchRun:
    """Create the record of a run, and fill in the fields that do not depend on the kind of case."""
    common = {
        "case": case,
        "repeat": repeat,
        "oversubscribed": case.device == "cpu" and case.workers > available_cores(),
        "started_at": now(),
        "host": Host.current(gpu_name()),
        "command": command_line(),
        "versions": package_versions(*libraries),
        "git_commit": git_commit(),
    }
    return BenchRun(**{**common, **values})


def changed_shape(run: BenchRun, shape: dict[str, Any]) -> Iterator[str]:
    """Yield the differences between the shape of a stored run and the current shape, as text."""
    for name, value in shape.items():
        if run.shape.get(name) != value:
            yield f"{name} was {run.shape.get(name)}, not {value}"


@dataclass(frozen=True)
class TrainingCases:
    """Cases of the kinds `train` and `copies`."""

    dataset: PreparedDataset
    settings: Settings
    amount: Amount
    seed: int

    def run(self, case: Case, repeat: int) -> tuple[BenchRun, float]:
        """Run a case once, and return its record and the number of cores that other processes kept busy.

        Raises: SentiscaleError if a rank fails.
        """
        if self.amount.target_accuracy is not None:
            return self._run_to_target(case, repeat), 0.0
        started_at, began_at = now(), time.perf_counter()
        times = self.measure(case, self.amount.steps_of(case))
        run = new_record(
            case,
            repeat,
            started_at=started_at,
            seed=self.seed,
            seconds=times.seconds,
            rows=times.rows,
            rows_per_s=times.rows_per_s,
            steps=times.steps,
            step_seconds=[round(seconds, 6) for seconds in times.seconds_by_step],
            warm_up_seconds=round(times.warm_up_seconds, 4),
            start_seconds=round(times.first_step_at - began_at, 4),
            times_per_rank=times_per_rank(timelines_of(times, case)),
            bytes_per_step=times.bytes_per_step,
            peak_memory_mb_per_rank=times.peak_memory_mb_per_rank,
            **self._identity(case),
        )
        return run, times.other_cores

    def measure(self, case: Case, steps: int) -> StepTimes:
        exchange = "never" if case.kind == "copies" else "always" if case.collectives else "needed"
        options = MeasureOptions.model_validate({"exchange": exchange, "typical": True, "record": True})
        settings = settings_of(case, self.settings, self.seed)
        return measure_steps(self.dataset.path.absolute(), settings, steps, options)

    def _run_to_target(self, case: Case, repeat: int) -> BenchRun:
        """Train to the target accuracy like `sentiscale train`, in a temporary run directory."""
        settings = settings_of(case, self.settings, self.seed + repeat)
        target = {"target_accuracy": self.amount.target_accuracy}
        settings = settings.model_copy(update={"train": settings.train.model_copy(update=target)})
        settings = self.dataset.resolve(settings)
        started_at, began_at = now(), time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
            job = TrainJob(self.dataset, RunDir(Path(folder, "run")), settings)
            job.run_dir.create(resume=False, force=False)
            command = rank.command(job.write(Path(folder, "job.json")), quiet=True)
            hardware = Hardware.choose(settings)
            launch(
                lambda attempt: command,
                hardware.layout.world_size,
                threads=hardware.threads,
                heartbeat_timeout=settings.train.silence_limit,
            )
            record = job.run_dir.read_record()
        reached = (record.target or {}).get("seconds")
        seconds = reached if reached is not None else record.train_seconds
        rows = record.steps * case.batch_size
        # Time outside training: startup, test scores and writing the model directory.
        outside = time.perf_counter() - began_at - record.train_seconds
        return new_record(
            case,
            repeat,
            started_at=started_at,
            seed=settings.train.seed,
            seconds=seconds,
            rows=rows,
            rows_per_s=rows / max(seconds, 1e-9),
            steps=record.steps,
            start_seconds=round(max(0.0, outside), 4),
            bytes_per_step=[record.bytes_reduced_per_step],
            peak_memory_mb_per_rank=record.peak_memory_mb_per_rank,
            accuracy=record.valid.get("accuracy"),
            reached=reached is not None,
            phases=record.phases.model_dump(),
            **self._identity(case),
        )

    def _identity(self, case: Case) -> dict[str, Any]:
        return {
            "amount": self.amount.as_recorded,
            "data_digest": self.dataset.manifest.digest,
            "embedding_rows": self.dataset.manifest.vocab_size,
            "shape": self._shape(case),
        }

    def _shape(self, case: Case) -> dict[str, Any]:
        settings = settings_of(case, self.settings, self.seed)
        training = settings.train.model_dump(mode="json", include=STEP_SETTINGS)
        return {**settings.model.model_dump(), **training, "tokens_per_row": self._tokens_per_row}

    @cached_property
    def _tokens_per_row(self) -> float:
        lengths = self.dataset.split("train").lengths.clip(1, self.settings.train.max_tokens)
        return round(float(lengths.mean()), 2)

    def mismatches(self, run: BenchRun) -> Iterator[str]:
        """Reasons why a stored run does not belong to this study."""
        if run.data_digest != self.dataset.manifest.digest:
            yield f"they were made on other data than {self.dataset.path}"
        if run.amount != self.amount.as_recorded:
            yield f"each went through {run.amount}, not {self.amount.as_recorded}"
        seed = run.seed - (run.repeat if self.amount.target_accuracy is not None else 0)
        if seed != self.seed:
            yield f"their seed was {seed}, not {self.seed}"
        yield from changed_shape(run, self._shape(run.case))


def timelines_of(times: StepTimes, case: Case) -> list[list[Span]]:
    """Timeline of each rank, with waiting separated from the exchange."""
    return with_waiting(times.spans_per_rank, case)
