"""Convert JSON documents, such as an array or pretty-printed objects, to one record per line."""

import numpy as np

from sentiscale.text.compiled import Bytes, Offsets, frozen, kernel
from sentiscale.text.lines import CR, LF, SPACE, TAB

QUOTE, ESCAPE, COMMA = ord('"'), ord("\\"), ord(",")
OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = ord("{"), ord("}"), ord("["), ord("]")
DEPTH, IN_STRING, ESCAPED, IN_RECORD, OPEN_ARRAYS = range(5)
UNCLOSED = b"\n[: the document ends before its array is closed\n"


class RecordLines:
    """Converts consecutive pieces of a JSON document to lines with one record each.

    The records are the elements of an array, or objects one after the other, with or without commas. An array
    that is never closed gives a last line that is no object, so that a file that is cut short is noticed.
    """

    def __init__(self) -> None:
        self._state = np.zeros(5, np.int64)

    def __call__(self, data: bytes, final: bool) -> bytes:
        out = np.empty(2 * len(data), np.uint8)
        size = split_records(frozen(data), self._state, out)
        lines = out[:size].tobytes()
        if final and self._state[OPEN_ARRAYS] > 0:
            self._state[OPEN_ARRAYS] = 0
            lines += UNCLOSED
        return lines


@kernel
def split_records(data: Bytes, state: Offsets, out: Bytes) -> int:
    """Write the records of `data` to `out`, one per line, and return the number of bytes written."""
    size = 0
    for byte in data:
        if state[IN_STRING]:
            follow_string(byte, state)
        elif state[DEPTH] == 0 and byte in (SPACE, TAB, CR, LF, COMMA, OPEN_BRACKET, CLOSE_BRACKET):
            state[OPEN_ARRAYS] += int(byte == OPEN_BRACKET) - int(byte == CLOSE_BRACKET)
            if state[IN_RECORD] and byte in (COMMA, OPEN_BRACKET, CLOSE_BRACKET):
                out[size] = LF
                size += 1
                state[IN_RECORD] = 0
            continue
        else:
            follow_structure(byte, state)
        state[IN_RECORD] = 1
        out[size] = SPACE if byte in (LF, CR) else byte
        size += 1
        if byte == CLOSE_BRACE and state[DEPTH] == 0 and not state[IN_STRING]:
            out[size] = LF
            size += 1
            state[IN_RECORD] = 0
    return size


@kernel
def follow_string(byte: int, state: Offsets) -> None:
    if state[ESCAPED]:
        state[ESCAPED] = 0
    elif byte == ESCAPE:
        state[ESCAPED] = 1
    elif byte == QUOTE:
        state[IN_STRING] = 0


@kernel
def follow_structure(byte: int, state: Offsets) -> None:
    if byte == QUOTE:
        state[IN_STRING] = 1
    elif byte in (OPEN_BRACE, OPEN_BRACKET):
        state[DEPTH] += 1
    elif byte in (CLOSE_BRACE, CLOSE_BRACKET):
        state[DEPTH] = max(0, state[DEPTH] - 1)
