"""`sentiscale serve`: answer requests over HTTP."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sentiscale.cli.options import ConfigOption, SetOption, print_json
from sentiscale.errors import UsageError

BATCHES = "Batching"
LIMITS = "Limits of a request"

HOST = typer.Option(help="Address to listen on.", show_default="127.0.0.1")
PORT = typer.Option(help="Port; 0 takes a free one.", show_default="8000")
WORKERS = typer.Option(help="Worker processes.", show_default="one per core, at most 8")
BATCH_DELAY = typer.Option(
    help="Longest wait for others to share a forward pass.", show_default="1", rich_help_panel=BATCHES
)
MAX_BATCH = typer.Option(help="Texts per forward pass.", show_default="64", rich_help_panel=BATCHES)
QUEUE = typer.Option(help="Texts that may wait.", show_default="1024", rich_help_panel=BATCHES)
MAX_TEXTS = typer.Option(help="Texts per request.", show_default="256", rich_help_panel=LIMITS)
MAX_CHARACTERS = typer.Option(help="Characters per text.", show_default="20000", rich_help_panel=LIMITS)
MAX_BODY = typer.Option(help="Kilobytes per request.", show_default="1024", rich_help_panel=LIMITS)
TIMEOUT = typer.Option(help="Seconds to an answer.", show_default="10", rich_help_panel=LIMITS)
RELOAD = typer.Option("--reload", help="Load a new model when the directory changes.")
API_KEY = typer.Option(
    help="File with the key that clients send.", show_default="SENTISCALE_API_KEY, or none"
)
LOG_FORMAT = typer.Option(help="json or text.", show_default="text on a terminal, else json")
QUIET = typer.Option("--quiet", "-q", help="Do not log requests.")
JSON = typer.Option("--json", help="Print url and model as one JSON document on stdout when it is ready.")


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
    reload: Annotated[bool | None, RELOAD] = None,
    api_key_file: Annotated[Path | None, API_KEY] = None,
    log_format: Annotated[str | None, LOG_FORMAT] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Answer `POST /v1/predict` and show a page at `/`, until Ctrl-C or SIGTERM; SIGHUP reloads the model."""
    values = locals()
    try:
        from sentiscale.serving.server import serve as run_service
        from sentiscale.serving.settings import ServeSettings, resolve_serving
        from sentiscale.serving.telemetry import EventLog
    except ModuleNotFoundError as error:
        raise UsageError(
            f"serving needs {error.name}, which is not installed: pip install 'sentiscale[serve]'."
        ) from error
    flags = {name: values[name] for name in ServeSettings.model_fields if name in values}
    if log_format is None and sys.stderr.isatty():
        flags["log_format"] = "text"
    settings = resolve_serving(config=config, overrides=overrides or (), flags=flags)
    log = EventLog(settings.log_format, requests=not quiet)
    run_service(model, settings, log, print_json if as_json else lambda document: None)
