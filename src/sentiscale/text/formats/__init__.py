"""Input formats, one per module, and their registry: to add a format, add a module and an entry in FORMATS.

A format parses bytes into `Columns`. `data` opens files, and `text.reviews` checks the reviews.
"""

from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow as pa

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError, UsageError, did_you_mean
from sentiscale.text.compiled import frozen
from sentiscale.text.formats.base import (
    TEXT_NAMES,
    Columns,
    FileStart,
    InputFormat,
    LabelMode,
    TableFormat,
    choose_columns,
)
from sentiscale.text.formats.csv_dialect import best_reading
from sentiscale.text.formats.csv_records import Csv, is_table, names_a_text
from sentiscale.text.formats.excel import Excel
from sentiscale.text.formats.fasttext import FastText
from sentiscale.text.formats.files import Files
from sentiscale.text.formats.foreign import refuse_foreign
from sentiscale.text.formats.json_lines import JsonLines
from sentiscale.text.formats.parquet import Parquet
from sentiscale.text.labels import LABEL_PREFIX, ValueRules

FASTTEXT, CSV, JSON_LINES, PARQUET, EXCEL, FILES = FastText(), Csv(), JsonLines(), Parquet(), Excel(), Files()

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""Name of the folder with the rows whose label is null."""

FORMATS: dict[str, InputFormat] = {
    each.name: each for each in (PARQUET, EXCEL, FASTTEXT, CSV, JSON_LINES, FILES)
}
"""All input formats by name; a file is read by the first format that recognises its beginning."""


def format_of(table: TableFormat) -> InputFormat:
    return FORMATS[table.format]


def format_by_suffix(path: str) -> InputFormat | None:
    """Return the format for the suffix of a file name, which must not have a compression suffix."""
    suffix = PurePosixPath(path).suffix.lower()
    return next((each for each in FORMATS.values() if suffix in each.suffixes), None)


def recognise(start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
    """Detect the format and columns of a file from its first bytes.

    Raises:
        DataError: the file is empty, has no known format, or lacks the usual columns.
        UsageError: the settings name an unknown format, or a column that does not exist.
    """
    found, table = _described(start, settings, mode)
    if settings.classes in ("stars", "labels"):
        table = replace(table, stars=settings.classes == "stars" and table.has_labels)
    if settings.weight_column is not None and mode == "required":
        table = _with_weight(found, table, start, settings.weight_column)
    if settings.stars_scale is not None and mode == "required" and not table.stars:
        raise UsageError(
            f"--stars-scale is for columns of stars, but the label of {start.path} is column "
            f"'{table.label}'. Name the column with --stars-column."
        )
    return replace(table, rules=ValueRules.given(settings, stars=table.stars))


def _described(
    start: FileStart, settings: PrepareSettings, mode: LabelMode
) -> tuple[InputFormat, TableFormat]:
    if start.path.endswith("/"):
        return FILES, FILES.describe(start, settings, mode)
    if not start.data:
        raise DataError(f"{start.path} is empty (0 bytes). Download or write it again, or leave it out.")
    check_text(start, settings)
    found = _guess(start, settings, mode) if settings.format == "auto" else named_format(settings.format)
    if not found.in_batches and not start.data.strip():
        raise DataError(f"{start.path} is empty: it contains no records. Get it again, or leave it out.")
    return found, _with_folder_label(found, start, settings, mode) or found.describe(start, settings, mode)


def _with_folder_label(
    found: InputFormat, start: FileStart, settings: PrepareSettings, mode: LabelMode
) -> TableFormat | None:
    """Take the label from a folder of the path, such as `stars=5`, if the file has no label of its own.

    Spark, Hive and pandas write such folders instead of a column.
    """
    columns = dict(part.split("=", 1) for part in start.path.split("/")[:-1] if "=" in part)
    named = settings.label_column or settings.stars_column
    if mode == "none" or not columns or (named is not None and named not in columns):
        return None
    unnamed = settings.model_copy(update={"label_column": None, "stars_column": None})
    if named is None and found.describe(start, unnamed, "optional").label is not None:
        return None
    only = settings.model_copy(update={"text_column": None, "title_column": None})
    label = choose_columns(found.name, start.path, [TEXT_NAMES[0], *columns], only, "optional")
    if label.label is None:
        return None
    table = found.describe(start, unnamed, "none")
    value = columns[label.label]
    return replace(
        table,
        stars=label.stars,
        folder_column=label.label,
        folder_label="" if value == NO_VALUE else unquote(value),
        label_from="folder name",
    )


def _with_weight(found: InputFormat, table: TableFormat, start: FileStart, name: str) -> TableFormat:
    if not found.has_columns:
        raise UsageError(
            f"--weight-column is '{name}', but {start.path} has {found.title}, which have no columns. "
            "Write the reviews as CSV with the columns label, text and a weight."
        )
    if name not in table.columns:
        listed = ", ".join(table.columns)
        raise UsageError(
            f"--weight-column is '{name}', but {start.path} has no such column."
            f"{did_you_mean(name, table.columns)} Columns: {listed}."
        )
    kind = pa.float64() if found is JSON_LINES else pa.large_string()
    return replace(table, weight=name, extra=pa.schema([(name, kind)]))


def check_text(start: FileStart, settings: PrepareSettings) -> None:
    """Raise DataError when a file is not text of reviews, such as a picture, an archive or a web page."""
    named = settings.format != "auto"
    found = named_format(settings.format) if named else format_by_suffix(start.name)
    binary = PARQUET.recognises(start.data) or EXCEL.recognises(start.data)
    if not binary and not (found is not None and found.in_batches and not start.data.startswith(b"PK")):
        refuse_foreign(start, named=named)


def refuse_table(start: FileStart, settings: PrepareSettings) -> None:
    """Raise DataError when a pipe that should deliver one review per line delivers a table."""
    found = JSON_LINES if JSON_LINES.recognises(start.data) else CSV if is_table(start, settings) else None
    if settings.format == "auto" and found is not None:
        raise DataError(
            f"{start.path} begins like {found.title}, not like one review per line: add --format "
            f"{found.name}, or --format {FASTTEXT.name} if each line is a review."
        )


def named_format(name: str) -> InputFormat:
    if name not in FORMATS:
        allowed = ["auto", *FORMATS]
        raise UsageError(
            f"prepare.format is '{name}'.{did_you_mean(name, allowed)} Allowed: {', '.join(allowed)}."
        )
    return FORMATS[name]


def _guess(start: FileStart, settings: PrepareSettings, mode: LabelMode) -> InputFormat:
    by_content = next((each for each in FORMATS.values() if each.recognises(start.data)), None)
    by_name = format_by_suffix(start.name)
    lines = by_content is FASTTEXT or (by_content is None and start.name.lower().endswith(".txt"))
    if lines and not start.data.lstrip().startswith(LABEL_PREFIX.encode()) and is_table(start, settings):
        return CSV
    if by_content is not None:
        return by_content
    if by_name is not None:
        return by_name
    if mode != "required":  # plain text may contain commas without being a table
        return CSV if names_a_text(start, settings) else FASTTEXT
    if best_reading(start, settings).score <= 1:
        allowed = ", ".join(each.title for each in FORMATS.values())
        raise DataError(f"{start.path} has no known format. Allowed: {allowed}; name one with --format.")
    return CSV


def parse(data: bytes | memoryview | pa.Buffer, table: TableFormat) -> Columns:
    """Parse a block of complete records."""
    columns = format_of(table).parse(frozen(data), table)
    if table.folder_label is None:
        return columns
    return replace(columns, label=pa.repeat(pa.scalar(table.folder_label), len(columns.text)))
