"""Records of a comparison: the job of one run, its outcome, one line of `records.jsonl` per run."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from sentiscale.records import Host, Record


class CompareConditions(Record):
    """What all runs of a comparison share."""

    threads: int
    """Over all processes of a run."""
    layout: str = ""
    """Of sentiscale: replicas x stages, or auto; empty is the default of `train`."""
    time_limit: float | None = None
    """Seconds of training after which sentiscale and the recurrent peers stop."""
    steps: int | None = None
    """Number of training steps to time; None trains to the end."""


class CompareJob(Record):
    """One run."""

    model: str
    """Contestant, as in `--models`."""
    point: str = ""
    """Which of a contestant's points, such as "5 epochs"."""
    seed: int
    """Seed of the run."""
    recipe: dict[str, Any]
    """Everything that decides what the contestant does."""
    conditions: CompareConditions
    """What it shares with the other runs."""
    data_digest: str
    """Identity of the prepared data, as in their manifest."""

    @property
    def label(self) -> str:
        return ", ".join(part for part in (self.model, self.point, f"seed {self.seed}") if part)

    @property
    def key(self) -> str:
        """Equal for runs that would do the same."""
        return json.dumps(self.model_dump(include=set(CompareJob.model_fields)), sort_keys=True)


class CompareTask(BaseModel):
    """A job and its data: the argument of every `train(task, folder)`."""

    job: CompareJob
    data: Path


class CurvePoint(Record):
    """A validation during training."""

    seconds: float
    """Of training so far."""
    valid_accuracy: float
    """Share of the validation rows labelled correctly."""


class CompareOutcome(Record):
    """The result of a run."""

    train_seconds: float | None = None
    """From words to the model: features, dictionaries, fitting. None where only steps were timed."""
    cpu_seconds: float | None = None
    """Processor time of the same, over all threads and processes."""
    read_seconds: float = 0.0
    """Conversion of the prepared data for the contestant; not part of training."""
    rows_per_s: float | None = None
    """Training rows per second, a row counting once per pass; without warm-up where steps were timed."""
    valid: dict[str, Any] | None = None
    """Scores on the validation split."""
    test: dict[str, Any] | None = None
    """Scores on the test split, computed once."""
    curve: list[CurvePoint] = Field(default_factory=list)
    """Validations in order; empty where a contestant makes none."""
    projected_seconds: float | None = None
    """Time of full training at the measured speed, where it was not trained to the end."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries, by name."""


class CompareRun(CompareJob, CompareOutcome):
    """One finished run: a line of `records.jsonl`."""

    schema_version: int = 1
    """Version of this record; it grows when a key changes its meaning."""
    started_at: datetime
    """Start of its process."""
    process_seconds: float
    """Time of the whole process: start, reading, training, scoring."""
    host: Host
    """The machine."""
    git_commit: str | None = None
    """Commit of the folder that the command was called in; None outside of a repository."""
