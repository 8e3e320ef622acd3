"""Train sentiscale itself as a contestant, or time steps of its network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentiscale.config import Settings
from sentiscale.parallel.layout import Layout
from sentiscale.study.bench.auto_layout import settle_layout
from sentiscale.study.bench.steps import measure_steps
from sentiscale.study.compare.records import CompareJob, CompareOutcome, CompareTask, CurvePoint
from sentiscale.study.load import processor_seconds
from sentiscale.training.launch import train as run_training
from sentiscale.util.progress import Advance, Progress


def train(task: CompareTask, folder: Path) -> CompareOutcome:
    settings = settings_of(task.job)
    if task.job.conditions.steps:
        times = measure_steps(task.data, settings, task.job.conditions.steps)
        return CompareOutcome(rows_per_s=round(times.rows_per_s, 1))
    timer, began = TrainingTimer(), processor_seconds()
    settings, layout_choice = settle_layout(settings, task.data, folder / "run", timer)
    record = run_training(task.data, folder / "run", settings, progress=timer, layout_choice=layout_choice)
    # Several ranks are separate processes, whose processor time is known only after they have ended.
    ended = timer.processor_seconds if record.world_size == 1 else processor_seconds()
    return CompareOutcome(
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


def settings_of(job: CompareJob) -> Settings:
    """Settings for the recipe of a job, under the conditions of the comparison."""
    conditions = job.conditions
    threads = None  # `--layout auto` chooses them
    if conditions.layout != "auto":
        threads = max(1, conditions.threads // Layout.parse(conditions.layout).world_size)
    train_settings = {
        **job.recipe["train"],
        "seed": job.seed,
        "layout": conditions.layout,
        "threads_per_rank": threads,
        "time_limit": conditions.time_limit or job.recipe["train"]["time_limit"],
    }
    return Settings.model_validate({**job.recipe, "train": train_settings})


class TrainingTimer(Progress):
    """Records the processor time at the end of training, before the test split is scored."""

    def __init__(self) -> None:
        self.processor_seconds = 0.0

    @contextmanager
    def task(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        yield lambda amount, note: None
        self.processor_seconds = processor_seconds()  # training is the last task
