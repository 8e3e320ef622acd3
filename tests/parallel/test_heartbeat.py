"""Ranks that torchrun or a batch system started: they find out by themselves who has failed, and end."""

import os
import signal
import socket
import sys

import pytest

from tests.parallel.rank_processes import RANK, TRACEBACK, by_hand, by_torchrun, tell, wait_for

LIMIT = 60
"""Seconds from a fault until all have ended: less than 10 on idle cores."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("kill", "no heartbeat for 2 s; it was last seen in phase"),
        pytest.param("stop", "no heartbeat for 3 s; it was last seen in phase", marks=pytest.mark.slow),
        ("raise", "failed in phase data at step 20: ValueError: this is the planted fault."),
    ],
)
def test_torchrun_ends_with_one_message(world, fault, words):
    [ending] = by_torchrun(world, 2, "--fault", fault, "--heartbeat-timeout", 3).ended()
    assert ending.code == 1
    assert ending.seconds < LIMIT
    [message] = ending.messages
    assert f"rank 1 of 2 on host {os.uname().nodename}" in message
    assert words in message
    assert ending.stderr.count("ValueError: this is the planted fault\n") == (fault == "raise")


@pytest.mark.slow
def test_torchrun_restarts_under_the_same_store(world):
    [ending] = by_torchrun(world, 2, "--fault", "raise-once", "--steps", 40, restarts=1).ended()
    assert ending.code == 0
    assert len(ending.messages) == 1
    assert len(world.pids()) == 4


@pytest.mark.slow
def test_signal_to_torchrun_lets_every_rank_save(world):
    by_torchrun(world, 2).wait_until_running(2)
    world.processes[0].terminate()
    [ending] = world.ended()
    assert len(list(world.folder.glob("saved-*"))) == 2
    [message] = ending.messages
    assert "interrupted at step" in message


@pytest.mark.slow
def test_two_agents_restart_their_ranks_together(world):
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc-per-node=1",
        "--max-restarts=2",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{free_port()}",
        "--rdzv-id=two",
        "--local-addr=127.0.0.1",
    ]
    for _ in range(2):
        world.start([*torchrun, RANK[1], str(world.folder), "--fault", "raise-once", "--steps", "40"])
    endings = world.ended()
    assert [ending.code for ending in endings] == [0, 0]
    assert len([message for ending in endings for message in ending.messages]) == 1


@pytest.mark.slow
def test_end_by_torchrun_is_not_taken_for_an_interruption(world):
    """torchrun ends ranks by the same signal, before they have noticed that one of them has died."""
    options = ["--plain-signals", "--fault", "kill", "--fault-step", 2, "--pause", 2]
    [ending] = by_torchrun(world, 2, *options).ended()
    assert ending.seconds < LIMIT
    [message] = ending.messages
    assert "rank 1 of 2" in message
    assert "no heartbeat for 2 s" in message


@pytest.mark.slow
def test_killed_torchrun_leaves_no_rank(world):
    by_torchrun(world, 2).wait_until_running(2)
    world.processes[0].kill()
    seconds = wait_for(lambda: not world.living())
    tell(f"{seconds:.1f} s after torchrun was killed")
    assert seconds < LIMIT
    [ending] = world.ended()
    [message] = ending.messages
    assert "torchrun's agent, or the store at" in message


@pytest.mark.slow
def test_ranks_started_by_hand_end_well_together(world):
    """Rank 0, which holds the store, stays for the late one; a rank that has ended is not taken for hung."""
    endings = by_hand(world, 3, free_port(), "--steps", 40, "--late", 4, "--heartbeat-timeout", 3).ended()
    assert [(ending.code, ending.stderr) for ending in endings] == [(0, "")] * 3


@pytest.mark.parametrize("at", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_ranks_started_by_hand_find_the_killed_one(world, at):
    """Rank 0 holds the store: with it goes what the others would agree over."""
    endings = by_hand(world, 3, free_port(), "--fault", "kill", "--at", at).ended()
    assert [ending.code for ending in endings] == [-9 if rank == at else 1 for rank in range(3)]
    assert max(ending.seconds for ending in endings) < LIMIT
    [message] = [message for ending in endings for message in ending.messages]
    assert f"rank {at} of 3 on host {os.uname().nodename}" in message
    assert "last seen in phase" in message
    assert not any(TRACEBACK in ending.stderr for ending in endings)


@pytest.mark.slow
def test_rank_0_that_holds_the_store_stays_until_all_know(world):
    endings = by_hand(world, 3, free_port(), "--fault", "raise", "--at", 0).ended()
    assert [ending.code for ending in endings] == [1, 1, 1]
    assert [len(ending.messages) for ending in endings] == [1, 0, 0]
    assert endings[0].stderr.count(TRACEBACK) == 1
    assert endings[1].stderr == endings[2].stderr == ""


@pytest.mark.slow
def test_interruption_is_reported_by_rank_0_alone(world):
    by_hand(world, 2, free_port(), "--at", 0, "--late", 0.3).wait_until_running(2)
    world.processes[1].send_signal(signal.SIGTERM)
    endings = world.ended()
    assert [ending.code for ending in endings] == [130, 130]
    assert [len(ending.messages) for ending in endings] == [1, 0]
