"""Interrupted runs: killed, stopped by a signal, with damaged checkpoints."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from sentiscale.errors import DataError, UsageError
from sentiscale.records import EpochMetrics, read_jsonl
from sentiscale.training.launch import train
from tests.training.conftest import QUICK, quick

SETTINGS = {**QUICK, "train.checkpoint_every": 10, "train.epochs": 3.0}


def last_weights(run: Path):
    """The network after the last step: the model directory holds the best one, which may be an early one."""
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    parts = [load_file(newest / name) for name in ("stage-0.safetensors", "rows-0-of-1.safetensors")]
    return {name: value for part in parts for name, value in part.items() if name.startswith("weights/")}


def assert_same_weights(first: Path, second: Path) -> None:
    for read in (last_weights, lambda run: load_file(run / "model" / "weights.safetensors")):
        first_weights, second_weights = read(first), read(second)
        assert first_weights.keys() == second_weights.keys()
        for name, value in first_weights.items():
            assert (value == second_weights[name]).all(), name


def start(dataset, run: Path, **changes) -> subprocess.Popen:
    """A real `sentiscale train` in a process of its own."""
    flags = {**SETTINGS, **changes}
    overrides = [part for key, value in flags.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    command = [sys.executable, "-m", "sentiscale", "train", str(dataset.path), "--out", str(run), "--quiet"]
    return subprocess.Popen([*command, *overrides], stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(run: Path, process: subprocess.Popen, beyond: int = 0) -> None:
    """Return as soon as a checkpoint beyond a step exists."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if any(int(path.name[5:]) > beyond for path in (run / "checkpoints").glob("step-*")):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("no checkpoint appeared")


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory) -> Path:
    """A run nobody stopped."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    train(dataset, run, quick(**{key.replace(".", "__"): value for key, value in SETTINGS.items()}))
    return run


def test_killed_in_the_middle_and_resumed_equals_never_stopped(dataset, undisturbed, tmp_path):
    run = tmp_path / "run"
    process = start(dataset, run)
    wait_for_checkpoint(run, process, beyond=15)
    process.kill()
    process.communicate()
    assert json.loads((run / "record.json").read_text())["status"] == "running"
    record = train(dataset, run, resume=True)
    assert record.status == "finished"
    assert_same_weights(run, undisturbed)
    steps = [line.step for line in read_jsonl(run / "metrics.jsonl", EpochMetrics)]
    assert steps == sorted(set(steps)), "a validation stands twice in metrics.jsonl"


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_exits_130_and_resuming_equals_never_stopped(
    dataset, undisturbed, tmp_path, number
):
    run = tmp_path / "run"
    process = start(dataset, run, **{"train.checkpoint_every": 7})
    wait_for_checkpoint(run, process)
    process.send_signal(number)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert f"{number.name} received" in message
    assert "--resume" in message
    assert "Traceback" not in message
    step = int(re.search(r"saved at step ([\d,]+)", message)[1].replace(",", ""))
    assert (run / "checkpoints" / f"step-{step:08d}").is_dir()
    assert json.loads((run / "record.json").read_text())["status"] == "interrupted"
    train(dataset, run, resume=True)
    assert_same_weights(run, undisturbed)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(dataset, undisturbed, tmp_path):
    run = tmp_path / "run"
    process = start(dataset, run)
    wait_for_checkpoint(run, process, beyond=15)
    process.kill()
    process.communicate()
    newest = sorted((run / "checkpoints").glob("step-*"))[-1] / "rows-0-of-1.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    train(dataset, run, resume=True)
    assert_same_weights(run, undisturbed)


def test_resuming_with_other_settings_or_data_is_refused(dataset, undisturbed):
    with pytest.raises(UsageError, match="different settings or data"):
        train(dataset, undisturbed, quick(train__lr=0.5), resume=True)


def test_resuming_a_finished_run_changes_nothing(dataset, undisturbed):
    before = last_weights(undisturbed)
    record = train(dataset, undisturbed, resume=True)
    assert record.status == "finished"
    assert all((before[name] == value).all() for name, value in last_weights(undisturbed).items())


def test_only_the_newest_checkpoints_are_kept(undisturbed):
    assert len(list((undisturbed / "checkpoints").glob("step-*"))) == 2


def test_resuming_what_is_no_run_says_so(dataset, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match="cannot be resumed"):
        train(dataset, tmp_path / "run", resume=True)
