"""Cleaning profiles: convert raw review bytes to tokens joined by single spaces, compiled.

`alpha` is the classic rule: convert to lower case and drop everything except a-z and white space.

`words` keeps the characters that carry sentiment. Its tokens are

- runs of letters and digits that may contain apostrophes; n't, 's, 'm, 're, 've, 'll and 'd are split off,
  as in many published corpora ("don't" and "do n't" both become "do n't");
- each `!` and `?`, at most three in a row, regardless of spaces between them;
- each character above U+FFFF (emoji).

All other characters are separators. Characters outside ASCII count as letters, except Latin-1 signs
(U+0080-U+00BF) and general punctuation (U+2000-U+206F), of which U+2019 is an apostrophe. Tokens are
truncated to 64 bytes at a character boundary. The tokens of a review joined by single spaces are its *cleaned
text*. Reviews with equal cleaned texts are duplicates, and cleaning a cleaned text changes nothing.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiscale.config import CLEANING_VERSIONS, Cleaning
from sentiscale.errors import DataError
from sentiscale.text.compiled import Bytes, Offsets, frozen, kernel

MAX_TOKEN_BYTES = 64

SEPARATOR, WORD, APOSTROPHE, MARK, SYMBOL = range(5)
SPACE = ord(" ")
QUOTE = ord("'")
MARKS_KEPT = 3

# The kernels look up ASCII characters in these tables; `character` classifies all others.
ASCII = [chr(code) for code in range(128)]
ASCII_KINDS = np.array([WORD if char.isalnum() else SEPARATOR for char in ASCII], np.uint8)
ASCII_KINDS[QUOTE] = APOSTROPHE
ASCII_KINDS[[ord("!"), ord("?")]] = MARK

WORD_BYTES = np.zeros(256, np.uint8)
"""Lower-case letter or digit for each byte that is a letter or digit; 0 for all other bytes."""
WORD_BYTES[:128] = [ord(char.lower()) if char.isalnum() else 0 for char in ASCII]

LETTER_BYTES = np.zeros(256, np.uint8)
"""Lower-case letter for each byte that is a letter, a space for white space, and 0 for all other bytes."""
LETTER_BYTES[:128] = [ord(char.lower()) if char.isalpha() else SPACE * char.isspace() for char in ASCII]


def _two_byte_lower() -> NDArray[np.uint16]:
    """Return the lower case of U+0000-U+07FF.

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
    check_version(cleaning, version)
    data, offsets = raw_rows(texts)
    # Splitting contractions and symbols at most doubles a text. The rest is headroom, because a kernel may
    # write past the end of a token before truncating it.
    out = np.empty(2 * int(offsets[-1] - offsets[0]) + 2 * len(texts) + MAX_TOKEN_BYTES + 8, np.uint8)
    ends = np.zeros(len(texts) + 1, np.int64)
    clean_rows(data, offsets, cleaning == "alpha", out, ends)
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


@kernel
def character(data: Bytes, i: int, end: int) -> tuple[int, int]:
    """Return the kind, by the `words` rule, and the length in bytes of the character at `i`."""
    byte = data[i]
    if byte < 0x80:
        return ASCII_KINDS[byte], 1
    length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if byte < 0xC2 or i + length > end:  # not the start of a character, or incomplete
        return SEPARATOR, 1
    if length == 4:
        return SYMBOL, 4
    second = data[i + 1]
    if length == 2:
        return (SEPARATOR if byte == 0xC2 else WORD), 2
    third = data[i + 2]
    if byte == 0xE2 and second == 0x80:  # U+2000-U+203F
        return (APOSTROPHE if third == 0x99 else SEPARATOR), 3
    if byte == 0xE2 and second == 0x81 and third < 0xB0:  # U+2040-U+206F
        return SEPARATOR, 3
    if byte == 0xEF and ((second == 0xB8 and third < 0x90) or (second == 0xBB and third == 0xBF)):
        return SEPARATOR, 3  # variation selectors (after emoji) and the byte-order mark
    return WORD, 3


@kernel
def copy_character(data: Bytes, i: int, length: int, out: Bytes, pos: int) -> None:
    """Copy a character of two or three bytes; two-byte characters are converted to lower case."""
    if length == 2:
        low = TWO_BYTE_LOWER[((data[i] & 0x1F) << 6) | (data[i + 1] & 0x3F)]
        out[pos] = 0xC0 | (low >> 6)
        out[pos + 1] = 0x80 | (low & 0x3F)
    else:
        out[pos : pos + length] = data[i : i + length]


@kernel
def copy_word(data: Bytes, i: int, end: int, out: Bytes, pos: int) -> tuple[int, int, bool]:
    """Copy the run of letters, digits and inner apostrophes that begins at `i`.

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
        if byte < 0x80 and byte != QUOTE:  # nearly every word ends here
            break
        kind, length = character(data, i, end)
        if kind == WORD:
            if pos + length <= limit:
                copy_character(data, i, length, out, pos)
                pos += length
            else:
                limit = pos  # a shorter character after this one must not be copied
        elif kind == APOSTROPHE and i + length < end:
            next_kind, next_length = character(data, i + length, end)
            if next_kind != WORD:
                break
            if pos + 1 + next_length <= limit:
                out[pos] = QUOTE
                pos += 1
                quoted = True
            else:
                limit = pos
        else:
            break
        i += length
    return i, pos, quoted


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
def lone_clitic(data: Bytes, i: int, end: int, out: Bytes, pos: int) -> tuple[int, int]:
    """Copy the contraction ("'s" in tokenised text) that begins with the apostrophe at `i`, if any.

    Returns the positions after it in `data` and in `out`.
    """
    _, length = character(data, i, end)
    if i + length >= end or WORD_BYTES[data[i + length]] == 0:
        return i + length, pos
    out[pos] = ord("x")  # stands in for the preceding word, so that `clitic_start` applies
    out[pos + 1] = QUOTE
    after, stop, _ = copy_word(data, i + length, end, out, pos + 2)
    if stop - pos > 4 or clitic_start(out, pos, stop) != pos + 1:
        return i + length, pos
    for k in range(pos, stop - 1):
        out[k] = out[k + 1]
    return after, stop - 1


@kernel
def next_words(data: Bytes, i: int, end: int, out: Bytes, pos: int, marks: int) -> tuple[int, int, int]:
    """Copy the tokens, if any, that begin with the character at `i`, joined by single spaces.

    `marks` counts `!` and `?` since the last other token. Returns the positions after the tokens in `data`
    and in `out`, and the new number of marks.
    """
    kind, length = character(data, i, end)
    if kind == WORD:
        after, stop, quoted = copy_word(data, i, end, out, pos)
        return after, split_clitics(out, pos, stop) if quoted else stop, 0
    if kind == APOSTROPHE:
        after, stop = lone_clitic(data, i, end, out, pos)
        return after, stop, 0 if stop > pos else marks
    if kind == MARK:
        if marks < MARKS_KEPT:
            out[pos] = data[i]
            pos += 1
        return i + 1, pos, marks + 1
    if kind == SYMBOL:
        out[pos : pos + 4] = data[i : i + 4]
        return i + 4, pos + 4, 0
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
def clean_rows(data: Bytes, offsets: Offsets, letters_only: bool, out: Bytes, ends: Offsets) -> None:
    """Clean every row into `out`; row r ends at `ends[r + 1]`. `letters_only` selects the `alpha` profile."""
    pos = 0
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        begin = pos
        marks = 0
        while i < end:
            if letters_only:
                i, stop = next_alpha(data, i, end, out, pos)
            else:
                i, stop, marks = next_words(data, i, end, out, pos, marks)
            if stop > pos:
                out[stop] = SPACE
                pos = stop + 1
        ends[row + 1] = pos = max(begin, pos - 1)  # without the space after the last token
