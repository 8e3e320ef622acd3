"""A scheduler that is lost and comes back, stays away, or has no workers; the work goes on or is kept."""

import threading
import time

import pytest

from sentiscale.data import cluster
from sentiscale.data.engine import open_engine
from sentiscale.errors import ClusterError
from tests.data.cluster import tasks
from tests.data.cluster.processes import DaskProcesses, Wire, kill_group, wait_for

pytestmark = pytest.mark.slow

SQUARES = [(n, n * n) for n in range(40)]


class Told(list[str]):
    """What was said, in one text for searching."""

    def __str__(self) -> str:
        return "\n".join(self)


@pytest.fixture
def told() -> Told:
    return Told()


def squares_with(engine, trouble, after: int = 8) -> list[tuple[int, int]]:
    """Do 40 tasks, and call `trouble` when some are done; the results in order of keys."""
    found = []
    for key, result in engine.map(tasks.slow_square, ((n, n) for n in range(40))):
        found.append((key, result))
        if len(found) == after:
            trouble()
    return sorted(found)


def test_connection_reset_and_restored(wire: Wire, told, tmp_path, nothing_left):
    """Every result once, in spite of tasks that were done twice."""

    def cut_for_two_seconds():
        wire.cut()
        threading.Timer(2, wire.mend).start()

    report = tmp_path / "report.html"
    with open_engine(1, wire.address, folder=tmp_path, report=report, say=told.append) as engine:
        assert engine.workers == 2
        assert squares_with(engine, cut_for_two_seconds) == SQUARES
    assert "lost the Dask scheduler" in told[0]
    assert "reconnected" in told[1]
    assert "Task Stream" in report.read_text()


def test_connection_lost_several_times_in_a_row(wire: Wire, told, tmp_path):
    found = []
    with open_engine(1, wire.address, folder=tmp_path, say=told.append) as engine:
        for key, result in engine.map(tasks.slow_square, ((n, n) for n in range(40))):
            found.append((key, result))
            if len(found) % 10 == 0:
                wire.cut()
                wire.mend()
    assert sorted(found) == SQUARES
    assert str(told).count("reconnected") >= 3


def test_silent_network_for_some_seconds(two_workers: DaskProcesses, told, tmp_path, monkeypatch):
    """Nothing is sent twice when the answers were only late: a stopped scheduler stands for a lost link."""
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1.0)
    scheduler = two_workers.scheduler
    assert scheduler

    def stop_for_four_seconds():
        scheduler.send_signal(19)  # SIGSTOP
        threading.Timer(4, scheduler.send_signal, [18]).start()  # SIGCONT

    with open_engine(1, two_workers.address, folder=tmp_path, say=told.append) as engine:
        client = engine.client
        assert squares_with(engine, stop_for_four_seconds) == SQUARES
        assert engine.client is client
    assert "does not answer" in told[0]
    assert "answers again" in told[1]


def test_scheduler_killed_and_started_anew(two_workers: DaskProcesses, told, tmp_path):
    """Workers end with their scheduler; new ones take over."""

    def start_again():
        two_workers.start_scheduler()
        two_workers.start_worker()

    def kill_scheduler():
        kill_group(two_workers.scheduler)
        threading.Timer(1, start_again).start()

    report = tmp_path / "report.html"
    with open_engine(1, two_workers.address, folder=tmp_path, report=report, say=told.append) as engine:
        assert squares_with(engine, kill_scheduler) == SQUARES
    assert "has no workers; waiting for one" in str(told)
    assert "continuing with 1 worker" in str(told)
    assert "Task Stream" in report.read_text()


def test_scheduler_stays_away(two_workers: DaskProcesses, told, tmp_path, monkeypatch, nothing_left):
    monkeypatch.setattr(cluster, "RECONNECT_SECONDS", 2.0)
    with open_engine(1, two_workers.address, folder=tmp_path, say=told.append) as engine:
        started = time.monotonic()
        with pytest.raises(ClusterError, match=r"scheduler at tcp://127\.0\.0\.1:\d+ has been gone for 2 s"):
            squares_with(engine, lambda: kill_group(two_workers.scheduler))
        assert time.monotonic() - started < 60


def test_last_worker_leaves_and_another_one_joins(two_workers: DaskProcesses, told, tmp_path):
    def kill_workers():
        for process in two_workers.all[1:]:
            kill_group(process)
        threading.Timer(1.5, two_workers.start_worker).start()

    with open_engine(1, two_workers.address, folder=tmp_path, say=told.append) as engine:
        assert squares_with(engine, kill_workers) == SQUARES
    assert "has no workers; waiting for one. Start it with: dask worker tcp://" in told[0]
    assert "continuing with 1 worker" in told[1]


def test_workers_come_only_after_the_start(dask_processes: DaskProcesses, told, tmp_path):
    dask_processes.start_scheduler()
    threading.Timer(1, dask_processes.start_worker).start()
    with open_engine(1, dask_processes.address, folder=tmp_path, say=told.append) as engine:
        assert dict(engine.map(tasks.square, [(0, 3)])) == {0: 9}
    assert "has no workers" in told[0]


def test_worker_killed_with_its_nanny(two_workers: DaskProcesses, told, tmp_path):
    with open_engine(1, two_workers.address, folder=tmp_path, say=told.append) as engine:
        assert squares_with(engine, lambda: kill_group(two_workers.all[1])) == SQUARES
        wait_for(lambda: engine.workers == 1 or engine._cluster.check() is not None)


def test_never_more_tasks_on_the_cluster_than_allowed(two_workers: DaskProcesses, tmp_path):
    with open_engine(1, two_workers.address, folder=tmp_path) as engine:
        for _ in engine.map(tasks.slow_square, ((n, n) for n in range(20)), in_flight=3):
            waiting = engine.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
            assert waiting <= 3 + 1  # one may be on its way out
        wait_for(lambda: not engine.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
