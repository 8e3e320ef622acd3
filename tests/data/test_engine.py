"""Tasks on Dask: bounded, local, and with errors that arrive."""

import functools
import signal

import psutil
import pytest

from sentiscale.data.engine import IN_FLIGHT_PER_WORKER, open_engine
from sentiscale.errors import DataError


def refuse(task):
    raise DataError(f"task {task} is bad")


def test_every_task_gives_one_result_under_its_key():
    with open_engine(2) as engine:
        found = dict(engine.map(len, ((number, "x" * number) for number in range(50))))
    assert found == {number: number for number in range(50)}


def test_no_tasks_give_no_results():
    with open_engine(1) as engine:
        assert list(engine.map(len, [])) == []


def test_tasks_are_taken_only_as_workers_become_free():
    """A source of gigabytes must not be read ahead of the workers."""
    taken = []

    def tasks():
        for number in range(40):
            taken.append(number)
            yield number, number

    with open_engine(2) as engine:
        for done, _ in enumerate(engine.map(str, tasks())):
            assert len(taken) - (done + 1) <= 2 * IN_FLIGHT_PER_WORKER
    assert len(taken) == 40


def test_a_smaller_bound_on_tasks_under_way_is_kept():
    taken = []

    def tasks():
        for number in range(10):
            taken.append(number)
            yield number, number

    with open_engine(2) as engine:
        for done, _ in enumerate(engine.map(str, tasks(), in_flight=1)):
            assert len(taken) - (done + 1) <= 1


def test_what_a_task_raises_arrives():
    with open_engine(1) as engine, pytest.raises(DataError, match="task 7 is bad"):
        list(engine.map(refuse, [(0, 7)]))


def test_nothing_listens_beyond_this_machine():
    with open_engine(1) as engine:
        list(engine.map(len, [(0, "a")]))
        own = psutil.Process().net_connections("inet")
        listening = {connection.laddr.ip for connection in own if connection.status == psutil.CONN_LISTEN}
    assert listening <= {"127.0.0.1", "::1"}


def test_processes_work_as_threads_do():
    with open_engine(2, processes=True) as engine:
        assert dict(engine.map(len, [(0, "a"), (1, "bb")])) == {0: 1, 1: 2}
        assert engine.workers == 2
        mask = functools.partial(signal.pthread_sigmask, signal.SIG_BLOCK)
        assert dict(engine.map(mask, [(0, [])]))[0] == {signal.SIGINT}, "Ctrl-C would reach the workers, too"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
