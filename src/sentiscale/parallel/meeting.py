"""Where ranks meet: a connection to the store, and a prefix for its keys that no earlier attempt has used."""

import socket
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import PeerFailed, RankFailed
from sentiscale.parallel.rankenv import RankEnv

CONNECT_SECONDS = 300
"""How long ranks wait for one another at the start: hosts load the program at different speeds."""

POLL_SECONDS = 0.05
NONE = " "
"""Stands for no value where a key must exist: the store cannot tell an empty value from none."""


def connect(env: RankEnv, host_it: bool = False) -> TCPStore:
    """A connection of its own to the store where all ranks meet; `host_it` to also hold the store.

    Raises: PeerFailed when our launcher, which held it, has gone; RankFailed when nobody answers.
    """
    if env.own_launcher:
        _check_launcher(env)
    try:
        return TCPStore(
            env.master_address,
            env.master_port,
            is_master=host_it,
            timeout=timedelta(seconds=CONNECT_SECONDS),
            wait_for_workers=False,
            multi_tenant=host_it,
        )
    except DistError as error:
        raise RankFailed(
            f"rank {env.rank} of {env.world_size} found no store at {env.master_address}:{env.master_port}: "
            f"{str(error).splitlines()[0].rstrip('.')}. MASTER_ADDR must be rank 0's host as all hosts know "
            "it, MASTER_PORT a port that is free there and reachable from here."
        ) from error


def launchers_prefix(run_id: str) -> str:
    """What all keys begin with under our own launcher, whose run ids are unique."""
    return f"sentiscale/{run_id}"


def agree_on_prefix(env: RankEnv, store: TCPStore, seconds: float = CONNECT_SECONDS) -> str:
    """Wait until all ranks of this attempt are there; returns what all their keys begin with.

    Under torchrun one store serves all attempts, and nothing in the environment names the attempt: the
    restart count is each agent's own, and those of different hosts differ. So rank 0 draws a name and hands
    it to whoever asks with a question never asked before; what earlier attempts left is no answer to that.

    Raises: RankFailed naming the ranks that did not come within `seconds`.
    """
    if env.own_launcher:
        return launchers_prefix(env.run_id)
    base = f"sentiscale/{env.run_id}/meeting"
    return _invite(env, store, base, seconds) if env.rank == 0 else _ask(env, store, base, seconds)


def _invite(env: RankEnv, store: TCPStore, base: str, seconds: float) -> str:
    """Rank 0's part: answer questions until everybody has got the answer."""
    prefix = f"sentiscale/{uuid.uuid4().hex}"
    guests = range(1, env.world_size)
    questions = [f"{base}/question/{rank}" for rank in guests]
    arrivals = [f"{prefix}/arrived/{rank}" for rank in guests]
    for key in (*questions, *arrivals):
        store.compare_set(key, "", NONE)
    answered = {NONE.encode()}

    def all_arrived() -> bool:
        for question in set(store.multi_get(questions)) - answered:
            answered.add(question)
            store.set(f"{base}/answer/{question.decode()}", prefix)
        return NONE.encode() not in store.multi_get(arrivals)

    if guests and not _until(all_arrived, seconds):
        arrived = store.multi_get(arrivals)
        missing = [str(rank) for rank, value in zip(guests, arrived, strict=True) if value == NONE.encode()]
        raise RankFailed(
            f"of {env.world_size} ranks {', '.join(missing)} did not come within {seconds:.0f} s. See what "
            "they printed; if nothing, they were not started or cannot reach "
            f"{env.master_address}:{env.master_port}."
        )
    return prefix


def _ask(env: RankEnv, store: TCPStore, base: str, seconds: float) -> str:
    """The part of all other ranks."""
    question = uuid.uuid4().hex
    store.set(f"{base}/question/{env.rank}", question)
    answer = f"{base}/answer/{question}"
    if not _until(lambda: store.check([answer]), seconds):
        raise RankFailed(
            f"rank {env.rank} of {env.world_size} waited {seconds:.0f} s for rank 0, in vain. See what it "
            "printed; if nothing, it was not started."
        )
    prefix: str = store.get(answer).decode()
    store.set(f"{prefix}/arrived/{env.rank}", "yes")
    return prefix


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll, rather than wait inside the store, so that signals are heard meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _check_launcher(env: RankEnv) -> None:
    """It listened before this rank was started; torch would go on trying for minutes."""
    try:
        socket.create_connection((env.master_address, env.master_port), timeout=10).close()
    except OSError:
        raise PeerFailed from None
