"""Records of a comparison: the job of a run, its outcome, and one line of `records.jsonl` per run."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from sentiscale.records import Amount, Count, Fraction, Host, JsonObject, Record, Scores, valid_as


class CompareConditions(Record):
    """Conditions that all runs of a comparison share."""

    threads: Count
    """Number of threads, over all processes of a run."""
    layout: str = ""
    """Layout of sentiscale as replicas x stages, or auto; empty for the default of `train`."""
    time_limit: Amount | None = None
    """Seconds of training after which sentiscale and the recurrent peers stop."""
    steps: Count | None = None
    """Number of training steps to time; None to train to the end."""


class CompareJob(Record):
    """One run to carry out."""

    model: str
    """Name of the contestant, as in `--models`."""
    point: str = ""
    """Name of the contestant's point, such as "5 epochs"; empty if it has only one."""
    seed: Count
    """Seed of the run."""
    recipe: JsonObject
    """Everything that determines what the contestant does."""
    conditions: CompareConditions
    """Conditions that all runs of the comparison share."""
    data_digest: str
    """Digest of the prepared data, as in their manifest."""

    @property
    def label(self) -> str:
        return ", ".join(part for part in (self.model, self.point, f"seed {self.seed}") if part)

    @property
    def key(self) -> str:
        """Key that is equal for runs that do the same work."""
        return json.dumps(self.model_dump(include=set(CompareJob.model_fields)), sort_keys=True)


class CompareTask(BaseModel):
    """A job and its data: the argument of the `train(task, folder)` functions."""

    job: CompareJob
    data: Path


class CurvePoint(Record):
    """A validation during training."""

    seconds: Amount
    """Training time up to the validation, in seconds."""
    valid_accuracy: Fraction
    """Share of the validation rows labelled correctly."""


class CompareOutcome(Record):
    """The result of a run."""

    train_seconds: Amount | None = None
    """Duration of the training from words to the model: features, dictionaries and fitting. None if only
    steps were timed."""
    cpu_seconds: Amount | None = None
    """Processor time of the training, over all threads and processes."""
    read_seconds: Amount = 0.0
    """Time to convert the prepared data for the contestant, which is not part of training."""
    rows_per_s: Amount | None = None
    """Training rows per second; a row counts once per pass. If only steps were timed, without the warm-up."""
    valid: Annotated[dict[str, Any], valid_as(Scores, "accuracy")] | None = None
    """Scores on the validation split."""
    test: Annotated[dict[str, Any], valid_as(Scores, "accuracy")] | None = None
    """Scores on the test split, computed once at the end."""
    curve: list[CurvePoint] = Field(default_factory=list)
    """Validations during training, in order; empty if the contestant does not validate."""
    projected_seconds: Amount | None = None
    """Projected time of the full training at the measured speed, if only steps were timed."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries, by name."""


class CompareRun(CompareJob, CompareOutcome):
    """One finished run: a line of `records.jsonl`."""

    schema_version: int = 1
    """Version of this record; it increases when a key changes its meaning."""
    started_at: datetime
    """Time at which the process started."""
    process_seconds: Amount
    """Duration of the whole process: startup, reading, training and scoring."""
    host: Host
    """Machine that ran it."""
    git_commit: str | None = None
    """Git commit of the working directory; None outside a repository."""
