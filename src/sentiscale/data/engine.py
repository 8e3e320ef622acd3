"""Map a function over many tasks: on threads, or on Dask, where workers and the scheduler may be lost."""

import gc
import html
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

from sentiscale.data.cluster import DaskCluster, RemoteCluster, Say
from sentiscale.data.worker import import_problem
from sentiscale.errors import ClusterError, SentiscaleError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
Describe = Callable[[int], str]

IN_FLIGHT_PER_WORKER = 2
"""One running task and one queued, so that a worker is never idle between tasks."""
WITHOUT_DASK = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Prepared without Dask</title>
<p>Threads of one process prepared these data without Dask. To see Dask's report here, prepare them again with
<code>--report</code>, <code>--processes</code> or <code>--scheduler</code>.</p></html>
"""
"""Page in place of Dask's report."""
WAIT_SECONDS = 0.5
QUIET_LOGGERS = ("distributed", "tornado", "asyncio", "bokeh")
DASK_SETTINGS = {
    "distributed.admin.large-graph-warning-threshold": "1GB",
    "distributed.comm.timeouts.connect": "10s",
    "distributed.admin.tick.interval": "500ms",  # the default of 20 ms costs 2 % of a core
}


@contextmanager
def open_engine(
    workers: int,
    scheduler: str | None = None,
    *,
    processes: bool = False,
    folder: Path | None = None,
    report: Path | None = None,
    with_dask: bool = False,
    say: Say = lambda line: None,
) -> Iterator["Engine"]:
    """Start workers on this machine or connect to a running scheduler.

    Threads run without Dask, which takes a second to load and to draw its report, unless `with_dask` is set.

    Args:
        workers: number of local tasks that run at once; ignored with `scheduler`.
        scheduler: address of a running Dask scheduler; None starts local workers.
        processes: whether local workers are processes rather than threads.
        folder: directory for temporary files of local workers; remote workers must be able to see it.
        report: HTML file for Dask's performance report; without Dask, it says how to get one.
        with_dask: use Dask for threads too.
        say: called with a one-line message about each problem of a cluster.

    Raises: UsageError when the scheduler cannot be reached, or its workers cannot run our tasks.
    """
    if scheduler is None and not processes and not with_dask:
        with ThreadPoolExecutor(workers, "worker") as pool:
            try:
                yield ThreadEngine(pool, workers)
            finally:
                pool.shutdown(cancel_futures=True)
        if report is not None:
            report.parent.mkdir(exist_ok=True)
            report.write_text(WITHOUT_DASK)
        return
    import dask
    import distributed  # noqa: F401 - loads its default settings, which must outlast the `with`

    with dask.config.set(DASK_SETTINGS), _quiet(), ExitStack() as stack:
        if scheduler is None:
            with _collection_paused():  # Dask's GC statistics fail if they start during a collection
                cluster = DaskCluster(stack, workers, processes=processes, folder=folder)
        else:
            cluster = RemoteCluster(stack, scheduler, folder=folder, say=say)
        dask_report = None
        if report is not None:  # a local scheduler needs Bokeh in this process
            dask_report = DaskReport(report, cluster.client, say, load_bokeh=scheduler is None)
            stack.callback(dask_report.abandon)
        yield DaskEngine(cluster, dask_report)
        if dask_report is not None:
            dask_report.finish()


class Engine(ABC):
    """Sends tasks to workers, a bounded number at a time. Create it with `open_engine`."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """Number of tasks that can run at once; changes when cluster workers join or leave."""

    @abstractmethod
    def _start(self, function: Callable[[TaskT], ResultT], describe: Describe) -> "_Flight[TaskT, ResultT]":
        """Return the object that sends tasks to workers."""

    def map(
        self,
        function: Callable[[TaskT], ResultT],
        tasks: Iterable[tuple[int, TaskT]],
        *,
        in_flight: int | None = None,
        describe: Describe = "task {}".format,
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (key, function(task)) in order of completion, taking tasks only as workers become free.

        When a worker or the connection is lost, a task may run more than once, even at the same time on two
        hosts, so `function` must be idempotent. Each result is yielded once.

        Args:
            function: the function to call; workers must be able to import it.
            tasks: (key, task) pairs; keys are unique.
            in_flight: maximum number of submitted tasks; None for two per worker.
            describe: returns a task's name for messages: "block 7 (reviews.csv, from byte 7340032 on)".

        Raises:
            ClusterError: a task keeps killing workers, or the scheduler has been unavailable for too long.
            Exception: any error that a task raises.
        """
        numbered = iter(tasks)
        flight = self._start(function, describe)

        def send_more() -> None:
            while flight.takes_more(in_flight or IN_FLIGHT_PER_WORKER * self.workers):
                item = next(numbered, None)
                if item is None:
                    return
                flight.send(*item)

        send_more()
        while flight.running:
            result = flight.receive()
            send_more()  # before the caller handles the result, so that workers do not wait for it
            if result is not None:
                yield result

    def workers_see(self, path: str, size: int) -> bool:
        """Whether every worker can read a file of `size` bytes at `path`; always true for local workers."""
        return True

    def finish_report(self) -> None:
        """Start drawing Dask's report, if any, in the background; it does not include later tasks."""
        return


class ThreadEngine(Engine):
    """Runs tasks on threads of this process."""

    def __init__(self, pool: ThreadPoolExecutor, workers: int) -> None:
        self._pool, self._workers = pool, workers

    @property
    def workers(self) -> int:
        return self._workers

    def _start(self, function: Callable[[TaskT], ResultT], describe: Describe) -> "_Flight[TaskT, ResultT]":
        return _ThreadFlight(self._pool, function)


class DaskEngine(Engine):
    """Runs tasks on Dask, with threads or processes of this machine or on a cluster."""

    def __init__(self, cluster: DaskCluster, report: "DaskReport | None") -> None:
        self._cluster = cluster
        self._report = report

    @property
    def client(self) -> Any:
        return self._cluster.client

    @property
    def workers(self) -> int:
        return max(1, self._cluster.workers)

    def _start(self, function: Callable[[TaskT], ResultT], describe: Describe) -> "_Flight[TaskT, ResultT]":
        return _DaskFlight(self._cluster, function, describe)

    def workers_see(self, path: str, size: int) -> bool:
        return self._cluster.workers_see(path, size)

    def finish_report(self) -> None:
        if self._report is not None:
            self._report.start_drawing()


class _Flight(ABC, Generic[TaskT, ResultT]):
    """Submitted tasks that have not ended."""

    running = 0
    """Number of these tasks."""

    def takes_more(self, most: int) -> bool:
        """Whether another task may be sent."""
        return self.running < most

    @abstractmethod
    def send(self, key: int, task: TaskT) -> None:
        """Submit a task."""

    @abstractmethod
    def receive(self) -> tuple[int, ResultT] | None:
        """Wait for a task to end; return its key and result, or None if none has ended for a while.

        Raises: any error that a task raised.
        """


class _ThreadFlight(_Flight[TaskT, ResultT]):
    def __init__(self, pool: ThreadPoolExecutor, function: Callable[[TaskT], ResultT]) -> None:
        self._pool, self._function = pool, function
        self._ended: SimpleQueue[tuple[int, Future[ResultT]]] = SimpleQueue()

    def send(self, key: int, task: TaskT) -> None:
        future = self._pool.submit(self._function, task)
        self.running += 1
        future.add_done_callback(lambda ended: self._ended.put((key, ended)))

    def receive(self) -> tuple[int, ResultT]:
        key, future = self._ended.get()
        self.running -= 1
        return key, future.result()


class _Ended(NamedTuple, Generic[TaskT]):
    """Outcome of one attempt at a task."""

    key: int
    task: TaskT
    value: Any
    error: BaseException | None
    raised_by_task: bool
    """Whether Dask reports an error of the task rather than a broken connection."""


class _DaskFlight(_Flight[TaskT, ResultT]):
    """Tasks submitted to Dask; lost tasks are submitted again.

    `distributed.as_completed` is not used: it never yields a future whose result was in transit when the
    connection broke, so a loop over it never ends (docs/decisions/0011-own-loop-over-dask-futures.md).
    """

    def __init__(
        self, cluster: DaskCluster, function: Callable[[TaskT], ResultT], describe: Describe
    ) -> None:
        self.cluster = cluster
        self.function = function
        self.describe = describe
        self._suspects: list[tuple[int, TaskT]] = []
        """Tasks whose workers died repeatedly, possibly because of another task on the same worker."""
        self._alone = False
        """Whether the running task is a suspect, which runs without other tasks."""
        self._ended: SimpleQueue[_Ended[TaskT]] = SimpleQueue()

    def takes_more(self, most: int) -> bool:
        """Whether another task may be sent; false while suspects run one at a time."""
        return super().takes_more(most) and not self._suspects and not self._alone

    def send(self, key: int, task: TaskT) -> None:
        future = self.cluster.submit(self.function, task)
        self.running += 1
        self.cluster.client.loop.add_callback(self._follow, key, task, future)

    async def _follow(self, key: int, task: TaskT, future: Any) -> None:
        """Wait for the result on Dask's thread; on return, the future and the remote result are released."""
        value, error = None, None
        try:
            value = await future.result()
        except BaseException as caught:  # passed to the caller, because errors on Dask's thread are not shown
            error = caught
        self._ended.put(_Ended(key, task, value, error, future.status == "error"))

    def receive(self) -> tuple[int, ResultT] | None:
        """Wait up to WAIT_SECONDS for a task to end; return its key and result, or None if none succeeded.

        Raises: any error that a task raised; ClusterError.
        """
        self.cluster.check()
        try:
            ended = self._ended.get(timeout=WAIT_SECONDS)
        except Empty:
            return None
        self.running -= 1
        was_alone, self._alone = self._alone, False
        if ended.error is None:
            self.cluster.result_received()
        else:
            self._handle(ended, ended.error, was_alone)
        if self._suspects and not self.running:
            self.send(*self._suspects.pop())
            self._alone = True
        return (ended.key, ended.value) if ended.error is None else None

    def _handle(self, ended: _Ended[TaskT], error: BaseException, was_alone: bool) -> None:
        """Resubmit a lost task or mark it as a suspect; raise an error that the task itself raised."""
        kind = type(error).__name__  # by name: importing Dask's errors would import Dask
        if not ended.raised_by_task:
            self.cluster.connection_lost()
        # A cluster may be configured to fail tasks that no worker can accept (NoValidWorkerError).
        if not ended.raised_by_task or kind == "NoValidWorkerError":
            self.send(ended.key, ended.task)
            self._alone = was_alone
        elif kind != "KilledWorker":
            problem = None if isinstance(error, SentiscaleError) else import_problem(error, "a worker")
            if problem:
                raise ClusterError(problem) from error
            raise error
        elif was_alone:
            raise ClusterError(
                f"{self.describe(ended.key)} kills every worker that runs it, most likely because memory "
                f"runs out. Use smaller blocks (--set prepare.block_mb=1), or workers with more memory."
            ) from error
        else:
            self._suspects.append((ended.key, ended.task))


class DaskReport:
    """Dask's HTML performance report, which covers the time from construction to `start_drawing`."""

    def __init__(self, path: Path, client: Any, say: Say, *, load_bokeh: bool) -> None:
        import distributed

        kinds: Any = distributed
        path.parent.mkdir(exist_ok=True)
        self._path = path
        self._client = client
        self._say = say
        self._report = kinds.performance_report(filename=str(path), mode="inline")
        client.sync(self._report.__aenter__)
        self._thread = ThreadPoolExecutor(1, "dask-report")
        self._drawing: Future[None] | None = None
        if load_bokeh:
            self._thread.submit(_load_bokeh)

    def start_drawing(self) -> None:
        """Draw the report on a background thread (about 0.7 s); `finish` waits for it."""
        if self._drawing is None:
            self._drawing = self._thread.submit(self._draw)

    def finish(self) -> None:
        self.start_drawing()
        self._thread.shutdown()

    def abandon(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _draw(self) -> None:
        command = html.escape(" ".join(sys.argv))
        try:
            with _collection_paused():
                self._client.sync(self._report.__aexit__, None, None, None, code=command)
        except Exception as error:  # the dataset is complete without it; a remote scheduler may lack Bokeh
            self._say(f"Dask's report could not be drawn: {error}")
            self._path.write_text(f"<p>Dask's report could not be drawn: {html.escape(str(error))}</p>\n")


def _load_bokeh() -> None:
    """Import Bokeh, which takes a third of a second, while workers run code that releases the GIL."""
    with suppress(ImportError), _collection_paused():  # drawing the report shows the error
        import bokeh.plotting  # noqa: F401
        import distributed.dashboard.components.scheduler  # noqa: F401


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Pause garbage collection, which takes a third of the time of creating many long-lived objects."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask's loggers: important events reach the user as exceptions or through `say`."""
    known = [*QUIET_LOGGERS, *logging.root.manager.loggerDict]
    loggers = [logging.getLogger(name) for name in known if name.split(".")[0] in QUIET_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:  # individually, because Dask sets levels on some of its loggers
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
