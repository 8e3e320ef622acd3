"""Let the trackers that the settings name follow a run, from its beginning to its end."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

from sentiscale.config import TrackSettings
from sentiscale.errors import UsageError
from sentiscale.records import EpochMetrics, RunRecord, now
from sentiscale.tracking.tracker import Courier, TrackedRun, Tracker, points_of, scores_of, settings_of

NEEDED_MODULES = {"mlflow": "mlflow", "tensorboard": "tensorboardX"}


def check_trackers(settings: TrackSettings) -> None:
    """Fail before any work is done when a tracker's library is not installed.

    Raises: UsageError.
    """
    for name in settings.to:
        if importlib.util.find_spec(NEEDED_MODULES[name]) is None:
            raise UsageError(
                f"tracking to {name} needs the package {NEEDED_MODULES[name]}, which is not installed. "
                f"Install it with: pip install 'sentiscale[{name}]', or leave out --track {name}."
            )


def make_tracker(name: str, settings: TrackSettings) -> Tracker:
    """The tracker of this name, its library loaded.

    That is done here, in the thread of training: other libraries look into `sys.modules` and stumble over
    modules that another thread has imported half (scikit-learn over Polars, which MLflow loads).
    """
    if name == "mlflow":
        from sentiscale.tracking.mlflow_run import MlflowRun

        return MlflowRun(settings)
    from sentiscale.tracking.tensorboard_events import TensorboardEvents

    return TensorboardEvents()


class Following:
    """All trackers of one run; nothing here raises or waits, except `end`, which waits for what is open."""

    def __init__(self, settings: TrackSettings, run: TrackedRun, say: Callable[[str], None]) -> None:
        self.run = run
        self.upload_model = settings.upload_model
        self.couriers: list[Courier] = []
        for name in settings.to:
            try:
                self.couriers.append(Courier(name, make_tracker(name, settings), say))
            except Exception as error:  # whatever a broken installation raises
                say(f"warning: {name} cannot be loaded and does not follow this run: {error}")
        chosen = settings_of(run.record)
        for courier in self.couriers:
            courier.send(lambda tracker: tracker.begin(chosen, run))

    def metrics(self, metrics: EpochMetrics) -> None:
        """Pass on one validation."""
        values, at = points_of(metrics), now().timestamp()
        for courier in self.couriers:
            courier.send(lambda tracker: tracker.metrics(metrics.step, values, at))

    def end(self, record: RunRecord) -> None:
        """Pass on final figures and files, and wait until they have arrived or cannot."""
        status = "failed" if record.status == "running" else record.status
        scores = scores_of(record) if status == "finished" else {}
        for courier in self.couriers:
            for path in self._files(finished=status == "finished"):
                courier.send(lambda tracker, path=path: tracker.artefact(path))  # type: ignore[misc]
            courier.send(lambda tracker: tracker.end(status, scores))
        for courier in self.couriers:
            courier.close()

    def _files(self, *, finished: bool) -> Iterable[Path]:
        """The record in any case; of a finished run also its curves, its pictures and its model."""
        folder = self.run.path
        yield folder / "record.json"
        if finished:
            yield folder / "metrics.jsonl"
            yield from sorted((folder / "plots").glob("*"))
            if self.upload_model:
                yield from sorted((folder / "model").glob("*"))
