"""Find emoticons, such as `:-)`, `;P`, `:'(`, `<3` and `^_^`, compiled.

An emoticon is a token in lower case and in ASCII: full-width characters and typographic apostrophes count as
their ASCII forms, and a repeated last bracket or letter counts once. `EMOTICONS` is the whole list. Whether
characters are an emoticon or plain punctuation depends on what is next to them: "and/or:(a)", "http://",
"10:30" and "<30" contain none.
"""

from collections.abc import Iterator

import numpy as np

from sentiscale.text.characters import APOSTROPHE, COMBINING, KINDS, WORD, class_of, code_point
from sentiscale.text.compiled import ZERO, Bytes, first_not_below, kernel

BRACKETS = ")(][}{"
LETTERS = "dp"
FACES = r"^_^ ^__^ ^^ ^-^ ^.^ ^o^ -_- -__- >_< >.< >_> <_< *_* ;_; =_= \o/"
AFTER_WORD, BEFORE_WORD, ALONE, REPEATS = 1, 2, 4, 8
"""Flags of an emoticon: a letter or digit may be before it; one may be after it, unless there is also one
before; only spaces may be next to it; its last character may be repeated."""


def _emoticons() -> Iterator[tuple[str, int]]:
    """Yield every emoticon and what is allowed next to it."""
    for eyes, noses in ((":", "-^~o"), (";", "-^o"), ("=", "-o")):
        around = AFTER_WORD | REPEATS | (0 if eyes == "=" else BEFORE_WORD)
        for nose in ("", *noses, "'", "'-", ",", "*"):
            yield from ((eyes + nose + mouth, around) for mouth in BRACKETS)
        for nose in ("", "-", "^"):
            yield from ((eyes + nose + mouth, AFTER_WORD | REPEATS) for mouth in LETTERS)
    for face in (":", ":-", "="):
        yield from ((face + mouth, AFTER_WORD) for mouth in "/\\|")
    for face in (":", ":-"):
        yield from ((face + mouth, 0) for mouth in "osx*")
        yield from ((f">{face}{mouth}", AFTER_WORD | BEFORE_WORD | REPEATS) for mouth in BRACKETS)
    yield from ((emoticon, 0) for emoticon in (":3", ":'d", ">:/", ">:\\"))
    yield from ((emoticon, AFTER_WORD | REPEATS) for emoticon in ("<3", "</3"))
    yield from ((emoticon, ALONE) for emoticon in ("(:", "):", "(-:", ")-:", "(;", "(-;"))
    yield from ((emoticon, AFTER_WORD) for emoticon in FACES.split())


EMOTICONS = dict(_emoticons())
"""Every emoticon, with the sum of the flags above."""
STARTS = frozenset(emoticon[0] for emoticon in EMOTICONS)
LONGEST = max(map(len, EMOTICONS))


def _key(emoticon: str) -> int:
    return int.from_bytes(emoticon.encode(), "big")


KEYS = np.array(sorted(map(_key, EMOTICONS)), np.uint64)
AROUND = np.array([EMOTICONS[emoticon] for emoticon in sorted(EMOTICONS, key=_key)], np.uint8)

FIRST_BITS, SECOND_BITS = np.zeros(256, np.uint16), np.zeros(256, np.uint16)
"""A byte and the next one may begin an emoticon only if their bits overlap; a quick test for the many colons
and brackets that do not."""
_bits = {start: 1 << bit for bit, start in enumerate(sorted(STARTS))}
FIRST_BITS[list(map(ord, _bits))] = list(_bits.values())
for _emoticon in EMOTICONS:
    SECOND_BITS[[ord(_emoticon[1]), ord(_emoticon[1].upper())]] |= _bits[_emoticon[0]]
SECOND_BITS[ord("`")] = SECOND_BITS[ord("'")]
SECOND_BITS[0x80:] = 0xFFFF  # may be a full-width bracket

FULL_WIDTH_FIRST, FULL_WIDTH_LAST, TO_FULL_WIDTH = 0xFF01, 0xFF5E, 0xFEE0
SPACE, QUOTE, LONG_S = ord(" "), ord("'"), 0x17F


@kernel
def typed(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """Return the ASCII character, in lower case, that the character at `i` stands for, and its length.

    It is 0 for all other characters, and at the end.
    """
    if i >= end:
        return 0, 0
    code, length = code_point(data, i, end)
    if FULL_WIDTH_FIRST <= code <= FULL_WIDTH_LAST:
        code -= TO_FULL_WIDTH
    if KINDS[2, class_of(code)] == APOSTROPHE:
        code = QUOTE
    if code == LONG_S:  # case folding makes it an s
        code = ord("s")
    if ord("A") <= code <= ord("Z"):
        code += ord("a") - ord("A")
    return code if code < 0x80 else 0, length


@kernel
def in_word(data: Bytes, i: int, end: int) -> bool:
    """Whether the character at `i` belongs to a word."""
    if i >= end:
        return False
    kind = KINDS[2, class_of(code_point(data, i, end)[0])]
    return kind in (WORD, COMBINING)


@kernel
def fits(data: Bytes, begin: int, i: int, after: int, end: int, last: int, around: int) -> bool:
    """Whether the text around data[i:after] lets it be an emoticon that ends with the character `last`."""
    before = i - 1
    while before > begin and data[before] & 0xC0 == 0x80:
        before -= 1
    following, length = typed(data, after, end)
    if around & ALONE:
        return (i == begin or data[i - 1] <= SPACE) and (after == end or data[after] <= SPACE)
    word_before, word_after = i > begin and in_word(data, before, i), in_word(data, after, end)
    if (word_before and not around & AFTER_WORD) or (
        word_after and (word_before or not around & BEFORE_WORD)
    ):
        return False
    digit_before = i > begin and ord("0") <= data[i - 1] <= ord("9")
    if digit_before and (last == ord("3") or last == ord("d") or last == ord("p")):
        return False
    if last == ord("3"):  # "<3.5"
        decimal, _ = typed(data, after + length, end)
        return not ((following == ord(".") or following == ord(",")) and ord("0") <= decimal <= ord("9"))
    slash = last == ord("/") or last == ord("\\")
    return not (slash and (following == ord("/") or following == ord("\\")))


@kernel
def copy_emoticon(data: Bytes, begin: int, i: int, end: int, out: Bytes, pos: int) -> tuple[int, int]:
    """Copy the longest emoticon at `i` in the row that starts at `begin`, if there is one.

    Returns the positions after it in `data` and in `out`; (i, pos) without an emoticon.
    """
    key, best = np.uint64(0), -1
    at = after = i
    last = ZERO
    for _ in range(LONGEST):
        byte, length = typed(data, at, end)
        if byte == 0:
            break
        at += length
        key = (key << np.uint64(8)) | np.uint64(byte)
        place = first_not_below(KEYS, key)
        if place < len(KEYS) and KEYS[place] == key:
            best, after, last = int(place), at, byte
    if best < 0:
        return i, pos
    around = AROUND[best]
    while around & REPEATS:
        byte, length = typed(data, after, end)
        if byte != last:
            break
        after += length
    if not fits(data, begin, i, after, end, last, around):
        return i, pos
    shift = np.uint64(56)
    for k in range(8):
        byte = (KEYS[best] >> (shift - np.uint64(8 * k))) & np.uint64(0xFF)
        if byte:
            out[pos] = byte
            pos += 1
    return after, pos
