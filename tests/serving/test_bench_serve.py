"""The benchmark of the service runs, and its own client counts right."""

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "benchmarks" / "bench_serve.py"


def test_the_client_at_a_fixed_rate_sends_what_is_due(service, tmp_path):
    (tmp_path / "texts.json").write_text(json.dumps(["good film", "bad"]))
    command = [sys.executable, SCRIPT, "--load", tmp_path / "texts.json", str(service.port), "20", "0.5"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
    found = json.loads(output)
    assert found["statuses"] == {"200": 10}
    assert found["lost"] == 0
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["longest_ms"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_in_short(model, tmp_path):
    short = ["--seconds", "0.5", "--repeats", "1", "--connections", "1,8", "--workers", "1x1"]
    command = [sys.executable, SCRIPT, model, *short, "--out", tmp_path / "out"]
    subprocess.run(command, check=True, capture_output=True, timeout=500)
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {record["series"] for record in records} == {
        "closed",
        "workers",
        "quarter",
        "half",
        "three times",
        "kill -9",
    }
    assert all(record["provenance"]["host"]["cores"] for record in records)
    table = (tmp_path / "out.md").read_text()
    assert len(table.splitlines()) == 2 + len(records)
