"""Our own `train` with the settings of a preset."""

from collections.abc import Iterator
from contextlib import contextmanager

from sentiscale.config import Settings
from sentiscale.parallel.layout import Layout
from sentiscale.study.bench.steps import measure_steps
from sentiscale.study.compare.records import Conditions, CurvePoint, Job, JobFile, Outcome, processor_seconds
from sentiscale.training.loop import train as run_training
from sentiscale.util.progress import Advance, Progress


def train(task: JobFile) -> Outcome:
    """Train to the end in a temporary run directory, or time some steps of the network."""
    settings = settings_of(task.job)
    if task.job.conditions.steps:
        times = measure_steps(task.data, settings, task.job.conditions.steps)
        return Outcome(rows_per_s=round(times.rows_per_s, 1))
    mark, began = EndOfTraining(), processor_seconds()
    record = run_training(task.data, task.work / "run", settings, progress=mark)
    ended = mark.processor_seconds if record.world_size == 1 else processor_seconds()
    return Outcome(
        train_seconds=record.train_seconds,
        cpu_seconds=round(ended - began, 3),
        rows_per_s=round(record.rows_per_s, 1),
        valid=record.valid,
        test=record.test,
        curve=[
            CurvePoint(seconds=point.seconds, valid_accuracy=point.valid_accuracy) for point in record.metrics
        ],
        versions=record.versions,
    )


def settings_of(job: Job) -> Settings:
    """The settings of a run: its recipe, under the conditions of the comparison."""
    conditions = job.conditions
    train_settings = {
        **job.recipe["train"],
        "seed": job.seed,
        "layout": conditions.layout,
        "threads_per_rank": threads_per_rank(conditions),
        "time_limit": conditions.time_limit or job.recipe["train"]["time_limit"],
    }
    return Settings.model_validate({**job.recipe, "train": train_settings})


def threads_per_rank(conditions: Conditions) -> int | None:
    """A rank's share of the threads; None lets `--layout auto` choose."""
    if conditions.layout == "auto":
        return None
    return max(1, conditions.threads // Layout.parse(conditions.layout).world_size)


class EndOfTraining(Progress):
    """Notes the processor time when the last step is done; the scoring of the test split follows."""

    def __init__(self) -> None:
        self.processor_seconds = 0.0

    @contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        """Note when a task ends; training is the last one."""
        yield lambda amount, note: None
        self.processor_seconds = processor_seconds()
