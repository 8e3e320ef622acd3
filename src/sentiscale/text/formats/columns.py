"""Choose a table's columns with the review, its title and its label."""

from collections.abc import Sequence

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError, UsageError, did_you_mean
from sentiscale.text.formats.base import LabelMode, TableFormat

# Usual names, compared without regard to case; the first that is present counts.
TEXT_NAMES = [
    "text",
    "review",
    "review_text",
    "reviewtext",
    "content",
    "body",
    "comment",
    "sentence",
    "review_body",
]
TITLE_NAMES = ["title", "summary", "review_title", "review_headline", "headline"]
LABEL_NAMES = ["label", "sentiment", "polarity", "class", "target"]
STARS_NAMES = ["stars", "rating", "overall", "star_rating", "score"]


def choose_columns(
    format_name: str, path: str, columns: Sequence[str], settings: PrepareSettings, mode: LabelMode
) -> TableFormat:
    """Choose among the columns of a file.

    Raises:
        UsageError: a column named by a flag is not there, or both kinds of label were named.
        DataError: nothing was named and no usual name is present.
    """
    if settings.label_column and settings.stars_column:
        raise UsageError(
            "--label-column and --stars-column exclude each other; give the one that holds the truth."
        )
    listed = ", ".join(columns) or "no columns"

    def named(name: str | None, flag: str) -> str | None:
        if name is not None and name not in columns:
            hint = did_you_mean(name, columns)
            raise UsageError(f"{flag} is '{name}', but {path} has no such column.{hint} Columns: {listed}.")
        return name

    text = named(settings.text_column, "--text-column") or _usual(columns, TEXT_NAMES)
    if text is None:
        raise DataError(
            f"{path} has no column with a usual name for the review. It has: {listed}. "
            f"Name one with --text-column."
        )
    title = named(settings.title_column, "--title-column") or _usual(columns, TITLE_NAMES)
    stars = named(settings.stars_column, "--stars-column")
    label = named(settings.label_column, "--label-column")
    if mode != "none" and not stars and not label:
        label = _usual(columns, LABEL_NAMES)
        stars = None if label else _usual(columns, STARS_NAMES)
    if mode == "required" and not stars and not label:
        raise DataError(
            f"{path} has no column with a usual name for the label. It has: {listed}. "
            f"Name one with --label-column or --stars-column."
        )
    title = title if title != text else None
    return TableFormat(format_name, text, title, stars or label, stars is not None, columns=tuple(columns))


def _usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    present = {column.lower(): column for column in reversed(columns)}
    return next((present[name] for name in names if name in present), None)
