"""Runs the service: opens the port, starts the workers, handles signals and shuts down."""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from sentiscale.errors import DataError, Interrupted, UsageError
from sentiscale.model.files import DIGESTS, FILES, model_path
from sentiscale.serving.admission import Admission
from sentiscale.serving.app import Service, build_app
from sentiscale.serving.pool import WorkerPool, watch_model
from sentiscale.serving.protocol import limited_protocol
from sentiscale.serving.queue import BatchQueue
from sentiscale.serving.settings import ServeSettings
from sentiscale.serving.telemetry import EventLog, ServiceMetrics

BACKLOG = 1024
OTHER_FILES = 256
"""Open files allowed in addition to client connections."""

Announce = Callable[[Mapping[str, Any]], None]


class UvicornServer(uvicorn.Server):
    """uvicorn without its signal handlers, which would stop it without the drain delay."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(
    model: Path, settings: ServeSettings, log: EventLog, announce: Announce = lambda document: None
) -> None:
    """Serve requests until a signal stops the service; requests in progress are answered first.

    Args:
        model: model directory, or a run directory.
        settings: address, batching and limits.
        log: log that events are written to.
        announce: function that is called once, with url, model and digest, when the service is ready.

    Raises:
        DataError: the model directory is missing files or damaged.
        UsageError: the address is not available, or the API key is invalid.
        Interrupted: Ctrl-C stopped the service, after it answered the requests in progress.
    """
    settings.api_key()
    model = model_path(model)
    check_model(model)
    listening = bound_socket(settings.host, settings.port)
    allow_connections(settings.max_connections)
    log.capture_libraries()
    if not (model / DIGESTS).exists():
        log.say(f"note: {model} has no {DIGESTS}, as models of earlier versions: changes go unnoticed.")
    with listening, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stopped_by = runner.run(_serve(model, settings, log, listening, announce))
    log.event("stopped", signal=stopped_by.name)
    if stopped_by == signal.SIGINT:
        raise Interrupted("stopped; all requests in progress were answered.")


async def _serve(
    model: Path, settings: ServeSettings, log: EventLog, listening: socket.socket, announce: Announce
) -> signal.Signals:
    metrics, queue = ServiceMetrics(), BatchQueue(settings)
    pool = WorkerPool(model, settings, queue, metrics, log.event)
    metrics.queue.set_function(lambda: queue.texts)
    metrics.workers.set_function(lambda: pool.ready)
    service = Service(settings, queue, pool, metrics)
    server = _uvicorn_server(
        Admission(build_app(service), settings, metrics, log, queue.check_room), settings
    )
    try:
        with stop_signals(pool, server) as stop:
            await _start(pool, stop)
            serving = asyncio.create_task(server.serve([listening]))
            watching = (
                asyncio.create_task(watch_model(model, pool.request_reload)) if settings.reload else None
            )
            listening.listen(BACKLOG)  # before the announcement; otherwise the first clients could be refused
            gc.collect()
            gc.freeze()  # a full collection would block all requests for 50 ms
            announce(_announcement(listening, settings, log, pool))
            stopped = asyncio.create_task(stop.requested.wait())
            await asyncio.wait({stopped, serving}, return_when=asyncio.FIRST_COMPLETED)
            service.draining = True
            log.event("draining", waiting=queue.texts)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.repeated.wait(), settings.drain_delay_s)
            server.should_exit = True
            await serving
            if watching is not None:
                watching.cancel()
    finally:
        await pool.stop()
    return stop.signal


class StopSignals:
    """SIGINT and SIGTERM as events: the first signal starts an orderly shutdown, the second stops at once."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.server = server
        self.signal = signal.SIGTERM
        self.requested = asyncio.Event()
        self.repeated = asyncio.Event()

    def receive(self, number: signal.Signals) -> None:
        if not self.requested.is_set():
            self.signal = number
            self.requested.set()
        else:
            self.repeated.set()
            self.server.force_exit = self.server.should_exit


@contextlib.contextmanager
def stop_signals(pool: WorkerPool, server: uvicorn.Server) -> Iterator[StopSignals]:
    """Install signal handlers for the duration of the block; SIGHUP reloads the model."""
    loop, stop = asyncio.get_running_loop(), StopSignals(server)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.receive, number)
    loop.add_signal_handler(signal.SIGHUP, pool.request_reload)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _start(pool: WorkerPool, stop: StopSignals) -> None:
    """Start the workers.

    Raises: Interrupted when a signal arrives first; SentiscaleError when a worker does not start.
    """
    starting, stopped = asyncio.create_task(pool.start()), asyncio.create_task(stop.requested.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if starting.done():
        return starting.result()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    raise Interrupted("stopped before the model was loaded.")


def _uvicorn_server(app: Admission, settings: ServeSettings) -> UvicornServer:
    config = uvicorn.Config(
        app,
        http=limited_protocol(settings),
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
    return UvicornServer(config)


def check_model(model: Path) -> None:
    """Check the model directory early, because loading takes seconds.

    Raises: DataError when a file of the model is missing.
    """
    missing = next((name for name in FILES if not (model / name).exists()), None)
    if missing is not None:
        raise DataError(
            f"{model} is not a model directory: it has no {missing}. `sentiscale train` writes RUN/model."
        )


def bound_socket(host: str, port: int) -> socket.socket:
    """Bind the address without listening, so that clients are refused until the model is loaded.

    Raises: UsageError when the address is invalid or in use.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(
            f"--host is {host!r}, which is not an address: {error.strerror}. Try 127.0.0.1."
        ) from error
    listening = socket.socket(family, kind, proto)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror}. Choose another --port (0 selects a "
            "free one), or stop the program that listens there."
        ) from error
    return listening


def allow_connections(count: int) -> None:
    """Raise the limit on open files for `count` connections, as far as possible; usually it is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))


def _announcement(
    listening: socket.socket, settings: ServeSettings, log: EventLog, pool: WorkerPool
) -> Mapping[str, Any]:
    """Log that the service is ready, and return the document to announce."""
    assert pool.current is not None
    host, port = listening.getsockname()[:2]
    card = pool.current.card
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    document = {"url": url, "model": card["name"], "digest": card["digest"]}
    log.event("listening", **document)
    log.say(f"serving {card['name']} at {url}; press Ctrl-C to stop.")
    if not settings.on_loopback and settings.api_key() is None:
        log.say(
            f"warning: anyone who can reach {host} can send requests; set --api-key-file or use 127.0.0.1."
        )
    return document
