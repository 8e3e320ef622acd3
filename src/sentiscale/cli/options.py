"""Options and helper functions that several verbs share."""

import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

INPUT = "How the input is read"

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only, without progress.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
ThresholdOption = Annotated[
    bool,
    typer.Option(
        " /--no-threshold",
        help="Ignore the thresholds and class weights of the model: most probable class.",
        show_default=False,
    ),
]
FullOption = Annotated[
    bool,
    typer.Option(
        "--full", help="Read every row with the network, also those that the n-gram model is sure of; slower."
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", help="Settings file; flags and --set take precedence."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; may be repeated."),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        help="Input format: auto, fasttext, csv, jsonl, parquet, excel, or files for one review per file.",
        show_default="auto",
        rich_help_panel=INPUT,
    ),
]
EncodingOption = Annotated[
    str | None,
    typer.Option(
        help="Encoding of text, such as windows-1252; auto detects UTF-8, UTF-16 and UTF-32.",
        show_default="auto",
        rich_help_panel=INPUT,
    ),
]
TextColumnOption = Annotated[
    str | None,
    typer.Option(
        help="Column with the text of the review.", show_default="text, review, ...", rich_help_panel=INPUT
    ),
]
TitleColumnOption = Annotated[
    str | None,
    typer.Option(
        help="Column with the title of the review.", show_default="title, summary, ...", rich_help_panel=INPUT
    ),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option(help="Column with the label.", show_default="label, sentiment, ...", rich_help_panel=INPUT),
]
StarsColumnOption = Annotated[
    str | None,
    typer.Option(
        help="Column with 1-5 stars: 1-2 are negative, 4-5 positive; 3 is left out.",
        show_default="stars, rating, ...",
        rich_help_panel=INPUT,
    ),
]
DelimiterOption = Annotated[
    str | None,
    typer.Option(
        help="Delimiter of a CSV file: one character, or comma, tab, semicolon, pipe or space.",
        show_default="detected",
        rich_help_panel=INPUT,
    ),
]
QuotingOption = Annotated[
    str | None,
    typer.Option(
        help='Quotes of a CSV file: standard, backslash (as standard, and \\" is a quote), none (quotes are '
        "text) or auto.",
        show_default="auto",
        rich_help_panel=INPUT,
    ),
]
HeaderOption = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first row of a CSV file names the columns. Without a header, columns are named by "
        "--columns or numbered: --text-column 2.",
        show_default="header",
        rich_help_panel=INPUT,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="Names of all columns of a CSV file, in order.",
        show_default="header",
        rich_help_panel=INPUT,
    ),
]
LabelMapOption = Annotated[
    str | None,
    typer.Option(
        metavar="VALUE=CLASS,...",
        help="Classes of label values, such as bad=negative; drop leaves rows out. If negative, neutral or "
        "positive is given, all other values are left out.",
        show_default="known values, such as 0/1",
        rich_help_panel=INPUT,
    ),
]
StarsScaleOption = Annotated[
    str | None,
    typer.Option(
        metavar="LOW-HIGH",
        help="Lowest and highest number of stars. The lower 40 % are negative, the upper 40 % positive; the "
        "rest is left out.",
        show_default="1-5",
        rich_help_panel=INPUT,
    ),
]


READING_FLAGS = {
    "format": FormatOption,
    "encoding": EncodingOption,
    "text_column": TextColumnOption,
    "title_column": TitleColumnOption,
    "label_column": LabelColumnOption,
    "stars_column": StarsColumnOption,
    "label_map": LabelMapOption,
    "stars_scale": StarsScaleOption,
    "delimiter": DelimiterOption,
    "quoting": QuotingOption,
    "header": HeaderOption,
    "columns": ColumnsOption,
}
"""Flags for the input, named like settings of `prepare`."""


def reads_reviews(command: Callable[..., None]) -> Callable[..., None]:
    """Add READING_FLAGS, --config and --set to a command, which receives the settings as `settings`."""
    added = {**READING_FLAGS, "config": ConfigOption, "overrides": SetOption}

    @wraps(command)
    def with_settings(**values: Any) -> None:
        from sentiscale.config import resolve

        flags = {f"prepare.{name}": values.pop(name) for name in READING_FLAGS}
        overrides = values.pop("overrides") or ()
        settings = resolve(config=values.pop("config"), overrides=overrides, flags=flags).prepare
        command(**values, settings=settings)

    signature = inspect.signature(command)
    own = [parameter for name, parameter in signature.parameters.items() if name != "settings"]
    by_name = inspect.Parameter.KEYWORD_ONLY
    flags = [inspect.Parameter(name, by_name, default=None, annotation=kind) for name, kind in added.items()]
    with_settings.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    with_settings.__annotations__ = {each.name: each.annotation for each in [*own, *flags]}
    return with_settings


def print_json(document: Mapping[str, Any]) -> None:
    """Print the JSON document of `--json`."""
    sys.stdout.write(json.dumps(dict(document), indent=2, default=str) + "\n")
    sys.stdout.flush()


def print_table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Collection[str] = (),
    heading: str | None = None,
    width: int = 120,
) -> None:
    """Print a table without lines, with the columns named in `left` aligned left and the others right.

    `width` is the width in characters when the output is not a terminal.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, title=heading, title_justify="left")
    for title in titles:
        table.add_column(title, justify="left" if title in left else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=None if Console().is_terminal else width, highlight=False).print(table)


def comma_separated(text: str) -> tuple[str, ...]:
    """Split at commas; drop empty and repeated parts."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def whole_numbers(flag: str, text: str, least: int = 1) -> tuple[int, ...]:
    """Parse a comma-separated list of whole numbers and drop repeated ones.

    Raises: UsageError when the list is empty or has a part that is not a whole number of at least `least`.
    """
    from sentiscale.errors import UsageError

    parts = comma_separated(text)
    if not parts or not all(part.isdecimal() and least <= int(part) < 2**31 for part in parts):
        raise UsageError(
            f"{flag} is '{text}'; it takes whole numbers from {least} on, such as {least},{least + 1}."
        )
    return tuple(map(int, parts))
