"""How ranks find each other: torchrun's environment variables, the network interface and the store."""

import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import psutil
from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from sentiscale.errors import PeerFailed, RankFailed, UsageError

LAUNCHER_VARIABLE = "SENTISCALE_LAUNCHER"


@dataclass(frozen=True)
class RankEnv:
    """Numbers of a rank in the world and on its host, from 0, and the address of the store."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    master_address: str
    master_port: int
    store_hosted_elsewhere: bool = False
    """Whether the launcher or torchrun's agent serves the store; otherwise rank 0 does."""
    attempt: int = 0
    """Number of restarts of all ranks so far."""
    own_launcher: bool = False
    """Whether `sentiscale.parallel.launch` started this rank and reports its failures."""
    run_id: str = ""
    """Equal for all ranks of a run; separates runs that use the same store."""

    @classmethod
    def current(cls, environment: Mapping[str, str] = os.environ) -> "RankEnv | None":
        """Read this process's place from the environment; None when neither RANK nor WORLD_SIZE is set.

        Raises: UsageError naming variables that are missing or invalid.
        """
        if "RANK" not in environment and "WORLD_SIZE" not in environment:
            return None
        world_size = _whole_number(environment, "WORLD_SIZE", 1)
        rank = _whole_number(environment, "RANK", 0, world_size - 1)
        local_world_size = _whole_number(environment, "LOCAL_WORLD_SIZE", 1, world_size, default=1)
        # Batch systems that set only the four required variables often start one rank per host.
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
            **({LAUNCHER_VARIABLE: 1} if self.own_launcher else {}),
        }
        return {name: str(value) for name, value in variables.items()}

    @property
    def hosts_store(self) -> bool:
        return self.rank == 0 and not self.store_hosted_elsewhere

    @property
    def reports_for_host(self) -> bool:
        """Whether this rank reports a failure when the ranks can no longer agree on a reporter."""
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
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least or (most is not None and number > most):
        allowed = f"at least {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{name} is '{text}'; it takes a whole number {allowed}.")
    return number


GLOO_VARIABLE = "GLOO_SOCKET_IFNAME"


def choose_gloo_interface(master_address: str) -> str | None:
    """Set GLOO_SOCKET_IFNAME to the interface that reaches `master_address`, unless it is set; return it.

    By default gloo resolves this host's own name, which in containers often maps to 127.0.1.1 or to nothing.
    Returns None when no interface was found; gloo then uses its default.
    """
    if not os.environ.get(GLOO_VARIABLE) and (found := interface_towards(master_address)):
        os.environ[GLOO_VARIABLE] = found
    return os.environ.get(GLOO_VARIABLE) or None


def interface_towards(address: str) -> str | None:
    """Name of the local interface through which packets to `address` leave; None if there is none."""
    # A link-local IPv6 address is followed by a percent sign and the name of the link.
    interfaces = {
        entry.address.partition("%")[0]: str(name)
        for name, addresses in psutil.net_if_addrs().items()
        for entry in addresses
    }
    with suppress(OSError):
        for family, kind, protocol, _, target in socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM):
            # Connecting a UDP socket sends nothing; it only makes the kernel choose a route.
            with suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.connect(target)
                return interfaces.get(str(probe.getsockname()[0]).partition("%")[0])
    return None


CONNECT_SECONDS = 300
"""Time ranks wait for each other at the start: hosts load the program at different speeds."""

POLL_SECONDS = 0.05
NO_VALUE = " "
"""Placeholder for no value where a key must exist: the store treats empty values as missing."""


def connect(env: RankEnv, host_it: bool = False) -> TCPStore:
    """Open a separate connection to the rendezvous store; with `host_it`, also serve the store.

    Raises: PeerFailed when our launcher, which served it, has ended; RankFailed when nothing answers.
    """
    if env.own_launcher:
        try:  # the launcher listens before it starts a rank; if it has ended, torch would retry for minutes
            socket.create_connection((env.master_address, env.master_port), timeout=10).close()
        except OSError:
            raise PeerFailed from None
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
            f"{str(error).splitlines()[0].rstrip('.')}. MASTER_ADDR must name rank 0's host on all hosts, "
            "and MASTER_PORT must be a port that is free there and reachable from here."
        ) from error


def launcher_prefix(run_id: str) -> str:
    """Prefix of all keys under our own launcher, whose run ids are unique."""
    return f"sentiscale/{run_id}"


def agree_on_prefix(env: RankEnv, store: TCPStore, seconds: float = CONNECT_SECONDS) -> str:
    """Wait until all ranks of this attempt have arrived; return the prefix of their keys.

    Under torchrun one store serves all attempts, and nothing in the environment identifies the attempt: each
    agent has its own restart count, and the counts of different hosts differ. So rank 0 draws a new prefix
    and sends it to every rank that requests it with a new request id. An answer to a request of an earlier
    attempt is therefore never mistaken for one of this attempt.

    Raises: RankFailed naming the ranks that did not arrive within `seconds`.
    """
    if env.own_launcher:
        return launcher_prefix(env.run_id)
    base = f"sentiscale/{env.run_id}/rendezvous"
    if env.rank == 0:
        return _serve_prefix(env, store, base, seconds)
    return _request_prefix(env, store, base, seconds)


def _serve_prefix(env: RankEnv, store: TCPStore, base: str, seconds: float) -> str:
    """On rank 0, answer requests until all ranks have the prefix."""
    prefix = f"sentiscale/{uuid.uuid4().hex}"
    clients = range(1, env.world_size)
    requests = [f"{base}/request/{rank}" for rank in clients]
    arrivals = [f"{prefix}/arrived/{rank}" for rank in clients]
    for key in (*requests, *arrivals):
        store.compare_set(key, "", NO_VALUE)
    answered = {NO_VALUE.encode()}

    def all_arrived() -> bool:
        for request in set(store.multi_get(requests)) - answered:
            answered.add(request)
            store.set(f"{base}/answer/{request.decode()}", prefix)
        return NO_VALUE.encode() not in store.multi_get(arrivals)

    if clients and not _wait_until(all_arrived, seconds):
        arrived = store.multi_get(arrivals)
        missing = [
            str(rank) for rank, value in zip(clients, arrived, strict=True) if value == NO_VALUE.encode()
        ]
        raise RankFailed(
            f"of {env.world_size} ranks {', '.join(missing)} did not arrive within {seconds:.0f} s. See what "
            "they printed; if nothing, they were not started or cannot reach "
            f"{env.master_address}:{env.master_port}."
        )
    return prefix


def _request_prefix(env: RankEnv, store: TCPStore, base: str, seconds: float) -> str:
    """On all other ranks, request the prefix from rank 0."""
    request = uuid.uuid4().hex
    store.set(f"{base}/request/{env.rank}", request)
    answer = f"{base}/answer/{request}"
    if not _wait_until(lambda: store.check([answer]), seconds):
        raise RankFailed(
            f"rank {env.rank} of {env.world_size} waited {seconds:.0f} s for rank 0, which did not answer. "
            "Check what it printed; if nothing, it was not started."
        )
    prefix: str = store.get(answer).decode()
    store.set(f"{prefix}/arrived/{env.rank}", "yes")
    return prefix


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll instead of blocking: Python handles no signals while a thread waits inside the store."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
