"""Find records and fields of delimited text in raw bytes, compiled.

CSV libraries neither report the line on which each record begins nor recover from a stray quote. This scanner
tracks every line, so that no line is lost and rejected rows can be reported by line number.

A quote opens a quoted field only at the start of a field. A record may continue on further lines only if it
has the right number of fields and a delimiter or a line end follows each of its closing quotes. Otherwise,
only its first line is rejected and the next line is a record of its own: a stray quote cannot swallow rows.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiscale.text.bytes8 import HIGH_BITS, ONES, TO_BYTES, WIDTH, load_eight, zeros_below
from sentiscale.text.compiled import ZERO, Bytes, Offsets, check_array, check_spans, inlined, kernel
from sentiscale.text.lines import CR, LF, SPACE, binary_array, gather

DOUBLE_QUOTE, BACKSLASH = 34, 92
NO_BYTE = 256
"""Quote or escape of a dialect that has none; equal to no byte."""
DOUBLED, ESCAPED = 1, 2
"""Bits of `Fields.escaped`."""
WHOLE, TEXT_AFTER_QUOTE, BAD_QUOTE = 0, 1, 2
"""Values of `Fields.quotes`."""
MOST_SUSPECTS = 256
MOST_BREAKS, MOST_FIELDS = 200, 1000
"""Maximum number of escaped line breaks of an unquoted field, and of fields of a record of several lines of
unknown width. Each may cause another scan of the field or record."""
EIGHT_SPACES = np.uint64(0x2020202020202020)
EACH = np.uint64(0x0101010101010101)


class Dialect(NamedTuple):
    """How delimited text is written."""

    delimiter: int
    quote: int = DOUBLE_QUOTE
    escape: int = NO_BYTE
    """Byte after which a quote, a delimiter, a line break or the byte itself is text."""
    spaces: bool = False
    """Whether spaces before an opening and after a closing quote are ignored."""


class Fields(NamedTuple):
    """Fields of CSV records; the fields of record r are first[r]:first[r + 1]."""

    starts: Offsets
    """Position of the first byte of each field, after an opening quote if any."""
    ends: Offsets
    """Position after the last byte of each field, before a closing quote if any."""
    escaped: NDArray[np.uint8]
    """Whether each field contains doubled quotes (DOUBLED) or escapes (ESCAPED)."""
    first: Offsets
    """Index of each record's first field (records + 1,)."""
    begins: Offsets
    """Position of the first byte of each record."""
    lines: Offsets
    """Line on which each record begins, counted from 0."""
    quotes: NDArray[np.uint8]
    """Per record: WHOLE; TEXT_AFTER_QUOTE if text follows a closing quote, so that the quotes are text;
    BAD_QUOTE if a quote is never closed or the record may not continue on the next line."""
    blank: Offsets
    """Line numbers, from 0, of blank lines, which are not records."""


class RecordEnd(NamedTuple):
    """How far complete records reach."""

    end: int
    """End of the last complete record; 0 if none is complete."""
    suspects: Offsets
    """Begin and end of records of several lines most of which have as many delimiters as a record (n, 2)."""


def last_csv_end(data: Bytes, dialect: Dialect, width: int, limit: int) -> RecordEnd:
    """Find the last complete record in `data`, which must begin with a record.

    The scan stops at a record longer than `limit` bytes, because it may only appear long due to a stray
    quote, and after MOST_SUSPECTS suspects.

    Args:
        data: the bytes to scan.
        dialect: delimiter, quote and escape.
        width: number of fields of a record; 0 if unknown.
        limit: maximum size of a record in bytes.
    """
    check_array("data", data, np.uint8, (-1,))
    end, suspects = _last_end(data, dialect, width, limit)
    return RecordEnd(int(end), suspects)


def split_csv(data: Bytes, dialect: Dialect, width: int = 0) -> Fields:
    """Split complete records into fields; blank lines are not records.

    Args:
        data: the bytes to split.
        dialect: delimiter, quote and escape.
        width: number of fields of a record; additional empty fields at the end are dropped. 0 if unknown.
    """
    check_array("data", data, np.uint8, (-1,))
    return Fields(*_split(data, dialect, width))


@inlined
def _skip_plain(data: Bytes, i: int, one: int, other: int) -> int:
    """Return the next position from `i` on of a control character or one of two bytes."""
    ones, others = np.uint64(one & 0xFF) * EACH, np.uint64(other & 0xFF) * EACH
    while i + WIDTH <= len(data):
        eight = load_eight(data, i)
        first, second = eight ^ ones, eight ^ others
        found = ((eight - EIGHT_SPACES) & ~eight) | ((first - ONES) & ~first) | ((second - ONES) & ~second)
        found &= HIGH_BITS  # the lowest bit is exact: borrows reach only higher bytes
        if found:
            return i + int(np.int64(zeros_below(found) >> TO_BYTES))
        i += WIDTH
    while i < len(data) and data[i] >= SPACE and data[i] != one and data[i] != other:
        i += 1
    return i


@inlined
def _after_break(data: Bytes, i: int) -> int:
    """Return the position after the line break at `i`: LF, CR LF or CR."""
    return i + 2 if data[i] == CR and i + 1 < len(data) and data[i + 1] == LF else i + 1


@inlined
def _unquoted_end(data: Bytes, i: int, dialect: Dialect) -> tuple[int, int, int]:
    """Return the end of an unquoted field, ESCAPED if it has escapes, and its number of line breaks.

    The scan stops after MOST_BREAKS line breaks.
    """
    breaks = escaped = 0
    while breaks <= MOST_BREAKS:
        i = _skip_plain(data, i, dialect.delimiter, dialect.escape)
        if i >= len(data):
            return len(data), escaped, breaks
        byte = data[i]
        if byte == dialect.escape and i + 1 < len(data):
            escaped = ESCAPED
            breaks += data[i + 1] == LF or data[i + 1] == CR
            i = _after_break(data, i + 1)
        elif byte == dialect.delimiter or byte in (LF, CR):
            break
        else:
            i += 1
    return i, escaped, breaks


@inlined
def _scan_field(data: Bytes, begin: int, dialect: Dialect) -> tuple[int, int, int, int, int, int]:
    """Return start and end of a field, the position after it, its escapes, line breaks and quotes.

    The last is one of WHOLE, TEXT_AFTER_QUOTE and BAD_QUOTE.
    """
    size, i = len(data), begin
    while dialect.spaces and i < size and data[i] == SPACE:
        i += 1
    if i == size or data[i] != dialect.quote:
        end, escaped, breaks = _unquoted_end(data, begin, dialect)
        return begin, end, end, escaped, breaks, BAD_QUOTE if breaks > MOST_BREAKS else WHOLE
    i += 1
    start, escaped, breaks = i, 0, 0
    while True:
        i = _skip_plain(data, i, dialect.quote, dialect.escape)
        if i >= size:
            return start, size, size, escaped, breaks, BAD_QUOTE
        byte = data[i]
        if byte == dialect.escape and i + 1 < size:
            escaped |= ESCAPED
            breaks += data[i + 1] == LF or data[i + 1] == CR
            i = _after_break(data, i + 1)
        elif byte != dialect.quote:
            breaks += byte in (LF, CR)
            i = _after_break(data, i)
        elif i + 1 < size and data[i + 1] == dialect.quote:
            escaped |= DOUBLED
            i += 2
        else:
            break
    end = i
    i += 1
    while dialect.spaces and i < size and data[i] == SPACE:
        i += 1
    if i == size or data[i] == dialect.delimiter or data[i] == LF or data[i] == CR:
        return start, end, i, escaped, breaks, WHOLE
    if breaks:
        return start, end, i, escaped, breaks, BAD_QUOTE
    after, _, breaks = _unquoted_end(data, i, dialect)
    odd = 0
    for k in range(i, after):
        odd ^= data[k] == dialect.quote
    return begin, after, after, 0, breaks, BAD_QUOTE if odd or breaks > MOST_BREAKS else TEXT_AFTER_QUOTE


@inlined
def _first_line_end(data: Bytes, i: int) -> int:
    """Return the position after the first line break from `i` on, or the end of the data."""
    while i < len(data) and data[i] != LF and data[i] != CR:
        i += 1
    return _after_break(data, i) if i < len(data) else i


@kernel
def _last_end(data: Bytes, dialect: Dialect, width: int, limit: int) -> tuple[int, Offsets]:
    size = len(data)
    suspects = np.empty((MOST_SUSPECTS, 2), np.int64)
    found, last = 0, ZERO
    while last < size and found < MOST_SUSPECTS:
        i, fields, filled, breaks, quotes, bad = last, 0, 0, 0, WHOLE, False
        while True:
            start, end, i, _, own_breaks, quote = _scan_field(data, i, dialect)
            if i >= size:  # more data could change the record
                return last, suspects[:found]
            fields += 1
            filled = fields if end > start else filled
            breaks += own_breaks
            quotes = max(quotes, quote)
            bad = breaks > 0 and (quotes == BAD_QUOTE or filled > (width or MOST_FIELDS))
            if bad or data[i] != dialect.delimiter:
                break
            i += 1
        if i - last > limit:
            break
        if bad or (breaks and width and (filled > width or fields < width)):
            last = _first_line_end(data, last)
            continue
        if data[i] == CR and i + 1 == size:  # it may belong to CR LF
            break
        if breaks and width and _holds_rows(data, last, i, dialect.delimiter, width):
            suspects[found, 0], suspects[found, 1] = last, i
            found += 1
        last = _after_break(data, i)
    return last, suspects[:found]


@inlined
def _holds_rows(data: Bytes, begin: int, end: int, delimiter: int, width: int) -> bool:
    """Return whether the first, the last and most lines of a record have `width - 1` delimiters."""
    lines = rows = 0
    fits = False
    while begin <= end:
        delimiters = 0
        while begin < end and data[begin] != LF and data[begin] != CR:
            delimiters += data[begin] == delimiter
            begin += 1
        fits = delimiters == width - 1 or (delimiters == width and data[begin - 1] == delimiter)
        if lines == 0 and not fits:
            return False
        lines += 1
        rows += fits
        begin = _after_break(data, begin)
    return fits and 2 * rows > lines


@kernel
def _split(
    data: Bytes, dialect: Dialect, width: int
) -> tuple[Offsets, Offsets, NDArray[np.uint8], Offsets, Offsets, Offsets, NDArray[np.uint8], Offsets]:
    room = 2  # every delimiter and line break ends a field
    for i in range(len(data)):
        room += data[i] == dialect.delimiter or data[i] == LF or data[i] == CR
    starts, ends, escaped = np.empty(room, np.int64), np.empty(room, np.int64), np.zeros(room, np.uint8)
    first, begins, lines = np.zeros(room + 1, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    quotes, blank = np.zeros(room, np.uint8), np.empty(room, np.int64)
    fields = records = blanks = line = 0
    i, size = ZERO, len(data)
    while i < size:
        begin, breaks, filled, bad = i, 0, 0, False
        own = first[records]
        while True:
            start, end, i, kind, own_breaks, quote = _scan_field(data, i, dialect)
            starts[fields], ends[fields], escaped[fields] = start, end, kind
            fields += 1
            filled = fields if end > start else filled
            breaks += own_breaks
            quotes[records] = max(quotes[records], quote)
            bad = quotes[records] == BAD_QUOTE and (breaks > 0 or i >= size)
            bad = bad or (breaks > 0 and filled - own > (width or MOST_FIELDS))
            bad = bad or (own_breaks > 0 and i >= size and (data[i - 1] == LF or data[i - 1] == CR))
            if bad or i >= size or data[i] != dialect.delimiter:
                break
            i += 1
        if bad or (breaks and width and (filled - own > width or fields - own < width)):
            quotes[records] = BAD_QUOTE
            fields, breaks, i = own, 0, _first_line_end(data, begin)
        elif i < size:
            i = _after_break(data, i)
        if fields == own + 1 and ends[own] == begin:
            fields = own
            blank[blanks] = line
            blanks += 1
        else:
            if width and filled - own <= width < fields - own:
                fields = own + width
            begins[records], lines[records] = begin, line
            records += 1
            first[records] = fields
        line += breaks + 1
    return (
        starts[:fields],
        ends[:fields],
        escaped[:fields],
        first[: records + 1],
        begins[:records],
        lines[:records],
        quotes[:records],
        blank[:blanks],
    )


@kernel
def unescape(
    data: Bytes,
    starts: Offsets,
    ends: Offsets,
    escaped: NDArray[np.uint8],
    dialect: Dialect,
    out: Bytes,
    offsets: Offsets,
) -> None:
    """Copy the spans to `out`, replacing doubled quotes and escapes; `out` must be large enough.

    An escape before any other byte than a quote, a delimiter, a line break or an escape is text.
    """
    pos = 0
    for row in range(len(starts)):
        i, end, kind = starts[row], ends[row], escaped[row]
        while i < end:
            byte = data[i]
            after = data[i + 1] if i + 1 < end else byte
            if i + 1 < end and kind & DOUBLED and byte == dialect.quote and after == dialect.quote:
                i += 1
            elif i + 1 < end and kind & ESCAPED and byte == dialect.escape:
                special = after == dialect.quote or after == dialect.delimiter or after == dialect.escape
                if special or after in (LF, CR):
                    byte = after
                    i += 1
            out[pos] = byte
            pos += 1
            i += 1
        offsets[row + 1] = pos


def csv_column(
    data: Bytes, fields: Fields, dialect: Dialect, column: int, records: NDArray[np.int64]
) -> pa.Array:
    """Return one column of the given records as binaries; each of these records must have that column."""
    chosen = fields.first[records] + column
    starts, ends = fields.starts[chosen], fields.ends[chosen]
    escaped = fields.escaped[chosen]
    if not escaped.any():
        return gather(data, starts, ends)
    check_spans(starts, ends, len(data))
    offsets = np.zeros(len(starts) + 1, np.int64)
    out = np.empty(int((ends - starts).sum()), np.uint8)
    unescape(data, starts, ends, escaped, dialect, out, offsets)
    return binary_array(out[: offsets[-1]], offsets)
