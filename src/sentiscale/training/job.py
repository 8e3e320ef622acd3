"""One run to train; JSON carries it to the processes of its ranks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiscale.config import Settings
from sentiscale.data.prepared import PreparedDataset
from sentiscale.training.run_directory import RunDir


@dataclass(frozen=True)
class TrainJob:
    dataset: PreparedDataset
    run_dir: RunDir
    settings: Settings
    """Resolved: with numbers for all that depends on the data."""
    resume: bool = False
    force: bool = False
    layout_choice: dict[str, Any] | None = None
    """Why `--layout auto` took this layout, for the record."""

    def write(self, path: Path) -> Path:
        """Write the job as JSON; a rank never has to replace a run, so `force` is left out."""
        document = {
            "dataset": str(self.dataset.path.absolute()),
            "out": str(self.run_dir.path.absolute()),
            "settings": self.settings.model_dump(mode="json"),
            "resume": self.resume,
            "layout_choice": self.layout_choice,
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "TrainJob":
        document = json.loads(path.read_bytes())
        return cls(
            PreparedDataset.open(document["dataset"]),
            RunDir(Path(document["out"])),
            Settings.model_validate(document["settings"]),
            resume=document["resume"],
            layout_choice=document["layout_choice"],
        )
