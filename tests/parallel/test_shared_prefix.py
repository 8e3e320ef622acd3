"""Ranks agree on a place of their own in a store that earlier attempts have used."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from torch.distributed import TCPStore

from sentiscale.errors import PeerFailed, RankFailed
from sentiscale.parallel.rendezvous import RankEnv, agree_on_prefix, connect


@pytest.fixture
def store() -> TCPStore:
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def meet(store: TCPStore, world_size: int, coming: list[int], seconds: float = 10) -> list[str]:
    """The prefixes of those that come, with the same environment as at any earlier meeting.

    Each host's agent counts restarts for itself, so `attempt` differs between ranks.
    """
    first = RankEnv(0, world_size, 0, 1, "127.0.0.1", store.port, store_hosted_elsewhere=True, run_id="run")
    envs = [replace(first, rank=rank, attempt=rank) for rank in coming]
    with ThreadPoolExecutor(len(envs)) as threads:
        meetings = [threads.submit(agree_on_prefix, env, connect(env), seconds) for env in envs]
        return [meeting.result() for meeting in meetings]


def test_all_ranks_get_one_prefix_and_later_attempts_another(store):
    attempts = [meet(store, 4, [0, 1, 2, 3]) for _ in range(3)]
    assert all(len(set(prefixes)) == 1 for prefixes in attempts)
    assert len({prefixes[0] for prefixes in attempts}) == 3


def test_more_or_fewer_ranks_meet_in_a_used_store(store):
    for world_size in (3, 1, 2, 3):
        assert len(set(meet(store, world_size, list(range(world_size))))) == 1


@pytest.mark.parametrize("used_before", [False, True])
def test_rank_that_does_not_come_is_named(store, used_before):
    if used_before:
        meet(store, 3, [0, 1, 2])
    with pytest.raises(RankFailed, match="of 3 ranks 2 did not arrive within 0 s"):
        meet(store, 3, [0, 1], seconds=0.3)


def test_rank_that_waits_for_rank_0_in_vain_says_so(store):
    meet(store, 2, [0, 1])
    with pytest.raises(RankFailed, match=r"rank 1 of 2 waited 0 s for rank 0"):
        meet(store, 2, [1], seconds=0.3)


def test_rank_whose_launcher_has_gone_ends_quietly(store):
    env = RankEnv(0, 1, 0, 1, "127.0.0.1", store.port, store_hosted_elsewhere=True, own_launcher=True)
    connect(env)
    with pytest.raises(PeerFailed):
        connect(replace(env, master_port=1))
