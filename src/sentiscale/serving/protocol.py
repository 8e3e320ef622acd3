"""uvicorn's connections with more limits: size and time of a request's head, number of clients."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sentiscale.serving.faults import Fault, busy, raw_response
from sentiscale.serving.settings import ServeSettings

HEAD_BYTES = 64 * 1024
LINGER_SECONDS = 5.0
"""Time for the rest of a body that was refused, so that the client reads the refusal, not a reset."""
UNREAD_MILLISECONDS = 30_000
"""A client that takes none of its answer for so long is dropped by the kernel."""


def bounded_protocol(settings: ServeSettings) -> type[HttpToolsProtocol]:
    """The class of connections for a service with these settings."""
    return type("Bounded", (BoundedProtocol,), {"settings": settings})


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Requests' bodies are bounded later, by `Gate`."""

    settings: ServeSettings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._in_message = False
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        _drop_when_unread(transport)
        if len(self.connections) > self.settings.max_connections:
            limit = self.settings.max_connections
            self._refuse(busy(503, f"{limit} clients are connected.", code="too_many_requests", limit=limit))
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come: give them to the parser, and bound what it collects of a head."""
        if self.transport.is_closing():
            return
        if not self._in_message and self._timer is None:
            self._await_head()  # the next request of a connection that was kept open
        began_in_head = self._in_head
        super().data_received(data)
        if began_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_message = self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Headers, and after a chunked body trailers, which count as well."""
        if not self._in_head:
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > HEAD_BYTES:
                raise ValueError("trailers without end")  # the parser stops at it: 400
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Its body is there."""
        self._in_message = False
        self._stop_timer()
        super().on_message_complete()
        if self.cycle.response_complete:  # it was refused before: what uvicorn's own clock does not cover
            self._start_timer(self.settings.keep_alive_s, self.transport.close)

    def on_response_complete(self) -> None:
        """It has been answered."""
        super().on_response_complete()
        if self._in_head:  # of the next request, which came close behind
            self._await_head()
        elif self._in_message:  # answered before the whole body was there: let the rest come, for a while
            self._start_timer(LINGER_SECONDS, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(Fault(400, "this is not an HTTP request that can be read."))

    def _await_head(self) -> None:
        self._start_timer(self.settings.header_timeout_s, self._head_too_slow)

    def _head_too_slow(self) -> None:
        if not self._in_head:  # nothing was sent at all
            self.transport.close()
            return
        seconds = self.settings.header_timeout_s
        self._refuse(Fault(408, f"the head did not arrive within {seconds:g} s.", limit=seconds))

    def _refuse_head(self) -> None:
        self._refuse(Fault(431, f"the head has more than {HEAD_BYTES} bytes.", limit=HEAD_BYTES))

    def _refuse(self, fault: Fault) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self.transport.write(raw_response(fault))
            self.transport.close()

    def _start_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _drop_when_unread(transport: asyncio.Transport) -> None:
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    connection = transport.get_extra_info("socket")
    if option is not None and connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, option, UNREAD_MILLISECONDS)
