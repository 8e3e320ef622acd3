"""A study that is stopped in the middle, politely or not, goes on where it was."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

OPTIONS = [
    "--layouts",
    "1x1",
    "--threads",
    "1",
    "--no-baselines",
    "--batch-sizes",
    "16",
    "--models",
    "lstm",
    "--steps",
    "6",
    "--limit",
    "1000000",
    "--set",
    "model.embedding_dim=8",
    "--set",
    "model.hidden_dim=8",
    "--set",
    "train.max_tokens=32",
]


def command(data: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "sentiscale", "bench", str(data), "--out", str(out), *OPTIONS, *more]


def stopped(arguments: list[str], out: Path, number: signal.Signals) -> tuple[int, str, list[dict]]:
    """Start a study, send a signal when its first run is done; its exit code, messages and records."""
    records = out / "records.jsonl"
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 300
        while not records.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)  # the second run has begun
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    return process.returncode, said, [json.loads(line) for line in records.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_stopped_study_keeps_whole_lines_and_goes_on_after_them(dataset, tmp_path, number):
    out = tmp_path / "out"
    code, said, before = stopped(command(dataset.path, out, "--repeats", "30"), out, number)
    assert 1 <= len(before) < 30
    if number == signal.SIGINT:
        assert code == 130
        assert "Repeat the command to resume." in said
    repeats = len(before) + 1
    arguments = command(dataset.path, out, "--repeats", str(repeats), "--json")
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=True)
    document = json.loads(result.stdout)
    assert document["runs"] == repeats
    (case,) = document["cases"]
    assert case["repeats"] == repeats
    assert {"layout", "threads_per_rank", "seconds_median", "rows_per_s", "disturbed"} <= set(case)
    after = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert after[: len(before)] == before
    assert len(after) == repeats
