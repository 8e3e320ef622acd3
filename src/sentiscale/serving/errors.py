"""Error responses, with a status, a code, a message and the limit that was exceeded."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

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
"""Default error code for each HTTP status."""

OVERLOAD_DELAY_SECONDS = 0.2
"""Delay before a refusal. Without it, clients that retry at once cost more than answers do (decision 10)."""


class RequestError(Exception):
    """Ends a request with an HTTP status and an error body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        limit: float | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES[status]
        self.limit = limit
        self.headers = dict(headers or {})
        self.delay = delay
        """Seconds to wait before sending the response."""

    def response(self) -> Response:
        error = {"code": self.code, "message": self.message, "limit": self.limit}
        return Response(json.dumps({"error": error}), self.status, self.headers, "application/json")

    def raw_response(self) -> bytes:
        """Return a complete HTTP/1.1 response that closes the connection, to write to the socket directly."""
        response = self.response()
        status_line = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode()
        lines = [status_line, b"connection: close"]
        lines += [name + b": " + value for name, value in response.raw_headers]
        return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)


def overloaded(status: int, message: str, *, code: str, limit: float | None = None) -> RequestError:
    """Return an error that asks the client to retry after one second."""
    retry = {"Retry-After": "1"}
    return RequestError(status, message, code=code, limit=limit, headers=retry, delay=OVERLOAD_DELAY_SECONDS)


def not_ready(message: str) -> RequestError:
    return RequestError(503, message, headers={"Retry-After": "2"})
