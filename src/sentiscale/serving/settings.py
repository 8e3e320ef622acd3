"""Settings of `sentiscale serve`: what is listened to, how requests are gathered, and every limit."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sentiscale.errors import UsageError, did_you_mean
from sentiscale.records import available_cores

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]

KEY_VARIABLE = "SENTISCALE_API_KEY"
SHORTEST_KEY = 16
MOST_WORKERS = 8
"""Unless more are asked for: each takes the memory of the model."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServeSettings(BaseModel):
    """Everything that can be set about the service; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every one of this machine."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may address this service by; empty: those of loopback, or any on other hosts."""
    workers: Positive | None = None
    """Processes that hold the model, each with a copy of it; None is one a core, at most 8."""
    threads: Positive = 1
    """Threads of each worker. For batches of this size more of them are slower."""
    batch_delay_ms: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Longest time a request waits for others to share a forward pass with; 0 waits for none."""
    max_batch: Positive = 64
    """Most texts of one forward pass; 1 switches gathering off."""
    batch_characters: Positive = 200_000
    """Most characters of one forward pass, unless a single text has more."""
    queue: Positive = 1024
    """Texts that may wait; a request beyond that is answered 429."""
    max_texts: Positive = 256
    """Most texts of one request."""
    max_characters: Positive = 20_000
    """Most characters of one text; longer ones are refused, not cut."""
    explain_texts: Positive = 32
    """Most texts of one request that asks for explanations."""
    explain_characters: Positive = 5_000
    """Most characters of one text to be explained."""
    max_body_kb: Positive = 1024
    """Most kilobytes (1024 bytes) of a request's body."""
    max_requests: Positive = 2048
    """Most requests at a time, bodies still arriving included; more are answered 503."""
    max_connections: Positive = 4096
    """Most open connections."""
    timeout_s: Seconds = 10.0
    """Longest time from a request's last byte to its answer, and for finishing when the service stops."""
    header_timeout_s: Seconds = 10.0
    """Longest time for a request's head to arrive."""
    body_timeout_s: Seconds = 10.0
    """Longest time for a request's body to arrive."""
    keep_alive_s: Annotated[int, Field(ge=1, le=3600)] = 10
    """Time an idle connection is kept open."""
    silence_s: Seconds = 5.0
    """A worker that does not answer a batch for so long counts as hung, and is replaced."""
    drain_delay_s: Annotated[float, Field(ge=0, le=300)] = 0.0
    """Time between saying "not ready" and refusing connections, for a balancer to notice, when it stops."""
    reload: bool = False
    """Look each second whether the model directory has changed, and take the new one."""
    api_key_file: Path | None = None
    """File with the key that requests must bring; None takes the variable SENTISCALE_API_KEY, or no key."""
    log_format: Literal["json", "text"] = "json"
    """One JSON document a line, or words."""

    @model_validator(mode="after")
    def _requests_fit(self) -> "ServeSettings":
        if self.queue < self.max_texts:
            raise ValueError(
                f"queue is {self.queue}, but one request may bring max_texts = {self.max_texts}; "
                "give a longer queue or allow fewer texts"
            )
        if self.max_characters > self.max_body_kb * 1024:
            raise ValueError(
                f"max_characters is {self.max_characters}, but a body of max_body_kb = {self.max_body_kb} "
                "cannot hold so many"
            )
        return self

    @property
    def body_bytes(self) -> int:
        """Most bytes of a body."""
        return self.max_body_kb * 1024

    @property
    def worker_count(self) -> int:
        """Processes that hold the model."""
        return self.workers or min(available_cores(), MOST_WORKERS)

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in LOOPBACK or self.host.startswith("127.")

    def api_key(self) -> bytes | None:
        """The key that requests must bring, or None.

        Raises: UsageError when the file cannot be read or the key is no usable one.
        """
        if self.api_key_file is None:
            key, source = os.environ.get(KEY_VARIABLE, "").strip(), f"the variable {KEY_VARIABLE}"
            if not key:
                return None
        else:
            key, source = _read_key(self.api_key_file), str(self.api_key_file)
        if len(key) < SHORTEST_KEY or not all("!" <= character <= "~" for character in key):
            raise UsageError(
                f"the key in {source} has {len(key)} characters; it needs {SHORTEST_KEY} or more, of ASCII "
                "without spaces, as `openssl rand -hex 32` writes."
            )
        return key.encode()


def resolve_serving(
    *, config: Path | None = None, overrides: Sequence[str] = (), flags: Mapping[str, Any] | None = None
) -> ServeSettings:
    """Build the settings: defaults, the [serve] table of `config`, `--set serve.key=value`, flags; last wins.

    Raises: UsageError for an unreadable file, an unknown key (with a suggestion) or a value out of range.
    """
    values = dict(_read_section(config)) if config else {}
    for text in overrides:
        key, _, raw = text.partition("=")
        section, _, name = key.strip().partition(".")
        if section != "serve" or not name or not raw:
            raise UsageError(
                f"--set got '{text}'; here it takes serve.key=value, as in serve.keep_alive_s=5."
            )
        values[name] = _parsed(raw.strip())
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return ServeSettings.model_validate(values)
    except ValidationError as error:
        raise UsageError("\n".join(_explained(problem) for problem in error.errors())) from error


def _read_section(config: Path) -> dict[str, Any]:
    try:
        section = tomllib.loads(config.read_text(encoding="utf-8-sig")).get("serve", {})
    except OSError as error:
        raise UsageError(f"cannot read settings file {config}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{config} is not valid TOML: {error}.") from error
    if not isinstance(section, dict):
        raise UsageError(f"serve in {config} is {section!r}; it must be a table, [serve].")
    return section


def _parsed(raw: str) -> Any:
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _explained(problem: Any) -> str:
    name = ".".join(("serve", *(str(part) for part in problem["loc"])))
    if problem["type"] == "extra_forbidden":
        fields = ServeSettings.model_fields
        hint = did_you_mean(str(problem["loc"][-1]), fields)
        return f"unknown setting '{name}'.{hint} Allowed: {', '.join(fields)}."
    if problem["type"] == "value_error":
        return f"{name}: {problem['ctx']['error']}."
    return f"{name} is {problem['input']!r}: {problem['msg']}."


def _read_key(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise UsageError(f"cannot read the key file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no key file: it has characters outside ASCII.") from error
