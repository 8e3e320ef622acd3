"""Metrics in the format of Prometheus, and the event log."""

import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, TextIO

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

LATENCY_BUCKETS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAIT_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
disable_created_metrics()  # type: ignore[no-untyped-call]  # creation times would double the text


class ServiceMetrics:
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
        self.texts = counter("texts", "Texts sent to workers.", ["kind"])
        self.restarts = counter("worker_restarts", "Workers that died or hung, and were replaced.")
        self.reloads = counter("reloads", "Attempts to load a new model.", ["result"])
        self.queue = gauge("queue_texts", "Texts waiting for a worker.")
        self.workers = gauge("workers_up", "Workers that have loaded the model.")
        self.memory = gauge("process_resident_bytes", "Resident memory.", ["process"])
        self.model = gauge("model_info", "1 for the model that answers.", ["name", "digest"])
        for kind in ("predict", "explain"):
            self.texts.labels(kind)  # appears as 0 before the first event instead of being absent
        for result in ("done", "refused"):
            self.reloads.labels(result)

    def exposition(self, name: str, digest: str) -> bytes:
        """The text of `/metrics`."""
        self.model.clear()
        self.model.labels(name, digest).set(1)
        front = psutil.Process()
        workers = 0
        for child in front.children():
            with suppress(psutil.Error):  # it has just ended
                workers += child.memory_info().rss
        self.memory.labels("front").set(front.memory_info().rss)
        self.memory.labels("workers").set(workers)
        return generate_latest(self.registry)


LIBRARY_LOGGERS = ("uvicorn", "uvicorn.error", "asyncio")
LONGEST_VALUE = 200
"""Characters of a value, such as a path, that are logged."""


class EventLog:
    """Writes one line per event; fields that are None are left out."""

    def __init__(
        self, form: Literal["json", "text"], stream: TextIO | None = None, *, requests: bool = True
    ) -> None:
        self.form = form
        self.requests = requests
        """Whether each request is an event."""
        self.stream = stream or sys.stderr

    def event(self, name: str, **fields: Any) -> None:
        if name == "request" and not self.requests:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        fields = {
            key: value[:LONGEST_VALUE] if isinstance(value, str) else value
            for key, value in fields.items()
            if value is not None
        }
        if self.form == "json":
            self._write(json.dumps({"time": now, "event": name, **fields}, default=str))
        else:
            words = (f"{key}={_quoted_word(value)}" for key, value in fields.items())
            self._write(" ".join([now[11:23], name, *words]))

    def say(self, sentence: str) -> None:
        """Write a sentence for a person; in JSON, an event of its own."""
        if self.form == "json":
            self.event("note", message=sentence)
        else:
            self._write(sentence)

    def capture_libraries(self) -> None:
        """Send the warnings of libraries to this log."""
        handler = _EventHandler(self)
        for name in LIBRARY_LOGGERS:
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [handler], False
            logger.setLevel(logging.WARNING)

    def _write(self, line: str) -> None:
        with suppress(OSError, ValueError):  # the reader of the log has gone, which must not stop requests
            self.stream.write(line + "\n")
            self.stream.flush()


class _EventHandler(logging.Handler):
    """Writes log records as events, without tracebacks, which may quote what a client sent."""

    def __init__(self, log: EventLog) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self.log.event("library", logger=record.name, message=record.getMessage().strip(), error=kind)


def _quoted_word(value: Any) -> str:
    """A value that cannot break the line or look like another field."""
    text = str(value)
    return text if text.isascii() and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)
