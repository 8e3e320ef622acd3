"""A preparation that is killed outright, or runs out of disk, at any phase."""

import gzip
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

import sentiscale.data.phases as phases
from sentiscale.data.prepare import prepare
from sentiscale.errors import Interrupted, SentiscaleError
from sentiscale.util.progress import Progress
from tests.data.prepare_data import reviews

BLOCK_MB = 0.02


class Phase(Progress):
    """Knows what was begun last; can stop like a person who presses Ctrl-C."""

    def __init__(self, stop_after=None):
        self.begun = None
        self.left = stop_after

    @contextmanager
    def task(self, name, total, unit):
        def advance(amount, note):
            if self.left is not None and name == "read and clean":
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt

        self.begun = name
        yield advance


def finished_shards(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shards/*.safetensors")}


def kill_half_way(path, out):
    """Start the real command and kill it when some shards are there; returns them."""
    arguments = ["prepare", path, "--out", out, "--set", f"prepare.block_mb={BLOCK_MB}", "--quiet"]
    partial = out.with_name(f".{out.name}.partial")
    with subprocess.Popen([sys.executable, "-m", "sentiscale", *map(str, arguments)]) as process:
        deadline = time.monotonic() + 120
        while len(finished_shards(partial)) < 8:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    return finished_shards(partial)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_killed_outright_it_goes_on_to_the_same_result(tmp_path, encoded, name):
    content = ("\n".join(reviews(60_000)) + "\n").encode()
    path, out = tmp_path / name, tmp_path / "data"
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    shards = kill_half_way(path, out)
    assert not out.exists()
    dataset = prepare(str(path), out, block_mb=BLOCK_MB, resume=True)
    count = int(dataset.manifest.partitions["count"])
    assert count > len(shards) + 20
    made = [number for number, _ in encoded()]
    assert sorted([*made, *(int(shard[:8]) for shard in shards)]) == list(range(count))
    assert max(copies for _, copies in encoded()) <= 3 * dataset.manifest.workers + 1, (
        "copies of done work stay"
    )
    assert dataset.manifest.digest == prepare(path, tmp_path / "whole").manifest.digest
    assert sorted(os.listdir(tmp_path)) == [name, "data", "whole"]


def test_finished_shards_are_left_as_they_are(write, tmp_path):
    path = write("a.txt", reviews(600))
    with pytest.raises(Interrupted):
        prepare(path, tmp_path / "data", block_mb=0.002, progress=Phase(stop_after=5))
    before = finished_shards(tmp_path / ".data.partial")
    with pytest.raises(Interrupted):
        prepare(path, tmp_path / "data", block_mb=0.002, progress=Phase(stop_after=12), resume=True)
    after = finished_shards(tmp_path / ".data.partial")
    assert len(after) > len(before) >= 5
    assert {name: after[name] for name in before} == before


def test_it_goes_on_where_workers_cannot_read_the_file(write, tmp_path, monkeypatch):
    """There it is cut at other places, and the shards there are do not fit: none of them must be used."""
    path = write("a.txt", reviews(600))
    expected = prepare(path, tmp_path / "whole").manifest
    with pytest.raises(Interrupted):
        prepare(path, tmp_path / "data", block_mb=0.002, progress=Phase(stop_after=9))
    monkeypatch.setattr(phases.Phases, "_in_place", lambda self, source: False)
    resumed = prepare(path, tmp_path / "data", block_mb=0.002, resume=True).manifest
    assert resumed.rows == expected.rows
    assert resumed.digest == expected.digest


def test_progress_counts_what_was_done_before(write, tmp_path):
    path = write("a.txt", reviews(600))
    with pytest.raises(Interrupted):
        prepare(path, tmp_path / "data", block_mb=0.002, progress=Phase(stop_after=9))
    read = []

    class Counting(Progress):
        @contextmanager
        def task(self, name, total, unit):
            yield lambda amount, note: read.append(amount) if name == "read and clean" else None

    prepare(path, tmp_path / "data", block_mb=0.002, resume=True, progress=Counting())
    assert sum(read) * 1e6 == pytest.approx(path.stat().st_size)


def test_a_disk_may_be_full_at_any_phase(write, small_disk):
    """Smaller inputs get further: shards need room first, then the splits, then what lies beside them."""
    begun = []
    for count in range(3400, 0, -150):
        progress = Phase()
        path = write("a.txt", reviews(count))
        try:
            prepare(path, small_disk / "data", block_mb=BLOCK_MB, progress=progress)
            break
        except SentiscaleError as error:
            told = str(error)
        assert "no space left on device" in told.lower()
        assert "Nothing half-written was left behind. Free some space" in told
        assert os.listdir(small_disk) == []
        begun.append(progress.begun)
    assert list(dict.fromkeys(begun)) == ["read and clean", "count words", "write"]
