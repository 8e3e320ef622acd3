"""Runs in a real MLflow server: read back through its REST interface, killed, resumed."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from sentiscale.records import EpochMetrics, RunRecord, read_jsonl
from tests.tracking.conftest import Server, wait_until
from tests.training.conftest import QUICK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOAD = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
print(model.predict(["Terrible."])[0]["positive_probability"])
"""


@pytest.fixture
def start(server: Server, dataset) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start(run, "--resume", train__epochs=2)`: a real `sentiscale train` in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def call(run: Path, *flags: str, **changes: object) -> subprocess.Popen[str]:
        settings = {**QUICK, **{name.replace("__", "."): value for name, value in changes.items()}}
        overrides = [
            word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")
        ]
        process = subprocess.Popen(
            [
                server.python,
                "-m",
                "sentiscale",
                "train",
                dataset.path,
                "--out",
                run,
                "--json",
                "--quiet",
                "--track",
                "mlflow",
                *overrides,
                *flags,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"MLFLOW_TRACKING_URI": server.uri},
        )
        started.append(process)
        return process

    yield call
    for process in started:
        if process.returncode is None:
            process.kill()
            process.communicate()


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for the end; returns what was written on stderr."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert "Traceback" not in err
    if code == 0:
        json.loads(out)  # one document, whatever MLflow would like to print
    return err


def validations(run: Path) -> list[EpochMetrics]:
    path = run / "metrics.jsonl"
    return list(read_jsonl(path, EpochMetrics)) if path.exists() else []


def test_everything_of_a_run_can_be_read_back(server, start, dataset, tmp_path):
    run = tmp_path / "run"
    finish(start(run))
    record = RunRecord.model_validate_json((run / "record.json").read_bytes())
    found = server.run(run)
    assert found["info"]["status"] == "FINISHED"
    assert found["info"]["run_name"] == "run"
    parameters = {item["key"]: item["value"] for item in found["data"]["params"]}
    assert parameters["model.hidden_dim"] == "16"
    assert parameters["data_digest"] == dataset.manifest.digest
    metrics = {item["key"]: item["value"] for item in found["data"]["metrics"]}
    assert metrics["test.accuracy"] == pytest.approx(record.test["accuracy"])
    assert metrics["train_seconds"] == pytest.approx(record.train_seconds)
    assert server.steps(run) == [point.step for point in record.metrics]
    run_id = found["info"]["run_id"]
    for name in ("record.json", "metrics.jsonl", "plots/curves.png", "model/weights.safetensors"):
        sent = httpx.get(f"{server.uri}/get-artifact", params={"run_uuid": run_id, "path": name}, timeout=60)
        assert sent.content == (run / name).read_bytes(), name
    loaded = subprocess.run(
        [server.python, "-W", "ignore", "-c", LOAD, server.uri, f"runs:/{run_id}/model"],
        capture_output=True,
        text=True,
        check=True,
    )
    from sentiscale import Predictor

    expected = Predictor.load(run / "model").predict("Terrible.").positive_probability
    assert float(loaded.stdout) == pytest.approx(expected, abs=1e-6)


def test_a_killed_server_costs_one_warning_and_nothing_once_it_is_back(server, start, tmp_path):
    run = tmp_path / "run"
    process = start(run, train__epochs=12.0, train__validate_every=0.2)
    wait_until(lambda: bool(server.steps(run)), 200, "nothing arrives")
    server.kill()
    seen = len(validations(run))
    wait_until(lambda: len(validations(run)) >= seen + 2, 200, "training stands still")
    process.send_signal(signal.SIGSTOP)  # however long the server takes to start, training is not over
    assert process.poll() is None
    server.start()
    process.send_signal(signal.SIGCONT)
    finish(process)
    assert (run / "train.log").read_text().count("mlflow cannot be written") == 1
    steps = [point.step for point in validations(run)]
    assert server.steps(run) == steps
    assert server.run(run)["info"]["status"] == "FINISHED"


def test_training_ends_well_without_the_server(server, start, tmp_path):
    run = tmp_path / "run"
    process = start(run, train__epochs=4.0)
    wait_until(lambda: bool(server.steps(run)), 200, "nothing arrives")
    server.kill()
    finish(process)
    log = (run / "train.log").read_text()
    assert log.count("mlflow cannot be written") == 1
    assert log.count("entries missing in mlflow") == 1
    assert RunRecord.model_validate_json((run / "record.json").read_bytes()).status == "finished"


def test_a_resumed_run_goes_on_in_the_same_one(server, start, tmp_path):
    run = tmp_path / "run"
    flags = {"train__epochs": 6.0, "train__checkpoint_every": 7}
    process = start(run, **flags)
    wait_until(lambda: (run / "checkpoints" / "step-00000007").exists(), 200, "no checkpoint")
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    first = server.run(run)["info"]
    assert first["status"] == "KILLED"
    finish(start(run, "--resume", **flags))
    second = server.run(run)["info"]
    assert (second["run_id"], second["status"]) == (first["run_id"], "FINISHED")
    assert server.steps(run) == [point.step for point in validations(run)]
    everything = server.get("experiments/get-by-name", experiment_name="sentiscale")["experiment"]
    answer = httpx.post(
        f"{server.uri}/api/2.0/mlflow/runs/search", json={"experiment_ids": [everything["experiment_id"]]}
    )
    assert len(answer.json()["runs"]) == 1


def test_killed_without_a_word_and_resumed(server, start, tmp_path):
    run = tmp_path / "run"
    flags = {"train__epochs": 6.0, "train__checkpoint_every": 20}
    process = start(run, **flags)
    wait_until(lambda: len(validations(run)) >= 3 and len(server.steps(run)) >= 3, 200, "no validation")
    process.kill()
    process.communicate()
    assert server.run(run)["info"]["status"] == "RUNNING"
    finish(start(run, "--resume", **flags))
    assert server.run(run)["info"]["status"] == "FINISHED"
    assert sorted(set(server.steps(run))) == [point.step for point in validations(run)]
