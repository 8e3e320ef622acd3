"""`sentiscale serve`: answer requests over HTTP."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sentiscale.cli.options import ConfigOption, SetOption, print_json

BATCHES = "How requests are gathered"
LIMITS = "What a request may be"

HOST = typer.Option(help="Address to listen on.", show_default="127.0.0.1")
PORT = typer.Option(help="Port; 0 takes a free one.", show_default="8000")
WORKERS = typer.Option(help="Processes that hold the model.", show_default="one a core, at most 8")
BATCH_DELAY = typer.Option(
    help="Longest wait for others to share a forward pass.", show_default="1", rich_help_panel=BATCHES
)
MAX_BATCH = typer.Option(help="Most texts of a forward pass.", show_default="64", rich_help_panel=BATCHES)
QUEUE = typer.Option(help="Texts that may wait.", show_default="1024", rich_help_panel=BATCHES)
MAX_TEXTS = typer.Option(help="Most texts of a request.", show_default="256", rich_help_panel=LIMITS)
MAX_CHARACTERS = typer.Option(help="Most characters of a text.", show_default="20000", rich_help_panel=LIMITS)
MAX_BODY = typer.Option(help="Most kilobytes of a request.", show_default="1024", rich_help_panel=LIMITS)
TIMEOUT = typer.Option(help="Longest time to an answer.", show_default="10", rich_help_panel=LIMITS)
API_KEY = typer.Option(help="File with the key to ask for.", show_default="SENTISCALE_API_KEY, or no key")
QUIET = typer.Option("--quiet", "-q", help="Log no single request.")
JSON = typer.Option("--json", help="When it answers, print url and model as one JSON document on stdout.")
LOG_FORMAT = typer.Option(help="json or text.", show_default="text on a terminal, else json")


def serve(
    model: Annotated[Path, typer.Argument(help="Model directory, RUN/model.")],
    host: Annotated[str | None, HOST] = None,
    port: Annotated[int | None, PORT] = None,
    workers: Annotated[int | None, WORKERS] = None,
    batch_delay_ms: Annotated[float | None, BATCH_DELAY] = None,
    max_batch: Annotated[int | None, MAX_BATCH] = None,
    queue: Annotated[int | None, QUEUE] = None,
    max_texts: Annotated[int | None, MAX_TEXTS] = None,
    max_characters: Annotated[int | None, MAX_CHARACTERS] = None,
    max_body_kb: Annotated[int | None, MAX_BODY] = None,
    timeout_s: Annotated[float | None, TIMEOUT] = None,
    reload: Annotated[
        bool | None, typer.Option("--reload", help="Take a new model when the directory changes.")
    ] = None,
    api_key_file: Annotated[Path | None, API_KEY] = None,
    log_format: Annotated[str | None, LOG_FORMAT] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Answer `POST /v1/predict` and show a page at `/`, until Ctrl-C or SIGTERM; SIGHUP takes a new model."""
    given = {
        "host": host,
        "port": port,
        "workers": workers,
        "batch_delay_ms": batch_delay_ms,
        "max_batch": max_batch,
        "queue": queue,
        "max_texts": max_texts,
        "max_characters": max_characters,
        "max_body_kb": max_body_kb,
        "timeout_s": timeout_s,
        "reload": reload,
        "api_key_file": api_key_file,
        "log_format": log_format,
    }
    run(model, given, config, overrides or (), quiet=quiet, as_json=as_json)


def run(
    model: Path,
    given: Mapping[str, Any],
    config: Path | None,
    overrides: Sequence[str],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Resolve the settings and serve.

    Raises: UsageError where the extra `serve` is not installed.
    """
    import sys

    from sentiscale.errors import UsageError

    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"serving needs {error.name}, which is not installed: pip install 'sentiscale[serve]'."
        ) from error
    from sentiscale.serving.server import serve as run_service
    from sentiscale.serving.settings import resolve_serving
    from sentiscale.serving.telemetry import EventLog

    if given["log_format"] is None and sys.stderr.isatty():
        given = {**given, "log_format": "text"}
    settings = resolve_serving(config=config, overrides=overrides, flags=given)
    log = EventLog(settings.log_format, requests=not quiet)
    run_service(model, settings, log, print_json if as_json else lambda document: None)
