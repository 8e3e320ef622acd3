"""The real command line on several ranks: started by itself, by torchrun, killed, stopped, refused."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from sentiscale.cli.train import print_summary, summary
from sentiscale.data.prepare import prepare
from sentiscale.datasets.output import synth
from sentiscale.errors import UsageError
from sentiscale.parallel.layout import Layout
from sentiscale.parallel.precision import native_precisions
from sentiscale.records import RunRecord, available_cores
from sentiscale.training.hardware import second_device
from tests.parallel.runs import (
    checkpoints,
    command,
    distance,
    last_weights,
    record_of,
    saved_weights,
    start,
    step_of,
    wait_for_checkpoint,
)

KEYS = {
    "run",
    "layout",
    "world_size",
    "threads_per_rank",
    "epochs",
    "steps",
    "train_seconds",
    "rows_per_s",
    "tokens_per_s",
    "flops_utilisation",
    "valid",
    "test",
    "target",
    "peak_memory_mb_per_rank",
    "bytes_reduced_per_step",
    "phases",
    "waiting_share",
    "cascade",
    "cuts",
}
"""That `train --json` promises."""

PHASES = {"wide", "data", "compute", "reduce", "update", "eval", "checkpoint"}

FLAGS = {"wide.enabled": True, "wide.bits": 12, "train.epochs": 6.0, "train.validate_every": 1.0}

needs_two_cores = pytest.mark.skipif(available_cores() < 2, reason="needs two cores")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated reviews, prepared."""
    folder = tmp_path_factory.mktemp("reviews")
    synth(600, 5, out=folder / "reviews.txt")
    return prepare(folder / "reviews.txt", folder / "data", workers=1).path


def finished(words: list[str], code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="session")
def serial(data, tmp_path_factory) -> tuple[dict[str, object], Path]:
    """What one rank prints, and its run."""
    out = tmp_path_factory.mktemp("serial") / "run"
    return json.loads(finished(command(data, out, FLAGS, "--layout", "1x1", "--json")).stdout), out


def check_against(serial, document: dict[str, object], run: Path, ranks: int) -> RunRecord:
    """The same model and the same scores as one rank, and a record of every rank."""
    expected, serial_run = serial
    assert document.keys() >= KEYS
    assert document["phases"].keys() >= PHASES
    assert document["world_size"] == len(document["peak_memory_mb_per_rank"]) == ranks
    assert all(mb > 50 for mb in document["peak_memory_mb_per_rank"])
    assert document["bytes_reduced_per_step"] > 0
    for split in ("valid", "test"):
        assert document[split]["rows"] == expected[split]["rows"]
        assert document[split]["confusion"] == expected[split]["confusion"]
        assert document[split]["loss"] == pytest.approx(expected[split]["loss"], abs=1e-6)
    assert distance(last_weights(run), last_weights(serial_run)) < 1e-9
    assert distance(saved_weights(run), saved_weights(serial_run)) < 1e-6
    record = record_of(run)
    assert len(record.phases_per_rank) == ranks
    assert all(times.compute > 0 for times in record.phases_per_rank)
    assert record.layout == document["layout"]
    assert document["waiting_share"] == max(times.waiting_share for times in record.phases_per_rank)
    assert 0 < document["waiting_share"] < 1
    return record


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param("2x1", marks=needs_two_cores),
        pytest.param("1x2", marks=[needs_two_cores, pytest.mark.slow]),
        pytest.param("2x2", marks=pytest.mark.slow),
        pytest.param("3x1", marks=pytest.mark.slow),
    ],
)
def test_the_command_gives_what_one_rank_gives(data, serial, tmp_path, layout):
    ranks = int(layout[0]) * int(layout[2])
    run = tmp_path / "run"
    done = finished(command(data, run, FLAGS, "--layout", layout, "--json", "--oversubscribe"))
    document = json.loads(done.stdout)
    record = check_against(serial, document, run, ranks)
    assert document["layout"] == layout
    assert record.oversubscribed == (ranks > available_cores())
    assert record.threads_per_rank == max(1, available_cores() // ranks)


def torchrun(ranks: int, words: list[str]) -> list[str]:
    """The same command, its ranks started by torchrun."""
    port = free_port()
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(ranks),
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        str(port),
        *words[1:],
    ]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_under_torchrun_one_rank_prints_and_all_are_replicas(data, serial, tmp_path):
    run = tmp_path / "run"
    words = torchrun(2, command(data, run, FLAGS, "--json", "--quiet", "--oversubscribe"))
    words[words.index("--master-addr") : words.index("--master-addr") + 4] = ["--standalone"]
    document = json.loads(finished(words).stdout)
    check_against(serial, document, run, 2)
    assert document["layout"] == "2x1"


def test_people_are_told_the_layout_what_was_sent_and_the_share_of_waiting(capsys):
    times = [
        {"data": 1.0, "compute": 6.0, "reduce": 1.0, "update": 2.0, "eval": 50.0},
        {"compute": 3.0, "reduce": 1.0},
    ]
    record = dict.fromkeys(KEYS) | {
        "layout": "2x1",
        "world_size": 2,
        "threads_per_rank": 1,
        "precision": "fp32",
        "best_step": 3,
        "train_seconds": 9.0,
        "rows_per_s": 1000.0,
        "valid": {},
        "test": None,
        "phases": times[0],
        "bytes_reduced_per_step": 883_000,
        "phases_per_rank": times,
    }
    print_summary(summary(record, Path("run")), Path("data"))
    told = capsys.readouterr().out
    assert "layout 2x1: a rank sent up to 0.88 MB per step" in told
    assert "up to 25% of it" in told
    print_summary(summary(record | {"layout": "1x1", "world_size": 1}, Path("run")), Path("data"))
    assert "waiting" not in capsys.readouterr().out


@pytest.mark.slow
def test_under_torchrun_two_ranks_may_be_two_stages(data, serial, tmp_path):
    run = tmp_path / "run"
    words = torchrun(2, command(data, run, FLAGS, "--json", "--layout", "1x2", "--oversubscribe"))
    check_against(serial, json.loads(finished(words).stdout), run, 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--layout", "64x1"], "--oversubscribe"),
        (["--layout", "2x1", "--precision", "fp16"], "only emulates"),
        (["--set", "train.recurrent_device=cuda:77"], "recurrent_device is 'cuda:77', which does not work"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(data, tmp_path, flags, message):
    if "fp16" in flags and "fp16" in native_precisions(torch.device("cpu")):
        pytest.skip("this machine multiplies 16-bit floats")
    done = finished(command(data, tmp_path / "run", {}, *flags, "--device", "cpu"), code=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3, "one message, not one of every rank"
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("cuda:77", "1x1", "'cuda:77', which does not work here"),
        ("mps", "1x1", "'mps', which does not work here"),
        ("the second", "1x1", "'the second', which does not work here"),
        ("cpu:0", "1x1", "layout 1x1 on cpu; it takes a second GPU"),
        ("meta", "1x1", "layout 1x1 on cpu; it takes a second GPU"),
        ("cpu", "2x1", "use --layout 1x2"),
    ],
)
def test_a_second_device_must_exist_and_be_another_one(name, layout, message):
    with pytest.raises(UsageError, match=re.escape(message)) as refused:
        second_device(name, torch.device("cpu"), Layout.parse(layout))
    assert len(str(refused.value)) < 350, "a sentence or two, however much PyTorch has to say"


def test_a_layout_that_is_not_torchrun_s_is_refused(data, tmp_path):
    """By every rank alike, as rank 0 of two would: no second one is needed to know."""
    words = command(data, tmp_path / "run", {}, "--layout", "3x1")
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, check=False, env=os.environ | variables
    )
    assert done.returncode == 2
    assert "layout 3x1 needs 3 ranks, but 2 were started" in done.stderr
    assert "--layout 2x1" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"), [("2x1", "2x1"), ("2x1", "1x2"), ("1x2", "3x1"), ("2x2", "1x1")]
)
def test_launcher_and_ranks_killed_outright_then_resumed(data, serial, tmp_path, before, after):
    run = tmp_path / "run"
    process = start(command(data, run, FLAGS, "--layout", before, "--oversubscribe", "--quiet"))
    wait_for_checkpoint(run, process, beyond=15)
    kill_everything(process)
    assert record_of(run).status == "running"
    done = finished(command(data, run, FLAGS, "--resume", "--layout", after, "--oversubscribe"))
    assert "resuming" in done.stderr
    assert distance(last_weights(run), last_weights(serial[1])) < 1e-9


def kill_everything(process: subprocess.Popen[str]) -> None:
    """SIGKILL for launcher and ranks alike, none of which gets to see another one die."""
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    wait_until_gone(family)


def wait_until_gone(family: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in family):
        assert time.monotonic() < deadline, "processes are left"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves_and_exits_130_and_resuming_equals_never_stopped(
    data, serial, tmp_path
):
    run = tmp_path / "run"
    process = start(command(data, run, FLAGS, "--layout", "2x1", "--oversubscribe"))
    wait_for_checkpoint(run, process, beyond=3)
    family = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130, message
    assert "SIGTERM received; saved at step" in message
    assert message.count("--resume") == 1
    assert "Traceback" not in message
    wait_until_gone(family)
    assert record_of(run).status == "interrupted"
    assert step_of(checkpoints(run)[-1]) < serial[0]["steps"]
    finished(command(data, run, FLAGS, "--resume", "--quiet", "--oversubscribe"))
    assert record_of(run).layout == "2x1", "the stored layout is taken up again"
    assert distance(last_weights(run), last_weights(serial[1])) < 1e-9


@pytest.mark.slow
def test_auto_measures_picks_and_says_why(data, tmp_path):
    done = finished(command(data, tmp_path / "run", {}, "--layout", "auto", "--json"))
    document = json.loads(done.stdout)
    assert f"choosing layout {document['layout']} with {document['threads_per_rank']} threads" in done.stderr
    assert "reviews/s" in done.stderr
    assert document["layout"] in {"1x1", "2x1", "1x2"} or available_cores() > 2
