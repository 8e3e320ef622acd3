"""The `sentiscale` command: one module per verb, each a thin layer over a Python function."""

import errno
import functools
import importlib
import inspect
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from sentiscale.cli.options import QuietOption
from sentiscale.errors import Interrupted, PeerFailed, SentiscaleError
from sentiscale.util.processes import prepare_process

app = typer.Typer(
    name="sentiscale",
    help="Prepare reviews, train sentiment classifiers and use them.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MENU = {
    "First steps": ("demo", "doctor"),
    "Data": ("prepare", "eda", "synth", "fetch"),
    "Models": ("train", "evaluate", "threshold", "triage", "runs", "card"),
    "Models put to use": ("predict", "export", "serve"),
    "Measurements": ("bench", "report", "plan", "compare"),
}
"""Verbs by menu panel; each verb is a module in this package with a function of the same name."""

COMMON: dict[str, tuple[Any, Any]] = {
    "config": (
        Annotated[
            Path | None,
            typer.Option(
                "--config", metavar="FILE.toml", help="Settings file; checked, but not used by this verb."
            ),
        ],
        None,
    ),
    "overrides": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="SECTION.KEY=VALUE",
                help="Override one setting; checked, but not used by this verb.",
            ),
        ],
        None,
    ),
    "quiet": (QuietOption, False),
}
"""Flags that every verb accepts, with their defaults."""

VERBS: tuple[str, ...] = tuple(verb for verbs in MENU.values() for verb in verbs)


def _show_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(version("sentiscale"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Prepare reviews, train sentiment classifiers and use them."""


def _add_verbs() -> None:
    for panel, verbs in MENU.items():
        for verb in verbs:
            module = importlib.import_module(f"sentiscale.cli.{verb}")
            function = getattr(module, verb)
            about = _flowing(inspect.getdoc(function) or "")
            app.command(verb, help=about, rich_help_panel=panel)(_reporting_errors(_with_common(function)))


def _flowing(text: str) -> str:
    """Join the lines of each paragraph so that it fills the terminal, unless the paragraph contains \\b."""
    return "\n\n".join(part if "\b" in part else part.replace("\n", " ") for part in text.split("\n\n"))


def _with_common(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Add the common flags that the verb does not have, because scripts pass them to every verb."""
    signature = inspect.signature(verb)
    unused = {name: kind for name, kind in COMMON.items() if name not in signature.parameters}

    @functools.wraps(verb)
    def run(*args: Any, **kwargs: Any) -> None:
        common = {name: kwargs.pop(name) for name in unused}
        if common.get("config") or common.get("overrides"):
            from sentiscale.config import resolve

            resolve(config=common["config"], overrides=common["overrides"] or ())
        verb(*args, **kwargs)

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in unused.items()
    ]
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *added]
    )
    run.__annotations__ = verb.__annotations__ | {each.name: each.annotation for each in added}
    return run


def _reporting_errors(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Convert exceptions into a one-line message and the documented exit code."""

    @functools.wraps(verb)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            verb(*args, **kwargs)
            sys.stdout.flush()
        except PeerFailed as error:  # already reported by the failed rank or by the launcher
            raise typer.Exit(error.exit_code) from None
        except SentiscaleError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            _fail("interrupted; no partial output was left behind.", Interrupted.exit_code)
        except BrokenPipeError:  # the program that reads the output (head, less) has ended: not an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(128 + signal.SIGPIPE) from None
        except OSError as error:
            if error.errno is None:
                raise
            where = f"{error.filename}: " if error.filename else ""
            hint = " Free some space and try again." if error.errno == errno.ENOSPC else ""
            _fail(f"{where}{error.strerror}.{hint}", SentiscaleError.exit_code)

    return run


def _fail(message: str, exit_code: int) -> None:
    sys.stderr.write(f"sentiscale: {message}\n")
    raise typer.Exit(exit_code)


_add_verbs()


def main() -> None:
    prepare_process()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="surrogateescape"
        )  # file names that are not UTF-8 are printed as they are
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM (kill, a batch system's time limit) like Ctrl-C, so that partial output is removed."""
    raise KeyboardInterrupt
