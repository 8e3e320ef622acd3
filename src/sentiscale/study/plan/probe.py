"""Time the collectives of training between fresh ranks. Run as a program, this module is one of these ranks.

On one host, it measures gloo without a network, and shared memory. Started by torchrun or manually on several
hosts, it measures their network.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from sentiscale.config import resolve
from sentiscale.parallel.collectives import all_gather, barrier, gather_numbers
from sentiscale.parallel.cpu import torch_threads
from sentiscale.parallel.launch import launch
from sentiscale.parallel.rendezvous import RankEnv
from sentiscale.parallel.shared_memory import HostGroup, host_group
from sentiscale.parallel.world import World
from sentiscale.records import Host
from sentiscale.study.plan.network import CollectiveTiming, LinkTimings
from sentiscale.training.hardware import Hardware, join_ranks
from sentiscale.util.atomic import write_file

SIZES = (64, 2**16, 2**19, 2**21, 2**23)
"""Sizes in bytes. The time of the smallest size is that of its messages alone."""

MOST_REPEATS, LEAST_REPEATS = 40, 3
MOST_SECONDS = 0.3
"""Time limit for all repeats of one operation at one size, after at least `LEAST_REPEATS` repeats."""

HEARTBEAT_TIMEOUT = 30.0


def measure_links(ranks: int = 2) -> LinkTimings:
    """Time collectives between `ranks` fresh processes on this host, which takes about 8 s for two ranks."""
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
        out = Path(folder, "links.json")
        command = [sys.executable, "-m", "sentiscale.study.plan.probe", str(out)]
        launch(lambda attempt: command, ranks, threads=1, heartbeat_timeout=HEARTBEAT_TIMEOUT)
        return LinkTimings.model_validate_json(out.read_bytes())


def main(out: Path) -> None:
    """Measure as one of the ranks. Rank 0 writes the result to `out`."""
    env = RankEnv.current()
    ranks = env.world_size if env else 1
    train = {"layout": f"{ranks}x1", "threads_per_rank": 1, "oversubscribe": True, "device": "cpu"}
    hardware = Hardware.choose(resolve(flags={f"train.{name}": value for name, value in train.items()}), env)
    with join_ranks(hardware, env, HEARTBEAT_TIMEOUT) as place, torch_threads(1):
        world = place.world
        memory = host_group(world, 2 * max(SIZES))
        timings = [
            CollectiveTiming(operation=name, bytes=size, seconds=_median_seconds(operation, world))
            for size in SIZES
            for name, operation in operations(world, memory, size).items()
        ]
        if world.is_main:
            result = LinkTimings(ranks=ranks, host=Host.current(), timings=timings)
            write_file(out, result.model_dump_json(indent=1))


def operations(world: World, memory: HostGroup | None, size: int) -> dict[str, Callable[[], object]]:
    """Operations to time, on tensors of `size` bytes."""
    ranks = world.layout.data
    flat = torch.zeros(size // 4)
    rows = torch.zeros(max(ranks, size // 4 // ranks * ranks))
    through_gloo: dict[str, Callable[[], object]] = {
        "all_reduce": partial(dist.all_reduce, flat),
        "all_gather": partial(all_gather, flat, world.everyone),
        "all_to_all": partial(dist.all_to_all_single, torch.empty_like(rows), rows),
    }
    return through_gloo if memory is None else through_gloo | {"memory": partial(memory.all_reduce, flat)}


def _median_seconds(operation: Callable[[], object], world: World) -> float:
    """Time of the slowest rank, as the median over repeats."""
    [first] = _slowest([_seconds(operation, world)], world)
    repeats = max(LEAST_REPEATS, min(MOST_REPEATS, int(MOST_SECONDS / max(first, 1e-6))))
    return statistics.median(_slowest([_seconds(operation, world) for _ in range(repeats)], world))


def _seconds(operation: Callable[[], object], world: World) -> float:
    barrier(world)
    started_at = time.perf_counter()
    operation()
    return time.perf_counter() - started_at


def _slowest(seconds: Sequence[float], world: World) -> list[float]:
    return [max(each) for each in zip(*gather_numbers(seconds, world), strict=True)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
