"""Collectives through shared memory: the same as those through sockets, thousands of times in a row."""

import os
import platform
import subprocess
import time
from pathlib import Path

import pytest
import torch

from sentiscale.parallel.shared_memory import HostGroup, host_group, shared_on_host
from sentiscale.parallel.world import World
from tests.worlds import run_world

ROUNDS = 300

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="only x86 exchanges through memory"
)


def opened(world: World, capacity: int = 2**16) -> HostGroup:
    group = host_group(world, capacity)
    assert group is not None
    return group


def many_operations(world: World) -> int:
    """Every operation in turn, with numbers that tell who sent them in which round; counts the wrong ones."""
    group, wrong = opened(world), 0
    for turn in range(ROUNDS):
        sent = [torch.arange(257.0) * (rank + 1) + turn for rank in range(group.size)]
        total = sent[group.index].clone()
        group.all_reduce(total)
        wrong += not torch.allclose(total, sum(sent))
        wrong += not torch.equal(group.all_gather(sent[group.index]), torch.stack(sent))
        wrong += not rows_arrive_as_expected(group, turn)
        if turn % 7 == group.index:
            time.sleep(1e-3)  # now one comes late, now another
        group.barrier()
    return wrong


def rows_arrive_as_expected(group: HostGroup, turn: int) -> bool:
    """Each rank has some rows for each receiver, or none at all; a row says sender, receiver and turn."""

    def rows(sender: int, receiver: int) -> torch.Tensor:
        number = 0 if turn % 5 == sender else sender + receiver + turn % 3
        return torch.tensor([[sender, receiver, turn]] * number, dtype=torch.float64).reshape(-1, 3)

    mine = [rows(group.index, receiver) for receiver in range(group.size)]
    to_each = torch.tensor([len(part) for part in mine])
    numbers = torch.cat(mine)
    labels, values = group.all_to_all([numbers[:, 0].to(torch.int32), numbers], to_each)
    expected = torch.cat([rows(sender, group.index) for sender in range(group.size)])
    return torch.equal(values, expected) and torch.equal(labels, expected[:, 0].to(torch.int32))


@pytest.mark.parametrize("layout", ["2x1", "3x1"])
def test_nothing_is_lost_or_mixed_up_however_often_it_is_done(layout):
    assert set(run_world(many_operations, layout)) == {0}


def sums(world: World, wire: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(world.rank)
    flat = torch.randn(1001, generator=generator).to(wire)
    opened(world).all_reduce(flat)
    return flat


@pytest.mark.parametrize("wire", [torch.float32, torch.bfloat16])
def test_sums_are_the_same_to_the_last_bit_on_all_ranks(wire):
    first, *others = run_world(sums, "3x1", wire)
    assert first.abs().sum() > 0
    assert all(torch.equal(first, other) for other in others)


def wait_for_the_dead(world: World) -> str:
    """Rank 1 stays away; to rank 0 its process is one that has ended."""
    group = opened(world)
    if world.rank == 1:
        time.sleep(2)
        return ""
    ended = subprocess.Popen(["true"])
    while Path(f"/proc/{ended.pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    group._processes = [os.getpid(), ended.pid]
    try:
        group.barrier()
    except RuntimeError as error:
        return str(error)
    return "the barrier ended without the other"


def test_a_rank_that_waits_for_a_dead_one_is_told_so():
    assert "connection closed by peer" in run_world(wait_for_the_dead, "2x1")[0]


def on_hosts(world: World) -> tuple[bool, bool]:
    return host_group(world, 64) is not None, shared_on_host(torch.zeros(3), world) is not None


def test_replicas_on_two_hosts_share_tables_within_each_but_exchange_through_sockets():
    assert set(run_world(on_hosts, "4x1", hosts=2)) == {(False, True)}
    assert set(run_world(on_hosts, "2x1")) == {(True, True)}
