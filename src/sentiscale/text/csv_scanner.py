"""Find records and fields in raw bytes: lines, and CSV by RFC 4180; compiled."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiscale.text.bytes8 import WIDTH, load_eight, plain_ascii
from sentiscale.text.compiled import Bytes, Offsets, frozen, kernel

LF, CR, TAB, SPACE = 10, 13, 9, 32
DOUBLE_QUOTE = 34
LABEL_MARK = frozen(b"__label__")

FIELD_START, UNQUOTED, QUOTED, QUOTE_IN_QUOTED, LINE_END = range(5)


class Fields(NamedTuple):
    """Fields of CSV records; record r has fields first[r]:first[r + 1]."""

    starts: Offsets
    """First byte of each field, an opening quote left out."""
    ends: Offsets
    """One past the last byte of each field, a closing quote left out."""
    escaped: NDArray[np.bool_]
    """Whether a field holds doubled quotes."""
    first: Offsets
    """Number of each record's first field (records + 1)."""
    begins: Offsets
    """First byte of each record."""
    lines: Offsets
    """Line of the data on which each record begins, from 0."""
    blank: Offsets
    """Blank lines of the data, from 0; they are no records."""
    unclosed: bool
    """Whether the last record ends inside quotes."""


def line_spans(data: Bytes, terminator: int = LF) -> tuple[Offsets, Offsets]:
    """Start and end of each line, its terminator left out; the last line needs none."""
    breaks = np.flatnonzero(data == terminator)
    if len(data) and (not len(breaks) or breaks[-1] != len(data) - 1):
        breaks = np.append(breaks, len(data))
    return np.concatenate([np.zeros(min(len(breaks), 1), np.int64), breaks[:-1] + 1]), breaks


def gather(data: Bytes, starts: Offsets, ends: Offsets) -> pa.Array:
    """Copy the spans of `data` into an Arrow array of binaries."""
    offsets = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(ends - starts, out=offsets[1:])
    out = np.empty(offsets[-1], np.uint8)
    copy_spans(data, starts, offsets, out)
    return binary_array(out, offsets)


def binary_array(data: Bytes, offsets: Offsets) -> pa.Array:
    """An Arrow array of binaries over bytes and offsets, without a copy."""
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


@kernel
def copy_spans(data: Bytes, starts: Offsets, offsets: Offsets, out: Bytes) -> None:
    """Copy span r of `data`, from starts[r] on, to out[offsets[r]:offsets[r + 1]]."""
    for row in range(len(starts)):
        size = offsets[row + 1] - offsets[row]
        out[offsets[row] : offsets[row + 1]] = data[starts[row] : starts[row] + size]


@kernel
def skip_blanks(data: Bytes, i: int, end: int) -> int:
    """The first place from `i` on that holds no space, tab or carriage return."""
    while i < end and (data[i] == SPACE or data[i] == TAB or data[i] == CR):
        i += 1
    return i


@kernel
def trimmed(data: Bytes, starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets]:
    """Start and end of each line without blanks at both ends; equal for a blank line."""
    inner, last = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    for row in range(len(starts)):
        i, end = skip_blanks(data, starts[row], ends[row]), ends[row]
        while end > i and (data[end - 1] == SPACE or data[end - 1] == TAB or data[end - 1] == CR):
            end -= 1
        inner[row], last[row] = i, end
    return inner, last


@kernel
def split_labels(data: Bytes, starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets, Offsets, Offsets]:
    """Tell labels from text in fastText lines.

    Returns start and end of each line's first label without its mark (both 0 without a label; end = start
    when nothing follows the mark), and start and end of the text.
    """
    rows = len(starts)
    label_starts, label_ends = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    text_starts, text_ends = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    mark = len(LABEL_MARK)
    for row in range(rows):
        end = ends[row]
        i = skip_blanks(data, starts[row], end)
        while end > i and (data[end - 1] == SPACE or data[end - 1] == TAB or data[end - 1] == CR):
            end -= 1
        while i + mark <= end:
            k = 0
            while k < mark and data[i + k] == LABEL_MARK[k]:
                k += 1
            if k < mark:
                break
            begin = i = i + mark
            while i < end and data[i] != SPACE and data[i] != TAB and data[i] != CR:
                i += 1
            if label_starts[row] == 0:
                label_starts[row], label_ends[row] = begin, i
            i = skip_blanks(data, i, end)
        text_starts[row], text_ends[row] = i, end
    return label_starts, label_ends, text_starts, text_ends


@kernel
def last_csv_end(data: Bytes, delimiter: int, limit: int) -> int:
    """One past the last record that ends within `data`, which begins with a record; 0 when none ends.

    Looks no further than to a record of more than `limit` bytes: how to go on after it is not known.
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
            if byte == LF or (i + 1 < len(data) and data[i + 1] != LF):  # the last CR may be half of CR LF
                last = i + 1
        else:
            state = UNQUOTED
    return last


@kernel
def split_csv(data: Bytes, delimiter: int) -> Fields:
    """Split whole CSV records into fields; blank lines are no records.

    A quote opens only at the start of a field, "" within quotes is a quote, and what follows a closing
    quote up to the delimiter belongs to the field as it stands.
    """
    room = 2
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
    """Copy the spans back to back, in escaped ones each "" as one quote; `out` must have room for all."""
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
    """One column of the given records as binaries; each of them must have that many fields."""
    chosen = fields.first[records] + column
    starts, ends = fields.starts[chosen], fields.ends[chosen]
    escaped = fields.escaped[chosen]
    if not escaped.any():
        return gather(data, starts, ends)
    offsets = np.zeros(len(starts) + 1, np.int64)
    out = np.empty(int((ends - starts).sum()), np.uint8)
    unescape(data, starts, ends, escaped, out, offsets)
    return binary_array(out[: offsets[-1]], offsets)


@kernel
def text_faults(data: Bytes, offsets: Offsets, nul: int, invalid: int, faults: NDArray[np.uint8]) -> None:
    """Set faults[row] to `nul` or `invalid` where a text holds a NUL byte or is no UTF-8; others stay."""
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        while i < end:
            if i + WIDTH <= end and plain_ascii(load_eight(data, i)):
                i += WIDTH
                continue
            byte = data[i]
            if byte != 0 and byte < 0x80:
                i += 1
                continue
            length = utf8_length(data, i, end)
            if length == 0:
                faults[row] = nul if byte == 0 else invalid
                break
            i += length


@kernel
def utf8_length(data: Bytes, i: int, end: int) -> int:
    """Bytes of the non-ASCII character at `i`; 0 when it is no valid UTF-8."""
    byte = data[i]
    if byte < 0xC2 or byte > 0xF4:
        return 0
    length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if i + length > end:
        return 0
    for k in range(1, length):
        if data[i + k] & 0xC0 != 0x80:
            return 0
    second = data[i + 1]
    overlong = (byte == 0xE0 and second < 0xA0) or (byte == 0xF0 and second < 0x90)
    beyond = (byte == 0xED and second >= 0xA0) or (byte == 0xF4 and second >= 0x90)
    return 0 if overlong or beyond else length
