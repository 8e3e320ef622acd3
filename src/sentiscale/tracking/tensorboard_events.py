"""Records a run for TensorBoard: event files in the run directory's `tensorboard/`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentiscale.tracking.tracker import Scalar, TrackedRun

FOLDER = "tensorboard"


class TensorboardEvents:
    """A `Tracker` that writes event files; `tensorboard --logdir RUNS` shows all runs below a directory."""

    def __init__(self) -> None:
        import matplotlib.image
        import tensorboardX.summary
        from tensorboardX import SummaryWriter

        self.open = SummaryWriter
        self.hparams = tensorboardX.summary.hparams
        self.read_picture = matplotlib.image.imread
        self.writer: Any = None
        self.settings: Mapping[str, Scalar] = {}
        self.last_step = 0
        self.written_up_to = -1
        """Last step that an earlier event file covers."""

    def begin(self, settings: Mapping[str, Scalar], run: TrackedRun) -> None:
        """Open an event file. After resuming, TensorBoard discards repeated steps of an earlier file."""
        self.settings = settings
        folder = run.path / FOLDER
        if run.resumed_at is not None and any(folder.glob("events.*")):
            self.written_up_to, first = run.resumed_at, run.resumed_at + 1
            # File names contain the second of opening; without a suffix one file could replace another.
            self.writer = self.open(str(folder), purge_step=first, filename_suffix=f".from-{first}")
        else:
            self.writer = self.open(str(folder))
            self.writer.add_text("settings", table(settings), 0)
        self.writer.flush()

    def metrics(self, step: int, values: Mapping[str, float], at: float) -> None:
        self.last_step = step
        if step <= self.written_up_to:
            return
        for name, value in values.items():
            self.writer.add_scalar(name, value, step, walltime=at)
        self.writer.flush()

    def artefact(self, path: Path) -> None:
        """Add a picture. Other files are skipped, as they are in the run directory."""
        if path.suffix == ".png":
            self.writer.add_image(
                path.stem, self.read_picture(path)[..., :3], self.last_step, dataformats="HWC"
            )

    def end(self, status: str, scores: Mapping[str, float]) -> None:
        """Write the final scores, and the settings for TensorBoard's table of runs."""
        for name, value in scores.items():
            self.writer.add_scalar(name, value, self.last_step)
        if scores:
            for summary in self.hparams(dict(self.settings), dict(scores)):
                self.writer.file_writer.add_summary(summary)
        self.writer.add_text("status", status, self.last_step)
        self.writer.close()


def table(settings: Mapping[str, Scalar]) -> str:
    """Format settings as a Markdown table."""
    lines = (f"| {name} | {value} |" for name, value in settings.items())
    return "\n".join(("| setting | value |", "| --- | --- |", *lines))
