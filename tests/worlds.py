"""Run a function on every rank of a mesh, in real processes that meet over gloo.

Processes are forked from a server that has loaded torch already: half a second a world instead of several.
The function must be importable (a top-level function of a test module), and so must what it returns.
"""

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

SECONDS = 120
"""After which a world has failed; generous, because other programs may keep the cores busy."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["torch", "torch.fx.experimental.symbolic_shapes", "pytest", "hypothesis", "sentiscale.training.loop"]
)


def run_world(function: Callable[..., Any], layout: str, *arguments: Any, hosts: int = 1) -> list[Any]:
    """Call `function(world, *arguments)` on each rank of `layout`; return what the ranks returned, by rank.

    With more `hosts`, replicas are dealt out to them and believe that only those of one host share memory.

    Raises: AssertionError with a rank's traceback when one fails, ends or is not done in time.
    """
    from sentiscale.parallel.layout import Layout

    size = Layout.parse(layout).world_size
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = [], []
        for rank in range(size):
            ours, theirs = _context.Pipe(duplex=False)
            process = _context.Process(
                target=_rank,
                args=(theirs, function, layout, rank, hosts, Path(folder, "store"), arguments),
                daemon=True,
            )
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        try:
            return _results(pipes)
        finally:
            for process in processes:
                process.kill()
                process.join()


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Remember what `function` returned or raised: a world that fails is not started for every test again."""

    @cache
    def outcome(*arguments: Any) -> tuple[Any, BaseException | None]:
        try:
            return function(*arguments), None
        except AssertionError as error:
            return None, error

    def remembered(*arguments: Any) -> Any:
        result, error = outcome(*arguments)
        if error is not None:
            raise error
        return result

    return remembered


def _results(pipes: list[Connection]) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(pipes):
        ready = wait([pipe for rank, pipe in enumerate(pipes) if rank not in results], SECONDS)
        missing = [rank for rank in range(len(pipes)) if rank not in results]
        assert ready, f"ranks {missing} did not answer within {SECONDS} s"
        for pipe in ready:
            rank = pipes.index(pipe)
            try:
                failure, results[rank] = pipe.recv()
            except EOFError:
                raise AssertionError(f"rank {rank} ended without an answer") from None
            assert not failure, f"rank {rank} failed:\n{failure}"
    return [results[rank] for rank in range(len(pipes))]


def _rank(
    pipe: Connection,
    function: Callable[..., Any],
    layout: str,
    rank: int,
    hosts: int,
    store_file: Path,
    arguments: tuple[Any, ...],
) -> None:
    import os

    import torch
    import torch.distributed as dist

    from sentiscale.parallel.layout import Layout
    from sentiscale.parallel.world import join, single_rank

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    mesh = Layout.parse(layout)
    try:
        if mesh.world_size == 1:
            result = function(single_rank(torch.device("cpu")), *arguments)
        else:
            store = dist.FileStore(str(store_file), mesh.world_size)
            host = f"host {mesh.place(rank)[0] * hosts // mesh.data}"
            with join(mesh, rank, torch.device("cpu"), store, SECONDS, host) as world:
                result = function(world, *arguments)
        pipe.send((None, result))
    except BaseException:
        pipe.send((traceback.format_exc(), None))
