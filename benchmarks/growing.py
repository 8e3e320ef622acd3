"""The compiled passes of grow_reviews.py: count words, find rare ones, write changed rows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiscale.text.compiled import Bytes, Offsets, kernel

RARE = 20
"""Words seen at most so often in the source are spelt anew in its copies."""

SPACE, NEWLINE = ord(" "), ord("\n")
NEAREST, SPREAD = 16, 76  # bytes from one replaced word to the next: 16-91, about ten words
LONGEST = 24  # a replacement's bytes at most
GROWTH = 6  # a changed row is at most so many times as long, plus a word
HASH_START, HASH_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
VARIANTS = 8  # new spellings of one word in one copy
DRAWS = 20  # tries for a word that is not rare; in a tiny source all are
LETTERS = np.frombuffer(b"aeiouybdfgklmnprstvz", np.uint8)
VOWELS = 6

Hashes = NDArray[np.uint64]


class Source(NamedTuple):
    """The reviews that are repeated."""

    data: Bytes
    rows: Offsets
    """Where each row begins, and the end of the last."""
    rare_ends: Offsets
    """Where each occurrence of a rare word ends."""
    rare_hashes: Hashes
    words: float
    """Different words, by the letters a-z alone."""
    exponent: float
    """The number of different words grows as rows**exponent."""


class Change(NamedTuple):
    """What one copy does to its rows."""

    key: np.uint64
    """Its random numbers follow from this: seed and number of the copy."""
    chances: NDArray[np.float64]
    """For this and each copy before it, the chance that a rare word got a spelling of its own there."""
    drawn: Bytes
    """Words to put in, one a line: length, then bytes."""


@kernel
def letter(byte: int) -> int:
    """The lower-case letter a byte stands for, else 0."""
    low = byte | 0x20
    return low if ord("a") <= low <= ord("z") else 0


@kernel
def mix(key: np.uint64) -> np.uint64:
    """A bijection of 64-bit numbers under which neighbours look unrelated (SplitMix64's)."""
    key = (key ^ (key >> np.uint64(30))) * MIX_1
    key = (key ^ (key >> np.uint64(27))) * MIX_2
    return key ^ (key >> np.uint64(31))


@kernel
def word_at(data: Bytes, i: int, end: int) -> tuple[int, np.uint64]:
    """End and hash of the run of letters that begins at `i`; the end is `i` when there is none."""
    key = HASH_START
    while i < end:
        low = letter(data[i])
        if low == 0:
            break
        key = (key ^ np.uint64(low)) * HASH_PRIME
        i += 1
    return i, key ^ (key >> np.uint64(29))


@kernel
def text_start(data: Bytes, i: int, end: int) -> int:
    """Where the text of a row begins: after the first space."""
    while i < end and data[i] != SPACE:
        i += 1
    return min(i + 1, end)


@kernel
def count_words(data: Bytes, rows: Offsets, odd: int, counts: Bytes) -> None:
    """Count the words of every second row; counts stay at 255."""
    for row in range(odd, len(rows) - 1, 2):
        end = rows[row + 1]
        i = text_start(data, rows[row], end)
        while i < end:
            stop, key = word_at(data, i, end)
            if stop > i:
                bucket = key & np.uint64(len(counts) - 1)
                if counts[bucket] < 255:
                    counts[bucket] += np.uint8(1)
                i = stop
            else:
                i += 1


@kernel
def rare_words(data: Bytes, rows: Offsets, counts: Bytes, places: Offsets, hashes: Hashes) -> int:
    """Note where rare words end, as far as there is room; returns how many there are."""
    found = 0
    for row in range(len(rows) - 1):
        end = rows[row + 1]
        i = text_start(data, rows[row], end)
        while i < end:
            stop, key = word_at(data, i, end)
            if stop > i:
                if counts[key & np.uint64(len(counts) - 1)] <= RARE:
                    if found < len(places):
                        places[found] = stop
                        hashes[found] = key
                    found += 1
                i = stop
            else:
                i += 1
    return found


@kernel
def spelling(occurrence: np.uint64, chances: NDArray[np.float64]) -> int:
    """Number of the spelling that an occurrence of a rare word has in the newest copy; 0 is the original.

    It depends on the occurrence and the number of the copy alone, so a copy knows what earlier ones did.
    """
    copy = np.uint64(len(chances) - 1)
    while copy > 0:
        draw = mix(occurrence + copy * GOLDEN)
        if (draw >> np.uint64(11)) * 2.0**-53 < chances[copy]:
            break
        copy = mix(draw) % copy
    return np.int64(copy * np.uint64(VARIANTS) + occurrence % np.uint64(VARIANTS) if copy > 0 else copy)


@kernel
def add_letters(number: int, out: Bytes, pos: int) -> int:
    """Write `number`, unless it is 0, as vowels and consonants in turn; six letters at most in practice."""
    while number > 0:
        out[pos] = LETTERS[number % VOWELS]
        out[pos + 1] = LETTERS[VOWELS + number // VOWELS % (len(LETTERS) - VOWELS)]
        number //= VOWELS * (len(LETTERS) - VOWELS)
        pos += 2
    return pos


@kernel
def move(data: Bytes, start: int, end: int, out: Bytes, pos: int) -> int:
    """Copy data[start:end] to out[pos:]; returns the place after it."""
    for k in range(end - start):
        out[pos + k] = data[start + k]
    return pos + end - start


@kernel
def some_word(source: Source, draw: np.uint64) -> tuple[int, int, bool]:
    """Start and end of the word after a random place, and whether rare words are in it."""
    data = source.data
    i = np.int64(draw % np.uint64(len(data)))
    while i < len(data) and data[i] != SPACE:
        i += 1
    start = i = min(i + 1, len(data))
    while i < len(data) and data[i] != SPACE and data[i] != NEWLINE:
        i += 1
    rare = np.searchsorted(source.rare_ends, start, side="right")
    return start, i, rare < len(source.rare_ends) and source.rare_ends[rare] <= i


@kernel
def draw_words(source: Source, key: np.uint64, drawn: Bytes) -> None:
    """Fill `drawn` with words as often as they occur, but no rare ones if that can be helped."""
    for k in range(len(drawn)):
        for _ in range(DRAWS):
            key = mix(key + GOLDEN)
            start, stop, rare = some_word(source, key)
            fits = 0 < stop - start <= LONGEST
            if fits:
                drawn[k, 0] = stop - start
                move(source.data, start, stop, drawn[k], 1)
            if fits and not rare:
                break


@kernel
def copy_spelt(
    source: Source, change: Change, span: tuple[int, int], rare: int, place: tuple[Bytes, int]
) -> tuple[int, int]:
    """Copy a span of the source, rare words in their new spelling.

    `rare` is the next rare word to look at and place where to write; returns both as they are after it.
    """
    (i, end), (out, pos) = span, place
    while rare < len(source.rare_ends) and source.rare_ends[rare] <= end:
        stop = source.rare_ends[rare]
        if stop > i:  # else it was in a word that has been replaced
            pos = move(source.data, i, stop, out, pos)
            occurrence = mix(source.rare_hashes[rare] + np.uint64(rare) * MIX_1)
            pos = add_letters(spelling(occurrence, change.chances), out, pos)
            i = stop
        rare += 1
    return rare, move(source.data, i, end, out, pos)


@kernel
def change_rows(source: Source, change: Change, row: int, out: Bytes) -> tuple[int, int]:
    """Write changed rows from `row` on until `out` could overflow; returns the next row and the bytes."""
    data = source.data
    rare = np.searchsorted(source.rare_ends, source.rows[row], side="right")
    pos = 0
    while row < len(source.rows) - 1:
        begin, end = source.rows[row], source.rows[row + 1] - 1  # without the newline
        if pos + GROWTH * (end + 1 - begin) + LONGEST > len(out):
            break
        draw = mix(change.key + np.uint64(row) * GOLDEN)
        i = text_start(data, begin, end)
        pos = move(data, begin, i, out, pos)
        at = i + np.int64(draw % np.uint64(max(1, min(end - i, NEAREST + SPREAD))))
        while at < end:
            start = stop = at
            while start > i and data[start - 1] != SPACE:
                start -= 1
            while stop < end and data[stop] != SPACE:
                stop += 1
            rare, pos = copy_spelt(source, change, (i, start), rare, (out, pos))
            draw = mix(draw + GOLDEN)
            word = change.drawn[draw % np.uint64(len(change.drawn))]
            pos = move(word, 1, 1 + word[0], out, pos)
            i = stop
            at = stop + NEAREST + np.int64((draw >> np.uint64(40)) % np.uint64(SPREAD))
        rare, pos = copy_spelt(source, change, (i, end + 1), rare, (out, pos))
        row += 1
    return row, pos
