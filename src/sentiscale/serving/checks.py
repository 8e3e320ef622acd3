"""What is checked before a request's body is read: who is addressed, from where, with which key, how."""

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from sentiscale.serving.faults import Fault, shown
from sentiscale.serving.settings import LOOPBACK, ServeSettings

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
