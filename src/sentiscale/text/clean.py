"""Cleaning profiles: convert raw review bytes to tokens joined by single spaces, compiled.

`alpha` is the classic rule: convert to lower case and drop everything except a-z and white space.

`words` keeps the characters that carry sentiment. New data are cleaned with its version 2. HTML tags are
removed and entities decoded first (`text.markup`). Characters are compared by their canonical form and
without case: an accent may be a character of its own or part of a letter, and both forms of the German sharp
s are "ss". Dotted and dotless i are one letter, so that Turkish capitals match small letters. The tokens are

- runs of letters, digits and their combining marks that may contain apostrophes, ASCII or typographic ones;
  n't, 's, 'm, 're, 've, 'll and 'd are split off, as in many published corpora ("don't" and "do n't" both
  become "do n't");
- each letter, with its combining marks, of a script without spaces: Han, Hiragana, Katakana, Thai, Lao, Khmer
  and Burmese. The n-gram model then has pairs to learn from, and the network a sequence;
- each `!` and `?`, also those of full width, at most three in a row, regardless of spaces between them;
- each emoticon, such as `:)` and `<3` (`text.emoticons`);
- each symbol beyond ASCII: emoji and other pictographs, arrows, trade marks (Unicode's categories So and Sk,
  from U+2190 on also Sm), and characters of private use. Each visible part of an emoji sequence is a token.

All other characters separate tokens, except that invisible ones (zero-width spaces and joiners, soft hyphens,
marks of writing direction, variation selectors) and skin tones are left out, even within a word.

Version 1, for data and models that were made with it, knows no markup, emoticons or canonical forms. Each
character above U+FFFF is a token. Others beyond ASCII are letters, except Latin-1 signs (U+0080-U+00BF) and
general punctuation (U+2000-U+206F), of which U+2019 is an apostrophe; only characters of up to two bytes are
converted to lower case.

Tokens are truncated to 64 bytes at a character boundary. The tokens of a review joined by single spaces are
its *cleaned text*. Reviews with equal cleaned texts are duplicates, and cleaning a cleaned text changes
nothing.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiscale.config import CLEANING_VERSIONS, Cleaning
from sentiscale.errors import DataError
from sentiscale.text.characters import (
    APOSTROPHE,
    ASCII_KINDS,
    COMBINING,
    FACE,
    FOLD_BYTES,
    FOLDED,
    KINDS,
    MARK,
    SYMBOL,
    UNSPACED,
    WORD,
    class_of,
    code_point,
    folded_form,
)
from sentiscale.text.compiled import ZERO, Bytes, Offsets, check_array, check_offsets, frozen, inlined, kernel
from sentiscale.text.emoticons import copy_emoticon
from sentiscale.text.normal import normal_rows

MAX_TOKEN_BYTES = 64

SPACE = ord(" ")
QUOTE = ord("'")
MARKS_KEPT = 3
ALPHA = 0
"""Stands for the `alpha` profile where kernels expect the version of the `words` profile."""

ASCII = [chr(code) for code in range(128)]
WORD_BYTES = np.zeros(256, np.uint8)
"""Lower-case letter or digit for each byte that is a letter or digit; 0 for all other bytes."""
WORD_BYTES[:128] = [ord(char.lower()) if char.isalnum() else 0 for char in ASCII]

LETTER_BYTES = np.zeros(256, np.uint8)
"""Lower-case letter for each byte that is a letter, a space for white space, and 0 for all other bytes."""
LETTER_BYTES[:128] = [ord(char.lower()) if char.isalpha() else SPACE * char.isspace() for char in ASCII]


def _two_byte_lower() -> NDArray[np.uint16]:
    """Return the lower case of U+0000-U+07FF in version 1.

    A character maps to itself if its lower case is not a single character in U+0080-U+07FF.
    """
    table = np.arange(0x800, dtype=np.uint16)
    for code in range(0x80, 0x800):
        low = chr(code).lower()
        if len(low) == 1 and 0x80 <= ord(low) < 0x800:
            table[code] = ord(low)
    return table


TWO_BYTE_LOWER = _two_byte_lower()


@dataclass(frozen=True)
class CleanRows:
    """Concatenated cleaned texts; row i is `data[offsets[i]:offsets[i + 1]]`."""

    data: Bytes
    offsets: Offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def texts(self) -> list[str]:
        """Decode the cleaned texts to strings (slow)."""
        raw = self.data.tobytes()
        return [raw[start:end].decode("utf-8", "replace") for start, end in pairwise(self.offsets.tolist())]


def clean(texts: pa.Array, cleaning: Cleaning, version: int | None = None) -> CleanRows:
    """Clean an array of strings or binaries; a null is treated as an empty text.

    `version=None` is the newest version of the profile. Invalid UTF-8 is safe, but its result is undefined:
    reject such rows first.
    """
    rule = kernel_rule(cleaning, version)
    data, offsets = rows_for(rule, *raw_rows(texts))
    # Splitting contractions and symbols at most doubles a text. The rest is headroom, because a kernel may
    # write past the end of a token before truncating it.
    out = np.empty(2 * int(offsets[-1] - offsets[0]) + 2 * len(texts) + MAX_TOKEN_BYTES + 8, np.uint8)
    ends = np.zeros(len(texts) + 1, np.int64)
    clean_rows(data, offsets, rule, out, ends)
    return CleanRows(out[: ends[-1]], ends)


def check_version(cleaning: Cleaning, version: int | None) -> int:
    """Return the version of a cleaning profile; None is the newest.

    Raises: DataError when this release does not know the version.
    """
    newest = CLEANING_VERSIONS[cleaning]
    if version is None:
        return newest
    if not 1 <= version <= newest:
        raise DataError(
            f"version {version} of the cleaning profile '{cleaning}' is unknown; this release knows 1 to "
            f"{newest}. Use the release of sentiscale that wrote the data or the model."
        )
    return version


def kernel_rule(cleaning: Cleaning, version: int | None) -> int:
    """Return the number by which kernels know a profile: ALPHA, or the version of `words`.

    `version=None` is the newest version.
    """
    version = check_version(cleaning, version)
    return ALPHA if cleaning == "alpha" else version


def rows_for(rule: int, data: Bytes, offsets: Offsets) -> tuple[Bytes, Offsets]:
    """Return raw rows in the form that the kernels read by this rule.

    Raises: ValueError when the arrays cannot be rows.
    """
    check_array("data", data, np.uint8, (-1,))
    check_offsets(offsets, len(data))
    data, offsets = frozen(data), frozen(offsets, np.int64)
    return normal_rows(data, offsets) if rule > 1 else (data, offsets)


def raw_rows(texts: pa.Array) -> tuple[Bytes, Offsets]:
    """Return the bytes of a string or binary array and the offsets (rows + 1,) of its rows."""
    if not pa.types.is_large_binary(texts.type):
        texts = texts.cast(pa.large_binary())
    if texts.null_count:
        texts = texts.fill_null(b"")
    _, offsets, data = texts.buffers()
    if not len(texts):
        return frozen(b""), frozen(bytes(8), np.int64)
    starts = frozen(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return frozen(data if data is not None else b""), starts


@inlined
def character(data: Bytes, i: int, end: int, version: int) -> tuple[int, int]:
    """Return the kind and the length in bytes of the character at `i`."""
    if data[i] < 0x80:
        return int(ASCII_KINDS[version, data[i]]), 1
    code, length = code_point(data, i, end)
    return int(KINDS[version, class_of(code)]), length


@kernel
def folded_size(data: Bytes, i: int, length: int, version: int) -> int:
    """Return the number of bytes that `copy_folded` writes for a character."""
    code, _ = code_point(data, i, i + length)
    if version == 1 or not FOLDED[class_of(code)]:
        return length
    first, last = folded_form(code)
    return last - first


@kernel
def copy_folded(
    data: Bytes, i: int, length: int, out: Bytes, pos: int, limit: int, version: int
) -> tuple[int, int]:
    """Copy a character without case; ASCII characters are not converted.

    Returns the position after it in `out`, and the new limit: `pos` if a part of it does not fit, so that no
    shorter character after it is copied.
    """
    code, _ = code_point(data, i, i + length)
    if version > 1 and FOLDED[class_of(code)]:
        k, last = folded_form(code)
        while k < last:
            size = code_point(FOLD_BYTES, k, last)[1]
            if pos + size > limit:
                return pos, pos
            for _ in range(size):
                out[pos] = FOLD_BYTES[k]
                pos, k = pos + 1, k + 1
        return pos, limit
    if pos + length > limit:
        return pos, pos
    if version == 1 and length == 2:
        low = TWO_BYTE_LOWER[code]
        out[pos] = 0xC0 | (low >> 6)
        out[pos + 1] = 0x80 | (low & 0x3F)
    else:
        for k in range(length):
            out[pos + k] = data[i + k]
    return pos + length, limit


@kernel
def copy_word(data: Bytes, i: int, end: int, out: Bytes, pos: int, version: int) -> tuple[int, int, bool]:
    """Copy the run of letters, digits, combining marks and inner apostrophes that begins at `i`.

    Returns the positions after it in `data` and in `out`, and whether it contains an apostrophe.
    """
    limit = pos + MAX_TOKEN_BYTES
    quoted = False
    while i < end:
        byte = data[i]
        low = WORD_BYTES[byte]
        if low != 0:
            if pos < limit:
                out[pos] = low
                pos += 1
            i += 1
            continue
        if byte < 0x80 and ASCII_KINDS[version, byte] != APOSTROPHE:  # nearly every word ends here
            break
        kind, length = character(data, i, end, version)
        if kind in (WORD, COMBINING):
            pos, limit = copy_folded(data, i, length, out, pos, limit, version)
        elif kind == APOSTROPHE and i + length < end and character(data, i + length, end, version)[0] == WORD:
            if pos < limit:
                out[pos] = QUOTE
                pos += 1
                quoted = True
        else:
            break
        i += length
    while quoted and out[pos - 1] == QUOTE:  # the character after it did not fit
        pos -= 1
    return i, pos, quoted


@kernel
def copy_letter(data: Bytes, i: int, end: int, out: Bytes, pos: int, version: int) -> tuple[int, int]:
    """Copy the character at `i` with its combining marks; return the positions after them."""
    limit = pos + MAX_TOKEN_BYTES
    kind, length = character(data, i, end, version)
    while True:
        pos, limit = copy_folded(data, i, length, out, pos, limit, version)
        i += length
        if i == end:
            return i, pos
        kind, length = character(data, i, end, version)
        if kind != COMBINING:
            return i, pos


@kernel
def clitic_start(out: Bytes, start: int, end: int) -> int:
    """Return where the contraction at the end of a word begins ("n't", "'s", …); `end` if there is none."""
    size = end - start
    last = out[end - 1]
    if size > 3 and last == ord("t") and out[end - 2] == QUOTE and out[end - 3] == ord("n"):
        return end - 3
    if size > 2 and out[end - 2] == QUOTE and (last == ord("s") or last == ord("m") or last == ord("d")):
        return end - 2
    if size > 3 and out[end - 3] == QUOTE:
        before = out[end - 2]
        if (last == ord("e") and (before == ord("r") or before == ord("v"))) or (
            last == ord("l") and before == ord("l")
        ):
            return end - 3
    return end


@kernel
def split_clitics(out: Bytes, start: int, end: int) -> int:
    """Separate contractions at the end of out[start:end] with spaces and return the new end."""
    inner = end
    while True:
        cut = clitic_start(out, start, inner)
        if cut == inner:
            return end
        if out[cut - 1] == QUOTE:  # "x'n't": the apostrophe before "n't" would be left over
            out[cut - 1] = SPACE
            inner = cut - 1
            continue
        for k in range(end, cut, -1):
            out[k] = out[k - 1]
        out[cut] = SPACE
        end += 1
        inner = cut


@kernel
def lone_clitic(data: Bytes, i: int, end: int, out: Bytes, pos: int, version: int) -> tuple[int, int]:
    """Copy the contraction ("'s" in tokenised text) that begins with the apostrophe at `i`, if any.

    Returns the positions after it in `data` and in `out`.
    """
    _, length = character(data, i, end, version)
    if i + length >= end or character(data, i + length, end, version)[0] != WORD:
        return i + length, pos
    out[pos] = ord("x")  # stands in for the preceding word, so that `clitic_start` applies
    out[pos + 1] = QUOTE
    after, stop, _ = copy_word(data, i + length, end, out, pos + 2, version)
    if stop - pos > 4 or clitic_start(out, pos, stop) != pos + 1:
        return i + length, pos
    for k in range(pos, stop - 1):
        out[k] = out[k + 1]
    return after, stop - 1


@kernel
def next_words(
    data: Bytes, row: tuple[int, int], i: int, out: Bytes, pos: int, marks: int, version: int
) -> tuple[int, int, int]:
    """Copy the tokens, if any, that begin with the character at `i`, joined by single spaces.

    `row` is the beginning and the end of the row, and `marks` counts `!` and `?` since the last other token.
    Returns the positions after the tokens in `data` and in `out`, and the new number of marks.
    """
    begin, end = row
    kind, length = character(data, i, end, version)
    if kind == WORD:
        after, stop, quoted = copy_word(data, i, end, out, pos, version)
        return after, split_clitics(out, pos, stop) if quoted else stop, 0
    if kind == APOSTROPHE:
        after, stop = lone_clitic(data, i, end, out, pos, version)
        return after, stop, 0 if stop > pos else marks
    if kind == MARK:
        if marks < MARKS_KEPT and length == 1:
            out[pos] = data[i]
            pos += 1
        elif marks < MARKS_KEPT:
            pos, _ = copy_folded(data, i, length, out, pos, pos + length, version)
        return i + length, pos, marks + 1
    if kind == SYMBOL:
        pos, _ = copy_folded(data, i, length, out, pos, pos + 2 * length, version)
        return i + length, pos, 0
    if kind == UNSPACED:
        after, stop = copy_letter(data, i, end, out, pos, version)
        return after, stop, 0
    if kind == FACE:
        after, stop = copy_emoticon(data, begin, i, end, out, pos)
        if stop > pos:
            return after, stop, 0
    return i + length, pos, marks


@kernel
def white_space(data: Bytes, i: int, end: int) -> int:
    """Return the length in bytes of the non-ASCII white space (by str.isspace) at `i`; 0 if there is none."""
    first = data[i]
    if first == 0xC2 and i + 1 < end and (data[i + 1] == 0x85 or data[i + 1] == 0xA0):
        return 2
    if i + 2 >= end:
        return 0
    second, third = data[i + 1], data[i + 2]
    if first == 0xE2 and second == 0x80:  # U+2000-U+200A, U+2028, U+2029, U+202F
        return 3 if 0x80 <= third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    other = (
        (first == 0xE2 and second == 0x81 and third == 0x9F)  # U+205F
        or (first == 0xE3 and second == 0x80 and third == 0x80)  # U+3000
        or (first == 0xE1 and second == 0x9A and third == 0x80)  # U+1680
    )
    return 3 if other else 0


@kernel
def next_alpha(data: Bytes, i: int, end: int, out: Bytes, pos: int) -> tuple[int, int]:
    """Copy the letters from `i` to the next white space; return the positions after it in both arrays."""
    limit = pos + MAX_TOKEN_BYTES
    while i < end:
        low = LETTER_BYTES[data[i]]
        if low == SPACE:
            return i + 1, pos
        if low != 0:
            if pos < limit:
                out[pos] = low
                pos += 1
        elif data[i] >= 0x80:
            wide = white_space(data, i, end)
            if wide:
                return i + wide, pos
        i += 1
    return i, pos


@kernel
def clean_rows(data: Bytes, offsets: Offsets, rule: int, out: Bytes, ends: Offsets) -> None:
    """Clean every row into `out`; row r ends at `ends[r + 1]`. `rule` is that of `kernel_rule`."""
    pos = ZERO
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        begin = pos
        marks = ZERO
        while i < end:
            if rule == ALPHA:
                i, stop = next_alpha(data, i, end, out, pos)
            else:
                i, stop, marks = next_words(data, (offsets[row], end), i, out, pos, marks, rule)
            if stop > pos:
                out[stop] = SPACE
                pos = stop + 1
        ends[row + 1] = pos = max(begin, pos - 1)  # without the space after the last token
