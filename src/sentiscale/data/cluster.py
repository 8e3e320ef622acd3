"""Where tasks run: threads or processes of this machine, or a Dask scheduler that may go and return."""

import asyncio
import logging
import signal
import tempfile
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any
from uuid import uuid4

from sentiscale.data.worker import Ticket, do_task, explained, file_size, objection, this_software
from sentiscale.errors import ClusterError, UsageError

CONNECT_SECONDS = 10.0
RECONNECT_SECONDS = 60.0
"""How long a lost scheduler is waited for."""
LOOK_SECONDS = 2.0
"""How often the cluster is asked how many workers it has."""
ANXIOUS_LOOK_SECONDS = 0.25
"""The same while it has none."""
ANSWER_SECONDS = 5.0
"""How long an answer from the scheduler may take."""
REMIND_SECONDS = 60.0
"""How often it is repeated that there are no workers."""

Say = Callable[[str], None]


class Cluster(ABC):
    """A Dask client and what keeps it in touch with workers; a context manager."""

    client: Any
    workers: int
    """How many tasks can run at once, as known now."""

    @abstractmethod
    def submit(self, function: Callable[..., Any], task: Any) -> Any:
        """Send one task; returns its future."""

    @abstractmethod
    def look(self) -> None:
        """Ask how things are, at most every LOOK_SECONDS.

        Raises:
            ConnectionError: the scheduler has gone; `reconnect` may help.
            ClusterError: it has not answered for RECONNECT_SECONDS.
        """

    @abstractmethod
    def reconnect(self) -> None:
        """Connect anew after the client was lost; what was sent before is forgotten by then.

        Raises: ClusterError when that fails for RECONNECT_SECONDS.
        """

    def all_see(self, path: str, size: int) -> bool:
        """Whether every worker reads a file of this size under this path."""
        return True

    def _ask(self, question: Callable[[], Any]) -> Any:
        """What a method of the client answers.

        Raises: TimeoutError after ANSWER_SECONDS; OSError when the connection is gone.
        """

        async def asked() -> Any:
            return await question()

        return self.client.sync(asked, callback_timeout=ANSWER_SECONDS)

    def _threads(self) -> int:
        return sum(self._ask(lambda: self.client.nthreads()).values())


class LocalCluster(Cluster):
    """Threads of this process, or processes that are started again when they die."""

    def __init__(self, stack: ExitStack, workers: int, *, processes: bool, folder: Path | None) -> None:
        """Start the workers; they end with the stack."""
        import dask
        import distributed

        place = str(folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="sentiscale-")))
        stack.enter_context(
            dask.config.set({"temporary-directory": place})
        )  # the scheduler leaves files, too
        with _ctrl_c_held():
            cluster = stack.enter_context(_start_local(workers, processes, place))
        self.client = stack.enter_context(_untyped(distributed).Client(cluster))
        self.workers = workers
        self.processes = processes
        self._looked_at = self._alive_at = time.monotonic()

    def submit(self, function: Callable[..., Any], task: Any) -> Any:
        """Send one task; returns its future."""
        return self.client.submit(function, task, pure=False)

    def look(self) -> None:
        """See whether dead processes are replaced, as they should be.

        Raises: ClusterError when none has been for RECONNECT_SECONDS.
        """
        now = time.monotonic()
        if not self.processes or now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        if self._threads():
            self._alive_at = now
        elif now - self._alive_at > RECONNECT_SECONDS:
            raise ClusterError(
                f"the worker processes ended and could not be started again for {RECONNECT_SECONDS:.0f} s, "
                f"most likely for lack of memory. Use fewer --workers."
            )

    def reconnect(self) -> None:
        """Fail: a scheduler in this process cannot be lost.

        Raises: ClusterError always.
        """
        raise ClusterError("Dask stopped inside this process.")


class RemoteCluster(Cluster):
    """A running scheduler: it may be lost and come back, and so may its workers."""

    def __init__(self, stack: ExitStack, address: str, *, folder: Path | None, say: Say) -> None:
        """Connect.

        Raises: UsageError when no scheduler answers, or its workers cannot do our tasks.
        """
        self.address = address
        self.workers = 0
        self.say = say
        self.ticket = Ticket(this_software(), stack.enter_context(_mark_in(folder)) if folder else "")
        self._looked_at = self._answered_at = time.monotonic()
        self._lonely_since: float | None = None
        self._silent = False
        self._loop = stack.enter_context(_running_loop())
        stack.callback(self._drop_client)
        try:
            self.client = self._new_client(CONNECT_SECONDS)
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(
                f"no Dask scheduler answers at {address} ({error}). Give the address that `dask scheduler` "
                f"prints, such as tcp://10.0.0.1:8786, or leave --scheduler out."
            ) from error
        self._wait_for_workers()
        problem = self._problem()
        if problem:
            raise UsageError(problem)

    def submit(self, function: Callable[..., Any], task: Any) -> Any:
        """Send one task, with what lets a worker see whether it can do it; returns its future."""
        name = f"{getattr(function, '__name__', 'task')}-{uuid4()}"
        return self.client.submit(do_task, function, task, self.ticket, pure=False, key=name)

    def look(self) -> None:
        """Ask for the number of workers; say so when there are none or nobody answers.

        Raises:
            ConnectionError: the scheduler has gone.
            ClusterError: it has not answered for RECONNECT_SECONDS.
        """
        pause = LOOK_SECONDS if self.workers else ANXIOUS_LOOK_SECONDS
        if time.monotonic() - self._looked_at < pause:
            return
        try:
            self._count()
        except TimeoutError:  # the link may be down for a while: what is under way is not lost
            self._bear_silence()
        except Exception as error:  # Dask's and its transport's errors have no base in common
            raise ConnectionError(str(error)) from error

    def reconnect(self) -> None:
        """Try until a scheduler answers at the same address.

        Raises: ClusterError when none does for RECONNECT_SECONDS, or its workers cannot do our tasks.
        """
        lost_at = self._answered_at if self._silent else time.monotonic()
        self.say(f"lost the Dask scheduler at {self.address}; trying again for {RECONNECT_SECONDS:.0f} s")
        self._drop_client()
        while (left := lost_at + RECONNECT_SECONDS - time.monotonic()) > 0:
            try:
                self.client = self._new_client(min(left, ANSWER_SECONDS))
                problem = self._problem()
                if problem:
                    raise ClusterError(problem)
                self._silent = False
                self.say(f"connected again to {self.address} after {time.monotonic() - lost_at:.0f} s")
                self._count()
                self.client.get_task_stream(start=0, stop=0)  # a new scheduler notes tasks only once asked
                return
            except (OSError, ValueError, ImportError):
                self._drop_client()
                time.sleep(min(1.0, max(left, 0)))
        raise ClusterError(
            f"the Dask scheduler at {self.address} has been gone for {RECONNECT_SECONDS:.0f} s."
        )

    def all_see(self, path: str, size: int) -> bool:
        """Whether every worker reads a file of this size under this path."""
        return set(self._ask(lambda: self.client.run(file_size, path)).values()) <= {size}

    def _wait_for_workers(self) -> None:
        """Wait until there is one: without any it is not known what workers can do and see."""
        self._looked_at = 0.0
        while not self.workers:
            try:
                self.look()
            except ConnectionError:
                self.reconnect()
            if not self.workers:
                time.sleep(ANXIOUS_LOOK_SECONDS)

    def _new_client(self, seconds: float) -> Any:
        import distributed

        with warnings.catch_warnings():  # versions are compared by us
            warnings.simplefilter("ignore", _untyped(distributed).versions.VersionMismatchWarning)
            client = _untyped(distributed).Client(self.address, timeout=seconds, loop=self._loop)
        client._timeout = 0  # it shall not connect again by itself, beside ours
        return client

    def _drop_client(self) -> None:
        """Close the client; it may have no scheduler any more, so all it does is let go."""
        client, self.client = getattr(self, "client", None), None
        if client is not None:
            with suppress(Exception):
                client.close(timeout=1)

    def _count(self) -> None:
        """Learn how many workers there are, and tell when the last one leaves or the first one comes."""
        self.workers = self._threads()
        self._looked_at = self._answered_at = now = time.monotonic()
        if self._silent:
            self.say(f"the Dask scheduler at {self.address} answers again")
            self._silent = False
        if self.workers:
            if self._lonely_since is not None:
                self.say(f"going on with {self.workers} worker threads")
            self._lonely_since = None
        elif self._lonely_since is None or now - self._lonely_since > REMIND_SECONDS:
            self.say(
                f"the scheduler at {self.address} has no workers; waiting for one. "
                f"Start it with: dask worker {self.address}"
            )
            self._lonely_since = now

    def _bear_silence(self) -> None:
        self._looked_at = now = time.monotonic()
        if now - self._answered_at > RECONNECT_SECONDS:
            raise ClusterError(
                f"the Dask scheduler at {self.address} has not answered for {RECONNECT_SECONDS:.0f} s."
            )
        if not self._silent:
            self.say(
                f"the Dask scheduler at {self.address} does not answer; "
                f"waiting up to {RECONNECT_SECONDS:.0f} s"
            )
        self._silent = True

    def _problem(self) -> str | None:
        """Why the scheduler or one of its workers cannot do our tasks; None when all can."""
        bare = Ticket(self.ticket.software, "")  # the scheduler itself opens no files
        try:
            found = [self._ask(lambda: self.client.run_on_scheduler(objection, bare))]
        except OSError:
            raise
        except Exception as error:  # whatever our own check raised over there
            found = [explained(error, f"the scheduler at {self.address}") or f"{self.address}: {error}"]
        answers = self._ask(lambda: self.client.run(objection, self.ticket, on_error="return"))
        for worker, answer in answers.items():
            if isinstance(answer, Exception):
                found.append(explained(answer, f"the worker at {worker}"))  # one that just left is no problem
            else:
                found.append(answer)
        return next((problem for problem in found if problem), None)


@contextmanager
def _running_loop() -> Iterator[Any]:
    """An event loop on a thread: a Dask client that fails to connect would leave its own running."""
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
    """A scheduler and its workers; nothing of them listens beyond this machine."""
    import distributed

    dd = _untyped(distributed)
    place = {"protocol": "tcp://", "host": "127.0.0.1"} if processes else {"protocol": "inproc://"}
    # Dashboards would cost the time to load Bokeh; an address of None would mean all networks.
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
def _mark_in(folder: Path) -> Iterator[str]:
    """A file by which a worker elsewhere knows that it sees the same folder."""
    mark = folder / f"shared-{uuid4().hex}"
    mark.touch()
    try:
        yield str(mark)
    finally:
        mark.unlink(missing_ok=True)


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold SIGINT back while processes start: they inherit that, so Ctrl-C reaches only this process."""
    resource_tracker.ensure_running()  # started later, it would let SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _untyped(module: Any) -> Any:
    """The module as mypy should see it: half of Dask's functions carry no types."""
    return module
