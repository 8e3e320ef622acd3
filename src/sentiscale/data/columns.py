"""Which columns of a table hold text, title and label: those that were named, else the usual names."""

from collections.abc import Sequence
from dataclasses import dataclass

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError, UsageError, did_you_mean
from sentiscale.text.formats import LabelMode

TEXT_NAMES = (
    "text", "review", "review_text", "reviewtext", "content", "body", "comment", "sentence", "review_body",
)  # fmt: skip
TITLE_NAMES = ("title", "summary", "review_title", "review_headline", "headline")
LABEL_NAMES = ("label", "sentiment", "polarity", "class", "target")
STARS_NAMES = ("stars", "rating", "overall", "star_rating", "score")
"""Usual names, compared without regard to case; the first that is present counts."""


@dataclass(frozen=True)
class ColumnChoice:
    """Columns to read."""

    text: str
    """Column with the review."""
    title: str | None
    """Column put in front of it."""
    label: str | None
    """Column with the label or the stars."""
    stars: bool
    """Whether that column holds 1-5 stars."""


def choose_columns(
    path: str, columns: Sequence[str], settings: PrepareSettings, mode: LabelMode
) -> ColumnChoice:
    """Choose among a table's columns.

    Raises:
        UsageError: a column named by a flag is not there, or both kinds of label were named.
        DataError: nothing was named and no usual name is present.
    """
    if settings.label_column and settings.stars_column:
        raise UsageError(
            "--label-column and --stars-column exclude each other; give the one that holds the truth."
        )
    text = _named(path, columns, settings.text_column, "--text-column") or _usual(columns, TEXT_NAMES)
    if text is None:
        raise DataError(
            f"{path} has no column with a usual name for the review. It has: {_listed(columns)}. "
            f"Name one with --text-column."
        )
    title = _named(path, columns, settings.title_column, "--title-column") or _usual(columns, TITLE_NAMES)
    stars = _named(path, columns, settings.stars_column, "--stars-column")
    label = _named(path, columns, settings.label_column, "--label-column")
    if mode != "none" and not stars and not label:
        label = _usual(columns, LABEL_NAMES)
        stars = None if label else _usual(columns, STARS_NAMES)
    if mode == "required" and not stars and not label:
        raise DataError(
            f"{path} has no column with a usual name for the label. It has: {_listed(columns)}. "
            f"Name one with --label-column or --stars-column."
        )
    return ColumnChoice(text, title if title != text else None, stars or label, stars is not None)


def _named(path: str, columns: Sequence[str], name: str | None, flag: str) -> str | None:
    if name is not None and name not in columns:
        raise UsageError(
            f"{flag} is '{name}', but {path} has no such column.{did_you_mean(name, columns)} "
            f"Columns: {_listed(columns)}."
        )
    return name


def _usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    present = {column.lower(): column for column in reversed(columns)}
    return next((present[name] for name in names if name in present), None)


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns) if columns else "no columns"
