"""Limits on a connection that apply before a request reaches the application.

uvicorn does not limit the size, number or arrival time of a request's headers, and reports errors as plain
text. This subclass adds these limits in the callbacks of asyncio and of the httptools parser; decision 15
describes the alternatives that were tried.
"""

import asyncio
from collections import deque
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sentiscale.serving.errors import RequestError, overloaded
from sentiscale.serving.settings import ServeSettings

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
"""Maximum headers per request; even a short one takes some hundred bytes of memory."""
MAX_PIPELINED = 64
"""Maximum unanswered requests per connection. One read can hold thousands, each taking some kilobytes."""
REFUSED_BODY_SECONDS = 5.0
"""Time limit for receiving the rest of a refused body. Closing the connection at once would reset it, and the
client might not read the refusal."""
UNREAD_SECONDS = 30.0
"""Time limit for a client to read a response."""
CHECK_SECONDS = 0.25
"""Interval at which a connection checks its time limits; cheaper than setting a timer for each request."""


def limited_protocol(settings: ServeSettings) -> type[HttpToolsProtocol]:
    """Create the protocol class for uvicorn with the limits in `settings`."""
    return type("ConfiguredProtocol", (LimitedProtocol,), {"settings": settings})


class LimitedProtocol(HttpToolsProtocol):
    """One connection with limits on its headers and times; `Admission` limits the bodies."""

    settings: ServeSettings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_head = self.in_message = False
        self.head_bytes = 0
        self.refusal: RequestError | None = None
        """Error to send when a callback has stopped the parser; None means a general 400."""
        self.unanswered: deque[RequestResponseCycle] = deque()
        self.begun = 0
        """Number of requests whose first byte has arrived."""
        self.state: tuple[str, int] = ("idle", 0)
        self.state_since = self.writing_since = self.loop.time()
        self.next_check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._check_times()
        limit = self.settings.max_connections
        if len(self.connections) > limit:
            self._refuse(
                overloaded(503, f"{limit} clients are connected.", code="too_many_requests", limit=limit)
            )

    def connection_lost(self, exc: Exception | None) -> None:
        if self.next_check is not None:
            self.next_check.cancel()
        # uvicorn marks only the last request as disconnected. With pipelining an earlier one may be in
        # progress, and its answer would be written to a closed connection.
        for cycle in self._still_unanswered():
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        began_in_head = self.in_head
        super().data_received(data)
        if began_in_head and self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD_BYTES:
                self._refuse(_head_too_large(f"{MAX_HEAD_BYTES} bytes of headers", MAX_HEAD_BYTES))

    def on_message_begin(self) -> None:
        self.in_message = self.in_head = True
        self.head_bytes = 0
        self.begun += 1
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Check a header, or a trailer after a chunked body.

        Raises: ValueError to stop the parser.
        """
        if not self.in_head:
            self.head_bytes += len(name) + len(value)
            if self.head_bytes > MAX_HEAD_BYTES:
                raise ValueError("endless trailers")
            return
        if len(self.headers) == MAX_HEADERS:
            self.refusal = _head_too_large(f"{MAX_HEADERS} headers", MAX_HEADERS)
            raise ValueError("too many headers")
        if name.lower() == b"host" and any(known == b"host" for known, _ in self.headers):
            raise ValueError("two hosts")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.in_head = False
        if len(self._still_unanswered()) > MAX_PIPELINED:
            self.transport.abort()  # the client would read a refusal as the response to an earlier request
            raise ValueError("too many requests at once")
        super().on_headers_complete()
        self.unanswered.append(self.cycle)

    def on_message_complete(self) -> None:
        self.in_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self.refusal or RequestError(400, "the request is not valid HTTP."))

    def _refuse(self, error: RequestError) -> None:
        if not self.transport.is_closing():
            self.transport.write(error.raw_response())
            self.transport.close()

    def _still_unanswered(self) -> deque[RequestResponseCycle]:
        while self.unanswered and self.unanswered[0].response_complete:
            self.unanswered.popleft()
        return self.unanswered

    def _check_times(self) -> None:
        """Close the connection if the client is too slow, otherwise schedule the next check."""
        now = self.loop.time()
        if not self.transport.get_write_buffer_size():
            self.writing_since = now
        elif now - self.writing_since > UNREAD_SECONDS:
            self.transport.abort()
            return
        state = (self._waiting_for(), self.begun)
        if state != self.state:
            self.state, self.state_since = state, now
        elif not self.transport.is_closing() and now - self.state_since > self._allowed_seconds(state[0]):
            self._end_slow_client()
        self.next_check = self.loop.call_later(CHECK_SECONDS, self._check_times)

    def _waiting_for(self) -> str:
        """What the client must send next: "request", "head", "rest" (of a refused body) or "nothing"."""
        if self._still_unanswered():
            return "nothing"
        return "head" if self.in_head else "rest" if self.in_message else "request"

    def _allowed_seconds(self, state: str) -> float:
        settings = self.settings
        if state == "request":  # between requests, uvicorn's keep-alive limit ends idle connections earlier
            return settings.header_timeout_s + (settings.keep_alive_s if self.begun else 0)
        return {"head": settings.header_timeout_s, "rest": REFUSED_BODY_SECONDS}.get(state, float("inf"))

    def _end_slow_client(self) -> None:
        seconds = self.settings.header_timeout_s
        if self.in_head:
            self._refuse(
                RequestError(408, f"the headers did not arrive within {seconds:g} s.", limit=seconds)
            )
        self.transport.close()


def _head_too_large(size: str, limit: int) -> RequestError:
    return RequestError(431, f"the request has more than {size}.", limit=limit)
