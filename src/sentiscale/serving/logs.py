"""The service's log on stderr: one line a request or event, as JSON or in words. Never any review's text."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

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
