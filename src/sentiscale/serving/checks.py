"""What is checked before a request's body is read: who is addressed, from where, with which key, how."""

import hmac
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from sentiscale.serving.settings import LOOPBACK, ServeSettings

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


OPEN_PATHS = ("/", "/healthz", "/readyz", "/docs", "/openapi.json")
"""Answered without a key, as are /static and /docs files: they hold nothing that is not public."""
OPEN_FOLDERS = ("/static/", "/docs/")
OWN_SITES = {"same-origin", "none"}


class Checks:
    """All that can be told from a request's head."""

    def __init__(self, settings: ServeSettings) -> None:
        self.key = settings.api_key()
        self.body_bytes = settings.body_bytes
        names = settings.allowed_hosts
        if not names and settings.on_loopback:
            names = (*LOOPBACK, settings.host)
        self.hosts = frozenset(name.lower() for name in names)

    def check(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Raises: Fault for a request that is not to be answered."""
        self._check_host(headers)
        if self.key is not None and not is_open(path):
            self._check_key(headers)
        if method == "POST":
            check_site(headers)
            self._check_announced(headers)

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        """Against DNS rebinding: another site's name that resolves to this machine."""
        name = _host_of(headers.get(b"host", b"").decode("latin-1"))
        if self.hosts and name not in self.hosts:
            raise Fault(
                403,
                f"this service is not known as {shown(name)}; allowed are {', '.join(sorted(self.hosts))}. "
                "Others go into serve.allowed_hosts.",
                code="foreign_host",
            )

    def _check_key(self, headers: Mapping[bytes, bytes]) -> None:
        assert self.key is not None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self.key):
            raise Fault(
                401,
                "this service needs a key: send the header Authorization: Bearer KEY.",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _check_announced(self, headers: Mapping[bytes, bytes]) -> None:
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self.body_bytes:
            raise body_too_large(self.body_bytes)


def is_open(path: str) -> bool:
    """Whether a path is answered without a key."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


def check_site(headers: Mapping[bytes, bytes]) -> None:
    """Refuse what a browser sends on behalf of another site.

    Raises: Fault 403.
    """
    site = headers.get(b"sec-fetch-site", b"none").decode("latin-1")
    origin = headers.get(b"origin")
    own = headers.get(b"host", b"").decode("latin-1").lower()
    foreign = origin is not None and _netloc(origin.decode("latin-1")) != own
    if site not in OWN_SITES or foreign:
        raise Fault(403, "requests from pages of other sites are refused.", code="cross_site")


def check_json(headers: Mapping[bytes, bytes]) -> None:
    """Require a body of JSON: what a form of another site cannot send.

    Raises: Fault 415.
    """
    kind = headers.get(b"content-type", b"").decode("latin-1")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Fault(415, f"Content-Type is {shown(kind)}; it must be application/json.")


def body_too_large(limit: int) -> Fault:
    """The answer to a body that is too large. The connection stays, so that a client who is still sending
    reads this and not a reset; how long the rest may take, `protocol.py` limits."""
    message = f"the body has more than {limit} bytes; send fewer texts at a time."
    return Fault(413, message, limit=limit)


def _host_of(value: str) -> str:
    """The name in a Host header, without its port."""
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.partition(":")[0].lower()


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
