"""A small prepared dataset, a run that TensorBoard followed, and a real MLflow server with a client."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from sentiscale.training.launch import train
from tests.conftest import REPOSITORY
from tests.training.conftest import dataset, quick, reviews

__all__ = ["dataset", "reviews"]

SERVER_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
ENVIRONMENT = REPOSITORY / "build" / "mlflow"


@pytest.fixture(scope="session")
def followed_run(dataset, tmp_path_factory) -> Path:
    """A finished run that wrote TensorBoard's events."""
    run = tmp_path_factory.mktemp("followed") / "run"
    train(dataset, run, quick(track__to="tensorboard"))
    return run


@pytest.fixture(scope="session")
def mlflow_python() -> Path:
    """A Python with MLflow, its server and this project; made once, since MLflow is no part of `make setup`.

    `MLFLOW_PYTHON` names one that is there already.
    """
    if given := os.environ.get("MLFLOW_PYTHON"):
        return Path(given)
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        installed = subprocess.run(
            [python, "-m", "pip", "install", "-q", "mlflow>=3"], capture_output=True, text=True
        )
        if installed.returncode != 0:
            pytest.skip(f"needs MLflow, which pip could not install: {installed.stderr.strip()[-200:]}")
        own = next(Path(folder) for folder in sys.path if folder.endswith("site-packages"))
        (link,) = ENVIRONMENT.glob("lib/python*/site-packages")
        (link / "zz-project.pth").write_text(f"import site; site.addsitedir({str(own)!r})\n")
        (ENVIRONMENT / "complete").touch()
    return python


class Server:
    """A real `mlflow server` on SQLite."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again on the same data, and wait until it answers."""
        command = [
            self.python,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--backend-store-uri",
            f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination",
            str(self.folder / "artifacts"),
            "--workers",
            "1",
        ]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                env=os.environ | SERVER_ENVIRONMENT,
            )
        wait_until(self.answers, 300, f"the server does not answer; see {log.name}")

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return httpx.get(f"{self.uri}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """End it and its workers at once."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None

    def get(self, path: str, **parameters: str) -> dict:
        """What its REST interface says."""
        answer = httpx.get(f"{self.uri}/api/2.0/mlflow/{path}", params=parameters, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def run(self, run_dir: Path) -> dict:
        """The MLflow run of a run directory."""
        run_id = json.loads((run_dir / "mlflow.json").read_text())["run_id"]
        return self.get("runs/get", run_id=run_id)["run"]

    def steps(self, run_dir: Path, name: str = "valid_accuracy") -> list[int]:
        """Steps of all points of a curve, as they came in; none as long as there is no run."""
        if not (run_dir / "mlflow.json").exists():
            return []
        run_id = json.loads((run_dir / "mlflow.json").read_text())["run_id"]
        found = self.get("metrics/get-history", run_id=run_id, metric_key=name)
        return [int(point["step"]) for point in found.get("metrics", [])]


def wait_until(true: Callable[[], bool], seconds: float, complaint: str) -> None:
    """Return as soon as something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)


@pytest.fixture
def server(mlflow_python, tmp_path) -> Iterator[Server]:
    """A server that is up."""
    folder = tmp_path / "mlflow"
    folder.mkdir()
    server = Server(mlflow_python, folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
