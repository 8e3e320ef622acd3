"""What a request can be refused for, in the one shape that every error has.

::

    {"error": {"code": "queue_full", "message": "…", "limit": 512}}

`limit` is the number that was overstepped, or null.
"""

import json
from collections.abc import Mapping

Headers = list[tuple[bytes, bytes]]

CODES: dict[int, str] = {
    400: "bad_request",
    401: "no_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_too_slow",
    413: "body_too_large",
    415: "not_json",
    422: "invalid",
    429: "queue_full",
    431: "head_too_large",
    500: "internal",
    503: "not_ready",
    504: "timeout",
}
"""The usual code of each status."""

REFUSAL_PAUSE = 0.2
"""Seconds that a refusal for lack of room is held back."""
SHOWN = 60
"""Characters of what was sent that a message repeats at most."""


class Fault(Exception):  # noqa: N818 - an answer to the client, not a failure of the service
    """Ends a request with this status and error shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        limit: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES[status]
        self.limit = limit
        self.headers = dict(headers or {})
        self.pause = 0.0
        """Seconds to hold the answer back."""

    @property
    def body(self) -> bytes:
        """The error shape as JSON."""
        return error_body(self.code, self.message, self.limit)


def error_body(code: str, message: str, limit: float | None = None) -> bytes:
    """The error shape as JSON bytes."""
    return json.dumps({"error": {"code": code, "message": message, "limit": limit}}).encode()


def busy(status: int, message: str, *, code: str, seconds: int = 1, limit: float | None = None) -> Fault:
    """A refusal that asks to try again after some seconds.

    It is held back a little: clients that try again at once would cost more than those that are answered.
    """
    fault = Fault(status, message, code=code, limit=limit, headers={"Retry-After": str(seconds)})
    fault.pause = REFUSAL_PAUSE
    return fault


def raw_response(fault: Fault) -> bytes:
    """The whole HTTP/1.1 response, for where there is no application yet; it ends the connection."""
    reason = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}
    lines = [
        b"HTTP/1.1 %d %s" % (fault.status, reason.get(fault.status, b"Service Unavailable")),
        b"content-type: application/json",
        b"content-length: %d" % len(fault.body),
        b"connection: close",
        *(f"{name.lower()}: {value}".encode() for name, value in fault.headers.items()),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + fault.body


def shown(value: object) -> str:
    """What was got, short enough and harmless enough to be repeated in a message."""
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
