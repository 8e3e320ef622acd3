"""`sentiscale serve`: answer requests over HTTP."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sentiscale.cli.options import ConfigOption, SetOption


def serve(
    model: Annotated[Path, typer.Argument(help="Model directory, RUN/model.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one [8000].")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that hold the model [one a core].")] = None,
    batch_delay_ms: Annotated[
        float | None, typer.Option(help="Longest wait for others to share a forward pass [1].")
    ] = None,
    max_batch: Annotated[int | None, typer.Option(help="Most texts of a forward pass [64].")] = None,
    queue: Annotated[int | None, typer.Option(help="Texts that may wait [1024].")] = None,
    max_texts: Annotated[int | None, typer.Option(help="Most texts of a request [256].")] = None,
    max_characters: Annotated[int | None, typer.Option(help="Most characters of a text [20000].")] = None,
    max_body_kb: Annotated[int | None, typer.Option(help="Most kilobytes of a request [1024].")] = None,
    timeout_s: Annotated[float | None, typer.Option(help="Longest time to an answer [10].")] = None,
    reload: Annotated[
        bool | None, typer.Option("--reload", help="Take a new model when the directory changes.")
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="File with the key to ask for.")] = None,
    log_format: Annotated[
        str | None, typer.Option(help="json or text [text on a terminal, else json].")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Answer `POST /v1/predict` and show a page at `/`, until Ctrl-C or SIGTERM; SIGHUP takes a new model."""
    given = {
        "host": host, "port": port, "workers": workers, "batch_delay_ms": batch_delay_ms,
        "max_batch": max_batch, "queue": queue, "max_texts": max_texts, "max_characters": max_characters,
        "max_body_kb": max_body_kb, "timeout_s": timeout_s, "reload": reload, "api_key_file": api_key_file,
        "log_format": log_format,
    }  # fmt: skip
    run(model, given, config, overrides or ())


def run(model: Path, given: Mapping[str, Any], config: Path | None, overrides: Sequence[str]) -> None:
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
    from sentiscale.serving.logs import Log
    from sentiscale.serving.server import serve as run_service
    from sentiscale.serving.settings import resolve_serving

    if given["log_format"] is None and sys.stderr.isatty():
        given = {**given, "log_format": "text"}
    settings = resolve_serving(config=config, overrides=overrides, flags=given)
    run_service(model, settings, Log(settings.log_format))
