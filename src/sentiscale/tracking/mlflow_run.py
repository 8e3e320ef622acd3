"""Records a run in MLflow: parameters, curves, final scores, files, and the model as MLflow loads it."""

import importlib
import importlib.util
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sentiscale.config import TrackSettings
from sentiscale.errors import DataError
from sentiscale.tracking.tracker import Scalar, TrackedRun
from sentiscale.util.atomic import write_file
from sentiscale.util.files import read_json

RUN_FILE = "mlflow.json"
"""File in the run directory that holds the id of the MLflow run, so that a resumed run continues it."""
STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
MAX_VALUE_LENGTH = 500
"""Maximum characters of a parameter that every version of MLflow's server accepts."""
MAX_PARAMETERS = 100
"""Maximum number of parameters per request."""
MODULES = (
    "mlflow.tracking",
    "mlflow.entities",
    "mlflow.exceptions",
    "mlflow.artifacts",
    "mlflow.store.artifact.artifact_repository_registry",
    "mlflow.store.artifact.mlflow_artifacts_repo",
    "mlflow.tracking.request_header.registry",
    "IPython",
)
"""All modules that are used; MLflow imports some of them late, and IPython if it is installed."""
MODEL_DESCRIPTION = """artifact_path: model
flavors:
  python_function:
    loader_module: sentiscale.inference.mlflow_model
run_id: {run_id}
"""
"""MLflow's `MLmodel` file. `mlflow.pyfunc.load_model` calls our own loader; nothing is pickled."""


class MlflowRun:
    """A `Tracker` that writes to MLflow."""

    def __init__(self, settings: TrackSettings) -> None:
        import_mlflow()
        self.settings = settings
        self.client: Any = None
        self.run_id: str | None = None
        self.folder = Path()
        self.known: dict[int, float] = {}
        """Validation losses by step that the server already has from an earlier part of the run."""

    def begin(self, settings: Mapping[str, Scalar], run: TrackedRun) -> None:
        self.folder = run.path
        self.client = self.client or connect(self.settings)
        if self.run_id is None:
            self.run_id = self._earlier_run() or self._create(run)
        if run.resumed_at is not None:
            history = self.client.get_metric_history(self.run_id, "valid_loss")
            self.known = {point.step: point.value for point in history}
        self.client.update_run(self.run_id, status="RUNNING")
        self._add_parameters(settings)

    def metrics(self, step: int, values: Mapping[str, float], at: float) -> None:
        from mlflow.entities import Metric

        if self.known.get(step) == values.get("valid_loss"):
            return
        points = [Metric(name, value, int(at * 1000), step) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=points)

    def artefact(self, path: Path) -> None:
        """Upload a file under its path in the run directory."""
        folder = path.parent.relative_to(self.folder).as_posix()
        self.client.log_artifact(self.run_id, str(path), None if folder == "." else folder)
        if folder == "model" and path.name == "config.toml":
            self.client.log_text(self.run_id, MODEL_DESCRIPTION.format(run_id=self.run_id), "model/MLmodel")

    def end(self, status: str, scores: Mapping[str, float]) -> None:
        for name, value in scores.items():
            self.client.log_metric(self.run_id, name, value)
        self.client.set_terminated(self.run_id, STATUS[status])

    def _earlier_run(self) -> str | None:
        """The MLflow run of this run directory, if the server still has it."""
        from mlflow.exceptions import MlflowException

        try:
            note = read_json(self.folder / RUN_FILE)
            run_id, uri = str(note["run_id"]), note["uri"]
        except (OSError, DataError, KeyError, TypeError):
            return None
        if uri != without_password(self.client.tracking_uri):
            return None
        try:
            is_active = self.client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run_id if is_active else None

    def _create(self, run: TrackedRun) -> str:
        record = run.record
        tags = {
            "mlflow.source.name": "sentiscale train",
            "mlflow.source.type": "LOCAL",
            "sentiscale.id": record.id,
            "sentiscale.run": str(run.path),
            "sentiscale.host": platform.node(),
            **{f"version.{name}": found for name, found in record.versions.items()},
        }
        if record.git_commit:
            tags["mlflow.source.git.commit"] = record.git_commit
        experiment = experiment_id(self.client, self.settings.experiment)
        created = self.client.create_run(experiment, tags=tags, run_name=run.path.name)
        run_id = str(created.info.run_id)
        note = {"run_id": run_id, "uri": without_password(self.client.tracking_uri)}
        write_file(self.folder / RUN_FILE, json.dumps(note, indent=2) + "\n")
        return run_id

    def _add_parameters(self, settings: Mapping[str, Scalar]) -> None:
        """Log only new parameters: MLflow rejects changes, and `layout` may change when a run resumes."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        new = [
            Param(name, str(value)[:MAX_VALUE_LENGTH])
            for name, value in settings.items()
            if name not in known
        ]
        for first in range(0, len(new), MAX_PARAMETERS):
            self.client.log_batch(self.run_id, params=new[first : first + MAX_PARAMETERS])


def import_mlflow() -> None:
    """Set MLflow's environment variables, some of which it reads on import, then import it."""
    defaults = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the upload queue retries
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # --json promises one document on stdout
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    for module in MODULES:
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module)


def connect(settings: TrackSettings) -> Any:
    """Create a client of the server or store in the settings or the environment."""
    from mlflow.tracking import MlflowClient

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(settings.answer_seconds))
    return MlflowClient(tracking_uri=settings.mlflow_uri)


def experiment_id(client: Any, name: str) -> str:
    """Return the id of an experiment; create the experiment if it does not exist."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another run has created it meanwhile
    return str(found.experiment_id)


def without_password(uri: str) -> str:
    """Remove the user name and password, if any, from a URL."""
    found = urlsplit(uri)
    return urlunsplit(found._replace(netloc=found.netloc.rpartition("@")[2]))
