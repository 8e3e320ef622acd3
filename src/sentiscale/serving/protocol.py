"""uvicorn's connections with more limits: size and time of a request's head, number of clients."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sentiscale.serving.checks import Fault, busy, raw_response
from sentiscale.serving.settings import ServeSettings

HEAD_BYTES = 64 * 1024
MOST_HEADERS = 100
"""Each takes some hundred bytes of memory, however short it is."""
MOST_PIPELINED = 64
"""Requests that may wait on one connection for the answer to an earlier one: thousands fit into one read."""
LINGER_SECONDS = 5.0
"""Time for the rest of a body that was refused, so that the client reads the refusal, not a reset."""
UNREAD_MILLISECONDS = 30_000
"""A client that takes none of its answer for so long is dropped by the kernel."""
TAKING_SECONDS = 30.0
"""Time for a client to take an answer of more than 64 KB, or what is left of one when the connection ends."""


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
        self._taking: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        """The request that is being answered; `cycle` is the last one that has come."""

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
        self._stop_taking()
        if self._answering is not None:
            self._answering.disconnected = True  # or it would write to a connection that is no more
            self._answering.message_event.set()
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
        """Headers, and after a chunked body trailers, which count as well.

        Raises: ValueError for what the parser shall stop at; the answer is 400, unless there was one.
        """
        if not self._in_head:
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > HEAD_BYTES:
                raise ValueError("trailers without end")
            return
        if len(self.headers) == MOST_HEADERS:
            self._refuse(Fault(431, f"the head has more than {MOST_HEADERS} headers.", limit=MOST_HEADERS))
            raise ValueError("too many headers")
        if name.lower() == b"host" and any(known == b"host" for known, _ in self.headers):
            raise ValueError("two hosts")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        self._stop_timer()
        if len(self.pipeline) == MOST_PIPELINED:
            self.transport.abort()  # any answer would be taken for that of an earlier request
            raise ValueError("too many requests at once")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Its body is there."""
        self._in_message = False
        self._stop_timer()
        super().on_message_complete()
        if self.cycle.response_complete:  # it was refused before: what uvicorn's own clock does not cover
            self._start_timer(self.settings.keep_alive_s, self._close)

    def on_response_complete(self) -> None:
        """It has been answered."""
        super().on_response_complete()
        if self._in_head:  # of the next request, which came close behind
            self._await_head()
        elif self._in_message:  # answered before the whole body was there: let the rest come, for a while
            self._start_timer(LINGER_SECONDS, self._close)
        if self.transport.is_closing():
            self._start_taking()

    def timeout_keep_alive_handler(self) -> None:
        """No further request has come."""
        self._close()

    def pause_writing(self) -> None:
        """More of the answer waits than the client takes at the moment."""
        super().pause_writing()
        self._start_taking()

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_taking()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(Fault(400, "this is not an HTTP request that can be read."))

    def _await_head(self) -> None:
        self._start_timer(self.settings.header_timeout_s, self._head_too_slow)

    def _head_too_slow(self) -> None:
        if not self._in_head:  # nothing was sent at all
            self._close()
            return
        seconds = self.settings.header_timeout_s
        self._refuse(Fault(408, f"the head did not arrive within {seconds:g} s.", limit=seconds))

    def _refuse_head(self) -> None:
        self._refuse(Fault(431, f"the head has more than {HEAD_BYTES} bytes.", limit=HEAD_BYTES))

    def _refuse(self, fault: Fault) -> None:
        self._stop_timer()
        if not self.transport.is_closing():
            self.transport.write(raw_response(fault))
            self._close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _close(self) -> None:
        """End the connection when the client has taken what was written, or its time for that is over."""
        if not self.transport.is_closing():
            self.transport.close()
            self._start_taking()

    def _start_taking(self) -> None:
        if self._taking is None:
            self._taking = self.loop.call_later(TAKING_SECONDS, self.transport.abort)

    def _stop_taking(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

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
