"""Settings of `sentiscale serve`: address, batching and every limit."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sentiscale.config import Positive, Section, parse_value, read_toml, validate
from sentiscale.errors import UsageError
from sentiscale.records import available_cores

Seconds = Annotated[float, Field(gt=0, le=3600)]

KEY_VARIABLE = "SENTISCALE_API_KEY"
MIN_KEY_LENGTH = 16
DEFAULT_MAX_WORKERS = 8
"""Each worker holds its own copy of the model in memory."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServeSettings(Section):
    """Settings of the service."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 means every address of this machine."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names that requests may use. Empty: the names of loopback there, any name on other addresses."""
    workers: Positive | None = None
    """Worker processes, each with a copy of the model. None: one per core, at most 8."""
    threads: Positive = 1
    """Threads of each worker. More are slower for batches of this size."""
    batch_delay_ms: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Longest time a request waits for others to share its forward pass; 0 does not wait."""
    max_batch: Positive = 64
    """Texts per forward pass at most; 1 disables batching."""
    batch_characters: Positive = 200_000
    """Characters per forward pass at most, unless a single text has more."""
    queue: Positive = 1024
    """Texts that may wait; further requests are answered 429."""
    max_texts: Positive = 256
    """Texts per request at most."""
    max_characters: Positive = 20_000
    """Characters per text at most; longer texts are refused, not cut."""
    explain_texts: Positive = 32
    """Texts per request at most, with explanations."""
    explain_characters: Positive = 5_000
    """Characters per text at most, with explanations."""
    max_body_kb: Positive = 1024
    """Largest request body in kilobytes of 1024 bytes."""
    max_requests: Positive = 2048
    """Requests in progress at most, including those whose body is arriving; more are answered 503."""
    max_connections: Positive = 4096
    """Open connections at most; more are answered 503."""
    timeout_s: Seconds = 10.0
    """Longest time from the last byte of a request to its answer, and for finishing at shutdown."""
    header_timeout_s: Seconds = 10.0
    """Longest time for the head of a request to arrive."""
    body_timeout_s: Seconds = 10.0
    """Longest time for the body of a request to arrive."""
    keep_alive_s: Annotated[int, Field(ge=1, le=3600)] = 10
    """Seconds an idle connection stays open."""
    silence_s: Seconds = 5.0
    """Seconds without an answer to a batch after which a worker counts as hung and is replaced."""
    drain_delay_s: Annotated[float, Field(ge=0, le=300)] = 0.0
    """At shutdown, seconds from reporting "not ready" to refusing connections, for load balancers."""
    reload: bool = False
    """Check the model directory every second and load the model when it changes."""
    api_key_file: Path | None = None
    """File with the key that requests must send. None: the variable SENTISCALE_API_KEY, or no key."""
    log_format: Literal["json", "text"] = "json"
    """One JSON document per line, or plain text."""

    @model_validator(mode="after")
    def _requests_fit(self) -> "ServeSettings":
        if self.queue < self.max_texts:
            raise ValueError(
                f"queue is {self.queue}, but one request may have max_texts = {self.max_texts}; "
                "increase queue or reduce max_texts"
            )
        if self.max_characters > self.max_body_kb * 1024:
            raise ValueError(
                f"max_characters is {self.max_characters}, but a body of max_body_kb = {self.max_body_kb} "
                "cannot hold so many"
            )
        return self

    @property
    def body_bytes(self) -> int:
        return self.max_body_kb * 1024

    @property
    def worker_count(self) -> int:
        return self.workers or min(available_cores(), DEFAULT_MAX_WORKERS)

    @property
    def on_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        return self.host in LOOPBACK or self.host.startswith("127.")

    def api_key(self) -> bytes | None:
        """The key that requests must send, or None.

        Raises: UsageError when the file cannot be read or the key is unusable.
        """
        if self.api_key_file is None:
            key, source = os.environ.get(KEY_VARIABLE, "").strip(), f"the variable {KEY_VARIABLE}"
            if not key:
                return None
        else:
            key, source = _read_key(self.api_key_file), str(self.api_key_file)
        if len(key) < MIN_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
            raise UsageError(
                f"the key in {source} has {len(key)} characters; it needs {MIN_KEY_LENGTH} or more, of ASCII "
                "without spaces, as `openssl rand -hex 32` writes."
            )
        return key.encode()


def resolve_serving(
    *, config: Path | None = None, overrides: Sequence[str] = (), flags: Mapping[str, Any] | None = None
) -> ServeSettings:
    """Merge the defaults, the [serve] table of `config`, `--set serve.key=value` and flags; the last wins.

    Raises: UsageError for an unreadable file, an unknown key (with a suggestion) or a value out of range.
    """
    section = read_toml(config).get("serve", {}) if config else {}
    if not isinstance(section, dict):
        raise UsageError(f"serve in {config} is {section!r}; it must be a table, [serve].")
    values = dict(section)
    for text in overrides:
        key, _, raw = text.partition("=")
        table, _, name = key.strip().partition(".")
        if table != "serve" or not name or not raw:
            raise UsageError(
                f"--set got '{text}'; here it takes serve.key=value, as in serve.keep_alive_s=5."
            )
        values[name] = parse_value(raw.strip())
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    return validate(ServeSettings, values, "serve")


def _read_key(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"cannot read the key file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a key file: it has characters outside ASCII.") from error
