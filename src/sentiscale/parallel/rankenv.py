"""Who am I among the ranks? Read from, and written to, the environment variables that torchrun sets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from sentiscale.errors import UsageError

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
