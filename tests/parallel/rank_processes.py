"""Real ranks, started by our launcher, by torchrun or by hand, and how they ended."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from sentiscale.parallel.rendezvous import RankEnv
from tests.conftest import REPOSITORY

HERE = Path(__file__).parent
RANK = [sys.executable, str(HERE / "rank.py")]
PATIENT = 30.0
"""Timeout of heartbeats where a test is not about hung ranks: a rank may starve on busy cores."""

TRACEBACK = "Traceback (most recent call last)"


@dataclass
class Ending:
    """How a world of ranks ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    """From the fault until nothing of the world was left."""

    @property
    def messages(self) -> list[str]:
        """Lines that the command line printed for a user."""
        return re.findall(r"^sentiscale: .*", self.stderr, flags=re.MULTILINE)


class World:
    """Processes that are started by one command, or by several, and leave their process ids in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, command: list[str], environment: dict[str, str] | None = None) -> "World":
        paths = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
        variables = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | (environment or {})
        self.processes.append(
            subprocess.Popen(
                command,
                env=variables,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.folder,
                start_new_session=True,
            )
        )
        return self

    def ended(self, seconds: float = 120) -> list[Ending]:
        """Wait for the started processes; everything they started must be gone as well."""
        endings = []
        for process in self.processes:
            out, err = process.communicate(timeout=seconds)
            endings.append(Ending(process.returncode, out, err, self.seconds_since("fault")))
        assert self.living() == []
        tell(f"{self.seconds_since('fault'):.1f} s after the fault: {[ending.code for ending in endings]}")
        return endings

    def pids(self) -> list[int]:
        return [int(file.name.split("-")[2]) for file in self.folder.glob("pid-*")]

    def living(self) -> list[int]:
        return [pid for pid in self.pids() if is_alive(pid)]

    def pid_of(self, rank: int) -> int:
        return int(next(self.folder.glob(f"pid-{rank}-*")).name.split("-")[2])

    def seconds_since(self, name: str) -> float:
        file = self.folder / name
        return time.time() - file.stat().st_mtime if file.exists() else 0.0

    def wait_until_running(self, ranks: int) -> None:
        wait_for(lambda: len(list(self.folder.glob("running-*"))) == ranks)

    def clean_up(self) -> None:
        """So that a test that fails leaves nothing."""
        for pid in [*self.pids(), *(process.pid for process in self.processes if process.poll() is None)]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.communicate()


def by_launcher(
    world: World, ranks: int, *options: object, restarts: int = 0, heartbeat_timeout: float = PATIENT
) -> World:
    """With our launcher."""
    start = [sys.executable, str(HERE / "start.py"), str(ranks), str(restarts), str(heartbeat_timeout)]
    return world.start([*start, "--", str(world.folder), *map(str, options)])


def by_torchrun(world: World, ranks: int, *options: object, restarts: int = 0) -> World:
    """With PyTorch's."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--max-restarts={restarts}"]
    return world.start(
        [*torchrun, f"--nproc-per-node={ranks}", RANK[1], str(world.folder), *map(str, options)]
    )


def by_hand(world: World, ranks: int, port: int, *options: object) -> World:
    """As batch systems do: only the four variables; rank 0 holds the store."""
    for rank in range(ranks):
        env = RankEnv(rank, ranks, rank, ranks, "127.0.0.1", port)
        world.start([*RANK, str(world.folder), *map(str, options)], env.as_environment())
    return world


def tell(figure: str) -> None:
    """Shown by `pytest -rA`."""
    sys.stdout.write(f"{figure}\n")


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition, seconds: float = 120) -> float:
    """Seconds until it became true."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - start
