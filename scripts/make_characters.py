"""Make src/sentiscale/text/characters.safetensors, the properties of Unicode characters that cleaning needs.

Usage: python scripts/make_characters.py   Needs Python 3.11, whose Unicode is 14.0, and takes five seconds.

A new table changes what version 2 of the `words` profile yields: make a new version instead of a new table.
"""

import sys
import unicodedata
from collections.abc import Iterator
from html.entities import html5
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sentiscale.text.characters import (
    APOSTROPHE,
    BLOCK_BITS,
    COMBINING,
    FACE,
    FRAGILE,
    IGNORED,
    MARK,
    SEPARATOR,
    SYMBOL,
    UNSPACED,
    UNSTABLE,
    WORD,
)
from sentiscale.text.emoticons import STARTS
from sentiscale.text.markup import LONGEST_NAME, name_key
from sentiscale.text.normal import folded_text

UNICODE = "14.0.0"
OUT = Path(__file__).resolve().parent.parent / "src" / "sentiscale" / "text" / "characters.safetensors"

APOSTROPHES = {"'", *"`\u00b4\u02bb\u02bc\u2018\u2019\u201b\u2032\uff07"}
UNSPACED_NAMES = (
    *(
        "CJK UNIFIED",
        "CJK COMPAT",
        "IDEOGRAPHIC ITERATION",
        "IDEOGRAPHIC NUMBER ZERO",
        "VERTICAL IDEOGRAPHIC",
    ),
    *("HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA", "HENTAIGANA", "VERTICAL KANA", "MASU"),
    *("THAI ", "LAO ", "KHMER ", "MYANMAR "),
)
"""Beginnings of the names of letters in Han, Hiragana, Katakana, Thai, Lao, Khmer and Burmese."""
BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0"
"""Characters that display nothing though their category is that of visible ones."""
BLANK_BRAILLE = "\u2800"
SKIN_TONES = range(0x1F3FB, 0x1F400)
TAGS = range(0xE0000, 0xE1000)
FULL_WIDTH = range(0xFF01, 0xFF5F)
TO_FULL_WIDTH = 0xFEE0
FUTURE_EMOJI, FUTURE_HAN = range(0x1F000, 0x1FB00), range(0x20000, 0x40000)
"""Ranges that Unicode reserves for pictographs and ideographs."""
FIRST_SYMBOL = 0x2190
"""Mathematical signs from the arrows on are symbols; earlier ones, such as plus and minus, separate words."""
HANGUL_VOWELS, HANGUL_FINALS = range(0x1161, 0x1176), range(0x11A8, 0x11C3)


class Properties(NamedTuple):
    kind_1: int
    kind_2: int
    normal: int
    folded: bool


def kind_1(code: int) -> int:
    """Return the kind in version 1: what is not ASCII is a letter, but for a few ranges."""
    if code < 0x80:
        char = chr(code)
        return MARK if char in "!?" else APOSTROPHE if char == "'" else WORD if char.isalnum() else SEPARATOR
    if code > 0xFFFF:
        return SYMBOL
    if code == 0x2019:
        return APOSTROPHE
    ranges = (range(0x80, 0xC0), range(0x2000, 0x2070), range(0xFE00, 0xFE10), range(0xFEFF, 0xFF00))
    return SEPARATOR if any(code in each for each in ranges) else WORD


def kind_2(code: int) -> int:
    """Return the kind in version 2."""
    char = chr(code)
    category = unicodedata.category(char)
    name = unicodedata.name(char, "")
    compatible = unicodedata.normalize("NFKC", char)
    if char in APOSTROPHES:
        return APOSTROPHE
    if set(compatible) <= set("!?"):
        return MARK
    if char in STARTS or (code in FULL_WIDTH and chr(code - TO_FULL_WIDTH) in STARTS):
        return FACE
    invisible = category == "Cf" or "VARIATION SELECTOR" in name or char in BLANKS
    if invisible or code in SKIN_TONES or code in TAGS:
        return IGNORED
    if category == "Cn":
        return SYMBOL if code in FUTURE_EMOJI else UNSPACED if code in FUTURE_HAN else WORD
    if category[0] == "M":
        return COMBINING
    if category[0] == "L" or name == "IDEOGRAPHIC NUMBER ZERO":
        return UNSPACED if name.startswith(UNSPACED_NAMES) else WORD
    if category[0] == "N":
        return WORD
    pictograph = category in ("So", "Sk", "Co") or (category == "Sm" and code >= FIRST_SYMBOL)
    return SYMBOL if pictograph and code > 0x7F and char != BLANK_BRAILLE else SEPARATOR


def composing() -> Iterator[int]:
    """Yield the characters that NFC may combine with the character before them."""
    yield from (*HANGUL_VOWELS, *HANGUL_FINALS)
    for code in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and parts[0][0] != "<":
            pair = "".join(chr(int(part, 16)) for part in parts)
            if unicodedata.normalize("NFC", pair) == chr(code):
                yield int(parts[1], 16)


def folded(char: str, kind: int) -> str:
    """Return the form of a character, stable under NFC, in which upper and lower case are equal."""
    if kind == MARK:
        return unicodedata.normalize("NFKC", char)[0]
    if kind in (SEPARATOR, IGNORED, APOSTROPHE):
        return char
    return folded_text(char)


def marks(text: str) -> list[int]:
    """Return the combining classes of the decomposed form."""
    return [unicodedata.combining(char) for char in unicodedata.normalize("NFD", text)]


def all_properties() -> tuple[list[Properties], dict[int, str]]:
    """Return the properties of every code point, and the folded forms that differ from the character."""
    combining = set(composing())
    properties, forms = [], {}
    for code in range(sys.maxunicode + 1):
        char, kind = chr(code), kind_2(code)
        stable = code not in combining and unicodedata.normalize("NFC", char) == char
        normal = unicodedata.combining(char) if stable else UNSTABLE
        if normal == 0 and (form := folded(char, kind)) != char:
            forms[code] = form
            normal = normal if marks(form) == marks(char) else FRAGILE
        properties.append(Properties(kind_1(code), kind, normal, code in forms))
    return properties, forms


def entity_tables() -> dict[str, NDArray[np.generic]]:
    """Return the entities whose names fit into an integer and that stand for a single character."""
    codes = {
        name_key(name[:-1]): ord(text)
        for name, text in html5.items()
        if name.endswith(";") and len(name) <= LONGEST_NAME + 1 and len(text) == 1
    }
    keys = sorted(codes)
    return {
        "entity_keys": np.array(keys, np.uint64),
        "entity_codes": np.array([codes[key] for key in keys], np.int32),
    }


def tables() -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the file; `text.characters` and `text.markup` describe them."""
    properties, forms = all_properties()
    classes = sorted(set(properties))
    numbers = {each: number for number, each in enumerate(classes)}
    by_code = np.array([numbers[each] for each in properties], np.uint8)
    blocks, of_block = np.unique(by_code.reshape(-1, 2**BLOCK_BITS), axis=0, return_inverse=True)
    kinds = np.array([(each.kind_1, each.kind_1, each.kind_2) for each in classes], np.uint8).T
    encoded = [form.encode() for form in forms.values()]
    return {
        "blocks": of_block.ravel().astype(np.uint8),
        "classes": blocks,
        "kinds": np.ascontiguousarray(kinds),
        "normal": np.array([each.normal for each in classes], np.uint8),
        "folded": np.array([each.folded for each in classes]),
        "fold_codes": np.array(list(forms), np.int32),
        "fold_bytes": np.frombuffer(b"".join(encoded), np.uint8),
        "fold_starts": np.cumsum([0, *map(len, encoded)], dtype=np.int32),
        **entity_tables(),
    }


if __name__ == "__main__":
    if unicodedata.unidata_version != UNICODE:
        sys.exit(f"this Python has Unicode {unicodedata.unidata_version}; Unicode {UNICODE} is needed.")
    save_file(tables(), OUT)
    sys.stdout.write(f"{OUT}: {OUT.stat().st_size:,} bytes\n")
