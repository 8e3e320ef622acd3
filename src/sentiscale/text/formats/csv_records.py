"""CSV files with a common delimiter, with or without a header."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError, UsageError
from sentiscale.text.compiled import Bytes, frozen
from sentiscale.text.csv_scanner import Fields, csv_column, last_csv_end, split_csv
from sentiscale.text.formats import base
from sentiscale.text.formats.base import (
    Columns,
    FileStart,
    InputFormat,
    LabelMode,
    TableFormat,
    as_text,
    choose_columns,
    join_title,
)
from sentiscale.text.labels import Reason
from sentiscale.text.lines import CR, LF, gather

MOST_STRAY_QUOTES = 50
DELIMITERS = ",\t;|"
SAMPLE_RECORDS = 200


class Csv(InputFormat):
    name = "csv"
    title = "CSV"
    suffixes = (".csv", ".tsv")
    one_record_per_line = False

    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        delimiter, _ = best_delimiter(start)
        data, fields = _sample(start, delimiter)
        if not len(fields.begins):
            raise DataError(
                f"no CSV record of {start.path} ends within its first {len(start.data)} bytes: "
                f"is a quote never closed? Fields with quotes must be quoted, and their quotes doubled."
            )
        named = (
            settings.text_column or settings.title_column or settings.label_column or settings.stars_column
        )
        headless = None if named else self._headless(data, fields, mode)
        table = headless or choose_columns(self.name, start.path, _header(data, fields), settings, mode)
        return replace(table, delimiter=delimiter, header=headless is None)

    def _headless(self, data: Bytes, fields: Fields, mode: LabelMode) -> TableFormat | None:
        """Recognise the published headerless review sets, with columns label or stars, [title,] text."""
        widths = np.diff(fields.first)[:SAMPLE_RECORDS]
        if not len(widths) or widths[0] not in (2, 3):
            return None
        records = np.flatnonzero(widths == widths[0])
        values = set(csv_column(data, fields, 0, records).to_pylist())
        if not values <= {b"1", b"2", b"3", b"4", b"5"}:
            return None
        columns = ("label", "title", "text") if widths[0] == 3 else ("label", "text")
        return TableFormat(
            self.name,
            "text",
            title="title" if len(columns) == 3 else None,
            label=None if mode == "none" else "label",
            stars=not values <= {b"1", b"2"},
            columns=columns,
            escapes=True,
        )

    def parse(self, data: Bytes, table: TableFormat) -> Columns:
        """Split records into fields; records with more or fewer fields than the header are malformed.

        If the data ends inside a quoted field, the line that opened the quote is malformed and parsing
        resumes on the next line, so that a stray quote does not consume the rest of a file.
        """
        delimiter = ord(table.delimiter)
        parts: list[Columns] = []
        while True:
            fields = split_csv(data, delimiter)
            if not fields.unclosed or len(parts) >= 2 * MOST_STRAY_QUOTES:
                return _joined([*parts, _parse_fields(data, fields, table)])
            begin = fields.begins[-1]
            after = begin + _first_line(data[begin:])
            parts.append(_parse_fields(data[:begin], split_csv(data[:begin], delimiter), table))
            parts.append(_malformed_line(data[begin:after], table))
            data = data[after:]

    def last_record_end(self, data: bytes, table: TableFormat) -> int:
        return int(last_csv_end(frozen(data), ord(table.delimiter), base.MAX_RECORD_BYTES))

    def count_lines(self, data: bytes, table: TableFormat) -> int:
        return _line_breaks(frozen(data))


def names_a_text(start: FileStart, settings: PrepareSettings) -> bool:
    """Return whether the first record, read as a CSV header, names a column of reviews."""
    data, fields = _sample(start, best_delimiter(start)[0])
    try:
        return len(fields.begins) > 0 and bool(
            choose_columns("csv", start.path, _header(data, fields), settings, "none")
        )
    except (DataError, UsageError):
        return False


def best_delimiter(start: FileStart) -> tuple[str, float]:
    """Return the best-fitting delimiter and its fit, above 1 if all records have equally many fields."""
    fits = {delimiter: _fit(_sample(start, delimiter)[1]) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: fits[delimiter])
    return best, fits[best]


def _fit(fields: Fields) -> float:
    widths = np.diff(fields.first)[:SAMPLE_RECORDS]
    if not len(widths) or widths[0] < 2:
        return 0.0
    share = float((widths == widths[0]).mean())
    return share + min(int(widths[0]), 100) / 1000  # the number of fields only breaks ties


def _sample(start: FileStart, delimiter: str) -> tuple[Bytes, Fields]:
    """Split the complete records at the beginning of a file."""
    data = frozen(start.data)
    data = data if start.whole else data[: last_csv_end(data, ord(delimiter), len(data))]
    return data, split_csv(data, ord(delimiter))


def _header(data: Bytes, fields: Fields) -> tuple[str, ...]:
    """Return the fields of the first record as column names."""
    first = np.zeros(1, np.int64)
    names = [csv_column(data, fields, column, first)[0].as_py() for column in range(int(fields.first[1]))]
    return tuple(name.decode("utf-8", "replace").strip() for name in names)


def _parse_fields(data: Bytes, fields: Fields, table: TableFormat) -> Columns:
    good = np.diff(fields.first) == len(table.columns)
    if fields.unclosed:
        good[-1] = False
    rows = np.flatnonzero(good)

    def column(name: str) -> pa.Array:
        return csv_column(data, fields, table.columns.index(name), rows)

    text = join_title(column(table.text), column(table.title) if table.title is not None else None)
    if table.escapes:
        text = pc.replace_substring(text, b"\\n", b" ")
    label = column(table.label) if table.label is not None else None
    extra = None
    if table.extra is not None:
        values = [as_text(column(name)) for name in table.extra.names]
        extra = pa.Table.from_arrays(values, schema=table.extra)
    if len(rows) < len(good):  # malformed records keep their position; their text is the raw record
        place = pa.array(np.cumsum(good) - 1, mask=~good)
        ends = np.minimum(np.append(fields.begins[1:], len(data)), fields.begins + base.SNIPPET_BYTES)
        text = pc.if_else(pa.array(good), text.take(place), gather(data, fields.begins, ends))
        label = label.take(place) if label is not None else None
        extra = extra.take(place) if extra is not None else None
    faults = np.where(good, Reason.NONE, Reason.MALFORMED).astype(np.uint8)
    return Columns(text, label, fields.lines, _line_breaks(data), faults, fields.blank, extra)


def _malformed_line(data: Bytes, table: TableFormat) -> Columns:
    text = pa.array([data[: base.SNIPPET_BYTES].tobytes()], pa.large_binary())
    faults = np.array([Reason.MALFORMED], np.uint8)
    extra = None
    if table.extra is not None:
        nulls = [pa.nulls(1, kind) for kind in table.extra.types]
        extra = pa.Table.from_arrays(nulls, schema=table.extra)
    none = pa.nulls(1, pa.large_binary())
    return Columns(text, none, np.zeros(1, np.int64), _line_breaks(data), faults, extra=extra)


def _joined(parts: list[Columns]) -> Columns:
    """Concatenate the columns of consecutive parts of one block."""
    if len(parts) == 1:
        return parts[0]
    before = np.cumsum([0] + [part.line_count for part in parts])
    return Columns(
        text=pa.concat_arrays([part.text for part in parts]),
        label=pa.concat_arrays([part.label for part in parts]) if parts[0].label is not None else None,
        lines=np.concatenate([part.lines + lines for part, lines in zip(parts, before, strict=False)]),
        line_count=int(before[-1]),
        faults=np.concatenate([part.faults for part in parts]),
        blank=np.concatenate([part.blank + lines for part, lines in zip(parts, before, strict=False)]),
        extra=pa.concat_tables([part.extra for part in parts]) if parts[0].extra is not None else None,
    )


def _first_line(data: Bytes) -> int:
    """Return the length of the first line with its line break, or of all data if there is no line break."""
    breaks = np.flatnonzero((data == LF) | ((data == CR) & (np.append(data[1:], CR) != LF)))
    return int(breaks[0]) + 1 if len(breaks) else len(data)


def _line_breaks(data: Bytes) -> int:
    """Count the line breaks (LF, CR LF or CR)."""
    feeds, returns = data == LF, data == CR
    return int(feeds.sum() + returns.sum() - (returns[:-1] & feeds[1:]).sum())
