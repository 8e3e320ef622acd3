"""Options that several verbs share, and the few helpers every verb uses to read and print."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sentiscale.config import PrepareSettings

INPUT = "How the input is read"

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings; flags and --set win over it.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; may be given again."),
]
FormatOption = Annotated[
    str | None,
    typer.Option(help="auto, fasttext, csv, jsonl or parquet.", show_default="auto", rich_help_panel=INPUT),
]
TextColumnOption = Annotated[
    str | None,
    typer.Option(help="Column with the review.", show_default="text, review, ...", rich_help_panel=INPUT),
]
TitleColumnOption = Annotated[
    str | None,
    typer.Option(help="Column with its title.", show_default="title, summary, ...", rich_help_panel=INPUT),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option(help="Column with the label.", show_default="label, sentiment, ...", rich_help_panel=INPUT),
]
StarsColumnOption = Annotated[
    str | None,
    typer.Option(
        help="Column with 1-5 stars: 1-2 negative, 4-5 positive, 3 left out.",
        show_default="stars, rating, ...",
        rich_help_panel=INPUT,
    ),
]


def reading_settings(
    config: Path | None, overrides: list[str] | None, **flags: str | None
) -> "PrepareSettings":
    """How a table is read: format and columns, by settings file, `--set` and these flags.

    Raises: UsageError for settings that cannot be.
    """
    from sentiscale.config import resolve

    given = {f"prepare.{name}": value for name, value in flags.items()}
    return resolve(config=config, overrides=overrides or (), flags=given).prepare


def print_json(document: Mapping[str, Any]) -> None:
    """Print the one JSON document that `--json` promises."""
    from sentiscale.records import dump_json

    sys.stdout.write(dump_json(dict(document)) + "\n")
    sys.stdout.flush()
