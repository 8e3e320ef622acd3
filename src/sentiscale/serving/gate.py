"""What stands before the application: ids, checks, bounded bodies, one error shape, log and metrics."""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sentiscale.serving.checks import Checks, Fault, Headers, body_too_large, busy, check_json
from sentiscale.serving.settings import ServeSettings
from sentiscale.serving.telemetry import Log, Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
ROUTES = frozenset(
    ("/", "/v1/predict", "/v1/model", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")
)
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
BODIES_BYTES = 2**26
"""Of all bodies together, from their first byte until they are answered."""

SAFETY: Headers = [
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


class ClientGone(Exception):  # noqa: N818 - it says what happened
    """The client has closed the connection; nobody is there to be answered."""


class Gate:
    """An ASGI application around another one."""

    def __init__(
        self,
        inner: Application,
        settings: ServeSettings,
        metrics: Metrics,
        log: Log,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self.inner, self.settings, self.metrics, self.log = inner, settings, metrics, log
        self.check_room = check_room
        """Raises a Fault when no text can be taken: told before a body is read and parsed for nothing."""
        self.checks = Checks(settings)
        self.requests = 0
        """Requests in progress."""
        self._body_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, send)
        try:
            await self._answer(scope, receive, exchange)
        except Fault as fault:
            await asyncio.sleep(fault.pause)
            await exchange.refuse(fault)
        except ClientGone:
            exchange.status = 499  # as nginx counts those who did not wait
        except Exception as error:
            self.log.event("failed", id=exchange.id, error=type(error).__name__, at=_where(error))
            await exchange.refuse(Fault(500, "the service failed to answer this request."))
        finally:
            self._note(scope, exchange)

    async def _answer(self, scope: Scope, receive: Receive, exchange: "Exchange") -> None:
        self.requests += 1
        try:
            body = await self._admitted(scope, receive, exchange)
            await self.inner(scope, _replayed(body, receive), exchange.send)
        finally:
            self.requests -= 1
            self._body_bytes -= exchange.body_bytes

    async def _admitted(self, scope: Scope, receive: Receive, exchange: "Exchange") -> bytes:
        """Check the head, then read the body: the whole of it, bounded in size and time."""
        if self.requests > self.settings.max_requests:
            message = f"{self.settings.max_requests} requests are in progress; try again later."
            raise busy(503, message, code="too_many_requests", limit=self.settings.max_requests)
        headers = dict(scope["headers"])
        method, path = scope["method"], scope["path"]
        self.checks.check(method, path, headers)
        if method != "POST" or path not in ROUTES:
            return b""
        check_json(headers)
        self.check_room()
        return await self._body(receive, exchange)

    async def _body(self, receive: Receive, exchange: "Exchange") -> bytes:
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self.settings.body_timeout_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    exchange.body_bytes += len(chunk)
                    self._body_bytes += len(chunk)
                    self._check_size(exchange.body_bytes)
                    chunks.append(chunk)
        except TimeoutError:
            seconds = self.settings.body_timeout_s
            late = f"the body did not arrive within {seconds:g} s."
            raise Fault(408, late, limit=seconds, headers={"Connection": "close"}) from None
        return b"".join(chunks)

    def _check_size(self, size: int) -> None:
        if size > self.settings.body_bytes:
            raise body_too_large(self.settings.body_bytes)
        if self._body_bytes > BODIES_BYTES:
            raise busy(
                503, "too many large bodies are here at once; try again later.", code="too_many_requests"
            )

    def _note(self, scope: Scope, exchange: "Exchange") -> None:
        seconds = time.perf_counter() - exchange.started_at
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.answered(route_of(scope["path"]), method, exchange.status, seconds)
        client = scope.get("client")
        self.log.event(
            "request",
            id=exchange.id,
            method=scope["method"],
            path=scope["path"],
            status=exchange.status,
            ms=round(1000 * seconds, 2),
            texts=scope.get("texts"),
            client=client[0] if client else None,
        )


class Exchange:
    """One request and its answer: the id, the status, the headers that all answers have."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started_at = time.perf_counter()
        self.status = 0
        self.body_bytes = 0
        """Received of its body."""
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self.id = given.decode() if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on; how long that may take, `protocol.py` limits."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [(b"x-request-id", self.id.encode()), *SAFETY]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await self._send(message)

    async def refuse(self, fault: Fault) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status:
            return
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(fault.body)),
            *((name.lower().encode(), value.encode()) for name, value in fault.headers.items()),
        ]
        await self.send({"type": "http.response.start", "status": fault.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": fault.body})


def route_of(path: str) -> str:
    """The name of a path in the metrics: a few, whatever is asked for."""
    if path in ROUTES:
        return path
    folder = f"/{path.split('/')[1]}" if path.count("/") > 1 else ""
    return folder if folder in ("/static", "/docs") else "other"


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body at once, and then what comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _where(error: BaseException) -> str | None:
    """File and line that raised: enough to find the fault, without what was sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else None
