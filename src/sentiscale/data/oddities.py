"""Detect usable but unusual reviews, such as nearly empty or badly encoded ones."""

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from sentiscale.text.bytes8 import HIGH_BITS, WIDTH, eight_times, has_byte, has_control, load_eight
from sentiscale.text.compiled import Bytes, Offsets, check_array, check_offsets, kernel
from sentiscale.text.markup import AMPERSAND, TAG_START, begins_markup

SHORT_TOKENS = 3
"""Reviews with fewer tokens count as nearly empty."""
COMMON_WORDS, COMMON_SHARE = 200, 10
"""In a review in the language of the dataset, at least one token in 10 is among the 200 most frequent words
of the training rows. In English, about six in 10 are."""
TAGS, ENTITIES = eight_times("<"), eight_times("&")
ENOUGH_TOKENS = 10
"""Reviews with fewer tokens are too short to judge their language."""


class Oddity(IntFlag):
    """Kinds of unusual rows; oddities.parquet contains their names in lower case."""

    NEARLY_EMPTY = 1
    """Fewer than three tokens."""
    BAD_ENCODING = 2
    """Contains replacement characters, control characters, or doubly encoded UTF-8 ("Ã©", "â€™")."""
    OTHER_SCRIPT = 4
    """Most letters are not Latin."""
    MARKUP = 8
    """Contains an HTML tag or entity."""
    UNUSUAL_WORDS = 16
    """Contains few common words: possibly another language, a list, or noise."""


BAD_ENCODING, OTHER_SCRIPT, MARKUP = (
    np.uint8(oddity) for oddity in (Oddity.BAD_ENCODING, Oddity.OTHER_SCRIPT, Oddity.MARKUP)
)  # numba does not support enum flags


def raw_oddities(data: Bytes, offsets: Offsets) -> NDArray[np.uint8]:
    """Return the flags BAD_ENCODING, OTHER_SCRIPT and MARKUP per row from raw bytes in valid UTF-8.

    In invalid UTF-8, the flags are undefined.
    """
    check_array("data", data, np.uint8, (-1,))
    check_offsets(offsets, len(data))
    flags = np.zeros(len(offsets) - 1, np.uint8)
    _mark_rows(data, offsets, flags)
    return flags


def odd_words(lengths: NDArray[np.int64], common: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the flags NEARLY_EMPTY and UNUSUAL_WORDS per row from its numbers of tokens and common words."""
    flags = np.zeros(len(lengths), np.uint8)
    flags[lengths < SHORT_TOKENS] |= np.uint8(Oddity.NEARLY_EMPTY)
    flags[(lengths >= ENOUGH_TOKENS) & (common * COMMON_SHARE < lengths)] |= np.uint8(Oddity.UNUSUAL_WORDS)
    return flags


@kernel
def _mark_rows(data: Bytes, offsets: Offsets, flags: NDArray[np.uint8]) -> None:
    for row in range(len(flags)):
        i, end = offsets[row], offsets[row + 1]
        latin = other = 0
        while i < end:
            if i + WIDTH <= end:
                eight = load_eight(data, i)
                odd = has_byte(eight, TAGS) or has_byte(eight, ENTITIES) or has_control(eight)
                if not eight & HIGH_BITS and not odd:
                    latin += WIDTH  # counts spaces too, which is faster and keeps the majority
                    i += WIDTH
                    continue
            byte = data[i]
            if byte in (AMPERSAND, TAG_START) and begins_markup(data, i, end):
                flags[row] |= MARKUP
            elif faulty(data, i, end):
                flags[row] |= BAD_ENCODING
            length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            latin += length == 1
            # Count characters from Greek on, except lead bytes E2 and EF: these are punctuation, symbols and
            # variation selectors of emoji.
            other += (length == 2 and byte >= 0xCD) or (length == 3 and byte not in (0xE2, 0xEF))
            i += length
        if 2 * other > latin:
            flags[row] |= OTHER_SCRIPT


@kernel
def faulty(data: Bytes, i: int, end: int) -> bool:
    """Whether a control character, a replacement character or doubly encoded UTF-8 begins at `i`."""
    byte = data[i]
    if byte < 0x80:
        return bool(byte < 0x09 or 0x0D < byte < 0x20 or byte == 0x7F)
    if i + 1 == end:
        return False
    if byte == 0xC2 and data[i + 1] < 0xA0:
        return True
    if byte == 0xEF:
        return bool(i + 2 < end and data[i + 1] == 0xBF and data[i + 2] == 0xBD)
    return byte == 0xC3 and twice_encoded(data, i, end)


@kernel
def twice_encoded(data: Bytes, i: int, end: int) -> bool:
    """Whether the bytes of a character, each encoded again as UTF-8, begin at `i` ("Ã©", "Â£", "â€™")."""
    lead = ((data[i] & 0x1F) << 6) | (data[i + 1] & 0x3F)
    if lead == 0xE2 and i + 5 <= end and data[i + 2] == 0xE2 and data[i + 3] == 0x82 and data[i + 4] == 0xAC:
        return True  # decoded as Windows-1252; mostly quotation marks and dashes
    following = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
    if not 0xC2 <= lead <= 0xF4 or i + 2 + 2 * following > end:
        return False
    for k in range(following):
        if data[i + 2 + 2 * k] != 0xC2:
            return False
    # "É" before a no-break space or a quotation mark is ordinary text; "Â" or "Ã" before one is not.
    return following > 1 or lead <= 0xC3 or data[i + 3] not in (0xA0, 0xAB, 0xBB)
