"""Run the service: port, workers, signals, and an orderly end."""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from sentiscale.errors import DataError, Interrupted, UsageError
from sentiscale.serving.app import Service, build_app
from sentiscale.serving.gate import Gate
from sentiscale.serving.pool import FILES, Pool, watch_model
from sentiscale.serving.protocol import bounded_protocol
from sentiscale.serving.queue import WaitingLine
from sentiscale.serving.settings import ServeSettings
from sentiscale.serving.telemetry import Log, Metrics

BACKLOG = 1024
OTHER_FILES = 256
"""Files that are open besides clients' connections."""

Announce = Callable[[Mapping[str, Any]], None]


class Server(uvicorn.Server):
    """uvicorn's, with the signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signal handlers alone."""
        yield


def serve(model: Path, settings: ServeSettings, log: Log, announce: Announce = lambda document: None) -> None:
    """Answer requests until a signal stops the service; it finishes what it has begun first.

    Args:
        model: model directory.
        settings: address, limits and the rest.
        log: where to tell what happens.
        announce: called once, with url, model and digest, when requests are answered.

    Raises:
        DataError: the model directory cannot be used.
        UsageError: the address cannot be listened to, or the key is unusable.
        Interrupted: stopped by Ctrl-C, after finishing.
    """
    settings.api_key()
    check_model(model)
    listening = bound_socket(settings)
    allow_connections(settings.max_connections)
    log.take_over()
    with listening, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        stopped_by = runner.run(_serve(model, settings, log, listening, announce))
    log.event("stopped", signal=stopped_by.name)
    if stopped_by == signal.SIGINT:
        raise Interrupted("stopped; every request that had begun was answered.")


async def _serve(
    model: Path, settings: ServeSettings, log: Log, listening: socket.socket, announce: Announce
) -> signal.Signals:
    metrics, line = Metrics(), WaitingLine(settings)
    pool = Pool(model, settings, line, metrics, log.event)
    metrics.watch(lambda: line.texts, lambda: pool.ready)
    service = Service(settings, line, pool, metrics)
    stop = _Stop(pool)
    try:
        with stop.signals_caught():
            await _unless_stopped(pool.start(), stop)
            server = _server(Gate(build_app(service), settings, metrics, log, line.check_room), settings)
            serving = asyncio.create_task(server.serve([listening]))
            watching = asyncio.create_task(watch_model(model, pool.want_reload)) if settings.reload else None
            listening.listen(BACKLOG)  # before uvicorn comes to it: who connects on our word is not refused
            gc.collect()
            gc.freeze()  # or a search for garbage goes through all libraries: 50 ms without an answer
            announce(_announced(listening, settings, log, pool))
            await asyncio.wait(
                {asyncio.create_task(stop.asked.wait()), serving}, return_when="FIRST_COMPLETED"
            )
            service.draining = True
            log.event("draining", waiting=line.texts)
            await stop.pause(settings.drain_delay_s)
            server.should_exit = True
            stop.again = lambda: setattr(server, "force_exit", True)
            await serving
            if watching is not None:
                watching.cancel()
    finally:
        await pool.stop()
    return stop.signal


class _Stop:
    """What signals ask for: the first to finish, a second to end at once; SIGHUP for the new model."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.asked = asyncio.Event()
        self.signal = signal.SIGTERM
        self.again: Callable[[], None] = lambda: None
        self._hurry = asyncio.Event()

    @contextlib.contextmanager
    def signals_caught(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self.pool.want_reload)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def pause(self, seconds: float) -> None:
        """Wait, unless a second signal comes."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)

    def _stop(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            self._hurry.set()
            self.again()
            return
        self.signal = number
        self.asked.set()


async def _unless_stopped(starting: Any, stop: _Stop) -> None:
    """Wait for the start, or end it when a signal comes first.

    Raises: Interrupted then; what the start raises.
    """
    task, asked = asyncio.ensure_future(starting), asyncio.create_task(stop.asked.wait())
    await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if task.done():
        task.result()
        return
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    raise Interrupted("stopped before the model was loaded.")


def _server(app: Any, settings: ServeSettings) -> Server:
    config = uvicorn.Config(
        app,
        http=bounded_protocol(settings),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=max(1, round(settings.timeout_s)),
    )
    return Server(config)


def check_model(model: Path) -> None:
    """Tell the usual mistake at once, not after the seconds that loading takes.

    Raises: DataError for a directory without a model's files.
    """
    missing = next((name for name in FILES if not (model / name).is_file()), None)
    if missing is not None:
        inside = model / "model"
        is_run = (inside / missing).is_file()
        remedy = f"Did you mean {inside}?" if is_run else "`sentiscale train` writes RUN/model."
        raise DataError(f"{model} is no model directory: it has no {missing}. {remedy}")


def bound_socket(settings: ServeSettings) -> socket.socket:
    """The address, taken but not yet answered: whoever connects before the model is loaded is refused.

    Raises: UsageError when it cannot be had.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(
            f"--host is {host!r}, which is no address: {error.strerror}. Try 127.0.0.1."
        ) from error
    listening = socket.socket(family, kind, proto)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror}. Choose another --port (0 takes a free "
            "one), or stop what listens there."
        ) from error
    return listening


def allow_connections(count: int) -> None:
    """Raise this process's limit of open files, as far as it may: by default, 1,024 is usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))


def _announced(listening: socket.socket, settings: ServeSettings, log: Log, pool: Pool) -> Mapping[str, Any]:
    """Say in the log that requests are answered; the same as a document."""
    host, port = listening.getsockname()[:2]
    shown_host = f"[{host}]" if ":" in host else host
    assert pool.current is not None
    card = pool.current.card
    document = {"url": f"http://{shown_host}:{port}", "model": card["name"], "digest": card["digest"]}
    log.event("listening", **document)
    log.say(f"http://{shown_host}:{port} answers for {card['name']}; Ctrl-C stops.")
    if not settings.on_loopback and settings.api_key() is None:
        log.say(
            f"warning: whoever reaches {host} may send requests; set --api-key-file, or keep to 127.0.0.1."
        )
    return document


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
