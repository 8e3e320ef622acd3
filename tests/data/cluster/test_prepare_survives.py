"""The real command with a worker killed, the scheduler lost, and then resumed: the same digest throughout."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.data.cluster.processes import DaskProcesses, Wire, kill_group, wait_for

pytestmark = pytest.mark.slow

LINES = "".join(
    f"__label__{1 + i % 2} The screen is {'bad' if i % 2 == 0 else 'fine'}, number {i} {'x' * (i % 50)}\n"
    for i in range(30_000)
)
SMALL_BLOCKS = ("--set", "prepare.block_mb=0.02")
"""A hundred tasks, so that trouble comes in their middle."""


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reviews") / "reviews.txt"
    path.write_text(LINES)
    return path


@pytest.fixture(scope="module")
def expected(reviews: Path) -> str:
    """The digest of the undisturbed run."""
    run = Preparation(reviews, reviews.parent / "expected", "--workers", "1")
    assert run.ended() == 0, run.stderr
    return run.digest()


class Preparation:
    """A running `sentiscale prepare`."""

    def __init__(self, reviews: Path, out: Path, *more: str) -> None:
        self.out = out
        self.stderr = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sentiscale", "prepare", reviews, "--out", out, *more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def shards(self) -> int:
        return len(list(self.out.with_name(f".{self.out.name}.partial").glob("shards/[0-9]*[0-9].*")))

    def when(self, shards: int, action: Callable[[], object]) -> None:
        """Do something as soon as so many shards are there."""
        wait_for(lambda: self.shards() >= shards or self.process.poll() is not None)
        assert self.process.poll() is None, "it ended before it could be disturbed"
        action()

    def ended(self) -> int:
        _, self.stderr = self.process.communicate(timeout=150)
        assert "Traceback" not in self.stderr, self.stderr
        return self.process.returncode

    def digest(self) -> str:
        return json.loads((self.out / "manifest.json").read_text())["digest"]


def test_worker_process_killed_half_way(reviews, expected, tmp_path):
    run = Preparation(reviews, tmp_path / "data", *SMALL_BLOCKS, "--workers", "2", "--processes")

    def kill_a_worker():
        children = psutil.Process(run.process.pid).children()
        next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()

    run.when(10, kill_a_worker)
    run.when(50, kill_a_worker)
    assert run.ended() == 0, run.stderr
    assert run.digest() == expected
    assert os.listdir(tmp_path) == ["data"]


def test_worker_of_a_cluster_killed_half_way(two_workers: DaskProcesses, reviews, expected, tmp_path):
    run = Preparation(reviews, tmp_path / "data", *SMALL_BLOCKS, "--scheduler", two_workers.address)
    run.when(10, lambda: kill_group(two_workers.all[1]))
    assert run.ended() == 0, run.stderr
    assert run.digest() == expected


def test_connection_reset_half_way(wire: Wire, reviews, expected, tmp_path):
    run = Preparation(reviews, tmp_path / "data", *SMALL_BLOCKS, "--scheduler", wire.address)
    run.when(10, wire.cut)
    time.sleep(1)
    wire.mend()
    assert run.ended() == 0, run.stderr
    assert run.digest() == expected
    assert "lost the Dask scheduler" in run.stderr
    assert "reconnected" in run.stderr


def test_scheduler_lost_for_good_then_resumed(two_workers: DaskProcesses, reviews, expected, tmp_path):
    """Finished shards are not made again, here without any cluster."""
    out = tmp_path / "data"
    run = Preparation(reviews, out, *SMALL_BLOCKS, "--scheduler", two_workers.address)
    run.when(10, lambda: kill_group(two_workers.scheduler))
    assert run.ended() == 1
    assert "has been gone for 60 s. Finished work is kept in" in run.stderr
    assert "--resume" in run.stderr
    shards = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".data.partial/shards/*")}
    assert len(shards) >= 10
    resumed = Preparation(reviews, out, *SMALL_BLOCKS, "--resume")
    seen = watch_times(tmp_path, resumed.process)
    assert resumed.ended() == 0, resumed.stderr
    assert resumed.digest() == expected
    assert all(seen.get(path, time_before) == time_before for path, time_before in shards.items())


def test_ctrl_c_with_a_cluster_then_resumed(two_workers: DaskProcesses, reviews, expected, tmp_path):
    """Workers may still be busy with tasks of the first run while the second one goes on."""
    out = tmp_path / "data"
    run = Preparation(reviews, out, *SMALL_BLOCKS, "--scheduler", two_workers.address)
    run.when(10, lambda: run.process.send_signal(signal.SIGINT))
    assert run.ended() == 130
    resumed = Preparation(reviews, out, *SMALL_BLOCKS, "--scheduler", two_workers.address, "--resume")
    assert resumed.ended() == 0, resumed.stderr
    assert resumed.digest() == expected


def watch_times(folder: Path, process: subprocess.Popen[str]) -> dict[Path, int]:
    """Times of change of the shards while a process runs; filled from a thread."""
    seen: dict[Path, int] = {}

    def watch() -> None:
        while process.poll() is None:
            for path in folder.glob(".data.partial/shards/*"):
                try:
                    seen[path] = path.stat().st_mtime_ns
                except FileNotFoundError:
                    continue
            time.sleep(0.01)

    threading.Thread(target=watch, daemon=True).start()
    return seen
