"""Start `rank.py` with our launcher: `start.py RANKS RESTARTS TIMEOUT ARGUMENT…`."""

import signal
import sys
from pathlib import Path

import typer

from sentiscale.cli import _interrupt, _reporting_errors

RANK = Path(__file__).with_name("rank.py")

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(context_settings={"ignore_unknown_options": True})
@_reporting_errors
def start(ranks: int, restarts: int, heartbeat_timeout: float, arguments: list[str]) -> None:
    from sentiscale.parallel.launch import launch

    launch(
        lambda attempt: [
            sys.executable,
            str(RANK),
            *arguments,
            "--heartbeat-timeout",
            str(heartbeat_timeout),
        ],
        ranks,
        threads=1,
        heartbeat_timeout=heartbeat_timeout,
        max_restarts=restarts,
        on_restart=lambda why: typer.echo(f"again, because {why}"),
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    app()
