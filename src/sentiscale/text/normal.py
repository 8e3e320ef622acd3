"""Bring raw rows into the form that version 2 of the `words` profile reads.

In this form, a text has no markup, has invisible characters only after symbols, is in Unicode's normal form
C, and stays so when its characters are case-folded one by one. Compiled code finds the rows that are in
another form and removes markup. Only rows with other faults, most often accents that are characters of their
own, go through Python's `unicodedata`.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sentiscale.text.bytes8 import HIGH_BITS, ONES, WIDTH, eight_times, load_eight
from sentiscale.text.characters import (
    FRAGILE,
    IGNORED,
    KINDS,
    NORMAL,
    SPECIAL_FOLDS,
    SYMBOL,
    UNSTABLE,
    class_of,
    classes_by_code,
    code_point,
)
from sentiscale.text.compiled import Bytes, Offsets, copy_bytes, frozen, kernel
from sentiscale.text.markup import AMPERSAND, TAG_START, begins_markup, copy_without_markup

MARKUP, ABNORMAL = 1, 2
"""Flags of rows in another form; rows with MARKUP may be ABNORMAL without it."""
TAGS, ENTITIES = eight_times("<"), eight_times("&")
DOTS = re.compile("i\u0307+")


def normal_rows(data: Bytes, offsets: Offsets) -> tuple[Bytes, Offsets]:
    """Return rows in the form described above; the same arrays if all rows are in it already."""
    flags = np.zeros(len(offsets) - 1, np.uint8)
    if not flag_rows(data, offsets, flags):
        return data, offsets
    if (flags & MARKUP).any():
        out, ends = np.empty(offsets[-1] - offsets[0], np.uint8), np.zeros(len(offsets), np.int64)
        remove_markup(data, offsets, flags, out, ends)
        data, offsets = frozen(out[: ends[-1]]), frozen(ends, np.int64)
    rows = np.flatnonzero(flags & ABNORMAL)
    if not len(rows):
        return data, offsets
    parts: list[bytes] = []
    sizes, at = np.diff(offsets), int(offsets[0])
    for row in rows.tolist():
        start, end = int(offsets[row]), int(offsets[row + 1])
        text = folded_text(data[start:end].tobytes().decode("utf-8", "replace")).encode()
        parts += [data[at:start].tobytes(), text]
        sizes[row], at = len(text), end
    parts.append(data[at : offsets[-1]].tobytes())
    return frozen(b"".join(parts)), frozen(np.cumsum(np.append(0, sizes)), np.int64)


def normal_text(data: Bytes) -> tuple[Bytes, Offsets | None]:
    """Return one text in the form described above, and the source of each of its bytes.

    The sources (bytes, 2) are the beginning and the end in `data` of what each byte stands for; None if the
    text is unchanged.
    """
    flags = np.zeros(1, np.uint8)
    if not flag_rows(data, np.array([0, len(data)]), flags):
        return data, None
    out, sources = np.empty(len(data), np.uint8), np.empty((len(data), 2), np.int64)
    text = frozen(out[: copy_without_markup(data, 0, len(data), out, 0, sources)])
    return _folded_with_sources(text, sources) if not is_normal(text, 0, len(text)) else (text, sources)


def folded_text(text: str) -> str:
    """Return a text without invisible characters, case-folded, and in normal form C."""
    text = unicodedata.normalize("NFD", invisible().sub("", text))
    for char, form in SPECIAL_FOLDS.items():
        text = text.replace(char, form)
    return unicodedata.normalize("NFC", DOTS.sub("i", text.casefold()))


@cache
def invisible() -> re.Pattern[str]:
    codes = np.flatnonzero(KINDS[2, classes_by_code()] == IGNORED)
    return re.compile("[" + re.escape("".join(map(chr, codes.tolist()))) + "]+")


def _folded_with_sources(data: Bytes, sources: Offsets) -> tuple[Bytes, Offsets]:
    """Fold a text in pieces: a character and those after it that combine with it."""
    forms: list[bytes] = []
    places: list[tuple[int, int]] = []
    for piece in _pieces(data.tobytes().decode(), sources):
        forms.append(folded_text("".join(char for char, _, _ in piece)).encode())
        places.extend([(piece[0][1], piece[-1][2])] * len(forms[-1]))
    return frozen(b"".join(forms)), np.array(places, np.int64).reshape(-1, 2)


def _pieces(text: str, sources: Offsets) -> Iterator[list[tuple[str, int, int]]]:
    """Yield visible characters and their sources, those together that may combine."""
    piece: list[tuple[str, int, int]] = []
    at = 0
    for char in text:
        number, end = class_of(ord(char)), at + len(char.encode())
        if KINDS[2, number] != IGNORED:
            if NORMAL[number] in (0, FRAGILE):
                yield from _separated(piece)
                piece = []
            piece.append((char, int(sources[at, 0]), int(sources[end - 1, 1])))
        at = end
    yield from _separated(piece)


def _separated(piece: list[tuple[str, int, int]]) -> Iterator[list[tuple[str, int, int]]]:
    """Yield the first character of a piece, and all others, alone if they do not combine."""
    text = "".join(char for char, _, _ in piece)
    cut = len(text) > 1 and folded_text(text) == folded_text(text[0]) + folded_text(text[1:])
    for part in (piece[:cut], piece[cut:]):
        chars = [char for char, _, _ in part]
        if "".join(map(folded_text, chars)) == folded_text("".join(chars)):
            yield from ([each] for each in part)
        else:
            yield part


@kernel
def flag_rows(data: Bytes, offsets: Offsets, flags: NDArray[np.uint8]) -> int:
    """Flag rows in another form; return their number."""
    count = 0
    for row in range(len(flags)):
        i, end = offsets[row], offsets[row + 1]
        beyond_ascii = False
        while i < end:
            if i + WIDTH <= end:
                eight = load_eight(data, i)
                if not (eight | ((eight ^ TAGS) - ONES) | ((eight ^ ENTITIES) - ONES)) & HIGH_BITS:
                    i += WIDTH  # eight ASCII characters without "<" and "&"
                    continue
            byte = data[i]
            beyond_ascii |= byte >= 0x80
            if byte in (TAG_START, AMPERSAND) and begins_markup(data, i, end):
                flags[row] = MARKUP
                break
            i += 1
        if flags[row] == 0 and beyond_ascii and not is_normal(data, offsets[row], end):
            flags[row] = ABNORMAL
        count += flags[row] != 0
    return count


@kernel
def is_normal(data: Bytes, i: int, end: int) -> bool:
    """Whether a text without markup has the form described above."""
    last, after_symbol = 0, False
    while i < end:
        code, length = code_point(data, i, end)
        i += length
        number = class_of(code)
        kind, mark = KINDS[2, number], NORMAL[number]
        if kind == IGNORED:
            if not after_symbol:  # after one, it separates tokens as the symbol does
                return False
            continue
        if mark == UNSTABLE or 0 < mark < last:
            return False
        last = int(mark)
        after_symbol = kind == SYMBOL
    return True


@kernel
def remove_markup(data: Bytes, offsets: Offsets, flags: NDArray[np.uint8], out: Bytes, ends: Offsets) -> None:
    """Copy all rows, those flagged MARKUP without it; flag the ones among them that are ABNORMAL then."""
    no_sources = np.empty((0, 2), np.int64)
    pos = 0
    for row in range(len(flags)):
        i, end = offsets[row], offsets[row + 1]
        if flags[row] == MARKUP:
            stop = copy_without_markup(data, i, end, out, pos, no_sources)
            if not is_normal(out, pos, stop):
                flags[row] |= ABNORMAL
        else:
            stop = copy_bytes(data, i, end, out, pos)
        ends[row + 1] = pos = stop
