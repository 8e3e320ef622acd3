"""Clusters of real processes, and a check that nothing of them is left."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.data.cluster.processes import DaskProcesses, Wire, wait_for


@pytest.fixture
def dask_processes(tmp_path: Path) -> Iterator[DaskProcesses]:
    """An address where a test starts a scheduler and workers."""
    processes = DaskProcesses(tmp_path)
    yield processes
    processes.stop()


@pytest.fixture
def two_workers(dask_processes: DaskProcesses) -> DaskProcesses:
    """A running scheduler with two workers of one thread."""
    dask_processes.start_scheduler()
    for _ in range(2):
        dask_processes.start_worker()
    dask_processes.wait_for_workers(2)
    return dask_processes


@pytest.fixture
def wire(two_workers: DaskProcesses) -> Iterator[Wire]:
    """What the client goes through to reach the scheduler."""
    wire = Wire(two_workers.port)
    yield wire
    wire.close()


@pytest.fixture
def nothing_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes, threads, sockets and temporary files of the test are gone when it ends."""
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = left_behind()
    yield
    wait_for(lambda: not left_behind() - before)
    assert os.listdir(temporary) == []


def left_behind() -> set[str]:
    """Child processes, sockets and threads of this process."""
    own = psutil.Process()
    processes = {f"process {child.pid}" for child in own.children() if not is_helper(child)}
    sockets = {f"socket {connection.laddr}" for connection in own.net_connections("inet")}
    threads = {f"thread {thread.name} {thread.ident}" for thread in threading.enumerate()}
    return processes | sockets | {name for name in threads if "Offload" not in name}


def is_helper(child: psutil.Process) -> bool:
    """Python's own helper of multiprocessing stays for the next use, as Dask's offload thread does."""
    try:
        return "resource_tracker" in " ".join(child.cmdline())
    except psutil.ZombieProcess:  # killed by the test, which has not yet looked
        return True
