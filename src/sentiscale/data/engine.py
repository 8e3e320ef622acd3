"""Run one function over many tasks on Dask, whatever happens to workers, connection and scheduler."""

import gc
import html
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, NamedTuple, TypeVar

from sentiscale.data.cluster import Cluster, LocalCluster, RemoteCluster, Say
from sentiscale.data.worker import explained
from sentiscale.errors import ClusterError, SentiscaleError


class DaskReport:
    """Writes `path` with task stream, profiles and bandwidth of what ran between `begin` and `finish`."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path = path
        self.say = say
        self._report: Any = None
        self._loading: Thread | None = None
        self._drawing: Thread | None = None

    def begin(self, client: Any, *, load: bool) -> None:
        """Have the scheduler note what happens from now on; `load`: it is in this process, so get ready."""
        import distributed

        kinds: Any = distributed
        self._report = kinds.performance_report(filename=str(self.path), mode="inline")
        client.sync(self._report.__aenter__)
        if load:
            self._loading = Thread(target=_load_drawing_code, name="load-bokeh", daemon=True)
            self._loading.start()

    def finish_soon(self, client: Any) -> None:
        """Draw on another thread; `finish` waits for it."""
        if self._drawing is None:
            self._drawing = Thread(target=self._draw, args=(client,), name="draw-report")
            self._drawing.start()

    def finish(self, client: Any) -> None:
        """Draw the report now, or wait until it is drawn."""
        self.finish_soon(client)
        assert self._drawing is not None
        self._drawing.join()

    def _draw(self, client: Any) -> None:
        if self._loading is not None:
            self._loading.join()
        command = html.escape(" ".join(sys.argv))
        try:
            with _collection_paused():
                client.sync(self._report.__aexit__, None, None, None, code=command)
        except Exception as error:  # the data are whole without it; a cluster's scheduler may lack Bokeh
            self.say(f"Dask's report could not be drawn: {error}")
            self.path.write_text(f"<p>Dask's report could not be drawn: {html.escape(str(error))}</p>\n")


def _load_drawing_code() -> None:
    """Import Bokeh, a third of a second, while the workers are busy outside the interpreter."""
    try:
        with _collection_paused():
            import bokeh.plotting  # noqa: F401
            import distributed.dashboard.components.scheduler  # noqa: F401
    except ImportError:
        pass  # told when the report is drawn


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Let no garbage be looked for while a library makes many objects that stay: a third of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
Describe = Callable[[int], str]

IN_FLIGHT_PER_WORKER = 2
"""One that is worked on and one that is there when it is done."""
MOST_RECONNECTIONS = 10
"""Connections lost one after the other without a single result between them."""
WAIT_SECONDS = 0.5

QUIET_LOGGERS = ("distributed", "tornado", "asyncio", "bokeh")


class Engine:
    """Workers that are given a bounded number of tasks at a time."""

    def __init__(self, cluster: Cluster, report: DaskReport | None) -> None:
        """Use `open_engine`."""
        self._cluster = cluster
        self._report = report

    @property
    def client(self) -> Any:
        """The Dask client; another one after the connection was lost."""
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

        A task may be done more than once, even at the same time on two hosts, when a worker or the
        connection is lost: it must be harmless to repeat. Its result is yielded once.

        Args:
            function: what a worker calls; it must be importable there.
            tasks: (key, task) pairs; keys are unique.
            in_flight: how many tasks may be under way at most; None is two a worker.
            describe: names the task of a key to a person: "block 7 (reviews.csv, from byte 7340032 on)".

        Raises:
            ClusterError: workers keep dying over one task, or the scheduler stays away.
            Exception: whatever a task raised.
        """
        numbered = iter(tasks)
        flight: _Flight[TaskT, ResultT] = _Flight(self._cluster, function, describe)

        def send_more() -> None:
            most = in_flight or IN_FLIGHT_PER_WORKER * self.workers
            while flight.takes_more(most):
                item = next(numbered, None)
                if item is None:
                    return
                flight.send(*item)

        send_more()
        while flight.items:
            found = flight.receive()
            send_more()  # before the result is looked at: no worker shall wait for that
            if found is not None:
                yield found

    def all_see(self, path: str, size: int) -> bool:
        """Whether every worker reads a file of `size` bytes under this path; true on this machine."""
        return self._cluster.all_see(path, size)

    def finish_report(self) -> None:
        """Begin to draw Dask's report beside whatever comes next; later tasks are not in it."""
        if self._report is not None:
            self._report.finish_soon(self.client)


@contextmanager
def open_engine(
    workers: int,
    scheduler: str | None = None,
    *,
    processes: bool = False,
    folder: Path | None = None,
    report: Path | None = None,
    say: Say | None = None,
) -> Iterator[Engine]:
    """Start workers on this machine or connect to a running scheduler.

    Args:
        workers: how many tasks are worked on at once (on a cluster: what it has).
        scheduler: address of a running Dask scheduler, or None.
        processes: whether local workers are processes of their own.
        folder: where local workers may leave files of their own; workers elsewhere must see it.
        report: where Dask's own performance report goes.
        say: told in one line when a cluster gives trouble.

    Raises: UsageError when the scheduler cannot be reached, or its workers cannot do our tasks.
    """
    import dask
    import distributed  # noqa: F401 - brings its default settings, which must outlast the `with`

    say = say or (lambda line: None)
    with dask.config.set(_settings()), _quiet(), ExitStack() as stack:
        cluster: Cluster
        if scheduler is None:
            cluster = LocalCluster(stack, workers, processes=processes, folder=folder)
        else:
            cluster = RemoteCluster(stack, scheduler, folder=folder, say=say)
        drawn = None if report is None else DaskReport(report, say)
        if drawn is not None:
            drawn.begin(cluster.client, load=scheduler is None)
        yield Engine(cluster, drawn)
        if drawn is not None:
            drawn.finish(cluster.client)


class _Item(NamedTuple, Generic[TaskT]):
    """A task under way."""

    key: int
    task: TaskT


class _Outcome(NamedTuple):
    """How one attempt at a task ended."""

    attempt: int
    value: Any
    error: BaseException | None
    by_task: bool
    """Whether Dask reports the error as the task's own, and not as trouble on the way."""


class _Flight(Generic[TaskT, ResultT]):
    """Tasks under way: sent, received, and sent again when they were lost."""

    def __init__(self, cluster: Cluster, function: Callable[[TaskT], ResultT], describe: Describe) -> None:
        self.cluster = cluster
        self.function = function
        self.describe = describe
        self.items: dict[int, _Item[TaskT]] = {}
        """By attempt; an attempt's number is never used again, so late results are recognised."""
        self.suspects: list[_Item[TaskT]] = []
        """Tasks whose workers died again and again, perhaps only beside the guilty one."""
        self.alone: int | None = None
        """Attempt at a suspect with no other task under way."""
        self.attempts = 0
        self.reconnections = 0
        self._arrived: SimpleQueue[_Outcome] = SimpleQueue()

    def takes_more(self, most: int) -> bool:
        """Whether one more task may be sent; not while it is found out who kills the workers."""
        return len(self.items) < most and not self.suspects and self.alone is None

    def send(self, key: int, task: TaskT) -> None:
        """Send a task to the cluster."""
        self.attempts += 1
        attempt = self.attempts
        self.items[attempt] = _Item(key, task)
        client = self.cluster.client
        try:
            future = self.cluster.submit(self.function, task)
        except Exception as error:  # of no common base; the client's status tells whether the link broke
            if client.status in ("running", "connecting"):
                raise
            self._arrived.put(_Outcome(attempt, None, error, by_task=False))
            return
        client.loop.add_callback(self._follow, attempt, future)

    async def _follow(self, attempt: int, future: Any) -> None:
        """Wait on Dask's own thread for a task; the future, and with it the result there, go at the end."""
        value, error = None, None
        try:
            value = await future.result()
        except BaseException as caught:  # handed over: this thread is Dask's, and nobody looks at it
            error = caught
        self._arrived.put(_Outcome(attempt, value, error, future.status == "error"))

    def receive(self) -> tuple[int, ResultT] | None:
        """Wait for something to happen; a key and its result if that is what happened.

        Raises: whatever a task raised; ClusterError.
        """
        try:
            self.cluster.look()
            outcome = self._arrived.get(timeout=WAIT_SECONDS)
        except Empty:
            return None
        except ConnectionError:
            self._send_all_again()
            return None
        if outcome.attempt not in self.items:  # of an attempt that was given up
            return None
        if outcome.error is None:
            self.reconnections = 0
            item = self._landed(outcome.attempt)
            return item.key, outcome.value
        self._handle(outcome, outcome.error)
        return None

    def _landed(self, attempt: int) -> _Item[TaskT]:
        """Take an attempt off the list; when it was the last one, the next suspect has its turn."""
        item = self.items.pop(attempt)
        self.alone = None
        self._try_next_suspect()
        return item

    def _try_next_suspect(self) -> None:
        if self.suspects and not self.items:
            self.send(*self.suspects.pop())
            self.alone = self.attempts

    def _handle(self, outcome: _Outcome, error: BaseException) -> None:
        """Send a task again that was lost or is under suspicion; raise what it raised otherwise."""
        kind = type(error).__name__
        if not outcome.by_task:
            self._send_all_again()
        elif kind == "NoValidWorkerError":  # the cluster is set up to give up on tasks without workers
            self.send(*self.items.pop(outcome.attempt))
        elif kind != "KilledWorker":
            told = None if isinstance(error, SentiscaleError) else explained(error, "a worker")
            if told:
                raise ClusterError(told) from error
            raise error
        elif outcome.attempt == self.alone:
            raise ClusterError(
                f"{self.describe(self.items[outcome.attempt].key)} kills every worker that takes it, most "
                f"likely for lack of memory. Use smaller blocks (--set prepare.block_mb=1), or workers with "
                f"more memory."
            ) from error
        else:
            self.suspects.append(self.items.pop(outcome.attempt))
            self._try_next_suspect()

    def _send_all_again(self) -> None:
        """Connect anew and send whatever had not come back.

        Raises: ClusterError when the scheduler stays away, or is lost again and again.
        """
        self.reconnections += 1
        if self.reconnections > MOST_RECONNECTIONS:
            raise ClusterError(f"the scheduler was lost {MOST_RECONNECTIONS} times without a result between.")
        self.cluster.reconnect()
        lost = list(self.items.values())
        self.items.clear()
        was_alone = self.alone is not None
        for item in lost:
            self.send(*item)
        self.alone = self.attempts if was_alone else None


def _settings() -> dict[str, Any]:
    return {
        "distributed.admin.large-graph-warning-threshold": "1GB",
        "distributed.comm.timeouts.connect": "10s",
        "distributed.admin.tick.interval": "500ms",  # 50 times a second costs 2 % of a core
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep some loggers quiet: what matters reaches the user as an exception or through `say`."""
    known = [*QUIET_LOGGERS, *logging.root.manager.loggerDict]
    names = {name for name in known if name.split(".")[0] in QUIET_LOGGERS}
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:  # Dask gives some of its loggers levels of their own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
