"""Remove HTML from review text: tags become spaces, entities the characters they stand for, compiled.

A tag is `<`, perhaps `/`, the name of an HTML element and `>`. It may have attributes, if one contains a `=`.
Comments and `<!DOCTYPE …>` are tags as well. "a < b", "<3" and "<sigh>" are text.

An entity is a name of at most eight letters, or a decimal or hexadecimal number, between `&` and `;`. Text
that was escaped several times is decoded as often: `&amp;#39;` is an apostrophe. Tags are found after
decoding, so `&lt;br&gt;` is a tag, too.
"""

import numpy as np
from numpy.typing import NDArray

from sentiscale.text.characters import TABLES
from sentiscale.text.compiled import Bytes, Offsets, first_not_below, kernel

LONGEST_NAME = 8
"""Most characters of a name that are compared, as one 64-bit integer."""
LONG_ELEMENT = 10
"""Length of the names of elements that are longer: blockquote and figcaption."""
LONGEST_TAG = 1000
AMPERSAND, SEMICOLON, TAG_START, TAG_END, SLASH, SPACE = b"&;<>/ "
LAST_CODE = 0x10FFFF
REPLACEMENT = 0xFFFD
"""Character for numbers that belong to none, as in browsers."""
BYTE = np.uint64(8)
CASE_BITS = np.uint64(0x2020202020202020)
"""Makes the letters of a name lower-case; it changes no digits and no colons."""

ELEMENTS = """
a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink
blockquote body br button canvas caption center cite code col colgroup data datalist dd del details
dfn dialog dir div dl dt em embed fieldset figcaption figure font footer form frame frameset h1 h2
h3 h4 h5 h6 head header hr html i iframe img input ins kbd label legend li link main map mark
marquee menu meta meter nav nobr noframes noscript o:p object ol optgroup option output p param
picture pre progress q rp rt ruby s samp script section select small source span strike strong style
sub summary sup svg table tbody td template textarea tfoot th thead time title tr track tt u ul var
video wbr
"""


def name_key(name: str) -> int:
    """Return the first eight characters of a name as an integer, as `name_at` does."""
    return int.from_bytes(name[:LONGEST_NAME].encode(), "big")


ELEMENT_KEYS = np.array(sorted(name_key(name) | int(CASE_BITS) for name in ELEMENTS.split()), np.uint64)
ENTITY_KEYS: NDArray[np.uint64] = TABLES["entity_keys"]
"""Sorted names of the entities of HTML 5, and the character of each."""
ENTITY_CODES: NDArray[np.int32] = TABLES["entity_codes"]
ENDLESS = tuple(map(ord, '&<>"\u00a0'))
"""Characters whose entities need no semicolon, unless a letter, a digit or `=` follows."""
WINDOWS_1252 = np.array([*map(ord, bytes(range(0x80, 0xA0)).decode("cp1252", "replace"))], np.int32)
"""What pages mean by the numbers of control characters; 146, for example, is an apostrophe."""


@kernel
def is_letter(byte: int) -> bool:
    return ord("a") <= (byte | 0x20) <= ord("z")


@kernel
def is_digit(byte: int) -> bool:
    return ord("0") <= byte <= ord("9")


@kernel
def name_at(data: Bytes, i: int, end: int) -> tuple[np.uint64, int]:
    """Return the first eight characters of the name at `i` as an integer, and the position after the name."""
    key, first = np.uint64(0), i
    while i < end and (is_letter(data[i]) or (i > first and (is_digit(data[i]) or data[i] == ord(":")))):
        if i < first + LONGEST_NAME:
            key = (key << BYTE) | np.uint64(data[i])
        i += 1
    return key, i


@kernel
def named_entity(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """Return the character with the name at `i`, and the position after its entity; (-1, i) if unknown."""
    key, after = name_at(data, i, end)
    place = first_not_below(ENTITY_KEYS, key)
    if after - i > LONGEST_NAME or place == len(ENTITY_KEYS) or ENTITY_KEYS[place] != key:
        return -1, i
    code = int(ENTITY_CODES[place])
    if after < end and data[after] == SEMICOLON:
        return code, after + 1
    continued = after < end and (data[after] >= 0x80 or data[after] == ord("="))
    return (code, after) if code in ENDLESS and not continued else (-1, i)


@kernel
def numbered_entity(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """Return the character with the number at `i`, and the position after its entity; (-1, i) without one.

    A decimal number needs no semicolon.
    """
    first = i
    hexadecimal = i < end and data[i] | 0x20 == ord("x")
    i += hexadecimal
    digits, code = i, 0
    while i < end and (is_digit(data[i]) or (hexadecimal and ord("a") <= data[i] | 0x20 <= ord("f"))):
        digit = data[i] - ord("0") if is_digit(data[i]) else (data[i] | 0x20) - ord("a") + 10
        code = min(LAST_CODE + 1, code * (16 if hexadecimal else 10) + digit)
        i += 1
    ended = i < end and data[i] == SEMICOLON
    if i == digits or (hexadecimal and not ended):
        return -1, first
    if 0x80 <= code < 0xA0:
        code = int(WINDOWS_1252[code - 0x80])
    if code == 0 or 0xD800 <= code < 0xE000 or code > LAST_CODE:
        code = REPLACEMENT
    return code, i + ended


@kernel
def entity(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """Return the character of the entity at `i`, and the position after it; (-1, i) if there is none."""
    found, after = -1, i
    at = i + 1
    while True:
        if at < end and data[at] == ord("#"):
            code, at = numbered_entity(data, at + 1, end)
        else:
            code, at = named_entity(data, at, end)
        if code < 0:
            return found, after
        found, after = code, at
        if code != AMPERSAND:
            return found, after


@kernel
def is_tag(data: Bytes, i: int, end: int) -> bool:
    """Whether data[i:end], from a `<` to the next `>`, is a tag."""
    i += 1
    if data[i] == ord("!"):
        return bool(data[i + 1] == ord("-") or is_letter(data[i + 1]))
    i += data[i] == SLASH
    key, after = name_at(data, i, end)
    place = first_not_below(ELEMENT_KEYS, key | CASE_BITS)
    known = place < len(ELEMENT_KEYS) and ELEMENT_KEYS[place] == key | CASE_BITS
    if not known or (after - i > LONGEST_NAME and after - i != LONG_ELEMENT):
        return False
    blank = True
    for k in range(after, end - 1):
        if k == after and data[k] > SPACE and data[k] != SLASH:
            return False
        if data[k] == ord("="):
            return True
        blank &= data[k] <= SPACE or data[k] == SLASH
    return blank


@kernel
def begins_markup(data: Bytes, i: int, end: int) -> bool:
    """Whether an entity or a tag begins at `i`, unless the tag consists of entities."""
    if data[i] == AMPERSAND:
        return entity(data, i, end)[0] >= 0
    if data[i] != TAG_START:
        return False
    k = i + 1
    last = min(end, i + LONGEST_TAG)
    while k < last and data[k] != TAG_END and data[k] != TAG_START:
        k += 1
    return k < last and data[k] == TAG_END and is_tag(data, i, k + 1)


@kernel
def put_character(code: int, out: Bytes, pos: int) -> int:
    """Write a character in UTF-8; return the position after it."""
    if code < 0x80:
        out[pos] = code
        return pos + 1
    length = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    for k in range(length - 1, 0, -1):
        out[pos + k] = 0x80 | (code & 0x3F)
        code >>= 6
    out[pos] = (0xF00 >> length) & 0xFF | code
    return pos + length


@kernel
def copy_without_markup(data: Bytes, i: int, end: int, out: Bytes, pos: int, sources: Offsets) -> int:
    """Copy data[i:end] with a space for each tag and the character for each entity; return the end in `out`.

    The copy is never longer. `sources`, unless it is empty, receives for each byte of `out` the beginning and
    the end in `data` of what it stands for (bytes, 2).
    """
    opened = -1  # position in `out` of the last "<"
    while i < end:
        first, start = pos, i
        code, i = entity(data, i, end) if data[i] == AMPERSAND else (-1, i)
        if code >= 0:
            pos = put_character(code, out, pos)
        else:
            out[pos] = data[i]
            pos, i = pos + 1, i + 1
        if len(sources):
            for k in range(first, pos):
                sources[k, 0], sources[k, 1] = start, i
        if out[first] == TAG_START:
            opened = first
        elif out[first] == TAG_END and opened >= 0:
            if pos - opened <= LONGEST_TAG and is_tag(out, opened, pos):
                out[opened] = SPACE
                pos = opened + 1
            opened = -1
    return pos
