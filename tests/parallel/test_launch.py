"""The project's own launcher: whatever happens to a rank, all end soon, with one message and no orphans."""

import os
import signal
import sys
import time

import psutil
import pytest

from sentiscale.errors import RankFailed
from sentiscale.parallel.launch import launch
from tests.parallel.rank_processes import PATIENT, TRACEBACK, World, by_launcher, tell, wait_for

LIMIT = 60
"""Seconds from a fault until all have ended: about 2 on idle cores, 7 if it hangs. PyTorch: 30 min."""


def failed(world: World, ranks: int, fault: str, code: int = 1, heartbeat_timeout: float = PATIENT) -> str:
    """Let rank 1 meet a fault; returns the one message, after checking what holds for all of them."""
    [ending] = by_launcher(world, ranks, "--fault", fault, heartbeat_timeout=heartbeat_timeout).ended()
    assert ending.code == code
    assert ending.seconds < LIMIT
    [message] = ending.messages
    assert f"rank 1 of {ranks} on host {os.uname().nodename}" in message
    assert ending.stderr.startswith("sentiscale: "), "nothing else is printed"
    assert ending.stderr.count(TRACEBACK) == (fault == "raise")
    return ending.stderr


def test_killed_rank_ends_all_three(world):
    message = failed(world, 3, "kill")
    assert "killed by SIGKILL" in message
    assert "when memory runs out" in message
    assert "last seen in phase" in message


def test_stopped_rank_is_found_by_its_silence(world):
    message = failed(world, 2, "stop", heartbeat_timeout=3)
    assert "no heartbeat for 3 s; it was last seen in phase" in message
    assert f"process {world.pid_of(1)}" in message


def test_unknown_exception_is_told_with_its_traceback(world):
    message = failed(world, 2, "raise")
    assert "failed in phase data at step 20: ValueError: this is the planted fault" in message
    assert message.rstrip().endswith("ValueError: this is the planted fault")
    assert "heartbeat.py" not in message


@pytest.mark.slow
def test_memory_that_cannot_be_had_is_told_with_what_helps(world):
    message = failed(world, 2, "memory")
    assert "ran out of memory in phase data at step 20" in message
    assert "smaller --batch-size" in message


@pytest.mark.slow
def test_bad_data_keeps_its_exit_code(world):
    message = failed(world, 2, "data", code=3)
    assert "reviews.txt:3 is not a review. (rank 1" in message
    assert "in phase data at step 20" in message


@pytest.mark.slow
def test_rank_that_just_ends_is_told(world):
    assert "ended with exit code 5; it was last seen in phase" in failed(world, 2, "exit")


@pytest.mark.slow
def test_rank_that_holds_the_interpreter_lock_for_ever_is_hung(world):
    assert "no heartbeat for 3 s" in failed(world, 2, "holds-lock", heartbeat_timeout=3)


@pytest.mark.slow
def test_rank_that_ends_before_it_begins_is_told(world):
    [ending] = by_launcher(world, 2, "--fault", "early").ended()
    assert ending.code == 1
    [message] = ending.messages
    assert "rank 1 of 2" in message
    assert "ended with exit code 7; it had not started" in message


@pytest.mark.slow
def test_error_that_all_ranks_raise_is_told_once(world):
    [ending] = by_launcher(world, 2, "--fault", "all").ended()
    assert (ending.code, ending.stderr) == (2, "sentiscale: all ranks agree that this cannot work.\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signal_lets_every_rank_save(world, number):
    by_launcher(world, 2, "--at", 0, "--late", 3.5).wait_until_running(2)
    world.processes[0].send_signal(number)
    [ending] = world.ended()
    assert ending.code == 130
    assert [file.name for file in sorted(world.folder.glob("saved-*"))] == ["saved-0", "saved-1"]
    [message] = ending.messages
    assert "interrupted at step" in message
    assert ending.stderr.count("\n") == 1


@pytest.mark.slow
def test_second_signal_ends_at_once(world):
    by_launcher(world, 2).wait_until_running(2)
    os.kill(world.pid_of(1), signal.SIGSTOP)  # so that nobody can agree on stopping
    world.processes[0].send_signal(signal.SIGTERM)
    wait_for(lambda: not world.living() or world.seconds_since("running-1") > 1.5)
    world.processes[0].send_signal(signal.SIGTERM)
    assert wait_for(lambda: world.processes[0].poll() is not None) < 20  # ranks get 60 s to save
    [ending] = world.ended()
    assert ending.code == 130


def test_nobody_outlives_a_killed_launcher_not_even_a_stopped_rank(world):
    """Nor ranks that are busy by themselves, which no broken connection tells anything."""
    by_launcher(world, 3, "--fault-step", 0, "--pause", 50).wait_until_running(3)
    os.kill(world.pid_of(2), signal.SIGSTOP)
    world.processes[0].kill()
    seconds = wait_for(lambda: not world.living())
    tell(f"{seconds:.1f} s after the launcher was killed")
    assert seconds < LIMIT
    [ending] = world.ended()
    assert len(ending.messages) == 1
    assert "the launcher of this training run has ended" in ending.stderr


@pytest.mark.slow
def test_launcher_that_no_longer_answers_is_as_good_as_gone(world):
    by_launcher(world, 2, "--fault-step", 0, "--pause", 50).wait_until_running(2)
    world.processes[0].send_signal(signal.SIGSTOP)
    seconds = wait_for(lambda: not world.living())
    tell(f"{seconds:.1f} s after the launcher was stopped")
    assert seconds < LIMIT
    world.processes[0].send_signal(signal.SIGCONT)
    [ending] = world.ended()
    assert ending.code == 1


@pytest.mark.slow
def test_rank_that_has_ended_well_is_not_hung(world):
    [ending] = by_launcher(world, 2, "--steps", 30, "--at", 0, "--late", 5, heartbeat_timeout=3).ended()
    assert (ending.code, ending.stderr) == (0, "")


@pytest.mark.slow
def test_terminal_pause_stops_all_and_continues_all(world):
    by_launcher(world, 2, heartbeat_timeout=3).wait_until_running(2)
    launcher = psutil.Process(world.processes[0].pid)
    launcher.send_signal(signal.SIGTSTP)
    everybody = [launcher, *map(psutil.Process, world.pids())]
    wait_for(lambda: all(process.status() == psutil.STATUS_STOPPED for process in everybody))
    time.sleep(5)  # longer than the timeout of heartbeats
    launcher.resume()
    time.sleep(5)
    assert len(world.living()) == 2
    launcher.send_signal(signal.SIGTERM)
    [ending] = world.ended()
    assert ending.code == 130
    assert len(list(world.folder.glob("saved-*"))) == 2


@pytest.mark.slow
def test_two_trainings_at_once_do_not_disturb_each_other(world, other_world):
    by_launcher(world, 2, "--fault", "kill")
    by_launcher(other_world, 2, "--steps", 60)
    assert [ending.code for ending in world.ended()] == [1]
    [ending] = other_world.ended()
    assert (ending.code, ending.stderr) == (0, "")


def test_failed_training_is_started_again(world):
    [ending] = by_launcher(world, 2, "--fault", "raise-once", "--steps", 40, restarts=1).ended()
    assert (ending.code, ending.stderr) == (0, "")
    assert "again, because rank 1 of 2" in ending.stdout
    assert len(world.pids()) == 4


def rank_command(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_restarts_are_counted():
    attempts, reasons = [], []

    def command(attempt: int) -> list[str]:
        attempts.append(attempt)
        return rank_command("raise SystemExit(9)")

    with pytest.raises(RankFailed, match="exit code 9; it had not started"):
        launch(command, 1, threads=1, heartbeat_timeout=PATIENT, max_restarts=2, on_restart=reasons.append)
    assert attempts == [0, 1, 2]
    assert len(reasons) == 2


@pytest.mark.parametrize("code", [2, 3, 130])
def test_what_another_attempt_would_meet_again_is_not_retried(code):
    with pytest.raises(Exception, match="exit code") as raised:
        launch(
            lambda attempt: rank_command(f"raise SystemExit({code})"),
            1,
            threads=1,
            heartbeat_timeout=PATIENT,
            max_restarts=2,
            on_restart=lambda why: pytest.fail(why),
        )
    assert raised.value.exit_code == code


def test_rank_finds_its_place_and_threads_in_its_environment(tmp_path):
    names = ["RANK", "WORLD_SIZE", "OMP_NUM_THREADS", "GLOO_SOCKET_IFNAME"]
    code = (
        f"import os, pathlib; found = [os.environ[name] for name in {names}]; "
        f"pathlib.Path({str(tmp_path)!r}, found[0]).write_text(' '.join(found))"
    )
    launch(lambda attempt: rank_command(code), 2, threads=3, heartbeat_timeout=PATIENT)
    found = [(tmp_path / rank).read_text() for rank in "01"]
    assert found == ["0 2 3 lo", "1 2 3 lo"]


def test_command_that_cannot_be_started_leaves_nothing():
    with pytest.raises(FileNotFoundError):
        launch(lambda attempt: ["/no/such/program"], 2, threads=1, heartbeat_timeout=PATIENT)
