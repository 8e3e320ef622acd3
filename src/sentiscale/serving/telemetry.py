"""What `/metrics` shows, in the format of Prometheus."""

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, TextIO

import psutil
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
LATENCY_BUCKETS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAIT_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
disable_created_metrics()  # type: ignore[no-untyped-call]  # times of creation double the text and tell nothing here


class Metrics:
    """Counters and histograms of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, namespace="sentiscale", registry=self.registry)
        gauge = partial(Gauge, namespace="sentiscale", registry=self.registry)
        histogram = partial(Histogram, namespace="sentiscale", registry=self.registry)
        self.requests = counter("http_requests", "Requests answered.", ["route", "method", "status"])
        self.latency = histogram(
            "http_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=LATENCY_BUCKETS,
        )
        self.queue_wait = histogram(
            "queue_wait_seconds", "Time the first text of a batch has waited.", buckets=WAIT_BUCKETS
        )
        self.batch_texts = histogram("batch_texts", "Texts of a forward pass.", buckets=SIZE_BUCKETS)
        self.batch_seconds = histogram(
            "batch_seconds", "Time a worker takes for a batch.", buckets=LATENCY_BUCKETS
        )
        self.texts = counter("texts", "Texts given to workers.", ["kind"])
        self.restarts = counter("worker_restarts", "Workers that died or hung, and were replaced.")
        self.reloads = counter("reloads", "Attempts to take a new model.", ["result"])
        self.queue = gauge("queue_texts", "Texts waiting for a worker.")
        self.workers = gauge("workers_up", "Workers that have loaded the model.")
        self.memory = gauge("process_resident_bytes", "Resident memory.", ["process"])
        self.model = gauge("model_info", "1 for the model that answers.", ["name", "digest"])
        for kind in ("predict", "explain"):
            self.texts.labels(kind)  # what has not happened yet is 0, not absent
        for result in ("done", "refused"):
            self.reloads.labels(result)

    def watch(self, queue: Callable[[], float], workers: Callable[[], float]) -> None:
        """Ask these for the length of the line and the number of workers."""
        self.queue.set_function(queue)
        self.workers.set_function(workers)

    def batch_begins(self, texts: int, waited: float, *, explain: bool) -> None:
        """A batch goes to a worker."""
        self.batch_texts.observe(texts)
        self.queue_wait.observe(waited)
        self.texts.labels("explain" if explain else "predict").inc(texts)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request has been answered."""
        self.requests.labels(route, method, status).inc()
        self.latency.labels(route).observe(seconds)

    def exposition(self, name: str, digest: str) -> bytes:
        """The text that `/metrics` answers."""
        self.model.clear()
        self.model.labels(name, digest).set(1)
        self.memory.clear()
        for process, resident in memory_by_process().items():
            self.memory.labels(process).set(resident)
        return generate_latest(self.registry)


def memory_by_process() -> dict[str, int]:
    """Resident bytes of the front process, and of all workers together."""
    front = psutil.Process()
    workers = 0
    for child in front.children():
        try:
            workers += child.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return {"front": front.memory_info().rss, "workers": workers}


UVICORN = ("uvicorn", "uvicorn.error", "asyncio")
LONGEST = 200
"""Characters of a path that are logged."""


class Log:
    """Writes events; fields that are None are left out."""

    def __init__(
        self, form: Literal["json", "text"], stream: TextIO | None = None, *, requests: bool = True
    ) -> None:
        self.form = form
        self.requests = requests
        """Whether each request is an event."""
        self.stream = stream or sys.stderr

    def event(self, name: str, **fields: Any) -> None:
        """Write one line."""
        if name == "request" and not self.requests:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        given = {key: _shortened(value) for key, value in fields.items() if value is not None}
        if self.form == "json":
            line = json.dumps({"time": now, "event": name, **given}, default=str)
        else:
            line = " ".join([now[11:23], name, *(f"{key}={_word(value)}" for key, value in given.items())])
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):  # whoever read the log has gone; that stops no request
            return

    def say(self, sentence: str) -> None:
        """Write a sentence for a person; an event of its own in JSON."""
        if self.form == "json":
            self.event("note", message=sentence)
        else:
            self.stream.write(sentence + "\n")
            self.stream.flush()

    def take_over(self) -> None:
        """Send what libraries log as warnings to this log."""
        handler = _Forward(self)
        for name in UVICORN:
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [handler], False
            logger.setLevel(logging.WARNING)


class _Forward(logging.Handler):
    """Hands records of the logging module to a `Log`, without tracebacks, which may quote what was sent."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self.log.event("library", logger=record.name, message=record.getMessage().strip(), error=kind)


def _shortened(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value


def _word(value: Any) -> str:
    """A value that cannot break the line or be taken for another field."""
    text = str(value)
    return text if text.isascii() and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)
