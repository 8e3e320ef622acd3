"""CSV files and other delimited text, with or without a header."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from shlex import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError, UsageError
from sentiscale.text.compiled import Bytes, frozen
from sentiscale.text.csv_scanner import (
    BAD_QUOTE,
    MOST_SUSPECTS,
    Dialect,
    Fields,
    csv_column,
    last_csv_end,
    split_csv,
)
from sentiscale.text.formats import base
from sentiscale.text.formats.base import (
    Columns,
    FileStart,
    InputFormat,
    LabelMode,
    TableFormat,
    UnclearRecordError,
    as_text,
    choose_columns,
    join_title,
)
from sentiscale.text.formats.csv_dialect import (
    FEW_VALUES,
    LINE_ENDS,
    MOST,
    Preamble,
    Reading,
    best_reading,
    dialect_of,
    merged_lines,
    preambles,
)
from sentiscale.text.labels import Reason
from sentiscale.text.lines import CR, LF, gather

STARS = {b"1", b"2", b"3", b"4", b"5"}
HEADLESS_RECORDS = 200
"""Records from which a known headerless set is recognised."""
MOST_TITLE_LINES = 5
"""Lines before a header that a message finds."""
LINE_WIDTH = 80
"""Maximum length of a line in a message."""


class Csv(InputFormat):
    name = "csv"
    title = "CSV"
    suffixes = (".csv", ".tsv")
    one_record_per_line = False

    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        found = list(preambles(start.data, settings))
        for preamble in found[:-1]:
            with suppress(DataError, UsageError):  # the last comment line may be the header
                if table := _describe(start, settings, mode, preamble, sure=False):
                    return table
        table = _describe(start, settings, mode, found[-1], sure=True)
        assert table is not None
        return table

    def parse(self, data: Bytes, table: TableFormat) -> Columns:
        """Split records into fields; reject those with more or fewer fields than there are columns."""
        dialect, width = dialect_of(table.delimiter, table.quoting, spaces=table.spaces), len(table.columns)
        fields = split_csv(data, dialect, width)
        good = (np.diff(fields.first) == width) & (fields.quotes != BAD_QUOTE)
        rows = np.flatnonzero(good)

        def column(name: str) -> pa.Array:
            return csv_column(data, fields, dialect, table.columns.index(name), rows)

        texts = column(table.text)
        headers = _headers(data, fields, dialect, table, rows[_equal(texts, table.text)])
        if headers:  # files with a header each, joined to one
            good[headers] = False
            rows = np.flatnonzero(good)
            texts = column(table.text)
        text = join_title(texts, column(table.title) if table.title is not None else None)
        if table.escapes:
            text = pc.replace_substring(text, b"\\n", b" ")
        label = column(table.label) if table.label is not None else None
        extra = problems = None
        if table.extra is not None:
            values = [as_text(column(name)) for name in table.extra.names]
            extra = pa.Table.from_arrays(values, schema=table.extra)
        if len(rows) < len(good):  # malformed records keep their position; their text is the raw record
            place = pa.array(np.cumsum(good) - 1, mask=~good)
            ends = np.minimum(np.append(fields.begins[1:], len(data)), fields.begins + base.SNIPPET_BYTES)
            text = pc.if_else(pa.array(good), text.take(place), gather(data, fields.begins, ends))
            problems = _problems(fields, good, width, headers)
            label = label.take(place) if label is not None else None
            extra = extra.take(place) if extra is not None else None
        faults = np.where(good, Reason.NONE, Reason.MALFORMED).astype(np.uint8)
        return Columns(text, label, fields.lines, _line_breaks(data), faults, fields.blank, extra, problems)

    def last_record_end(self, data: bytes, table: TableFormat) -> int:
        dialect, end = dialect_of(table.delimiter, table.quoting, spaces=table.spaces), 0
        while True:
            rest = frozen(memoryview(data)[end:])
            found = last_csv_end(rest, dialect, len(table.columns), base.MAX_RECORD_BYTES)
            if table.typed_columns is not None:
                for first, last in found.suspects.tolist():
                    record = data[end + first : end + last]
                    if lines := merged_lines(record, table.delimiter, table.typed_columns):
                        raise UnclearRecordError(
                            end + first,
                            f"has a quoted field with {lines} lines that look like rows. If quotes are text, "
                            "read it with --quoting none; if it is one review, with --quoting standard.",
                        )
            end += found.end
            if len(found.suspects) < MOST_SUSPECTS:
                return end

    def count_lines(self, data: bytes, table: TableFormat) -> int:
        return _line_breaks(frozen(data))

    def schema(self, path: str, table: TableFormat) -> pa.Schema:
        return pa.schema([(name, pa.large_string()) for name in table.columns])


def names_a_text(start: FileStart, settings: PrepareSettings) -> bool:
    """Return whether the first record, read as a CSV header, names a column of reviews."""
    try:
        reading = best_reading(start, settings)
        return bool(reading.widths[:1].any()) and bool(  # a header that is never closed has no width
            choose_columns("csv", start.path, _names(start, settings, reading), settings, "none")
        )
    except (DataError, UsageError):
        return False


def is_table(start: FileStart, settings: PrepareSettings) -> bool:
    """Return whether a file that may hold lines is a table: a header names its text, and most rows fit."""
    if not names_a_text(start, settings):
        return False
    reading = best_reading(start, settings)
    return reading.width > 1 and len(reading.fits) > 0 and float(reading.fits.mean()) > MOST


def _describe(
    start: FileStart, settings: PrepareSettings, mode: LabelMode, preamble: Preamble, *, sure: bool
) -> TableFormat | None:
    """Describe a file with this preamble; None unless `sure`, if its first record is no header."""
    reading = best_reading(start, settings, preamble)
    if not len(reading.widths):
        raise DataError(
            f"no CSV record of {start.path} ends within its first {len(start.data)} bytes: "
            f"is a quote never closed? If quotes are part of the text, read it with --quoting none."
        )
    if settings.header is not False and not reading.widths[0]:
        raise DataError(
            f"{_place(start, preamble, reading, 0)}: the header has a quote that is not closed, or continues "
            f"on the next line: {_line(reading, 0)}. If quotes are text, read it with --quoting none."
        )
    if not sure and reading.first_is_a_row():
        return None
    named = settings.text_column or settings.title_column or settings.label_column or settings.stars_column
    known = None
    if not named and settings.header is None and not settings.columns:
        known = _headless(reading, mode)
    table = known or _columns_of(start, settings, mode, preamble, reading)
    if known is None:
        _check_fit(start, settings, preamble, reading)
    headed = known is None and settings.header is not False
    return replace(
        table,
        delimiter=reading.delimiter,
        quoting=reading.quoting,
        spaces=reading.spaces,
        lines_before=preamble.lines + (_header_lines(reading) if headed else 0),
        typed_columns=reading.row_check() if settings.quoting == "auto" else None,
    )


def _headless(reading: Reading, mode: LabelMode) -> TableFormat | None:
    """Recognise the published headerless review sets, with columns label or stars, [title,] text."""
    widths = reading.widths[:HEADLESS_RECORDS]
    if widths[0] not in (2, 3):
        return None
    values = set(reading.column(0, np.flatnonzero(widths == widths[0])))
    if not values <= STARS:
        return None
    columns = ("label", "title", "text") if widths[0] == 3 else ("label", "text")
    return TableFormat(
        Csv.name,
        "text",
        title="title" if len(columns) == 3 else None,
        label=None if mode == "none" else "label",
        stars=not values <= {b"1", b"2"},
        label_from="position",
        columns=columns,
        escapes=True,
    )


def _columns_of(
    start: FileStart, settings: PrepareSettings, mode: LabelMode, preamble: Preamble, reading: Reading
) -> TableFormat:
    names = _names(start, settings, reading)
    unclear = settings.header is None and reading.first_is_a_row()
    try:
        table = choose_columns(Csv.name, start.path, names, settings, mode)
        if not (unclear and settings.columns):
            return table
        error = None
    except (DataError, UsageError) as refused:
        if not unclear:
            if isinstance(refused, DataError) and (hint := _other_header(start, settings, preamble, names)):
                place = _place(start, preamble, reading, 0)
                raise DataError(
                    f"{place}: the header has no column with a usual name: {_line(reading, 0)}. {hint}"
                ) from refused
            raise
        error = refused
    flags = " ".join(_numbered_columns(reading, mode))
    raise DataError(
        f"{_place(start, preamble, reading, 0)}: the first line looks like a row, not like a header: "
        f"{_line(reading, 0)}. If the file has no header, read it with --no-header {flags}; "
        f"columns are numbered from 1, or named in order with --columns. If it is the header, add --header."
    ) from error


def _names(start: FileStart, settings: PrepareSettings, reading: Reading) -> tuple[str, ...]:
    """Return the names of the columns: from the settings, the header, or numbers from 1.

    Raises: UsageError when the settings name another number of columns than there are.
    """
    if settings.columns is not None:
        if len(settings.columns) != reading.width:
            raise UsageError(
                f"--columns names {len(settings.columns)} columns, but the records of {start.path} have "
                f"{reading.width} fields, as in: {_line(reading, 0)}"
            )
        return settings.columns
    if settings.header is False:
        return tuple(str(number + 1) for number in range(reading.width))
    names = _header_names(reading.record(0))
    return ("",) * (reading.width - len(names)) + names


def _other_header(
    start: FileStart, settings: PrepareSettings, preamble: Preamble, names: Sequence[str]
) -> str | None:
    """Return what to do if another delimiter, or a line after the first, gives a header with a usual name."""
    if settings.header is not None or settings.columns is not None:
        return None
    for sign in sorted(set("".join(names)) - set(" _-")) if len(names) == 1 else ():
        if (
            sign.isascii()
            and not sign.isalnum()
            and names_a_text(start, settings.model_copy(update={"delimiter": sign}))
        ):
            return f"If '{sign}' separates its columns, add --delimiter {quote(sign)}."
    data = start.data[preamble.size :]
    for line in range(1, MOST_TITLE_LINES + 1):
        data = data[found.end() :] if (found := LINE_ENDS.search(data)) else b""
        if data and is_table(replace(start, data=data), settings):
            first = preamble.lines + line + 1
            return (
                f"Line {first} looks like its header. Leave out the lines before: "
                f"{start.reader} | tail -n +{first} > reviews.csv"
            )
    return None


def _header_names(values: list[bytes]) -> tuple[str, ...]:
    names = [name.decode("utf-8", "replace").strip() for name in values]
    names[0] = names[0].lstrip("# ") or names[0]
    return tuple(names)


def _numbered_columns(reading: Reading, mode: LabelMode) -> list[str]:
    """Return the likely flags for a file without a header."""
    lengths = [sum(map(len, reading.column(number, reading.rows))) for number in range(reading.width)]
    flags = [f"--text-column {lengths.index(max(lengths)) + 1}"]
    if mode == "none":
        return flags
    values = {number: set(reading.column(number, reading.rows)) for number, _ in reading.typed_columns()}
    most = min(FEW_VALUES, len(reading.rows) // 2)
    few = [number for number, distinct in values.items() if 1 < len(distinct) <= most]
    label = min(few, key=lambda number: len(values[number]), default=None)
    if label is None:
        return [*flags, "--label-column NUMBER"]
    stars = len(values[label]) > 2 and values[label] <= STARS
    return [*flags, f"--{'stars' if stars else 'label'}-column {label + 1}"]


def _check_fit(start: FileStart, settings: PrepareSettings, preamble: Preamble, reading: Reading) -> None:
    """Raise DataError, with an example and the likely cause, when most records do not fit the header."""
    first = int(settings.header is not False)
    quotes = reading.fields.quotes[first:]
    fits = (reading.widths[first:] == reading.width) & (quotes != BAD_QUOTE)
    good, rows = int(fits.sum()), len(fits)
    if good == rows or (good and (settings.quoting != "auto" or good > MOST * rows)):
        return
    bad = int(np.flatnonzero(~fits)[0])
    found = int(reading.widths[bad + first])
    if quotes[bad] == BAD_QUOTE:
        problem = "a quote is never closed, or text follows a closing quote"
        remedy = "If quotes are part of the text, read it with --quoting none"
    else:
        names = "header names" if first else "records have"
        problem = f"the {names} {reading.width} columns, but this line has {found} fields"
        signs = {"\t": "tabs", ",": "commas", ";": "semicolons"}
        delimiters = signs.get(reading.delimiter, f"'{reading.delimiter}'")
        cause = delimiters if found > reading.width else "line breaks"
        remedy = (
            f"Likely cause: {cause} in text that is not quoted. Write the file again with quotes around the "
            f"text, or name the right --delimiter"
        )
    raise DataError(
        f"{_place(start, preamble, reading, bad + first)}: {problem}: {_line(reading, bad + first)}. "
        f"{rows - good:,} of the first {rows:,} rows do not fit. {remedy}."
    )


def _place(start: FileStart, preamble: Preamble, reading: Reading, record: int) -> str:
    return f"{start.path}:{preamble.lines + int(reading.fields.lines[record]) + 1}"


def _line(reading: Reading, record: int) -> str:
    """Return the first line of a record, shortened."""
    begin = int(reading.fields.begins[record])
    line = LINE_ENDS.split(reading.data[begin : begin + 4 * LINE_WIDTH].tobytes(), maxsplit=1)[0]
    text = line.decode("utf-8", "replace")
    return text if len(text) <= LINE_WIDTH else text[: LINE_WIDTH - 1] + "\u2026"


def _header_lines(reading: Reading) -> int:
    """Return the number of lines of the first record and of the blank lines before it."""
    begin, end = int(reading.fields.begins[0]), int(reading.fields.ends[reading.fields.first[1] - 1])
    return int(reading.fields.lines[0]) + _line_breaks(reading.data[begin:end]) + 1


def _equal(values: pa.Array, name: str) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = pc.equal(values, name.encode()).to_numpy(zero_copy_only=False)
    return equal


def _headers(
    data: Bytes, fields: Fields, dialect: Dialect, table: TableFormat, records: NDArray[np.int64]
) -> list[int]:
    """Return those of the records that are equal to the header; names that are numbers are no header."""
    if table.text.isdigit():
        return []

    def values(record: int) -> list[bytes]:
        one = np.array([record])
        return [
            csv_column(data, fields, dialect, place, one)[0].as_py() for place in range(len(table.columns))
        ]

    return [record for record in records.tolist() if _header_names(values(record)) == table.columns]


def _problems(fields: Fields, good: NDArray[np.bool_], width: int, headers: list[int]) -> pa.Array:
    """Return why each record that is not `good` does not fit; null for the others."""
    kind = pa.large_binary()
    counts = pa.array(np.diff(fields.first), mask=good).cast(pa.string()).cast(kind)
    widths = pc.binary_join_element_wise(
        counts, pa.scalar(f" fields, {width} columns".encode(), kind), pa.scalar(b"", kind)
    )
    unclear = pa.array((fields.quotes == BAD_QUOTE) & ~good)
    reasons = pc.if_else(unclear, pa.scalar(b"a quote is not closed, or text follows it", kind), widths)
    again = np.isin(np.arange(len(good)), headers)
    return pc.if_else(pa.array(again), pa.scalar(b"the header again", kind), reasons)


def _line_breaks(data: Bytes) -> int:
    """Count the line breaks (LF, CR LF or CR)."""
    feeds, returns = data == LF, data == CR
    return int(feeds.sum() + returns.sum() - (returns[:-1] & feeds[1:]).sum())
