"""Worker processes of this machine: killed, they are replaced and their tasks done again."""

import os
import signal
import threading
import time

import psutil
import pytest

from sentiscale.data.engine import open_engine
from sentiscale.errors import ClusterError
from tests.data.cluster import tasks

pytestmark = pytest.mark.usefixtures("nothing_left")


def worker_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_killed_workers_cost_no_result(tmp_path):
    """Three kills in a row, each while both workers are busy."""
    found = []
    with open_engine(2, processes=True, folder=tmp_path) as engine:
        for key, result in engine.map(tasks.slow_square, ((n, n) for n in range(40))):
            found.append((key, result))
            if len(found) in (5, 10, 15):
                worker_processes()[0].kill()
    assert sorted(found) == [(n, n * n) for n in range(40)]


def test_restarted_workers_do_not_hear_ctrl_c_either(tmp_path):
    with open_engine(1, processes=True, folder=tmp_path) as engine:
        mark = tmp_path / "died"
        assert list(engine.map(tasks.die_once, [(0, str(mark))])) == [(0, "done")]
        assert dict(engine.map(tasks.blocked_signals, [(0, 0)]))[0] == {signal.SIGINT}


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_named_and_no_other(tmp_path):
    """The innocent tasks beside it are under the same suspicion at first."""
    words = ["a", "bad", "c", "d", "e", "f"]
    with open_engine(2, processes=True, folder=tmp_path) as engine:
        results = engine.map(tasks.die_if_bad, enumerate(words), describe="block {} of reviews.txt".format)
        with pytest.raises(ClusterError, match=r"^block 1 of reviews\.txt kills every worker"):
            list(results)


def fail_on_first_result():
    with open_engine(2, processes=True) as engine:
        for _ in engine.map(tasks.slow_square, ((n, n) for n in range(20))):
            raise RuntimeError("mine")


def press_ctrl_c_while_working():
    with open_engine(2, processes=True) as engine:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        list(engine.map(tasks.slow_square, ((n, n) for n in range(1000))))


@pytest.mark.parametrize(
    ("stop", "error"), [(fail_on_first_result, RuntimeError), (press_ctrl_c_while_working, KeyboardInterrupt)]
)
def test_nothing_is_left_when_it_stops_early(stop, error):
    started = time.monotonic()
    with pytest.raises(error):
        stop()
    assert time.monotonic() - started < 60


def test_threads_leave_nothing_either():
    with open_engine(2) as engine:
        assert len(list(engine.map(tasks.square, enumerate(range(20))))) == 20
