"""Run one function over many tasks on Dask: threads of this process, local processes, or a cluster."""

import logging
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from sentiscale.errors import SentiscaleError, UsageError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

IN_FLIGHT_PER_WORKER = 2
CONNECT_SECONDS = 10


class Engine:
    """A Dask client that keeps a bounded number of tasks under way."""

    def __init__(self, client: Any, workers: int) -> None:
        """Use `open_engine`."""
        self.client = client
        self.workers = workers

    def map(
        self,
        function: Callable[[TaskT], ResultT],
        tasks: Iterable[tuple[int, TaskT]],
        *,
        in_flight: int | None = None,
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (key, function(task)) as they finish; tasks are taken only as workers become free.

        Args:
            function: what a worker calls; it must be importable there.
            tasks: (key, task) pairs; keys are unique.
            in_flight: how many tasks may be under way at most; None is two a worker.

        Raises: whatever a task raised; SentiscaleError when workers keep dying.
        """
        import distributed

        numbered = iter(tasks)
        keys: dict[Any, int] = {}
        running: Any = _untyped(distributed).as_completed()

        def start_next() -> None:
            for key, task in numbered:
                future = self.client.submit(function, task, pure=False)
                keys[future.key] = key
                running.add(future)
                return

        for _ in range(in_flight or IN_FLIGHT_PER_WORKER * self.workers):
            start_next()
        try:
            for future in running:
                yield keys.pop(future.key), future.result()
                start_next()
        except distributed.KilledWorker as error:
            raise SentiscaleError(
                "workers died again and again, most likely for lack of memory. "
                "Use fewer --workers or smaller blocks (--set prepare.block_mb=2)."
            ) from error


@contextmanager
def open_engine(
    workers: int,
    scheduler: str | None = None,
    *,
    processes: bool = False,
    folder: Path | None = None,
    report: Path | None = None,
) -> Iterator[Engine]:
    """Start workers on this machine or connect to a running scheduler.

    Args:
        workers: how many blocks are worked on at once (on a cluster: what it has).
        scheduler: address of a running Dask scheduler, or None.
        processes: whether local workers are processes of their own.
        folder: where local workers may leave files of their own.
        report: where Dask's own performance report goes.

    Raises: UsageError when the scheduler cannot be reached.
    """
    import dask
    import distributed

    dd = _untyped(distributed)
    settings = {
        "distributed.admin.large-graph-warning-threshold": "1GB",
        "distributed.comm.timeouts.connect": CONNECT_SECONDS,
    }
    with dask.config.set(settings), _silent("distributed"), ExitStack() as stack:
        if scheduler is None:
            with _ctrl_c_held():
                cluster = _local_cluster(dd.LocalCluster, workers, processes, folder)
            stack.enter_context(cluster)
            client = stack.enter_context(dd.Client(cluster))
        else:
            client = stack.enter_context(_connect(dd.Client, scheduler))
            workers = sum(client.nthreads().values())
            if not workers:
                raise UsageError(
                    f"the scheduler at {scheduler} has no workers. Start some: dask worker {scheduler}"
                )
        if report is not None:
            stack.enter_context(dd.performance_report(filename=str(report)))
        yield Engine(client, workers)


def _local_cluster(cluster: Callable[..., Any], workers: int, processes: bool, folder: Path | None) -> Any:
    options = {"local_directory": str(folder)} if folder else {}
    return cluster(
        n_workers=workers if processes else 1,
        threads_per_worker=1 if processes else workers,
        processes=processes,
        host="127.0.0.1" if processes else None,
        dashboard_address="127.0.0.1:0",  # None would mean port 8787
        worker_dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        **options,
    )


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold SIGINT back while processes start: they inherit that, so Ctrl-C reaches only this process."""
    resource_tracker.ensure_running()  # started later, it would let SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a logger quiet: what matters reaches the user as an exception."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _untyped(module: Any) -> Any:
    """The module as mypy should see it: half of Dask's functions carry no types."""
    return module


def _connect(client: Callable[..., Any], scheduler: str) -> Any:
    try:
        return client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {scheduler} ({error}). Give the address `dask scheduler` prints, "
            f"such as tcp://10.0.0.1:8786, or leave --scheduler out."
        ) from error
