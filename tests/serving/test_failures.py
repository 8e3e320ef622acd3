"""What must not cost a request: workers killed or hung, a new model, a broken one, the end of the service."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sentiscale.inference.predictor import Predictor
from tests.serving.conftest import write_model
from tests.serving.running_service import Load, RunningService, running_service

TEXTS = ["not bad at all", "good film " * 30]


@pytest.fixture(scope="module")
def live(folder) -> Path:
    """A model directory that is exchanged while it is served."""
    return write_model(folder / "live" / "model")


@pytest.fixture(scope="module")
def troubled(live, folder) -> Iterator[RunningService]:
    """A service that tests do harm to, one after the other."""
    patience = ("--workers", 1, "--set", "serve.silence_s=3", "--timeout-s", 150)
    with running_service(live, folder, "--reload", "--host", "0.0.0.0", *patience) as running:
        yield running


def worker_of(service: RunningService) -> psutil.Process:
    return max(service.workers(), key=lambda process: process.create_time())


def test_listening_to_everybody_without_a_key_is_warned_of(troubled):
    troubled.wait_for("note", 2)  # the address, then the warning
    notes = [event["message"] for event in troubled.events("note")]
    assert any(
        "warning: anyone who can reach 0.0.0.0 can send requests; set --api-key-file" in note
        for note in notes
    )


def test_a_worker_that_is_killed_costs_no_request(troubled):
    with Load(troubled, TEXTS, pause=0.02) as load:
        load.wait_for(20)
        worker_of(troubled).kill()
        troubled.wait_for("worker_lost")
        troubled.wait_for("worker_started")
        load.wait_for(20)
    assert load.lost == []
    assert load.statuses == {200}
    assert "killed by signal 9" in troubled.events("worker_lost")[0]["reason"]


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_its_batch_done_again(troubled):
    before = len(troubled.events("worker_lost"))
    with Load(troubled, TEXTS, pause=0.02) as load:
        load.wait_for(20)
        os.kill(worker_of(troubled).pid, signal.SIGSTOP)
        lost = troubled.wait_for("worker_lost", before + 1)
        load.wait_for(20)
    assert load.lost == []
    assert load.statuses == {200}
    assert "did not answer for 3 s" in lost["reason"]


@pytest.mark.slow
def test_an_idle_worker_that_dies_is_replaced_before_anybody_asks(troubled):
    lost, started = len(troubled.events("worker_lost")), len(troubled.events("worker_started"))
    worker_of(troubled).kill()
    troubled.wait_for("worker_lost", lost + 1)
    troubled.wait_for("worker_started", started + 1)
    assert troubled.predict("good").status == 200


def test_a_new_model_is_taken_without_dropping_a_request(troubled, live):
    with Load(troubled, TEXTS, pause=0.02) as load:
        load.wait_for(20)
        write_model(live, seed=4)
        troubled.wait_for("reloaded")
        load.wait_for(20)
    assert load.lost == []
    assert load.statuses == {200}
    by_model: dict[str, list[float]] = {}
    for answer in load.answers:
        found = [prediction["positive_probability"] for prediction in answer.json["predictions"]]
        by_model.setdefault(answer.json["model"]["digest"], found)
        assert found == pytest.approx(by_model[answer.json["model"]["digest"]], abs=1e-5)
    assert len(by_model) == 2
    expected = [p.positive_probability for p in Predictor.load(live).predict(TEXTS)]
    assert list(by_model.values())[1] == pytest.approx(expected, abs=1e-5)
    assert next(iter(by_model.values())) != pytest.approx(expected, abs=1e-3)
    until = time.monotonic() + 120
    while len(troubled.workers()) > 1:  # the old one ends when it has finished
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_broken_model_is_refused_and_the_old_one_answers(troubled, live, folder):
    digest = troubled.predict("good").json["model"]["digest"]
    whole, before = folder / "whole", len(troubled.events("reloaded"))
    shutil.copytree(live, whole)
    with Load(troubled, TEXTS, clients=2, pause=0.02) as load:
        (live / "weights.safetensors").write_bytes(b"nonsense")
        refused = troubled.wait_for("reload_refused")
        load.wait_for(20)
    assert "does not match the digest" in refused["reason"]
    assert load.lost == []
    assert load.statuses == {200}
    assert troubled.predict("good").json["model"]["digest"] == digest
    (live / "weights.safetensors").write_bytes((whole / "weights.safetensors").read_bytes())
    troubled.wait_for("reloaded", before + 1)  # the same content, written anew


@pytest.mark.slow
def test_a_signal_takes_the_model_anew(troubled):
    before = len(troubled.events("reloaded"))
    troubled.process.send_signal(signal.SIGHUP)
    troubled.wait_for("reloaded", before + 1)
    assert troubled.predict("good").status == 200


def test_the_end_waits_for_what_has_begun(troubled):
    """The last test of this service: a worker that is stopped holds a request until it goes on."""
    worker, before = worker_of(troubled), troubled.metric("sentiscale_batch_texts_count")
    answers = []
    worker.suspend()
    waiting = threading.Thread(target=lambda: answers.append(troubled.predict("good")))
    waiting.start()
    until = time.monotonic() + 120
    while troubled.metric("sentiscale_batch_texts_count") == before:  # until the worker has the request
        assert time.monotonic() < until
        time.sleep(0.02)
    troubled.process.send_signal(signal.SIGTERM)
    troubled.wait_for("draining")
    worker.resume()
    assert troubled.process.wait(120) == 0
    waiting.join(120)
    assert [answer.status for answer in answers] == [200]
    assert troubled.events()[-1]["event"] == "stopped"
    assert not psutil.pid_exists(worker.pid)
