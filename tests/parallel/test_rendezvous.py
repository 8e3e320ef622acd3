"""The environment of a rank: read as torchrun and batch systems write it, written as it is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.errors import UsageError
from sentiscale.parallel.rendezvous import RankEnv

REQUIRED = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node-a", "MASTER_PORT": "29500"}


def test_process_without_the_variables_is_alone():
    assert RankEnv.current({"LOCAL_RANK": "0", "PATH": "/bin"}) is None


def test_four_variables_are_enough_and_rank_0_then_holds_the_store():
    env = RankEnv.current(REQUIRED)
    assert env == RankEnv(1, 2, 0, 1, "node-a", 29500)
    assert not env.hosts_store
    assert RankEnv.current(REQUIRED | {"RANK": "0"}).hosts_store


def test_agent_of_torchrun_holds_the_store():
    env = RankEnv.current(REQUIRED | {"RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert not env.hosts_store


@given(
    world_size=st.integers(1, 64),
    local_world_size=st.integers(1, 8),
    elsewhere=st.booleans(),
    attempt=st.integers(0, 9),
    own=st.booleans(),
    data=st.data(),
)
def test_written_environment_is_read_back(world_size, local_world_size, elsewhere, attempt, own, data):
    rank = data.draw(st.integers(0, world_size - 1))
    local_world_size = min(local_world_size, world_size)
    local_rank = rank % local_world_size
    place = (rank, world_size, local_rank, local_world_size, "10.0.0.1", 4000)
    env = RankEnv(*place, elsewhere, attempt, own, "x")
    assert RankEnv.current(env.as_environment()) == env


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_half_set_environment_is_refused(missing):
    half = {name: value for name, value in REQUIRED.items() if name != missing}
    with pytest.raises(UsageError, match=f"{missing} is not set"):
        RankEnv.current(half)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("RANK", "2", "from 0 to 1"),
        ("RANK", "-1", "from 0 to 1"),
        ("RANK", "one", "a whole number from 0 to 1"),
        ("WORLD_SIZE", "0", "at least 1"),
        ("MASTER_PORT", "70000", "from 1 to 65535"),
        ("LOCAL_WORLD_SIZE", "3", "from 1 to 2"),
        ("LOCAL_RANK", "x", "at least 0"),
        ("TORCHELASTIC_RESTART_COUNT", "-1", "at least 0"),
    ],
)
def test_nonsense_is_refused_naming_the_variable(name, value, allowed):
    with pytest.raises(UsageError, match=rf"{name} is '?{value}'?; it takes .*{allowed}"):
        RankEnv.current(REQUIRED | {name: value})


def test_local_rank_beyond_its_host_is_refused():
    with pytest.raises(UsageError, match="LOCAL_RANK is 1; with LOCAL_WORLD_SIZE 1"):
        RankEnv.current(REQUIRED | {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"})
