"""Find and copy lines and other spans of raw bytes, compiled."""

import numpy as np
import pyarrow as pa

from sentiscale.text.compiled import Bytes, Offsets, check_spans, copy_bytes, kernel

LF, CR, TAB, SPACE = 10, 13, 9, 32


def line_spans(data: Bytes, terminator: int = LF) -> tuple[Offsets, Offsets]:
    """Return the start and end of each line without its terminator, which the last line may lack."""
    breaks = np.flatnonzero(data == terminator)
    if len(data) and (not len(breaks) or breaks[-1] != len(data) - 1):
        breaks = np.append(breaks, len(data))
    return np.concatenate([np.zeros(min(len(breaks), 1), np.int64), breaks[:-1] + 1]), breaks


def gather(data: Bytes, starts: Offsets, ends: Offsets) -> pa.Array:
    """Copy the spans of `data` into an Arrow array of binaries."""
    check_spans(starts, ends, len(data))
    offsets = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(ends - starts, out=offsets[1:])
    out = np.empty(offsets[-1], np.uint8)
    _copy_spans(data, starts, offsets, out)
    return binary_array(out, offsets)


def binary_array(data: Bytes, offsets: Offsets) -> pa.Array:
    """Create an Arrow array of binaries from bytes and offsets, without copying them."""
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


@kernel
def _copy_spans(data: Bytes, starts: Offsets, offsets: Offsets, out: Bytes) -> None:
    """Copy span r of `data`, which begins at starts[r], to out[offsets[r]:offsets[r + 1]]."""
    for row in range(len(starts)):
        size = offsets[row + 1] - offsets[row]
        copy_bytes(data, starts[row], starts[row] + size, out, offsets[row])


@kernel
def skip_blanks(data: Bytes, i: int, end: int) -> int:
    """Return the first position at or after `i` that is not a space, tab or carriage return."""
    while i < end and (data[i] == SPACE or data[i] == TAB or data[i] == CR):
        i += 1
    return i


def trimmed(data: Bytes, starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets]:
    """Return the start and end of each line without surrounding blanks; they are equal for a blank line."""
    check_spans(starts, ends, len(data))
    return _trimmed(data, starts, ends)


@kernel
def _trimmed(data: Bytes, starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets]:
    inner, last = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    for row in range(len(starts)):
        i, end = skip_blanks(data, starts[row], ends[row]), ends[row]
        while end > i and (data[end - 1] == SPACE or data[end - 1] == TAB or data[end - 1] == CR):
            end -= 1
        inner[row], last[row] = i, end
    return inner, last
