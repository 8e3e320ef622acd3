"""Unicode characters as the `words` profile sees them: their kind, and their case-folded form.

The tables are a file, so that a version of the profile means the same under every release of Python.
`scripts/make_characters.py` made them with Unicode 14.0 and states the rules.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sentiscale.text.compiled import Bytes, first_not_below, inlined, kernel

SEPARATOR, WORD, APOSTROPHE, MARK, SYMBOL, COMBINING, UNSPACED, FACE, IGNORED = range(9)
"""Kinds: MARK is "!" or "?"; COMBINING continues the token before it; UNSPACED belongs to a script without
spaces; FACE may begin an emoticon; IGNORED is invisible."""

UNSTABLE, FRAGILE = 255, 254
"""Values in NORMAL of characters that NFC may change or combine with the character before, and of those that
change with a mark after them when they are case-folded. No combining class is as large."""
BLOCK_BITS = 7
BLOCK_MASK = 2**BLOCK_BITS - 1

TABLES = load_file(Path(__file__).with_suffix(".safetensors"))

BLOCKS: NDArray[np.uint8] = TABLES["blocks"]
"""Row of CLASSES for each block of 128 code points."""
CLASSES: NDArray[np.uint8] = TABLES["classes"]
"""Shape (blocks, 128): class of each character; characters of a class have the same properties."""
KINDS: NDArray[np.uint8] = TABLES["kinds"]
"""Shape (3, classes): kind by version of the profile. Row 0 is for `alpha`, for which only ASCII matters."""
NORMAL: NDArray[np.uint8] = TABLES["normal"]
"""Canonical combining class of each class of characters, or UNSTABLE or FRAGILE."""
FOLDED: NDArray[np.bool_] = TABLES["folded"]
"""Whether case folding changes the characters of each class."""
FOLD_CODES: NDArray[np.int32] = TABLES["fold_codes"]
"""Sorted code points of the characters that case folding changes; `folded_form` finds their folded forms."""
FOLD_BYTES: Bytes = TABLES["fold_bytes"]
FOLD_STARTS: NDArray[np.int32] = TABLES["fold_starts"]

ASCII_KINDS = KINDS[:, CLASSES[BLOCKS[0]]]
"""Shape (3, 128): kind of each ASCII character by version."""

SPECIAL_FOLDS = {"\u0131": "i", "\u0149": "n"}
"""Foldings that Unicode does not have: Turkish capitals match small letters, and no letter has a quote."""


def classes_by_code() -> NDArray[np.uint8]:
    """Return the class of every code point."""
    return CLASSES[BLOCKS].ravel()


@inlined
def code_point(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """Return the code point of the character at `i`, and its length in bytes; (0, 1) if it is not UTF-8."""
    byte = data[i]
    if byte < 0x80:
        return int(byte), 1
    length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if byte < 0xC2 or byte > 0xF4 or i + length > end:
        return 0, 1
    code = int(byte) & (0x7F >> length)
    for k in range(i + 1, i + length):
        code = (code << 6) | (data[k] & 0x3F)
    return code if code < 0x110000 else 0, length


@inlined
def class_of(code: int) -> int:
    return int(CLASSES[BLOCKS[code >> BLOCK_BITS], code & BLOCK_MASK])


@kernel
def folded_form(code: int) -> tuple[int, int]:
    """Return where the folded form of a character that folding changes begins and ends in FOLD_BYTES."""
    place = first_not_below(FOLD_CODES, code)
    return int(np.int64(FOLD_STARTS[place])), int(np.int64(FOLD_STARTS[place + 1]))
