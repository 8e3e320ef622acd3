"""Options that several verbs share, and the few helpers every verb uses to read and print."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", help="Settings; flags and --set win over it."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; may be given again."),
]
FormatOption = Annotated[str | None, typer.Option(help="auto, fasttext, csv, jsonl or parquet.")]
TextColumnOption = Annotated[str | None, typer.Option(help="Column with the review.")]
TitleColumnOption = Annotated[str | None, typer.Option(help="Column with its title.")]
LabelColumnOption = Annotated[str | None, typer.Option(help="Column with the label.")]
StarsColumnOption = Annotated[
    str | None, typer.Option(help="Column with 1-5 stars: 1-2 negative, 4-5 positive, 3 left out.")
]


def print_json(document: Mapping[str, Any]) -> None:
    """Print the one JSON document that `--json` promises."""
    from sentiscale.records import dump_json

    sys.stdout.write(dump_json(dict(document)) + "\n")
