"""What is to be trained, from what, and where to: handed from process to process as JSON."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.training.rundir import RunDir


@dataclass(frozen=True)
class Job:
    """One run of training, with resolved settings."""

    dataset: PreparedDataset
    run_dir: RunDir
    settings: Settings
    resume: bool = False
    force: bool = False


class JobFile(BaseModel):
    """What a rank's process needs to know about its job; it is written and read by the same version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Path
    out: Path
    settings: Settings
    resume: bool
    quiet: bool
    """Whether rank 0 shows no progress."""
    steps: int | None = None
    """Only measure this many steps; None trains."""

    def write(self, path: Path) -> Path:
        """Write it as JSON and return the path."""
        path.write_text(self.model_dump_json(), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "JobFile":
        """Read what `write` wrote."""
        return cls.model_validate_json(path.read_bytes())
