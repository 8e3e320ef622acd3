"""What is kept of a comparison: the job of one run, its outcome, one line a run."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from sentiscale.records import Host, Record

SCHEMA_VERSION = 1


class Conditions(Record):
    """What all runs of a comparison share."""

    threads: int
    """Over all processes of a run."""
    layout: str = ""
    """Of ours: replicas x stages, or auto; empty is what `train` takes by itself."""
    time_limit: float | None = None
    """Seconds of training after which those stop that can: ours and the recurrent peers."""
    steps: int | None = None
    """Time only so many training steps; None trains to the end."""


class Job(Record):
    """One run, to be done in a process of its own."""

    model: str
    """Contestant, as in `--models`."""
    point: str = ""
    """Which of a contestant's points, such as "5 epochs"."""
    seed: int
    """What everything drawn at random is drawn from."""
    recipe: dict[str, Any]
    """Everything that decides what the contestant does."""
    conditions: Conditions
    """What it shares with the others."""
    data_digest: str
    """Identity of the prepared data, as in their manifest."""

    @property
    def label(self) -> str:
        """As people are told of it."""
        return ", ".join(part for part in (self.model, self.point, f"seed {self.seed}") if part)

    @property
    def key(self) -> str:
        """Equal for runs that would do the same."""
        return json.dumps(self.model_dump(include=set(Job.model_fields)), sort_keys=True)


class JobFile(Record):
    """What the process of a run is told."""

    job: Job
    """The run."""
    trainer: str
    """Module of `sentiscale.study.compare.peers` that does it, or preset: our own."""
    data: Path
    """The prepared data."""
    work: Path
    """An empty folder that is removed afterwards."""


class CurvePoint(Record):
    """A validation on the way."""

    seconds: float
    """Of training so far."""
    valid_accuracy: float
    """Share of the validation rows labelled correctly."""


class Outcome(Record):
    """What came of a run."""

    train_seconds: float | None = None
    """From the words to the model: features, dictionaries, fitting. None where only steps were timed."""
    cpu_seconds: float | None = None
    """Processor time of the same, over all threads and processes."""
    read_seconds: float = 0.0
    """Turning prepared data into what the contestant reads; not part of training."""
    rows_per_s: float | None = None
    """Training rows a second, a row counting once a pass; without warm-up where steps were timed."""
    valid: dict[str, Any] | None = None
    """Scores on the validation split."""
    test: dict[str, Any] | None = None
    """Scores on the test split, looked at once."""
    curve: list[CurvePoint] = Field(default_factory=list)
    """Validations in order; empty where a contestant makes none."""
    projected_seconds: float | None = None
    """What full training would take at the measured speed; nobody has waited for it."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the libraries it computes with, by name."""


class CompareRun(Job, Outcome):
    """One finished run: a line of `records.jsonl`."""

    schema_version: int = SCHEMA_VERSION
    """Of this record; it grows when a key changes its meaning."""
    started_at: datetime
    """When its process was started."""
    process_seconds: float
    """Of the whole process: start, reading, training, scoring."""
    host: Host
    """The machine."""
    git_commit: str | None = None
    """Commit of the folder the command was called in; None outside of a repository."""


class Stopwatch:
    """Adds up the blocks it is held open for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count this block."""
        started_at, cpu = time.perf_counter(), processor_seconds()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started_at
            self.cpu_seconds += processor_seconds() - cpu


def processor_seconds() -> float:
    """User and system time of this process, all its threads, and its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
