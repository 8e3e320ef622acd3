"""Training on two hosts (network namespaces) gives the result of one process, and goes on after a fault."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")]


@pytest.fixture
def data(sentiscale, tmp_path):
    made = sentiscale("synth", "--rows", "4000", "--out", "reviews.ft.txt", "--quiet")
    assert made.returncode == 0, made.stderr
    prepared = sentiscale("prepare", "reviews.ft.txt", "--out", "data", "--quiet")
    assert prepared.returncode == 0, prepared.stderr
    return tmp_path / "data"


def records_of(script: str, *arguments: object) -> list[dict]:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")},
    )
    if "two hosts cannot be made here" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_two_hosts_give_the_result_of_one_process(data):
    serial, *others = records_of("two_hosts_train.py", data, "--parts", "exact", "--steps", "10")
    assert [(record["layout"], record["rendezvous"]) for record in others] == [
        ("2x1", "c10d"),
        ("2x1", "static"),
        ("1x2", "c10d"),
    ]
    for record in others:
        assert record["largest_weight_difference"] < 1e-9
        assert abs(record["valid_loss"] - serial["valid_loss"]) < 1e-9
        assert record["bytes_reduced_per_step"] > 0


def test_killed_rank_of_the_other_host_is_told_and_a_restart_goes_on(data):
    ended, restarted = records_of(
        "two_hosts_train_faults.py", data, "--cases", "rank-1-killed,rank-1-killed-restart"
    )
    assert {host: ending["code"] for host, ending in ended["endings"].items()} == {"one": 1, "two": 1}
    assert ended["all_gone_seconds"] < 10
    [message] = ended["messages"]["one"] + ended["messages"]["two"]
    assert "rank 1 of 2 on host two" in message
    assert {ending["code"] for ending in restarted["endings"].values()} == {0}
    assert restarted["largest_weight_difference"] == 0
    assert ended["left"] == restarted["left"] == 0
