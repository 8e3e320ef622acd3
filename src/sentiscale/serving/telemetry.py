"""Prometheus metrics and the event log."""

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
disable_created_metrics()  # type: ignore[no-untyped-call]  # creation timestamps would double the output


class ServiceMetrics:
    """Metrics of one service, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, namespace="sentiscale", registry=self.registry)
        gauge = partial(Gauge, namespace="sentiscale", registry=self.registry)
        histogram = partial(Histogram, namespace="sentiscale", registry=self.registry)
        self.requests = counter("http_requests", "Requests answered.", ["route", "method", "status"])
        self.latency = histogram(
            "http_request_seconds",
            "Seconds from the first header of a request to the end of its response.",
            ["route"],
            buckets=LATENCY_BUCKETS,
        )
        self.queue_wait = histogram(
            "queue_wait_seconds", "Seconds that the first text of a batch waited.", buckets=WAIT_BUCKETS
        )
        self.batch_texts = histogram("batch_texts", "Texts per forward pass.", buckets=SIZE_BUCKETS)
        self.batch_seconds = histogram(
            "batch_seconds", "Seconds that a worker took for a batch.", buckets=LATENCY_BUCKETS
        )
        self.texts = counter("texts", "Texts sent to workers.", ["kind"])
        self.restarts = counter("worker_restarts", "Workers replaced because they died or hung.")
        self.reloads = counter("reloads", "Attempts to load a new model.", ["result"])
        self.queue = gauge("queue_texts", "Texts waiting for a worker.")
        self.workers = gauge("workers_up", "Workers that have loaded the model.")
        self.memory = gauge("process_resident_bytes", "Resident memory in bytes.", ["process"])
        self.model = gauge("model_info", "1 for the model in use.", ["name", "digest"])
        for kind in ("predict", "explain"):
            self.texts.labels(kind)  # so that it appears as 0 before the first event
        for result in ("done", "refused"):
            self.reloads.labels(result)

    def exposition(self, name: str, digest: str) -> bytes:
        """Return the text of `/metrics`."""
        self.model.clear()
        self.model.labels(name, digest).set(1)
        front = psutil.Process()
        workers = 0
        for child in front.children():
            with suppress(psutil.Error):  # the process has just ended
                workers += child.memory_info().rss
        self.memory.labels("front").set(front.memory_info().rss)
        self.memory.labels("workers").set(workers)
        return generate_latest(self.registry)


LIBRARY_LOGGERS = ("uvicorn", "uvicorn.error", "asyncio")
LONGEST_VALUE = 200
"""Maximum characters logged of a value, such as a path."""


class EventLog:
    """Writes one line per event, without fields that are None."""

    def __init__(
        self, form: Literal["json", "text"], stream: TextIO | None = None, *, requests: bool = True
    ) -> None:
        self.form = form
        self.requests = requests
        """Whether to log each request."""
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
        """Write a message for the user; in JSON, as an event named "note"."""
        if self.form == "json":
            self.event("note", message=sentence)
        else:
            self._write(sentence)

    def capture_libraries(self) -> None:
        """Redirect the warnings of uvicorn and asyncio to this log."""
        handler = _EventHandler(self)
        for name in LIBRARY_LOGGERS:
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [handler], False
            logger.setLevel(logging.WARNING)

    def _write(self, line: str) -> None:
        with suppress(OSError, ValueError):  # a closed log must not stop requests
            self.stream.write(line + "\n")
            self.stream.flush()


class _EventHandler(logging.Handler):
    """Writes log records as events, without tracebacks, because these may quote a request."""

    def __init__(self, log: EventLog) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self.log.event("library", logger=record.name, message=record.getMessage().strip(), error=kind)


def _quoted_word(value: Any) -> str:
    """Quote a value if it could break the line or look like another field."""
    text = str(value)
    return text if text.isascii() and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)
