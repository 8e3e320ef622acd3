"""Dask clusters: workers on this machine, or a remote scheduler with reconnection after failures."""

import asyncio
import logging
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any
from uuid import uuid4

from sentiscale.data.worker import (
    Requirements,
    file_size,
    import_problem,
    local_versions,
    run_task,
    unmet_requirement,
)
from sentiscale.errors import ClusterError, UsageError

CONNECT_SECONDS = 10.0
RECONNECT_SECONDS = 60.0
"""How long to wait for a lost scheduler."""
ANSWER_SECONDS = 5.0
"""How long to wait for each response of the scheduler."""
CHECK_SECONDS, CHECK_SECONDS_WITHOUT_WORKERS = 2.0, 0.25
"""Interval between requests for the number of workers."""
REMIND_SECONDS = 60.0
"""Interval between reminders that there are no workers."""
MAX_LOSSES = 10
"""Consecutive lost connections, without a result in between, before giving up."""

Say = Callable[[str], None]


class DaskCluster:
    """A Dask client with local workers: threads of this process, or processes that Dask restarts."""

    client: Any
    workers: int
    """Number of tasks that can run at once, as of the last check."""

    def __init__(self, stack: ExitStack, workers: int, *, processes: bool, folder: Path | None) -> None:
        """Start the workers; closing `stack` stops them."""
        import dask
        import distributed

        place = str(folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="sentiscale-")))
        stack.enter_context(dask.config.set({"temporary-directory": place}))  # for the scheduler's files too
        with _sigint_blocked():
            cluster = stack.enter_context(_start_local(workers, processes, place))
        self.client = stack.enter_context(_untyped(distributed).Client(cluster))
        self.workers = workers
        self._processes = processes
        self._checked_at = self._answered_at = time.monotonic()

    def submit(self, function: Callable[..., Any], task: Any) -> Any:
        """Submit one task and return its future."""
        return self.client.submit(function, task, pure=False)

    def check(self) -> None:
        """Check the connection and the workers; cheap enough to call often.

        Raises: ClusterError when they have been unavailable for too long.
        """
        now = time.monotonic()
        if not self._processes or now - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = now
        if self._threads():
            self._answered_at = now
        elif now - self._answered_at > RECONNECT_SECONDS:
            raise ClusterError(
                f"the worker processes ended and could not be restarted for {RECONNECT_SECONDS:.0f} s, "
                f"most likely because memory ran out. Use fewer --workers."
            )

    def connection_lost(self) -> None:
        """Record that the connection broke and results were lost; Dask reconnects automatically."""
        raise ClusterError("Dask stopped inside this process.")

    def result_received(self) -> None:
        """Record that the connection works."""

    def workers_see(self, path: str, size: int) -> bool:
        """Whether every worker can read a file of `size` bytes at `path`."""
        return True

    def _ask(self, method: Callable[[], Any]) -> Any:
        """Call a method of the client and wait for its result.

        Raises: TimeoutError after ANSWER_SECONDS; OSError when the connection is lost.
        """

        async def ask() -> Any:
            return await method()

        return self.client.sync(ask, callback_timeout=ANSWER_SECONDS)

    def _threads(self) -> int:
        return sum(self._ask(lambda: self.client.nthreads()).values())


class RemoteCluster(DaskCluster):
    """A running Dask scheduler; tolerates temporary loss of the scheduler and of workers."""

    def __init__(self, stack: ExitStack, address: str, *, folder: Path | None, say: Say) -> None:
        """Connect and wait for the first worker.

        Raises: UsageError when no scheduler answers, or it or a worker cannot run our tasks.
        """
        self.address = address
        self.workers = 0
        self.say = say
        shared_file = stack.enter_context(_file_in(folder)) if folder else ""
        self._requirements = Requirements(local_versions(), shared_file)
        self._lost_at: float | None = None
        self._losses = 0
        self._silent = False
        self._without_workers_since: float | None = None
        loop = stack.enter_context(_running_loop())
        try:
            with _client(address, CONNECT_SECONDS, loop):
                pass
            # Dask uses one timeout for connecting and for reconnecting. The first connection should fail
            # sooner than a reconnection, so it is tested with a client of its own.
            self.client = _client(address, RECONNECT_SECONDS, loop)
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(
                f"no Dask scheduler answers at {address} ({error}). Give the address that `dask scheduler` "
                f"prints, such as tcp://10.0.0.1:8786, or leave --scheduler out."
            ) from error
        stack.callback(self._close)
        self._checked_at, self._answered_at = 0.0, time.monotonic()
        while not self.workers:  # only a worker can show what workers can run and read
            self.check()
            time.sleep(0 if self.workers else CHECK_SECONDS_WITHOUT_WORKERS)
        if problem := self._problem():
            raise UsageError(problem)

    def submit(self, function: Callable[..., Any], task: Any) -> Any:
        """Submit one task together with the requirements and return its future."""
        name = f"{getattr(function, '__name__', 'task')}-{uuid4()}"
        return self.client.submit(run_task, function, task, self._requirements, pure=False, key=name)

    def check(self) -> None:
        """Count the workers; report if there are none, or if the scheduler is lost or does not answer.

        Raises: ClusterError when the scheduler has been unavailable for RECONNECT_SECONDS.
        """
        now = time.monotonic()
        if self.client.status != "running":
            self.connection_lost()
            self._check_deadline("been gone", now)
            return
        if self._lost_at is not None:
            self.say(f"reconnected to {self.address} after {now - self._lost_at:.0f} s")
            self._lost_at, self._checked_at = None, 0.0
            with suppress(Exception):  # without this request, a new scheduler records no tasks for the report
                self._ask(lambda: self.client.get_task_stream(start=0, stop=0))
        if now - self._checked_at < (CHECK_SECONDS if self.workers else CHECK_SECONDS_WITHOUT_WORKERS):
            return
        # Errors of Dask and its transport have no common base class. All of them mean that the connection has
        # just broken, which the client's status shows at the next check.
        with suppress(Exception):
            self._count_workers()
        self._checked_at = time.monotonic()
        self._check_deadline("not answered", self._checked_at)

    def connection_lost(self) -> None:
        if self._lost_at is not None:
            return
        self._losses += 1
        if self._losses > MAX_LOSSES:
            raise ClusterError(f"the scheduler was lost {MAX_LOSSES} times without a result in between.")
        self._lost_at = time.monotonic()
        self.say(
            f"lost the Dask scheduler at {self.address}; trying to reconnect for {RECONNECT_SECONDS:.0f} s"
        )

    def result_received(self) -> None:
        self._losses = 0

    def workers_see(self, path: str, size: int) -> bool:
        return set(self._ask(lambda: self.client.run(file_size, path)).values()) <= {size}

    def _check_deadline(self, state: str, now: float) -> None:
        if self.client.status == "closed" or now - self._answered_at > RECONNECT_SECONDS:
            raise ClusterError(
                f"the Dask scheduler at {self.address} has {state} for {RECONNECT_SECONDS:.0f} s."
            )

    def _count_workers(self) -> None:
        """Count the workers; report when the last one leaves or the first one joins."""
        try:
            self.workers = self._threads()
        except TimeoutError:  # the network may be down for a while; running tasks are not lost
            if not self._silent:
                self.say(
                    f"the Dask scheduler at {self.address} does not answer; "
                    f"waiting up to {RECONNECT_SECONDS:.0f} s"
                )
            self._silent = True
            return
        self._answered_at = now = time.monotonic()
        if self._silent:
            self.say(f"the Dask scheduler at {self.address} answers again")
            self._silent = False
        if self.workers:
            if self._without_workers_since is not None:
                self.say(f"continuing with {self.workers} worker threads")
            self._without_workers_since = None
        elif self._without_workers_since is None or now - self._without_workers_since > REMIND_SECONDS:
            self.say(
                f"the scheduler at {self.address} has no workers; waiting for one. "
                f"Start it with: dask worker {self.address}"
            )
            self._without_workers_since = now

    def _problem(self) -> str | None:
        """Return why the scheduler or a worker cannot run our tasks, or None if all can."""
        versions_only = Requirements(self._requirements.versions, "")  # the scheduler itself opens no files
        try:
            problems = [self._ask(lambda: self.client.run_on_scheduler(unmet_requirement, versions_only))]
        except OSError:
            raise
        except Exception as error:  # any error that the check raised on the scheduler
            problems = [
                import_problem(error, f"the scheduler at {self.address}") or f"{self.address}: {error}"
            ]
        answers = self._ask(lambda: self.client.run(unmet_requirement, self._requirements, on_error="return"))
        for worker, answer in answers.items():
            if isinstance(answer, Exception):  # ignore other errors, such as a worker that has just left
                answer = import_problem(answer, f"the worker at {worker}")
            problems.append(answer)
        return next((problem for problem in problems if problem), None)

    def _close(self) -> None:
        with suppress(Exception):  # the scheduler may have stopped
            self.client.close(timeout=1)


def _client(address: str, seconds: float, loop: Any) -> Any:
    import distributed

    with warnings.catch_warnings():  # `Requirements` compares the versions
        warnings.simplefilter("ignore", _untyped(distributed).versions.VersionMismatchWarning)
        return _untyped(distributed).Client(address, timeout=seconds, loop=loop)


@contextmanager
def _running_loop() -> Iterator[Any]:
    """Run an event loop on a thread: a Dask client that fails to connect does not stop its own loop."""
    from tornado.ioloop import IOLoop

    started: SimpleQueue[tuple[Any, asyncio.Event]] = SimpleQueue()

    async def run() -> None:
        stopped = asyncio.Event()
        started.put((IOLoop.current(), stopped))
        await stopped.wait()

    thread = Thread(target=lambda: asyncio.run(run()), name="dask-clients", daemon=True)
    thread.start()
    loop, stopped = started.get()
    try:
        yield loop
    finally:
        loop.add_callback(stopped.set)
        thread.join()


def _start_local(workers: int, processes: bool, folder: str) -> Any:
    """Start a scheduler and its workers, reachable only from this machine."""
    import distributed

    dd = _untyped(distributed)
    place = {"protocol": "tcp://", "host": "127.0.0.1"} if processes else {"protocol": "inproc://"}
    # `LocalCluster` is not used: with a dashboard it spends time loading Bokeh, and without one it serves
    # HTTP on all network interfaces.
    common = place | {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    options = common | {
        "nthreads": 1 if processes else workers,
        "memory_limit": 0,
        "local_directory": folder,
        "silence_logs": logging.CRITICAL,
    }
    worker = {"cls": dd.Nanny if processes else dd.Worker, "options": options}
    return dd.SpecCluster(
        workers=dict.fromkeys(range(workers if processes else 1), worker),
        scheduler={"cls": dd.Scheduler, "options": common | {"port": 0}},
        silence_logs=logging.CRITICAL,
    )


@contextmanager
def _file_in(folder: Path) -> Iterator[str]:
    """Create a file whose presence shows a remote worker that it sees the same folder."""
    path = folder / f"shared-{uuid4().hex}"
    path.touch()
    try:
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT while processes start: they inherit the mask, so Ctrl-C stops only this process."""
    resource_tracker.ensure_running()  # started later, it would unblock SIGINT again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _untyped(module: Any) -> Any:
    """Return the module typed as Any, because many of Dask's functions have no type annotations."""
    return module
