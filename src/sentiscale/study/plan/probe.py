"""Time the collectives that training uses, between fresh ranks; as a program it is one of these ranks.

On one host it tells what gloo costs without a wire (messages, bytes a second) and what shared memory does;
started by torchrun or by hand on several hosts, what their network does.
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
from sentiscale.parallel.shared_memory import HostGroup
from sentiscale.parallel.shared_tensors import host_group
from sentiscale.parallel.world import World
from sentiscale.records import Host
from sentiscale.study.plan.exchange import LinkTimes, Timing
from sentiscale.training.hardware import Hardware, taken_place
from sentiscale.util.atomic import write_file

SIZES = (64, 2**16, 2**19, 2**21, 2**23)
"""Bytes; the smallest costs its messages alone."""

MOST_REPEATS, LEAST_REPEATS = 40, 3
MOST_SECONDS = 0.3
"""Of one operation at one size, for all repeats together, but the least."""

SILENCE_SECONDS = 30.0


def measure_links(ranks: int = 2) -> LinkTimes:
    """Time collectives between `ranks` fresh processes of this host: about 8 s for two."""
    with tempfile.TemporaryDirectory(prefix="sentiscale-") as folder:
        out = Path(folder, "links.json")
        command = [sys.executable, "-m", "sentiscale.study.plan.probe", str(out)]
        launch(command, ranks, threads=1, silence_limit=SILENCE_SECONDS)
        return LinkTimes.model_validate_json(out.read_bytes())


def main(out: Path) -> None:
    """Be one of the ranks; rank 0 writes what was found."""
    env = RankEnv.current()
    ranks = env.world_size if env else 1
    flags = {
        "train.layout": f"{ranks}x1",
        "train.threads_per_rank": 1,
        "train.oversubscribe": True,
        "train.device": "cpu",
    }
    hardware = Hardware.choose(resolve(flags=flags), env)
    with taken_place(hardware, env, SILENCE_SECONDS) as place, torch_threads(1):
        found = timings(place.world)
        if place.world.is_main:
            times = LinkTimes(ranks=ranks, host=Host.current(), timings=found)
            write_file(out, times.model_dump_json(indent=1))


def timings(world: World) -> list[Timing]:
    """Every operation at every size: the median over repeats of the slowest rank."""
    memory = host_group(world, 2 * max(SIZES))
    return [
        Timing(operation=name, bytes=size, seconds=_timed(operation, world))
        for size in SIZES
        for name, operation in operations(world, memory, size).items()
    ]


def operations(world: World, memory: HostGroup | None, size: int) -> dict[str, Callable[[], object]]:
    """What is timed, on tensors of so many bytes."""
    ranks = world.layout.data
    flat = torch.zeros(size // 4)
    rows = torch.zeros(max(ranks, size // 4 // ranks * ranks))
    received = torch.empty_like(rows)
    found: dict[str, Callable[[], object]] = {
        "all_reduce": partial(dist.all_reduce, flat),
        "all_gather": partial(all_gather, flat, world.everyone),
        "all_to_all": partial(dist.all_to_all_single, received, rows),
    }
    return found if memory is None else found | {"memory": partial(memory.all_reduce, flat)}


def _timed(operation: Callable[[], object], world: World) -> float:
    barrier(world)
    started_at = time.perf_counter()
    operation()
    [first] = _slowest([time.perf_counter() - started_at], world)
    repeats = max(LEAST_REPEATS, min(MOST_REPEATS, int(MOST_SECONDS / max(first, 1e-6))))
    seconds = []
    for _ in range(repeats):
        barrier(world)
        started_at = time.perf_counter()
        operation()
        seconds.append(time.perf_counter() - started_at)
    return statistics.median(_slowest(seconds, world))


def _slowest(seconds: Sequence[float], world: World) -> list[float]:
    return [max(each) for each in zip(*gather_numbers(seconds, world), strict=True)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
