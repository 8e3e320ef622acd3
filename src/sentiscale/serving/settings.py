"""Settings of `sentiscale serve`: address, batching and limits."""

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
"""Limits the default number of workers, because each holds a copy of the model in memory."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServeSettings(Section):
    """Settings of the service."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 listens on all addresses of this machine."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 selects a free port."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names that requests may use. Empty: loopback names if `host` is one, otherwise any name."""
    workers: Positive | None = None
    """Number of worker processes, each with a copy of the model. None: one per core, at most 8."""
    threads: Positive = 1
    """Threads per worker. More than one is slower for the small batches of a service."""
    batch_delay_ms: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Maximum milliseconds that a request waits for others to share its forward pass; 0 disables waiting."""
    max_batch: Positive = 64
    """Maximum texts per forward pass; 1 disables batching."""
    batch_characters: Positive = 200_000
    """Maximum characters per forward pass, unless a single text has more."""
    queue: Positive = 1024
    """Maximum texts waiting for a worker; further requests are answered with 429."""
    max_texts: Positive = 256
    """Maximum texts per request."""
    max_characters: Positive = 20_000
    """Maximum characters per text; longer texts are refused, not truncated."""
    explain_texts: Positive = 32
    """Maximum texts per request with explanations."""
    explain_characters: Positive = 5_000
    """Maximum characters per text with explanations."""
    max_body_kb: Positive = 1024
    """Maximum size of a request body, in kilobytes of 1024 bytes."""
    max_requests: Positive = 2048
    """Maximum requests in progress, including those still arriving; further ones are answered with 503."""
    max_connections: Positive = 4096
    """Maximum open connections; further ones are answered with 503."""
    timeout_s: Seconds = 10.0
    """Maximum seconds from the last byte of a request to its answer, and for finishing at shutdown."""
    header_timeout_s: Seconds = 10.0
    """Maximum seconds for the headers of a request to arrive."""
    body_timeout_s: Seconds = 10.0
    """Maximum seconds for the body of a request to arrive."""
    keep_alive_s: Annotated[int, Field(ge=1, le=3600)] = 10
    """Seconds an idle connection stays open."""
    silence_s: Seconds = 5.0
    """Maximum seconds for a worker to answer a batch; after that, it is considered hung and replaced."""
    drain_delay_s: Annotated[float, Field(ge=0, le=300)] = 0.0
    """Seconds at shutdown between reporting "not ready" and refusing connections, for load balancers."""
    full: bool = False
    """Read every text with the network, also those that the n-gram model is sure of."""
    reload: bool = False
    """Check the model directory every second and reload the model when it changes."""
    api_key_file: Path | None = None
    """File with the API key that requests must send. None: use the variable SENTISCALE_API_KEY, if set."""
    log_format: Literal["json", "text"] = "json"
    """Log format: one JSON document per line, or plain text."""

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
                "cannot hold that many"
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
        """Read the API key; None if no key is set.

        Raises: UsageError when the file cannot be read, or the key is too short or not printable ASCII.
        """
        if self.api_key_file is None:
            key, source = os.environ.get(KEY_VARIABLE, "").strip(), f"the variable {KEY_VARIABLE}"
            if not key:
                return None
        else:
            key, source = _read_key(self.api_key_file), str(self.api_key_file)
        if len(key) < MIN_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
            raise UsageError(
                f"the key in {source} has {len(key)} characters; it must have at least {MIN_KEY_LENGTH}, "
                "all printable ASCII without spaces. Create one with `openssl rand -hex 32`."
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
                f"--set got '{text}'; `serve` accepts only serve.KEY=VALUE, such as serve.keep_alive_s=5."
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
        raise UsageError(f"{path} is not a key file: it contains non-ASCII characters.") from error
