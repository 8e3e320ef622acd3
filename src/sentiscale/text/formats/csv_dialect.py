"""Recognise how a delimited file is written, from its first records: delimiter, quotes, header, types.

A file is read in the way that fits most of its records. The usual way, RFC 4180, is preferred; if all records
fit, nothing else is tried.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sentiscale.config import PrepareSettings, Quoting
from sentiscale.text.compiled import Bytes, frozen
from sentiscale.text.csv_scanner import (
    BACKSLASH,
    DOUBLE_QUOTE,
    DOUBLED,
    NO_BYTE,
    WHOLE,
    Dialect,
    Fields,
    csv_column,
    last_csv_end,
    split_csv,
)
from sentiscale.text.formats.base import FileStart, TypedColumns

DELIMITERS = ",\t;|"
MOST_TAIL_BYTES = 2**16
"""A record that is not complete at the end of the sample and longer than this has a stray quote."""
SAMPLE_RECORDS = 1000
"""Records from which the types of columns are known."""
FEW_ROWS, FEW_VALUES = 10, 20
RARELY, MOST, ALWAYS = 0.05, 0.5, 0.99
"""Shares of quoted values up to which a column is rarely, or from which it is mostly or always quoted."""
FEW_QUOTED = 2
"""Number of quoted values of a column up to which quotes are rare, however few rows there are."""
FEWEST_MERGED = 4
"""Lines of a quoted field from which they may be rows, if neither types nor the delimiter tell."""
PROSE = ", "
"""Delimiters that are frequent in text."""
LINE_ENDS = re.compile(rb"\r\n?|\n")
SEPARATOR_LINE = re.compile(rb'"?sep=([^"\r\n])"?(\r\n?|\n)', re.IGNORECASE)
NUMBER = re.compile(rb"[+-]?\d+([.,]\d+)?")


def dialect_of(delimiter: str, quoting: Quoting, *, spaces: bool = False) -> Dialect:
    quote = NO_BYTE if quoting == "none" else DOUBLE_QUOTE
    return Dialect(ord(delimiter), quote, BACKSLASH if quoting == "backslash" else NO_BYTE, spaces)


@dataclass(frozen=True)
class Preamble:
    """Lines before the header, which are no records."""

    lines: int
    size: int
    delimiter: str | None = None
    """Delimiter that a line such as `sep=;` names."""


def preambles(data: bytes, settings: PrepareSettings) -> Iterator[Preamble]:
    """Yield the possible preambles: all comment lines, and all but the last, which may be the header."""
    lines, size, delimiter = 0, 0, None
    if found := SEPARATOR_LINE.match(data):
        lines, size, delimiter = 1, found.end(), found[1].decode("latin-1")
    ends = [size]
    while settings.header is not False and data.startswith(b"#", size):
        found = LINE_ENDS.search(data, size)
        size = found.end() if found else len(data)
        ends.append(size)
    for count in (len(ends) - 1, len(ends) - 2):
        if count >= 0:
            yield Preamble(lines + count, ends[count], delimiter)


@dataclass(frozen=True)
class Reading:
    """The first records of a file, read in one way; the first of them is the header if `headed`."""

    delimiter: str
    quoting: Quoting
    spaces: bool
    headed: bool
    data: Bytes
    fields: Fields
    width: int
    """Number of fields of a record."""

    @property
    def dialect(self) -> Dialect:
        return dialect_of(self.delimiter, self.quoting, spaces=self.spaces)

    @cached_property
    def widths(self) -> NDArray[np.int64]:
        """Number of fields of each record; 0 if it is rejected because of its quotes."""
        return np.diff(self.fields.first)

    @cached_property
    def fits(self) -> NDArray[np.bool_]:
        """Whether each record after the header has the right number of fields and no text after a quote."""
        rows = slice(int(self.headed), None)
        fits: NDArray[np.bool_] = (self.widths[rows] == self.width) & (self.fields.quotes[rows] == WHOLE)
        return fits

    @property
    def bad(self) -> int:
        return int((~self.fits).sum())

    @property
    def score(self) -> float:
        """Share of the records that fit; the number of fields breaks ties."""
        if self.width < 2:
            return 0.0
        return 1 - self.bad / max(1, len(self.fits)) + min(self.width, 100) / 1000

    def column(self, number: int, records: NDArray[np.int64]) -> list[bytes]:
        """Return the values of a column of records that have it."""
        values: list[bytes] = csv_column(self.data, self.fields, self.dialect, number, records).to_pylist()
        return values

    def record(self, number: int) -> list[bytes]:
        one = np.array([number])
        return [self.column(column, one)[0] for column in range(int(self.widths[number]))]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Indices of the first records after the header that fit."""
        return np.flatnonzero(self.fits)[:SAMPLE_RECORDS] + self.headed

    @cached_property
    def quoted_shares(self) -> NDArray[np.float64]:
        """Share of `rows` in which each column is quoted (width,)."""
        if self.quoting == "none" or not len(self.rows):
            return np.zeros(self.width)
        chosen = self.fields.first[self.rows][:, None] + np.arange(self.width)
        starts = self.fields.starts[chosen]
        quoted = (starts > 0) & (self.data[np.maximum(starts - 1, 0)] == DOUBLE_QUOTE)
        shares: NDArray[np.float64] = quoted.mean(axis=0)
        return shares

    def typed_columns(self) -> TypedColumns:
        """Return the columns that hold only numbers or only a few values."""
        found: list[tuple[int, frozenset[bytes] | None]] = []
        for number in range(self.width):
            values = self.column(number, self.rows)
            if values and all(NUMBER.fullmatch(value.strip()) for value in values):
                found.append((number, None))
            elif 4 * len(distinct := frozenset(values)) <= len(values) and len(distinct) <= FEW_VALUES:
                found.append((number, distinct))
        return tuple(found)

    def row_check(self) -> TypedColumns | None:
        """Return `TableFormat.typed_columns`; None if quoted fields cannot be mistaken.

        If a column is always quoted, a quote that is not closed meets the opening quote of the next row.
        Without types, text with commas is quoted so often that lines with as many commas are no evidence,
        unless quotes are rare.
        """
        typed = self.typed_columns()
        free = set(range(self.width)) - {number for number, _ in typed}
        quoted = len(self.rows) >= FEW_ROWS and bool((self.quoted_shares[sorted(free)] >= ALWAYS).all())
        unclear = self.width < 2 or (not typed and self.delimiter in PROSE)
        few = max(RARELY * len(self.rows), FEW_QUOTED)
        if (
            self.quoting == "none"
            or quoted
            or (unclear and (self.quoted_shares * len(self.rows)).max() > few)
        ):
            return None
        return () if unclear else typed

    def first_is_a_row(self) -> bool:
        """Whether the first record looks like the rows, and not like a header."""
        typed = self.typed_columns()
        first = self.record(0)
        return len(first) == self.width > 0 and any(is_typed(first, column) for column in typed)

    def has_row_names(self) -> bool:
        """Whether the first column holds row names, as R writes them: different numbers or quoted names."""
        names = self.column(0, self.rows)
        if len(names) < 2 or len(set(names)) < len(names):
            return False
        return self.quoted_shares[0] == 1 or all(name.isdigit() for name in names)


def is_typed(values: list[bytes], column: tuple[int, frozenset[bytes] | None]) -> bool:
    """Return whether a record has a value of the column's type."""
    number, allowed = column
    value = values[number].strip()
    return bool(NUMBER.fullmatch(value)) if allowed is None else value in allowed


def looks_like_a_row(line: bytes, delimiter: str, typed: TypedColumns) -> bool:
    """Return whether a line within a quoted field has the right type in every typed column."""
    values = [value.strip(b' "') for value in line.split(delimiter.encode())]
    return all(column[0] < len(values) and is_typed(values, column) for column in typed)


def merged_lines(data: bytes, delimiter: str, typed: TypedColumns) -> int:
    """Return how many lines of a record look like rows, if most do; otherwise 0."""
    lines = LINE_ENDS.split(data)
    if not typed and delimiter in PROSE and len(lines) < FEWEST_MERGED:
        return 0
    rows = [looks_like_a_row(line, delimiter, typed) for line in lines]
    return sum(rows) if rows[0] and rows[-1] and 2 * sum(rows) > len(lines) else 0


def best_reading(start: FileStart, settings: PrepareSettings, preamble: Preamble | None = None) -> Reading:
    """Return the way to read the file that fits most records at its beginning."""
    preamble = preamble or next(preambles(start.data, settings))
    data = start.data[preamble.size :]
    delimiter = settings.delimiter or preamble.delimiter
    delimiters = [delimiter] if delimiter else list(DELIMITERS)

    def read(delimiter: str, quoting: Quoting, *, spaces: bool = False) -> Reading:
        return _read(data, start.whole, settings.header is not False, delimiter, quoting, spaces)

    usual: Quoting = "standard" if settings.quoting == "auto" else settings.quoting
    plain = [read(each, usual) for each in delimiters]
    best = max(plain, key=lambda reading: reading.score)
    if best.score > 1:
        return best
    others = [read(each, usual, spaces=True) for each in delimiters if f'{each} "'.encode() in data]
    if settings.quoting == "auto" and b"\\" in data:
        others += [read(each, "backslash") for each in delimiters]
    if settings.quoting == "auto" and b'"' in data:
        pairs = [(each, read(each.delimiter, "none")) for each in plain]
        others += [unquoted for standard, unquoted in pairs if _may_be_unquoted(standard, unquoted)]
    return max([best, *others], key=lambda reading: reading.score)


def _may_be_unquoted(standard: Reading, unquoted: Reading) -> bool:
    """Whether fewer records contradict unquoted than quoted text."""
    if standard.width < 2 or standard.quoted_shares.max() >= MOST:
        return False
    doubled = np.flatnonzero(standard.fields.escaped & DOUBLED)
    with_doubled = len(np.unique(np.searchsorted(standard.fields.first, doubled, side="right")))
    return unquoted.bad + with_doubled < standard.bad and unquoted.bad < MOST * len(unquoted.fits)


def _read(data: bytes, whole: bool, headed: bool, delimiter: str, quoting: Quoting, spaces: bool) -> Reading:
    dialect = dialect_of(delimiter, quoting, spaces=spaces)
    sample = _complete(data, whole, dialect)
    plain = Reading(delimiter, quoting, spaces, headed, sample, split_csv(sample, dialect), 0)
    if not len(plain.widths):
        return plain
    width = int(plain.widths[0]) if headed else Counter(plain.widths.tolist()).most_common(1)[0][0]
    widths = [width]
    if headed and width > 1:
        names = plain.record(0)
        named = max((number for number, name in enumerate(names, 1) if name), default=width)
        widths = [*{named: None, width: None}, width + 1]  # the last: the names of the rows have none
    if width < 2:
        return replace(plain, width=width)
    readings = [replace(plain, fields=split_csv(sample, dialect, each), width=each) for each in widths]
    if headed and not (readings[-1].fits.any() and readings[-1].has_row_names()):
        readings.pop()
    return min(readings, key=lambda reading: reading.bad)


def _complete(data: bytes, whole: bool, dialect: Dialect) -> Bytes:
    """Return the complete records; all lines if the last record is long, probably due to a stray quote."""
    sample = frozen(data)
    if whole:
        return sample
    end = last_csv_end(sample, dialect, 0, len(sample)).end
    if len(sample) - end > MOST_TAIL_BYTES:
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
    return sample[:end]
