"""Find out what a review file is from its first bytes: format, delimiter, header, columns."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sentiscale.config import PrepareSettings
from sentiscale.data.sources import SUFFIXES, Stream, is_pipe
from sentiscale.errors import DataError, UsageError, did_you_mean
from sentiscale.text.compiled import Bytes, frozen
from sentiscale.text.csv_scanner import CR, LF, Fields, csv_column, last_csv_end, split_csv
from sentiscale.text.formats import LabelMode, Layout

TEXT_NAMES = (
    "text",
    "review",
    "review_text",
    "reviewtext",
    "content",
    "body",
    "comment",
    "sentence",
    "review_body",
)
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


HEAD_BYTES = 2**20
BOM = b"\xef\xbb\xbf"
NAME_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "fasttext",
    ".ft": "fasttext",
}
DELIMITERS = ",\t;|"
SAMPLE_RECORDS = 200


def sniff(stream: Stream, settings: PrepareSettings, mode: LabelMode) -> Layout:
    """Work out the layout of one file from its first bytes; the stream then stands where it stood.

    Raises:
        DataError: the file is empty, of no known format, or lacks the usual columns.
        UsageError: a column named in the settings is not there.
    """
    path = stream.path
    head = stream.peek(HEAD_BYTES)
    whole = len(head) < HEAD_BYTES
    _check_encoding(path, head)
    head = head.removeprefix(BOM)
    kind = settings.format if settings.format != "auto" else _guess(path, head, settings, mode)
    if kind == "parquet":
        return _parquet(stream, settings, mode)
    if not head.strip():
        raise DataError(f"{path} is empty: it holds no record. Get it again, or leave it out.")
    if kind == "jsonl":
        return _jsonl(path, head, settings, mode, whole)
    if kind == "csv":
        return _csv(path, head, settings, mode, whole)
    label = "label" if mode == "required" or (mode == "optional" and b"__label__" in head) else None
    old_mac = b"\n" not in head and b"\r" in head
    return Layout("fasttext", label=label, terminator=CR if old_mac else LF)


def _check_encoding(path: str, head: bytes) -> None:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path} is UTF-16. Convert it: iconv -f UTF-16 -t UTF-8 {path} > utf8-copy")


def _guess(path: str, head: bytes, settings: PrepareSettings, mode: LabelMode) -> str:
    start = head.lstrip()
    if head[:4] == b"PAR1":
        return "parquet"
    if any(line.lstrip().startswith(b"__label__") for line in head.splitlines()[:20]):
        return "fasttext"
    if start.startswith(b"{"):
        return "jsonl"
    name = _bare_name(path)
    named = NAME_FORMATS.get(Path(name).suffix.lower())
    if start.startswith(b"[") and named in (None, "jsonl"):
        raise DataError(
            f"{path} is one JSON array; one object a line is needed: jq -c '.[]' {path} > {name}l"
        )
    if named == "parquet":
        raise DataError(f"{path} is named .parquet but is none (it does not begin with PAR1). Get it again.")
    if named:
        return named
    if mode != "required":  # commas in plain lines make no table
        return "csv" if _names_a_text(path, head, settings) else "fasttext"
    if _delimiter(head, len(head) < HEAD_BYTES)[1] <= 1:  # not every record is as wide as the first
        raise DataError(
            f"{path} is of no known format. Allowed: fastText lines (__label__1 …), CSV, JSON lines, "
            f"Parquet; say which with --format."
        )
    return "csv"


def _names_a_text(path: str, head: bytes, settings: PrepareSettings) -> bool:
    """Whether the first line, read as CSV, names a column that holds reviews."""
    whole = len(head) < HEAD_BYTES
    data, fields = _sample(head, _delimiter(head, whole)[0], whole)
    if not len(fields.begins):
        return False
    try:
        return bool(choose_columns(path, _header(data, fields), settings, "none"))
    except (DataError, UsageError):
        return False


def _bare_name(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _parquet(stream: Stream, settings: PrepareSettings, mode: LabelMode) -> Layout:
    path = stream.path
    if is_pipe(path):
        raise DataError(f"{path} is a pipe, and Parquet is not read from its beginning. Give the file.")
    if stream.compression:
        raise DataError(
            f"{path} is a compressed Parquet file; decompress it first (Parquet compresses inside)."
        )
    try:
        with fsspec.open(path, "rb") as file:
            schema = pq.ParquetFile(file).schema_arrow
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}. Get it again.") from error
    chosen = choose_columns(path, schema.names, settings, mode)
    for name in (chosen.text, chosen.title, chosen.label):
        if name is not None and pa.types.is_nested(schema.field(name).type):
            raise DataError(
                f"column '{name}' of {path} is of type {schema.field(name).type}; text, numbers or truth "
                f"values are needed. Name another column, or write the file with a flat one."
            )
    return Layout("parquet", chosen.text, chosen.title, chosen.label, chosen.stars)


def _jsonl(path: str, head: bytes, settings: PrepareSettings, mode: LabelMode, whole: bool) -> Layout:
    documents = list(_documents(head, whole))
    if not documents:
        raise DataError(f"{path} has no JSON object in its first lines. Allowed: one object a line.")
    keys = list(dict.fromkeys(key for document in documents for key in document))
    chosen = choose_columns(path, keys, settings, mode)
    label = chosen.label
    kinds = (
        {type(document[label]) for document in documents if document.get(label) is not None} if label else ()
    )
    types = {int: "int64", float: "double", bool: "bool"}
    label_type = types.get(next(iter(kinds)), "string") if len(kinds) == 1 else "string"
    label_type = "double" if set(kinds) == {int, float} else label_type
    return Layout(
        "jsonl",
        chosen.text,
        chosen.title,
        chosen.label,
        chosen.stars,
        label_type=label_type,
        columns=tuple(keys),
    )


def _documents(head: bytes, whole: bool) -> Iterator[dict[str, object]]:
    lines = head.split(b"\n")
    for line in (lines if whole else lines[:-1])[:SAMPLE_RECORDS]:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            yield document


def _csv(path: str, head: bytes, settings: PrepareSettings, mode: LabelMode, whole: bool) -> Layout:
    delimiter, _ = _delimiter(head, whole)
    data, fields = _sample(head, delimiter, whole)
    if not len(fields.begins):
        raise DataError(
            f"{path} has no end of a CSV record within its first {len(head)} bytes: "
            f"is a quote never closed? Allowed: fields that hold quotes are quoted, quotes doubled."
        )
    named = settings.text_column or settings.title_column or settings.label_column or settings.stars_column
    headless = None if named else _headless(data, fields)
    if headless:
        columns, stars = headless
        title = "title" if "title" in columns else None
        label = None if mode == "none" else "label"
        return Layout("csv", "text", title, label, stars, delimiter=delimiter, columns=columns, escapes=True)
    columns = _header(data, fields)
    chosen = choose_columns(path, columns, settings, mode)
    return Layout(
        "csv",
        chosen.text,
        chosen.title,
        chosen.label,
        chosen.stars,
        delimiter=delimiter,
        columns=columns,
        header=True,
    )


def _delimiter(head: bytes, whole: bool) -> tuple[str, float]:
    """The delimiter that fits best, and how well."""
    fits = {delimiter: _fit(_sample(head, delimiter, whole)[1]) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: fits[delimiter])
    return best, fits[best]


def _sample(head: bytes, delimiter: str, whole: bool) -> tuple[Bytes, Fields]:
    data = frozen(head)
    data = data if whole else data[: last_csv_end(data, ord(delimiter), HEAD_BYTES)]
    return data, split_csv(data, ord(delimiter))


def _fit(fields: Fields) -> float:
    """How well a delimiter fits: fields of the first record, times the share of records that have as many."""
    widths = np.diff(fields.first)[:SAMPLE_RECORDS]
    if not len(widths) or widths[0] < 2:
        return 0.0
    share = float((widths == widths[0]).mean())
    return share + min(int(widths[0]), 100) / 1000  # wider wins only between equal shares


def _headless(data: Bytes, fields: Fields) -> tuple[tuple[str, ...], bool] | None:
    """Columns of the published polarity and full review sets (label or stars, [title,] text), and stars?"""
    widths = np.diff(fields.first)[:SAMPLE_RECORDS]
    if not len(widths) or widths[0] not in (2, 3):
        return None
    records = np.flatnonzero(widths == widths[0])
    found = set(csv_column(data, fields, 0, records).to_pylist())
    if not found <= {b"1", b"2", b"3", b"4", b"5"}:
        return None
    columns = ("label", "title", "text") if widths[0] == 3 else ("label", "text")
    return columns, not found <= {b"1", b"2"}


def _header(data: Bytes, fields: Fields) -> tuple[str, ...]:
    """The fields of the first record."""
    first = np.zeros(1, np.int64)
    names = [csv_column(data, fields, column, first)[0].as_py() for column in range(int(fields.first[1]))]
    return tuple(name.decode("utf-8", "replace").strip() for name in names)
