"""`sentiscale synth` from the outside: files, pipes, and what it says when it cannot."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sentiscale.datasets.output import blocks


def test_json_describes_the_file(cli, tmp_path):
    done = cli("synth", "--rows", 5000, "--seed", 3, "--out", "reviews.txt", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == {"out", "rows", "bytes", "types", "seconds", "rows_per_s"}
    written = (tmp_path / "reviews.txt").read_bytes()
    assert told["rows"] == written.count(b"\n") == 5000
    assert told["bytes"] == len(written)
    assert written == b"".join(blocks(5000, seed=3))
    assert os.listdir(tmp_path) == ["reviews.txt"], "a temporary file stayed behind"


def test_standard_output_carries_nothing_but_reviews(sentiscale):
    done = sentiscale("synth", "--rows", 10, "--out", "-", "--format", "csv")
    assert done.returncode == 0, done.stderr
    header, first, *rest = done.stdout.splitlines()
    assert header == "stars,title,text,category"
    assert first[:3] in ('1,"', '2,"', '4,"', '5,"')
    assert len(rest) == 9


def test_a_named_pipe_is_written_into_not_replaced(sentiscale, tmp_path):
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        done = sentiscale("synth", "--rows", 100, "--out", pipe, "--quiet")
        if done.returncode != 0:
            reader.kill()  # it would wait for a writer for ever
        assert done.returncode == 0, done.stderr
        assert reader.stdout.read() == b"".join(blocks(100))
    assert pipe.is_fifo()


def test_a_reader_that_leaves_early_is_no_error(sentiscale, tmp_path):
    shell = f"{sys.executable} -m sentiscale synth --rows 200000 --out - | head -n 1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.startswith("__label__")
    assert "Traceback" not in done.stderr


def test_memory_stays_flat_however_many_rows(tmp_path):
    """A writer that gathered what it makes would grow by 80 MB between the first look and the last."""
    command = [sys.executable, "-m", "sentiscale", "synth", "--rows", "100000000", "--out", "-", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        seen = []
        for _ in range(3):
            for _ in range(40):
                writer.stdout.read(2**20)
            seen.append(psutil.Process(writer.pid).memory_info().rss / 2**20)
        writer.kill()
    assert seen[-1] - seen[0] < 20, seen
    assert seen[-1] < 400, seen


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--rows", 5, "--out", "a.parquet"), 2, "a.parquet has none of the suffixes"),
        (("--rows", 5, "--out", "taken.txt"), 2, "--force"),
        (("--rows", 5, "--out", "-", "--json"), 2, "both write to standard output"),
        (("--rows", 10**10, "--out", "a.txt"), 1, "MB are free"),
    ],
)
def test_mistakes_say_what_to_do_and_leave_nothing_behind(cli, tmp_path, arguments, code, said):
    (tmp_path / "taken.txt").write_text("mine")
    done = cli("synth", *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(tmp_path)) == ["taken.txt"]
    assert (tmp_path / "taken.txt").read_text() == "mine"


def test_force_replaces_a_file(cli, tmp_path):
    (tmp_path / "taken.txt").write_text("mine")
    assert cli("synth", "--rows", 5, "--out", "taken.txt", "--force").returncode == 0
    assert (tmp_path / "taken.txt").read_bytes() == b"".join(blocks(5))


def test_a_full_disk_is_noticed_before_the_work(cli, small_disk):
    done = cli("synth", "--rows", 5000, "--out", small_disk / "reviews.txt")
    assert done.returncode == 1
    assert "MB are free" in done.stderr
    assert os.listdir(small_disk) == []


def test_an_ended_process_leaves_nothing_behind(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sentiscale",
        "synth",
        "--rows",
        "20000000",
        "--out",
        "big.txt",
        "--quiet",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as writer:
        wait_for_file(tmp_path)
        writer.send_signal(signal.SIGTERM)
        _, said = writer.communicate(timeout=120)
    assert writer.returncode == 130
    assert "interrupted" in said
    assert os.listdir(tmp_path) == []


def wait_for_file(folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not any(file.stat().st_size for file in folder.iterdir()):
        assert time.monotonic() < deadline, "nothing was written in two minutes"
        time.sleep(0.05)
