"""Missed heartbeats, which rank an error is attributed to, and what a report says."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from sentiscale.errors import DataError, Interrupted, RankFailed, UsageError
from sentiscale.parallel.failure import (
    REPORTS,
    Heartbeat,
    kill_hung,
    report_end,
    report_error,
    report_timeout,
)
from sentiscale.parallel.heartbeat import MissedBeats, comes_from_peer
from sentiscale.parallel.rendezvous import choose_gloo_interface, interface_towards
from sentiscale.parallel.world import process_space

BEAT = Heartbeat(1, 7, "host-b", "", 99, 0.0, "compute", 12)


def beats(*counts: int | None) -> list[Heartbeat | None]:
    return [None if count is None else Heartbeat(rank, count) for rank, count in enumerate(counts)]


def test_missed_beats_are_counted_in_the_watchers_own():
    missed = MissedBeats(2)
    for count in range(5):
        missed.update(beats(count, 3))
    assert missed.longest(timeout=2.0) == (Heartbeat(1, 3), 2.0)
    assert missed.longest(timeout=2.5) is None


def test_a_rank_heard_again_has_missed_none():
    missed = MissedBeats(1)
    for count in (1, 1, 1, 2):
        missed.update(beats(count))
    assert missed.longest(timeout=0.5) is None


def test_ranks_that_have_not_begun_or_have_ended_miss_none():
    missed = MissedBeats(2)
    for _ in range(9):
        missed.update([None, Heartbeat(1, 4, ended=True)])
    assert missed.longest(timeout=0.5) is None


def test_the_rank_that_missed_most_is_reported():
    missed = MissedBeats(3)
    for count in (1, 2, 3, 4, 5, 6):
        missed.update(beats(min(count, 4), min(count, 2), count))
    assert missed.longest(0.5)[0].rank == 1
    assert missed.longest(0.5, but=1)[0].rank == 0


def test_all_have_ended_when_they_said_so_or_timed_out():
    missed = MissedBeats(3)
    missed.update([Heartbeat(0, 1), Heartbeat(1, 1, ended=True), Heartbeat(2, 1)])
    assert not missed.all_ended(but=0, timeout=1.0)
    for count in (2, 3):
        missed.update([Heartbeat(0, count), Heartbeat(1, 1, ended=True), Heartbeat(2, 1)])
    assert missed.all_ended(but=0, timeout=1.0)
    assert not MissedBeats(2).all_ended(but=0, timeout=1.0), "who has not begun may still come"


@pytest.mark.parametrize("kind", [DataError, UsageError, Interrupted])
def test_kind_of_error_survives_the_store(kind):
    report = REPORTS.validate_json(REPORTS.dump_json(report_error(kind("x"), BEAT, 2, __file__)))
    assert type(report.as_error()) is kind


def test_report_of_a_hung_rank_carries_its_process_through_the_store():
    report = REPORTS.validate_json(REPORTS.dump_json(report_timeout(BEAT, 6, 2)))
    assert report.kill == BEAT
    assert str(report.as_error()).startswith(
        "rank 1 of 2 on host host-b has sent no heartbeat for 6 s; it was last seen in phase compute at step "
        "12 (process 99)."
    )


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (-9, RankFailed, "killed by SIGKILL; it was last seen in phase compute at step 12. If nobody"),
        (-11, RankFailed, "killed by SIGSEGV"),
        (-60, RankFailed, "killed by signal 60"),
        (3, DataError, "exit code 3"),
        (77, RankFailed, "exit code 77"),
    ],
)
def test_end_of_a_process_is_explained_by_its_code(code, kind, words):
    error = report_end(BEAT, code, 2).as_error()
    assert type(error) is kind
    assert words in str(error)
    assert "rank 1 of 2 on host host-b" in str(error)


def test_traceback_keeps_the_cause_and_loses_the_monitor():
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise ValueError("two\nlines") from cause
    except ValueError as error:
        report = report_error(error, BEAT, 2, own_file=__file__)
    assert report.message.endswith("failed in phase compute at step 12: ValueError: two.")
    assert "KeyError: 'cause'" in report.traceback
    assert report.traceback.endswith("ValueError: two\nlines\n")


@pytest.mark.parametrize("text", ["DefaultCPUAllocator: can't allocate memory", "CUDA out of memory. Tried"])
def test_lack_of_memory_is_recognised(text):
    for error in (RuntimeError(text), MemoryError()):
        report = report_error(error, BEAT, 2, __file__)
        assert "ran out of memory in phase compute at step 12" in report.message
        assert report.traceback is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:58075."), True),
        (RuntimeError("Timed out waiting 1000ms for recv operation to complete"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (NotImplementedError("nothing to do with gloo"), False),
        (ValueError("connection closed by peer"), False),
    ],
)
def test_only_a_broken_connection_is_attributed_to_others(error, expected):
    assert comes_from_peer(error) is expected
    wrapped = KeyboardInterrupt()
    wrapped.__context__ = error
    assert comes_from_peer(wrapped) is expected


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_only_the_very_process_that_sent_the_beat_is_killed(sleeper):
    born, here = psutil.Process(sleeper.pid).create_time(), process_space()
    kill_hung(Heartbeat(1, process_space="another machine", pid=sleeper.pid, created_at=born))
    kill_hung(Heartbeat(1, process_space=here, pid=sleeper.pid, created_at=born - 1000))
    kill_hung(Heartbeat(1, process_space=here, pid=os.getpid(), created_at=psutil.Process().create_time()))
    assert sleeper.poll() is None
    kill_hung(Heartbeat(1, process_space=here, pid=sleeper.pid, created_at=born))
    assert sleeper.wait(5) == -signal.SIGKILL
    kill_hung(Heartbeat(1, process_space=here, pid=sleeper.pid, created_at=born))  # gone: nothing happens


def test_interface_is_the_one_that_leads_there(monkeypatch):
    assert psutil.net_if_addrs()[interface_towards("127.0.0.1")][0].address == "127.0.0.1"
    assert interface_towards("no-such-host.invalid") is None
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")
    assert choose_gloo_interface("localhost") == os.environ["GLOO_SOCKET_IFNAME"]
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "users-choice")
    assert choose_gloo_interface("127.0.0.1") == "users-choice"
