"""Who am I among the ranks? Read from, and written to, the environment variables that torchrun sets."""

import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import psutil
from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import PeerFailed, RankFailed, UsageError

LAUNCHER_VARIABLE = "SENTISCALE_LAUNCHER"


@dataclass(frozen=True)
class RankEnv:
    """One rank's place, from 0: in the world, on its host, and where all ranks meet."""

    rank: int
    """Over all hosts."""
    world_size: int
    """Ranks on all hosts."""
    local_rank: int
    """On this host."""
    local_world_size: int
    """Ranks on this host."""
    master_address: str
    """Host of the store."""
    master_port: int
    """Its port."""
    store_hosted_elsewhere: bool = False
    """The launcher or torchrun's agent holds the store; else rank 0 does."""
    attempt: int = 0
    """How often all ranks have been started again."""
    own_launcher: bool = False
    """Started by `sentiscale.parallel.launch`, which then tells what went wrong."""
    run_id: str = ""
    """Equal for all ranks of a run; keeps runs apart that use one store."""

    @classmethod
    def current(cls, environment: Mapping[str, str] = os.environ) -> "RankEnv | None":
        """This process's place; None when RANK and WORLD_SIZE are not set, so that it is alone.

        Raises: UsageError when variables are missing or make no sense, naming them.
        """
        if "RANK" not in environment and "WORLD_SIZE" not in environment:
            return None
        world_size = _whole_number(environment, "WORLD_SIZE", 1)
        rank = _whole_number(environment, "RANK", 0, world_size - 1)
        local_world_size = _whole_number(environment, "LOCAL_WORLD_SIZE", 1, world_size, default=1)
        # Batch systems that set only the four required variables often start one rank a host.
        local_rank = _whole_number(environment, "LOCAL_RANK", 0, default=0)
        if "LOCAL_WORLD_SIZE" in environment and local_rank >= local_world_size:
            raise UsageError(
                f"LOCAL_RANK is {local_rank}; with LOCAL_WORLD_SIZE {local_world_size} it must be from 0 to "
                f"{local_world_size - 1}."
            )
        return cls(
            rank=rank,
            world_size=world_size,
            local_rank=local_rank,
            local_world_size=max(local_world_size, local_rank + 1),
            master_address=_text(environment, "MASTER_ADDR"),
            master_port=_whole_number(environment, "MASTER_PORT", 1, 65535),
            store_hosted_elsewhere=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=_whole_number(environment, "TORCHELASTIC_RESTART_COUNT", 0, default=0),
            own_launcher=LAUNCHER_VARIABLE in environment,
            run_id=environment.get("TORCHELASTIC_RUN_ID", ""),
        )

    def as_environment(self) -> dict[str, str]:
        """The variables that make a child process this rank."""
        variables = {
            "RANK": self.rank,
            "WORLD_SIZE": self.world_size,
            "LOCAL_RANK": self.local_rank,
            "LOCAL_WORLD_SIZE": self.local_world_size,
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": self.master_port,
            "TORCHELASTIC_USE_AGENT_STORE": self.store_hosted_elsewhere,
            "TORCHELASTIC_RESTART_COUNT": self.attempt,
            "TORCHELASTIC_RUN_ID": self.run_id,
        }
        if self.own_launcher:
            variables[LAUNCHER_VARIABLE] = 1
        return {name: str(value) for name, value in variables.items()}

    @property
    def hosts_store(self) -> bool:
        """Whether the store lives in this process."""
        return self.rank == 0 and not self.store_hosted_elsewhere

    @property
    def speaks_for_host(self) -> bool:
        """Whether this rank tells what has happened when the ranks can no longer agree on who does."""
        rank_0_is_gone = not self.store_hosted_elsewhere
        return self.local_rank == 0 or (rank_0_is_gone and self.rank == 1)


def _text(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise UsageError(
            f"{name} is not set, but RANK or WORLD_SIZE is. A rank needs RANK, WORLD_SIZE, MASTER_ADDR and "
            "MASTER_PORT: set all four (torchrun does), or none of them to start without other ranks."
        )
    return value


def _whole_number(
    environment: Mapping[str, str], name: str, least: int, most: int | None = None, default: int | None = None
) -> int:
    if default is not None and not environment.get(name):
        return default
    text = _text(environment, name)
    allowed = f"at least {least}" if most is None else f"from {least} to {most}"
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"{name} is '{text}'; it takes a whole number {allowed}.") from None
    if number < least or (most is not None and number > most):
        raise UsageError(f"{name} is {number}; it takes a whole number {allowed}.")
    return number


GLOO_VARIABLE = "GLOO_SOCKET_IFNAME"


def choose_gloo_interface(master_address: str) -> str | None:
    """Set GLOO_SOCKET_IFNAME to the interface that reaches `master_address`, unless it is set already.

    Gloo would otherwise resolve this host's own name, which in containers often leads to 127.0.1.1 or to
    nothing. Returns the variable's value; None when no interface could be found, and gloo then decides.
    """
    if not os.environ.get(GLOO_VARIABLE):
        found = interface_towards(master_address)
        if found is None:
            return None
        os.environ[GLOO_VARIABLE] = found
    return os.environ[GLOO_VARIABLE]


def interface_towards(address: str) -> str | None:
    """Name of the local interface that packets to `address` leave by; None when there is none."""
    own = _own_address_towards(address)
    for name, addresses in psutil.net_if_addrs().items():
        # An IPv6 address that is valid on one link only is listed with that link behind a percent sign.
        if any(entry.address.partition("%")[0] == own for entry in addresses):
            return str(name)
    return None


def _own_address_towards(address: str) -> str | None:
    """Connecting a UDP socket sends nothing; it only makes the kernel choose a route."""
    try:
        found = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)
    except OSError:
        return None
    for family, kind, protocol, _, target in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(target)
                return str(probe.getsockname()[0]).partition("%")[0]
        except OSError:
            continue
    return None


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
