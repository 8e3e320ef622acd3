"""ASGI middleware that checks headers, limits bodies, adds request ids and records log and metrics."""

import asyncio
import hmac
import re
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentiscale.errors import quoted
from sentiscale.serving.errors import RequestError, overloaded
from sentiscale.serving.settings import LOOPBACK, ServeSettings
from sentiscale.serving.telemetry import EventLog, ServiceMetrics

Headers = Mapping[bytes, bytes]

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
PAGE_PATHS = frozenset(("/", "/healthz", "/readyz", "/docs", "/openapi.json"))
"""Public paths, which need no key; the files in PAGE_FOLDERS are public too."""
PAGE_FOLDERS = ("/static/", "/docs/")
PATHS = PAGE_PATHS | {"/v1/predict", "/v1/model", "/metrics"}
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
MAX_BODIES_BYTES = 2**26
"""Limit on the total size of all bodies in memory; a body counts from its first byte until it is answered."""

SECURITY_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


class ClientGone(Exception):  # noqa: N818 - not an error of the service
    """Raised when the client has closed the connection."""


class Admission:
    """The middleware; `check_room` must raise a RequestError while the queue is full."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        metrics: ServiceMetrics,
        log: EventLog,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self.app, self.settings, self.metrics, self.log = app, settings, metrics, log
        self.check_room = check_room
        self.key = settings.api_key()
        names = settings.allowed_hosts or ((*LOOPBACK, settings.host) if settings.on_loopback else ())
        self.hosts = frozenset(name.lower() for name in names)
        self.requests = 0
        self.body_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = HttpExchange(scope, send)
        try:
            await self._answer(scope, receive, exchange)
        except RequestError as error:
            await asyncio.sleep(error.delay)
            await self._refuse(error, scope, receive, exchange)
        except ClientGone:
            exchange.status = 499  # nginx's code for a client that closes the connection early
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]  # log no message: it may quote the request
            at = f"{frame.filename}:{frame.lineno}"
            self.log.event("failed", id=exchange.id, error=type(error).__name__, at=at)
            failure = RequestError(500, "the service failed to answer this request.")
            await self._refuse(failure, scope, receive, exchange)
        finally:
            self._record(scope, exchange)

    async def _refuse(
        self, error: RequestError, scope: Scope, receive: Receive, exchange: "HttpExchange"
    ) -> None:
        if not exchange.status:  # otherwise the response has started
            await error.response()(scope, receive, exchange.send)

    async def _answer(self, scope: Scope, receive: Receive, exchange: "HttpExchange") -> None:
        self.requests += 1
        try:
            body = await self._admit(scope, receive, exchange)
            await self.app(scope, _with_body(body, receive), exchange.send)
        finally:
            self.requests -= 1
            self.body_bytes -= exchange.body_bytes

    async def _admit(self, scope: Scope, receive: Receive, exchange: "HttpExchange") -> bytes:
        """Check the headers, then read the whole body.

        Raises: RequestError when a check fails or a limit is exceeded.
        """
        limit = self.settings.max_requests
        if self.requests > limit:
            message = f"{limit} requests are in progress; try again later."
            raise overloaded(503, message, code="too_many_requests", limit=limit)
        headers, path = dict(scope["headers"]), scope["path"]
        check_host(headers, self.hosts)
        if self.key is not None and path not in PAGE_PATHS and not path.startswith(PAGE_FOLDERS):
            check_key(headers, self.key)
        if scope["method"] != "POST":
            return b""
        check_site(headers)
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self.settings.body_bytes:
            raise body_too_large(self.settings.body_bytes)
        if path not in PATHS:
            return b""
        check_json(headers)
        self.check_room()  # a full queue is refused before the body is read and parsed
        return await self._read_body(receive, exchange)

    async def _read_body(self, receive: Receive, exchange: "HttpExchange") -> bytes:
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self.settings.body_timeout_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    chunks.append(chunk)
                    exchange.body_bytes += len(chunk)
                    self.body_bytes += len(chunk)
                    if exchange.body_bytes > self.settings.body_bytes:
                        raise body_too_large(self.settings.body_bytes)
                    if self.body_bytes > MAX_BODIES_BYTES:
                        crowded = "too many large requests are in progress; try again later."
                        raise overloaded(503, crowded, code="too_many_requests")
        except TimeoutError:
            seconds = self.settings.body_timeout_s
            late = f"the body did not arrive within {seconds:g} s."
            raise RequestError(408, late, limit=seconds, headers={"Connection": "close"}) from None
        return b"".join(chunks)

    def _record(self, scope: Scope, exchange: "HttpExchange") -> None:
        seconds = time.perf_counter() - exchange.started_at
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = route_of(scope["path"])
        self.metrics.requests.labels(route, method, exchange.status).inc()
        self.metrics.latency.labels(route).observe(seconds)
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


class HttpExchange:
    """One request and its response: adds the request id and the security headers, and stores the status."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started_at = time.perf_counter()
        self.status = 0
        self.body_bytes = 0
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self.id = sent.decode() if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            added = [(b"x-request-id", self.id.encode()), *SECURITY_HEADERS]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await self._send(message)


def check_host(headers: Headers, allowed: frozenset[str]) -> None:
    """Refuse unknown host names, against DNS rebinding (another site's name that resolves to this machine).

    Raises: RequestError 403.
    """
    host = _text(headers, b"host").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if allowed and name not in allowed:
        raise RequestError(
            403,
            f"this service does not accept the host name {quoted(name)}. "
            f"Allowed: {', '.join(sorted(allowed))}. Add other names to serve.allowed_hosts.",
            code="foreign_host",
        )


def check_key(headers: Headers, key: bytes) -> None:
    """Raises: RequestError 401 when the key is missing or wrong."""
    scheme, _, sent = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(sent.strip(), key):
        message = "this service needs a key: send the header Authorization: Bearer KEY."
        raise RequestError(401, message, headers={"WWW-Authenticate": "Bearer"})


def check_site(headers: Headers) -> None:
    """Refuse requests that a browser sends on behalf of another site.

    Raises: RequestError 403.
    """
    try:
        origin = urlsplit(_text(headers, b"origin")).netloc.lower()
    except ValueError:
        origin = ""
    same_origin = b"origin" not in headers or origin == _text(headers, b"host").lower()
    if not same_origin or headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none"):
        raise RequestError(403, "requests from pages of other sites are refused.", code="cross_site")


def check_json(headers: Headers) -> None:
    """Require the content type JSON, which a form on another site cannot send.

    Raises: RequestError 415.
    """
    kind = _text(headers, b"content-type")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise RequestError(415, f"Content-Type is {quoted(kind)}; it must be application/json.")


def body_too_large(limit: int) -> RequestError:
    return RequestError(
        413, f"the body has more than {limit} bytes; send fewer texts at a time.", limit=limit
    )


def route_of(path: str) -> str:
    """Label of a path in the metrics. Unknown paths share one, so that clients cannot create labels."""
    if path in PATHS:
        return path
    folder = f"/{path.split('/')[1]}" if path.count("/") > 1 else ""
    return folder if folder in ("/static", "/docs") else "other"


def _text(headers: Headers, name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _with_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first returns the whole body."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive_body() -> Message:
        return next(messages, None) or await receive()

    return receive_body
