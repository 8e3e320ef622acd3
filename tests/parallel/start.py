"""Start ranks of `rank.py` with the project's own launcher: `start.py RANKS RESTARTS ARGUMENT…`."""

import signal
import sys
from pathlib import Path

import typer

from sentiscale.cli import _interrupt, _reporting_errors

RANK = Path(__file__).with_name("rank.py")

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(context_settings={"ignore_unknown_options": True})
@_reporting_errors
def start(ranks: int, restarts: int, arguments: list[str]) -> None:
    """Run the ranks."""
    from sentiscale.parallel.launch import launch_with_restarts

    launch_with_restarts(
        lambda attempt: [sys.executable, str(RANK), *arguments],
        ranks,
        threads=1,
        silence_limit=3.0,
        max_restarts=restarts,
        on_restart=lambda why: typer.echo(f"again, because {why}"),
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    app()
