"""Follow a run in MLflow: parameters, curves, final scores, files, and the model as MLflow loads it."""

import importlib
import importlib.util
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sentiscale.config import TrackSettings
from sentiscale.tracking.tracker import Scalar, TrackedRun
from sentiscale.util.atomic import write_file

NOTE = "mlflow.json"
"""In the run directory: which MLflow run this is, so that a resumed run goes on in the same one."""
STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
LONGEST_VALUE = 500
"""Characters of a parameter that every version of MLflow's server takes."""
MOST_PARAMETERS = 100
"""Of one request."""

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
"""All that is used; some of it MLflow imports only later, IPython just where it is installed."""
LOADER = "sentiscale.inference.mlflow_model"
"""The module that `mlflow.pyfunc.load_model` hands the model directory to."""


class MlflowRun:
    """A tracker (see `seam.Tracker`)."""

    def __init__(self, settings: TrackSettings) -> None:
        load()
        self.settings = settings
        self.client: Any = None
        self.run_id: str | None = None
        self.folder = Path()
        self.known: dict[int, float] = {}
        """Validation losses by step that the server has from an earlier part of the run."""

    def begin(self, settings: Mapping[str, Scalar], run: TrackedRun) -> None:
        """Create the run, or go on in the one that an earlier part of this run created."""
        self.folder = run.path
        self.client = self.client or connect(self.settings)
        if self.run_id is None:
            self.run_id = self._earlier() or self._create(run)
        if run.resumed_at is not None:
            history = self.client.get_metric_history(self.run_id, "valid_loss")
            self.known = {point.step: point.value for point in history}
        self.client.update_run(self.run_id, status="RUNNING")
        self._add_parameters(settings)

    def metrics(self, step: int, values: Mapping[str, float], at: float) -> None:
        """Log one validation; one that the server has already is not logged twice."""
        from mlflow.entities import Metric

        if self.known.get(step) == values.get("valid_loss"):
            return
        points = [Metric(name, value, int(at * 1000), step) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=points)

    def artefact(self, path: Path) -> None:
        """Upload a file to the place that it has in the run directory."""
        folder = path.parent.relative_to(self.folder).as_posix()
        self.client.log_artifact(self.run_id, str(path), None if folder == "." else folder)
        if folder == "model" and path.name == "config.toml":
            self.client.log_text(self.run_id, model_description(str(self.run_id)), "model/MLmodel")

    def end(self, status: str, scores: Mapping[str, float]) -> None:
        """Log the final figures and close the run."""
        for name, value in scores.items():
            self.client.log_metric(self.run_id, name, value)
        self.client.set_terminated(self.run_id, STATUS[status])

    def _earlier(self) -> str | None:
        """The MLflow run of this run directory, if the server of the settings still has it."""
        from mlflow.exceptions import MlflowException

        try:
            note = json.loads((self.folder / NOTE).read_bytes())
            run_id, uri = str(note["run_id"]), note["uri"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if uri != public(self.client.tracking_uri):
            return None
        try:
            alive = self.client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run_id if alive else None

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
        created = self.client.create_run(
            experiment_id(self.client, self.settings.experiment), tags=tags, run_name=run.name
        )
        run_id = str(created.info.run_id)
        note = {"run_id": run_id, "uri": public(self.client.tracking_uri)}
        write_file(self.folder / NOTE, json.dumps(note, indent=2) + "\n")
        return run_id

    def _add_parameters(self, settings: Mapping[str, Scalar]) -> None:
        """Log the parameters that are not there: MLflow lets none change, as `layout` may on resuming."""
        from mlflow.entities import Param

        there = self.client.get_run(self.run_id).data.params
        missing = [
            Param(name, str(value)[:LONGEST_VALUE]) for name, value in settings.items() if name not in there
        ]
        for part in parts(missing, MOST_PARAMETERS):
            self.client.log_batch(self.run_id, params=part)


def load() -> None:
    """Import what is used of MLflow, which reads some of this when it is imported."""
    defaults = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the courier tries again
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # --json promises one document there
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    for module in MODULES:
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module)


def connect(settings: TrackSettings) -> Any:
    """A client of the server or store that the settings or the environment name."""
    from mlflow.tracking import MlflowClient

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(settings.answer_seconds))
    return MlflowClient(tracking_uri=settings.mlflow_uri)


def experiment_id(client: Any, name: str) -> str:
    """The id of an experiment, created if there is none of this name."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another run was faster
    return str(found.experiment_id)


def model_description(run_id: str) -> str:
    """MLflow's description of the model directory it lies in: loaded by our own module, nothing pickled."""
    lines = (
        "artifact_path: model",
        "flavors:",
        "  python_function:",
        f"    loader_module: {LOADER}",
        f"run_id: {run_id}",
    )
    return "\n".join(lines) + "\n"


def public(uri: str) -> str:
    """An address without the name and password that it may hold."""
    found = urlsplit(uri)
    return urlunsplit(found._replace(netloc=found.netloc.rpartition("@")[2]))


def parts(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """The items in pieces of at most `size`."""
    return [items[begin : begin + size] for begin in range(0, len(items), size)]
