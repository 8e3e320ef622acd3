"""Hardware of a run: layout, device, precision and threads, resolved and checked on this machine."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from sentiscale.config import Settings, TrainSettings
from sentiscale.errors import UsageError
from sentiscale.parallel.heartbeat import monitored_rank
from sentiscale.parallel.layout import Layout, usual_layout
from sentiscale.parallel.precision import Precision, choose_device
from sentiscale.parallel.rendezvous import RankEnv, choose_gloo_interface
from sentiscale.parallel.world import World, join, single_rank
from sentiscale.records import available_cores
from sentiscale.training.clock import OnPhase, ignore_phase

COLLECTIVE_SECONDS = 3600.0
"""Maximum time a rank waits for a live one: fitting the n-gram model to large data takes minutes."""


@dataclass(frozen=True)
class Hardware:
    """Layout, device, precision and threads of a run; all ranks have the same, except the device number."""

    layout: Layout
    device: torch.device
    precision: Precision
    threads: int
    """Number of threads per rank."""
    ranks_here: int
    oversubscribed: bool
    """Whether there are more threads than cores, or more ranks than GPUs."""
    recurrent_device: torch.device | None = None
    """Device of the recurrent layer when one process uses two devices; None means the same device."""

    @classmethod
    def choose(cls, settings: Settings, env: RankEnv | None = None) -> "Hardware":
        """Resolve the settings on this machine; `env` describes this rank if ranks were already started.

        Raises: UsageError when the settings cannot run here.
        """
        train, cores = settings.train, available_cores()
        device = choose_device(train.device, env.local_rank if env else 0)
        layout = choose_layout(train, env, device, cores)
        precision = Precision.choose(train.precision, device)
        ranks_here = env.local_world_size if env else layout.world_size
        threads = train.threads_per_rank or max(1, cores // ranks_here)
        layout.check_cores(ranks_here, threads, cores, oversubscribe=train.oversubscribe)
        gpus = torch.cuda.device_count() if device.type == "cuda" else ranks_here
        if ranks_here > gpus:
            raise UsageError(
                f"layout {layout} puts {ranks_here} ranks on {gpus} GPUs, and NCCL serves one "
                f"rank each. Use --layout {gpus}x1, or --device cpu."
            )
        recurrent_device = second_device(train.recurrent_device, device, layout)
        oversubscribed = ranks_here * threads > cores
        return cls(layout, device, precision, threads, ranks_here, oversubscribed, recurrent_device)

    @property
    def node_threads(self) -> int:
        """Threads of all ranks on this machine, for work that one rank does while the others wait."""
        return self.threads * self.ranks_here


def choose_layout(train: TrainSettings, env: RankEnv | None, device: torch.device, cores: int) -> Layout:
    """Return the layout in the settings, or the default for the started ranks or the available cores.

    Raises: UsageError when the layout does not match the number of started ranks.
    """
    layout = Layout.parse(train.layout) if train.layout not in (None, "auto") else None
    if env is not None:
        layout = layout or Layout(env.world_size, 1)
        if layout.world_size != env.world_size:
            raise UsageError(
                f"layout {layout} needs {layout.world_size} ranks, but {env.world_size} were started. "
                f"Start {layout.world_size}, or use --layout {env.world_size}x1."
            )
        return layout
    if layout is not None:
        return layout
    # On a CPU, replicas are faster than threads (1.23 times on two cores): threads synchronize hundreds of
    # times in one step of an LSTM, replicas only a few times.
    if device.type != "cpu" or train.recurrent_device is not None:
        return Layout(1, 1)
    return usual_layout(train.batch_size or 1, cores // (train.threads_per_rank or 1))


def second_device(name: str | None, first: torch.device, layout: Layout) -> torch.device | None:
    """Check and return the separate device of the recurrent layer; all other layers are on `first`.

    Raises: UsageError when it does not exist, is the first one, or ranks already divide the network.
    """
    if name is None:
        return None
    try:
        device = torch.empty(1, device=name).device  # adds the device number if `name` has none
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without such devices
        reason = re.split(r"\. |\n", str(error))[0]
        raise UsageError(
            f"recurrent_device is '{name}', which does not work here: {reason}. "
            "It takes a second GPU. Run `sentiscale doctor` to list the GPUs, or leave it out."
        ) from error
    if device.type == "meta" or device == first or layout.world_size > 1:
        raise UsageError(
            f"recurrent_device is '{name}' with layout {layout} on {first}; it takes a second GPU, as in "
            "cuda:1, and layout 1x1. With ranks, use --layout 1x2 instead."
        )
    return device


@dataclass(frozen=True)
class RankContext:
    world: World
    hardware: Hardware
    on_phase: OnPhase = ignore_phase
    """Sets the phase and step in this rank's heartbeats."""


@contextmanager
def join_ranks(
    hardware: Hardware, env: RankEnv | None, heartbeat_timeout: float, *, even_alone: bool = False
) -> Iterator[RankContext]:
    """Join the other ranks, monitored by heartbeats. A single rank joins a group only if `even_alone`."""
    if env is None or (env.world_size == 1 and not even_alone):
        yield RankContext(single_rank(hardware.device), hardware)
        return
    choose_gloo_interface(env.master_address)
    with (
        monitored_rank(env, heartbeat_timeout) as monitor,
        join(hardware.layout, env.rank, hardware.device, monitor.group_store, COLLECTIVE_SECONDS) as world,
    ):
        yield RankContext(world, hardware, monitor.set_phase)
