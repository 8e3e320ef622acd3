"""Scheduler and workers on "hosts" of their own, with links that fail: the script of benchmarks/ runs."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "benchmarks" / "two_hosts_prepare.py"


@pytest.mark.slow
def test_every_digest_equals_that_of_the_plain_run(sentiscale, tmp_path):
    if os.geteuid():
        pytest.skip("needs root for network namespaces")
    made = sentiscale("synth", "--rows", "100000", "--out", "reviews.ft.txt", "--quiet")
    assert made.returncode == 0, made.stderr
    cases = ["undisturbed", "worker-killed", "worker-link-down-10s", "scheduler-restarted"]
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "reviews.ft.txt", "--cases", ",".join(cases), "--json"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    if "two hosts cannot be made here" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr + done.stdout
    records = {record["case"]: record for record in map(json.loads, done.stdout.splitlines())}
    assert list(records) == ["plain local run", *cases]
    assert all(record["digest_equal"] for record in records.values())
    assert any("lost the Dask scheduler" in line for line in records["scheduler-restarted"]["said"])
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert "sentiscale-" not in listed
