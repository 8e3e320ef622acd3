"""What is to be trained, from what, and where to: handed from process to process as JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.training.run_directory import RunDir


@dataclass(frozen=True)
class Job:
    """One run of training, with resolved settings."""

    dataset: PreparedDataset
    """The prepared data."""
    run_dir: RunDir
    """Where everything is written."""
    settings: Settings
    """What to train and how."""
    resume: bool = False
    """Go on from the newest checkpoint."""
    force: bool = False
    """Replace a run that is there."""


class Measuring(BaseModel):
    """How steps are measured, by a job that does only that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exchange: Literal["needed", "always", "never"] = "needed"
    """always: even one rank sends its gradients through the exchange, to itself. never: ranks are trainings
    that know nothing of each other, each with its share of the rows."""
    typical: bool = False
    """Steps chosen all over an epoch, with the lengths that its steps have; else its first ones."""
    record: bool = False
    """Keep when each phase of each step began and ended."""


class JobFile(BaseModel):
    """What a rank's process needs to know about its job; it is written and read by the same version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Path
    """Directory of the prepared data."""
    out: Path
    """The run directory."""
    settings: Settings
    """Resolved settings."""
    resume: bool
    """Go on from the newest checkpoint."""
    quiet: bool
    """Whether rank 0 shows no progress."""
    steps: int | None = None
    """Only measure this many steps; None trains."""
    measuring: Measuring = Measuring()

    def write(self, path: Path) -> Path:
        """Write it as JSON and return the path."""
        path.write_text(self.model_dump_json(), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "JobFile":
        """Read what `write` wrote."""
        return cls.model_validate_json(path.read_bytes())
