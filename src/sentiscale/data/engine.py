"""Run one function over many tasks on Dask, whatever happens to workers, connection and scheduler."""

import gc
import html
import logging
import sys
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
"""One task that runs and one that is there when it ends."""
WAIT_SECONDS = 0.5
QUIET_LOGGERS = ("distributed", "tornado", "asyncio", "bokeh")
DASK_SETTINGS = {
    "distributed.admin.large-graph-warning-threshold": "1GB",
    "distributed.comm.timeouts.connect": "10s",
    "distributed.admin.tick.interval": "500ms",  # 50 times a second costs 2 % of a core
}


@contextmanager
def open_engine(
    workers: int,
    scheduler: str | None = None,
    *,
    processes: bool = False,
    folder: Path | None = None,
    report: Path | None = None,
    say: Say = lambda line: None,
) -> Iterator["PrepareEngine"]:
    """Start workers on this machine or connect to a running scheduler.

    Args:
        workers: number of tasks that run at once (a cluster decides this itself).
        scheduler: address of a running Dask scheduler, or None.
        processes: whether local workers are processes rather than threads.
        folder: where local workers may leave files; workers elsewhere must see it.
        report: where to write Dask's own performance report.
        say: receives one line when a cluster gives trouble.

    Raises: UsageError when the scheduler cannot be reached, or its workers cannot do our tasks.
    """
    import dask
    import distributed  # noqa: F401 - brings its default settings, which must outlast the `with`

    with dask.config.set(DASK_SETTINGS), _quiet(), ExitStack() as stack:
        if scheduler is None:
            with _collection_paused():  # Dask's statistics of collections fail if they begin during one
                cluster = DaskCluster(stack, workers, processes=processes, folder=folder)
        else:
            cluster = RemoteCluster(stack, scheduler, folder=folder, say=say)
        dask_report = None
        if report is not None:  # a scheduler in this process needs Bokeh here
            dask_report = DaskReport(report, cluster.client, say, load_bokeh=scheduler is None)
            stack.callback(dask_report.abandon)
        yield PrepareEngine(cluster, dask_report)
        if dask_report is not None:
            dask_report.finish()


class PrepareEngine:
    """Workers that receive a bounded number of tasks at a time; use `open_engine`."""

    def __init__(self, cluster: DaskCluster, report: "DaskReport | None") -> None:
        self._cluster = cluster
        self._report = report

    @property
    def client(self) -> Any:
        return self._cluster.client

    @property
    def workers(self) -> int:
        """How many tasks can run at once; changes when workers of a cluster come and go."""
        return max(1, self._cluster.workers)

    def map(
        self,
        function: Callable[[TaskT], ResultT],
        tasks: Iterable[tuple[int, TaskT]],
        *,
        in_flight: int | None = None,
        describe: Describe = "task {}".format,
    ) -> Iterator[tuple[int, ResultT]]:
        """Yield (key, function(task)) as they finish; tasks are taken only as workers become free.

        When a worker or the connection is lost, a task may run more than once, even at the same time on two
        hosts: it must be harmless to repeat. Its result is yielded once.

        Args:
            function: what a worker calls; importable there.
            tasks: (key, task) pairs; keys are unique.
            in_flight: most tasks sent at the same time; None is two per worker.
            describe: names the task of a key for messages: "block 7 (reviews.csv, from byte 7340032 on)".

        Raises:
            ClusterError: one task keeps killing workers, or the scheduler stays away.
            Exception: whatever a task raises.
        """
        numbered = iter(tasks)
        flight: _Flight[TaskT, ResultT] = _Flight(self._cluster, function, describe)

        def send_more() -> None:
            while flight.takes_more(in_flight or IN_FLIGHT_PER_WORKER * self.workers):
                item = next(numbered, None)
                if item is None:
                    return
                flight.send(*item)

        send_more()
        while flight.running:
            result = flight.receive()
            send_more()  # before the caller works on the result: workers must not wait for that
            if result is not None:
                yield result

    def workers_see(self, path: str, size: int) -> bool:
        """Whether every worker reads a file of `size` bytes under this path; true on this machine."""
        return self._cluster.workers_see(path, size)

    def finish_report(self) -> None:
        """Begin to draw Dask's report while the caller goes on; later tasks are not in it."""
        if self._report is not None:
            self._report.start_drawing()


class _Ended(NamedTuple, Generic[TaskT]):
    """How one attempt at a task ended."""

    key: int
    task: TaskT
    value: Any
    error: BaseException | None
    raised_by_task: bool
    """Whether Dask reports the error as the task's own, rather than a broken connection."""


class _Flight(Generic[TaskT, ResultT]):
    """Tasks that were sent and have not ended; a task that is lost is sent again.

    Not `distributed.as_completed`: it never yields a future whose result was on its way when the connection
    broke, so the loop over it never ends (docs/decisions/0011-own-loop-over-dask-futures.md).
    """

    def __init__(
        self, cluster: DaskCluster, function: Callable[[TaskT], ResultT], describe: Describe
    ) -> None:
        self.cluster = cluster
        self.function = function
        self.describe = describe
        self.running = 0
        self._suspects: list[tuple[int, TaskT]] = []
        """Tasks whose workers died again and again, perhaps because of another task on the same worker."""
        self._alone = False
        """Whether the one running task is a suspect."""
        self._ended: SimpleQueue[_Ended[TaskT]] = SimpleQueue()

    def takes_more(self, most: int) -> bool:
        """Whether one more task may be sent; none while suspects are tried one by one."""
        return self.running < most and not self._suspects and not self._alone

    def send(self, key: int, task: TaskT) -> None:
        future = self.cluster.submit(self.function, task)
        self.running += 1
        self.cluster.client.loop.add_callback(self._follow, key, task, future)

    async def _follow(self, key: int, task: TaskT, future: Any) -> None:
        """Wait on Dask's own thread; the future, and with it the result on the cluster, are released here."""
        value, error = None, None
        try:
            value = await future.result()
        except BaseException as caught:  # handed over: nobody sees what is raised on Dask's thread
            error = caught
        self._ended.put(_Ended(key, task, value, error, future.status == "error"))

    def receive(self) -> tuple[int, ResultT] | None:
        """Wait a moment for a task to end; returns its key and result if it ended well.

        Raises: whatever a task raised; ClusterError.
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
        """Send a lost task again, or suspect it; raise the task's own error."""
        kind = type(error).__name__  # by name: importing Dask's errors would import Dask
        if not ended.raised_by_task:
            self.cluster.connection_lost()
        # A cluster may be configured to give up on tasks that no worker can take (NoValidWorkerError).
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
                f"{self.describe(ended.key)} kills every worker that takes it, most likely for lack of "
                f"memory. Use smaller blocks (--set prepare.block_mb=1), or workers with more memory."
            ) from error
        else:
            self._suspects.append((ended.key, ended.task))


class DaskReport:
    """Dask's task stream, profiles and bandwidth, from construction to `start_drawing`, as an HTML page."""

    def __init__(self, path: Path, client: Any, say: Say, *, load_bokeh: bool) -> None:
        import distributed

        kinds: Any = distributed
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
        """Draw on the report's thread, 0.7 s; `finish` waits for it."""
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
        except Exception as error:  # the data are whole without it; a cluster's scheduler may lack Bokeh
            self._say(f"Dask's report could not be drawn: {error}")
            self._path.write_text(f"<p>Dask's report could not be drawn: {html.escape(str(error))}</p>\n")


def _load_bokeh() -> None:
    """Import Bokeh, a third of a second, while the workers are busy outside the interpreter."""
    with suppress(ImportError), _collection_paused():  # reported when the report is drawn
        import bokeh.plotting  # noqa: F401
        import distributed.dashboard.components.scheduler  # noqa: F401


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Switch garbage collection off while a library makes many objects that stay: a third of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask's loggers: what matters reaches the user as an exception or through `say`."""
    known = [*QUIET_LOGGERS, *logging.root.manager.loggerDict]
    loggers = [logging.getLogger(name) for name in known if name.split(".")[0] in QUIET_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:  # each one: Dask gives some of its loggers levels of their own
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
