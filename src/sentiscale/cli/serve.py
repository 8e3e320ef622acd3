"""`sentiscale serve`: serve predictions over HTTP."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sentiscale.cli.options import ConfigOption, SetOption, print_json
from sentiscale.errors import UsageError

BATCHES = "Batching"
LIMITS = "Limits of a request"

HOST = typer.Option(help="Address to listen on.", show_default="127.0.0.1")
PORT = typer.Option(help="Port to listen on; 0 selects a free port.", show_default="8000")
WORKERS = typer.Option(help="Number of worker processes.", show_default="one per core, at most 8")
BATCH_DELAY = typer.Option(
    help="Maximum milliseconds to wait for more texts before a forward pass.",
    show_default="1",
    rich_help_panel=BATCHES,
)
MAX_BATCH = typer.Option(help="Maximum texts per forward pass.", show_default="64", rich_help_panel=BATCHES)
QUEUE = typer.Option(help="Maximum texts waiting for a worker.", show_default="1024", rich_help_panel=BATCHES)
MAX_TEXTS = typer.Option(help="Maximum texts per request.", show_default="256", rich_help_panel=LIMITS)
MAX_CHARACTERS = typer.Option(
    help="Maximum characters per text.", show_default="20000", rich_help_panel=LIMITS
)
MAX_BODY = typer.Option(help="Maximum kilobytes per request.", show_default="1024", rich_help_panel=LIMITS)
TIMEOUT = typer.Option(
    help="Maximum seconds until a request is answered.", show_default="10", rich_help_panel=LIMITS
)
FULL = typer.Option(
    "--full", help="Read every text with the network, also those that the n-gram model is sure of; slower."
)
RELOAD = typer.Option("--reload", help="Reload the model when its directory changes.")
API_KEY = typer.Option(
    help="File with the API key that clients must send.", show_default="SENTISCALE_API_KEY, or none"
)
LOG_FORMAT = typer.Option(help="Log format: json or text.", show_default="text on a terminal, else json")
QUIET = typer.Option("--quiet", "-q", help="Do not log requests.")
JSON = typer.Option(
    "--json", help="Print one JSON document with URL and model on stdout when the service is ready."
)


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
    full: Annotated[bool | None, FULL] = None,
    reload: Annotated[bool | None, RELOAD] = None,
    api_key_file: Annotated[Path | None, API_KEY] = None,
    log_format: Annotated[str | None, LOG_FORMAT] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Serve `POST /v1/predict` and a web page at `/` until Ctrl-C or SIGTERM; SIGHUP reloads the model."""
    values = locals()
    try:
        from sentiscale.serving.server import serve as run_service
        from sentiscale.serving.settings import ServeSettings, resolve_serving
        from sentiscale.serving.telemetry import EventLog
    except ModuleNotFoundError as error:
        raise UsageError(
            f"serving needs {error.name}, which is not installed. Run: pip install 'sentiscale[serve]'"
        ) from error
    flags = {name: values[name] for name in ServeSettings.model_fields if name in values}
    if log_format is None and sys.stderr.isatty():
        flags["log_format"] = "text"
    settings = resolve_serving(config=config, overrides=overrides or (), flags=flags)
    log = EventLog(settings.log_format, requests=not quiet)
    run_service(model, settings, log, print_json if as_json else lambda document: None)
