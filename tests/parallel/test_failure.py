"""Who is silent, whose error counts as whose fault, and what a report says."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from sentiscale.errors import DataError, Interrupted, RankFailed, UsageError
from sentiscale.parallel.failure import (
    Beat,
    FailureReport,
    kill_hung,
    process_space,
    report_of_end,
    report_of_error,
    report_of_silence,
)
from sentiscale.parallel.heartbeat import Silence, comes_from_peer
from sentiscale.parallel.rendezvous import choose_gloo_interface, interface_towards

BEAT = Beat(1, 7, "host-b", "", 99, 0.0, "compute", 12)


def beats(*counts: int | None) -> list[Beat | None]:
    return [None if count is None else Beat(rank, count) for rank, count in enumerate(counts)]


def test_silence_is_counted_in_the_watchers_own_beats():
    silence = Silence(2)
    for count in range(5):
        silence.update(beats(count, 3))
    assert silence.longest(limit=2.0) == (Beat(1, 3), 2.0)
    assert silence.longest(limit=2.5) is None


def test_rank_heard_again_is_not_silent():
    silence = Silence(1)
    for count in (1, 1, 1, 2):
        silence.update(beats(count))
    assert silence.longest(limit=0.5) is None


def test_ranks_that_have_not_begun_or_said_goodbye_are_not_silent():
    silence = Silence(2)
    for _ in range(9):
        silence.update([None, Beat(1, 4, ended=True)])
    assert silence.longest(limit=0.5) is None


def test_longest_silence_is_blamed():
    silence = Silence(3)
    for count in (1, 2, 3, 4, 5, 6):
        silence.update(beats(min(count, 4), min(count, 2), count))
    assert silence.longest(0.5)[0].rank == 1
    assert silence.longest(0.5, but=1)[0].rank == 0


def test_all_have_ended_when_they_said_so_or_are_silent():
    silence = Silence(3)
    silence.update([Beat(0, 1), Beat(1, 1, ended=True), Beat(2, 1)])
    assert not silence.all_ended(but=0, limit=1.0)
    for count in (2, 3):
        silence.update([Beat(0, count), Beat(1, 1, ended=True), Beat(2, 1)])
    assert silence.all_ended(but=0, limit=1.0)
    assert not Silence(2).all_ended(but=0, limit=1.0), "who has not begun may still come"


@pytest.mark.parametrize("kind", [DataError, UsageError, Interrupted])
def test_kind_of_error_survives_the_store(kind):
    report = FailureReport.from_json(report_of_error(kind("x"), BEAT, 2, __file__).to_json())
    assert type(report.as_error()) is kind


def test_report_of_a_hung_rank_carries_its_process_through_the_store():
    report = FailureReport.from_json(report_of_silence(BEAT, 6, 2).to_json())
    assert report.kill == BEAT
    assert str(report.as_error()).startswith(
        "rank 1 of 2 on host host-b has been silent for 6 s; it was last seen in phase compute at step 12 "
        "(process 99)."
    )


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (-9, RankFailed, "killed by SIGKILL; it was last seen in phase compute at step 12. If nobody did"),
        (-11, RankFailed, "killed by SIGSEGV"),
        (-60, RankFailed, "killed by signal 60"),
        (3, DataError, "exit code 3"),
        (77, RankFailed, "exit code 77"),
    ],
)
def test_end_of_a_process_is_told_by_its_code(code, kind, words):
    error = report_of_end(BEAT, code, 2).as_error()
    assert type(error) is kind
    assert words in str(error)
    assert "rank 1 of 2 on host host-b" in str(error)


def test_traceback_keeps_the_cause_and_loses_the_guard():
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise ValueError("two\nlines") from cause
    except ValueError as error:
        report = report_of_error(error, BEAT, 2, own_file=__file__)
    assert report.message.endswith("failed in phase compute at step 12: ValueError: two.")
    assert "KeyError: 'cause'" in report.traceback
    assert report.traceback.endswith("ValueError: two\nlines\n")


@pytest.mark.parametrize("text", ["DefaultCPUAllocator: can't allocate memory", "CUDA out of memory. Tried"])
def test_lack_of_memory_is_recognised(text):
    for error in (RuntimeError(text), MemoryError()):
        report = report_of_error(error, BEAT, 2, __file__)
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
def test_only_a_broken_connection_is_blamed_on_others(error, expected):
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
    born = psutil.Process(sleeper.pid).create_time()
    kill_hung(Beat(1, place="another machine", pid=sleeper.pid, born=born))
    kill_hung(Beat(1, place=process_space(), pid=sleeper.pid, born=born - 1000))
    kill_hung(Beat(1, place=process_space(), pid=os.getpid(), born=psutil.Process().create_time()))
    assert sleeper.poll() is None
    kill_hung(Beat(1, place=process_space(), pid=sleeper.pid, born=born))
    assert sleeper.wait(5) == -signal.SIGKILL
    kill_hung(Beat(1, place=process_space(), pid=sleeper.pid, born=born))  # gone: nothing happens


def test_interface_is_the_one_that_leads_there(monkeypatch):
    assert psutil.net_if_addrs()[interface_towards("127.0.0.1")][0].address == "127.0.0.1"
    assert interface_towards("no-such-host.invalid") is None
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")
    assert choose_gloo_interface("localhost") == os.environ["GLOO_SOCKET_IFNAME"]
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "users-choice")
    assert choose_gloo_interface("127.0.0.1") == "users-choice"
