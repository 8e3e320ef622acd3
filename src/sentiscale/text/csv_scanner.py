"""Find records and fields of CSV (RFC 4180) in raw bytes, compiled.

CSV libraries neither report the line on which each record begins nor recover from a stray quote. This scanner
tracks every line, so that rejected rows can be reported by line number.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiscale.text.compiled import Bytes, Offsets, check_spans, kernel
from sentiscale.text.lines import CR, LF, binary_array, gather

DOUBLE_QUOTE = 34

FIELD_START, UNQUOTED, QUOTED, QUOTE_IN_QUOTED, LINE_END = range(5)


class Fields(NamedTuple):
    """Fields of CSV records; the fields of record r are first[r]:first[r + 1]."""

    starts: Offsets
    """Position of the first byte of each field, after an opening quote if any."""
    ends: Offsets
    """Position after the last byte of each field, before a closing quote if any."""
    escaped: NDArray[np.bool_]
    """Whether each field contains doubled quotes."""
    first: Offsets
    """Index of each record's first field (records + 1,)."""
    begins: Offsets
    """Position of the first byte of each record."""
    lines: Offsets
    """Line on which each record begins, counted from 0."""
    blank: Offsets
    """Line numbers, from 0, of blank lines, which are not records."""
    unclosed: bool
    """Whether the data ends inside a quoted field."""


@kernel
def last_csv_end(data: Bytes, delimiter: int, limit: int) -> int:
    """Return the end of the last complete record in `data`, or 0 if none is complete.

    `data` must begin with a record. The scan stops at a record longer than `limit` bytes, because it may only
    appear long due to a stray quote.
    """
    state = FIELD_START
    last = 0
    for i in range(len(data)):
        byte = data[i]
        if state == QUOTED:
            if byte == DOUBLE_QUOTE:
                state = QUOTE_IN_QUOTED
        elif byte == DOUBLE_QUOTE and state != UNQUOTED:
            state = QUOTED
        elif byte == delimiter:
            state = FIELD_START
        elif byte in (LF, CR):
            if state != LINE_END and i - last > limit:
                break
            state = LINE_END
            if byte == LF or (i + 1 < len(data) and data[i + 1] != LF):  # a CR at the end may belong to CR LF
                last = i + 1
        else:
            state = UNQUOTED
    return last


@kernel
def split_csv(data: Bytes, delimiter: int) -> Fields:
    """Split complete CSV records into fields; blank lines are not records.

    A quote opens a quoted field only at the start of a field, and "" inside a quoted field is a quote. Text
    between a closing quote and the delimiter belongs to the field unchanged.
    """
    room = 2  # every delimiter and line break ends a field
    for i in range(len(data)):
        room += data[i] == delimiter or data[i] == LF or data[i] == CR
    starts, ends, escaped = np.empty(room, np.int64), np.empty(room, np.int64), np.zeros(room, np.bool_)
    first, begins, lines = np.zeros(room + 1, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    blank = np.empty(room, np.int64)
    fields = records = blanks = line = i = 0
    size = len(data)
    unclosed = False
    while i < size:
        begin, begin_line = i, line
        row_open = True
        while row_open:
            quoted = i < size and data[i] == DOUBLE_QUOTE
            i += quoted
            start, end, open_quote = i, -1, quoted
            while i < size:
                byte = data[i]
                if open_quote:
                    if byte == DOUBLE_QUOTE:
                        if i + 1 < size and data[i + 1] == DOUBLE_QUOTE:
                            escaped[fields] = True
                            i += 1
                        else:
                            open_quote, end = False, i
                    elif byte == LF or (byte == CR and (i + 1 == size or data[i + 1] != LF)):
                        line += 1
                elif byte in (delimiter, LF, CR):
                    break
                else:
                    end = -1
                i += 1
            starts[fields], ends[fields] = start, i if end < 0 else end
            fields += 1
            unclosed = open_quote
            row_open = i < size and data[i] == delimiter
            i += row_open
        if i < size:
            i += 2 if data[i] == CR and i + 1 < size and data[i + 1] == LF else 1
            line += 1
        if fields == first[records] + 1 and ends[fields - 1] == begin:
            fields -= 1
            blank[blanks] = begin_line
            blanks += 1
        else:
            begins[records], lines[records] = begin, begin_line
            records += 1
            first[records] = fields
    return Fields(
        starts[:fields],
        ends[:fields],
        escaped[:fields],
        first[: records + 1],
        begins[:records],
        lines[:records],
        blank[:blanks],
        unclosed,
    )


@kernel
def unescape(
    data: Bytes, starts: Offsets, ends: Offsets, escaped: NDArray[np.bool_], out: Bytes, offsets: Offsets
) -> None:
    """Copy the spans to `out`, replacing "" with one quote in escaped spans; `out` must be large enough."""
    pos = 0
    for row in range(len(starts)):
        i = starts[row]
        while i < ends[row]:
            out[pos] = data[i]
            quotes = data[i] == DOUBLE_QUOTE and i + 1 < ends[row] and data[i + 1] == DOUBLE_QUOTE
            i += escaped[row] and quotes
            pos += 1
            i += 1
        offsets[row + 1] = pos


def csv_column(data: Bytes, fields: Fields, column: int, records: NDArray[np.int64]) -> pa.Array:
    """Return one column of the given records as binaries; each of these records must have that column."""
    chosen = fields.first[records] + column
    starts, ends = fields.starts[chosen], fields.ends[chosen]
    escaped = fields.escaped[chosen]
    if not escaped.any():
        return gather(data, starts, ends)
    check_spans(starts, ends, len(data))
    offsets = np.zeros(len(starts) + 1, np.int64)
    out = np.empty(int((ends - starts).sum()), np.uint8)
    unescape(data, starts, ends, escaped, out, offsets)
    return binary_array(out[: offsets[-1]], offsets)
