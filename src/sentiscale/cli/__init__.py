"""The `sentiscale` command: one file a verb, every verb a thin command over an importable function."""

import importlib
import os
import signal
import sys
from typing import Annotated

import typer

from sentiscale.errors import Interrupted, SentiscaleError

app = typer.Typer(
    name="sentiscale",
    help="Prepare reviews, train sentiment classifiers, put them to use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

VERBS: tuple[str, ...] = ("doctor",)
"""Verbs in the order of the menu; each is a module here with a function of the same name."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("sentiscale"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Prepare reviews, train sentiment classifiers, put them to use."""


def _add_verbs() -> None:
    for verb in VERBS:
        module = importlib.import_module(f"sentiscale.cli.{verb}")
        app.command(verb)(getattr(module, verb))


_add_verbs()


def main() -> None:
    """Run the command line; errors raised on purpose become one message and their exit code."""
    # Before torch is loaded. Its threads meet hundreds of times in one LSTM step, and by default they spin
    # while they wait; when another program holds a core, each meeting then costs a time slice. Measured on
    # two busy cores: 10 to 24 reviews/s spinning, 2,380 sleeping.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except SentiscaleError as error:
        sys.stderr.write(f"sentiscale: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("sentiscale: interrupted; nothing half-written was left behind.\n")
        sys.exit(Interrupted.exit_code)
    except BrokenPipeError:  # the reader of our output (head, less) has gone; that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
