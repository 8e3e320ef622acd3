"""Number the tokens of cleaned text with an open-addressing hash table over their bytes, compiled.

A place of the table is two 64-bit numbers: the word's key, and its length and number. The key of a word of
up to 8 bytes is the word itself, so most look-ups compare one number and touch no text; longer words
keep their hash there, and their bytes are compared as well.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiscale.text.clean import SPACE
from sentiscale.text.compiled import Bytes, Offsets, kernel

HASH_START = np.uint64(0xCBF29CE484222325)
HASH_PRIME = np.uint64(0x100000001B3)
MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
HALF = np.uint64(33)

NOTHING = np.uint64(0)
ONE = np.uint64(1)
BYTE = np.uint64(8)
WORD_BITS = np.uint64(32)
WORD_MASK = np.uint64(2**32 - 1)
KEY_BYTES = 8
FIRST_CAPACITY = 2**14

Slots = NDArray[np.uint64]
"""Shape (size, 2), size a power of two: key; length << 32 | word number + 1, 0 where empty."""


class WordTable(NamedTuple):
    """Given words and the slots that find them; word w begins at `data[starts[w]]`."""

    data: Bytes
    starts: Offsets
    slots: Slots


class Token(NamedTuple):
    """One token of cleaned text."""

    start: int
    end: int
    key: np.uint64
    hash: np.uint64


class NumberedTokens(NamedTuple):
    """Tokens of cleaned rows, numbered by first appearance."""

    ids: NDArray[np.int32]
    """Word numbers back to back, at most max_tokens a row."""
    offsets: Offsets
    """Where each row's ids begin (rows + 1)."""
    lengths: Offsets
    """Tokens of each row before cutting."""
    hashes: NDArray[np.uint64]
    """Hash of each whole cleaned text; splits depend on it, so the function must never change."""
    word_starts: Offsets
    """First byte of each distinct word in the cleaned data."""
    word_ends: Offsets
    """One past the last byte of each distinct word."""


@kernel
def finish_hash(value: np.uint64) -> np.uint64:
    """Spread every input bit over all output bits (the finaliser of MurmurHash3)."""
    value ^= value >> HALF
    value *= MIX_1
    value ^= value >> HALF
    value *= MIX_2
    value ^= value >> HALF
    return value


@kernel
def absorb(state: np.uint64, value: np.uint64) -> np.uint64:
    """The running hash after one more number; order matters."""
    state = (state ^ value) * HASH_PRIME
    return state ^ (state >> HALF)


@kernel
def read_token(data: Bytes, start: int, end: int) -> Token:
    """The token that begins at `start`, in a row that ends at `end`."""
    state = HASH_START
    packed = NOTHING
    i = start
    filled = 0
    while i < end:
        byte = data[i]
        if byte == SPACE:
            break
        if filled == KEY_BYTES:
            state = absorb(state, packed)
            packed = NOTHING
            filled = 0
        packed = (packed << BYTE) | np.uint64(byte)
        filled += 1
        i += 1
    value = finish_hash(state ^ packed)
    return Token(start, i, packed if i - start <= KEY_BYTES else value, value)


@kernel
def find_slot(slots: Slots, starts: Offsets, words: Bytes, data: Bytes, token: Token) -> np.uint64:
    """Place of a token of `data` in the table: its own, or the empty one to put it in."""
    mask = np.uint64(len(slots) - 1)
    size = token.end - token.start
    place = token.hash & mask
    while True:
        entry = slots[place, 1]
        if entry == NOTHING:
            return place
        if slots[place, 0] == token.key and (entry >> WORD_BITS) == np.uint64(size):
            at = starts[np.int64(entry & WORD_MASK) - 1]
            k = 0 if size > KEY_BYTES else size
            while k < size and words[at + k] == data[token.start + k]:
                k += 1
            if k == size:
                return place
        place = (place + ONE) & mask


@kernel
def put(slots: Slots, place: np.uint64, token: Token, word: int) -> None:
    """Enter a word at an empty place."""
    slots[place, 0] = token.key
    slots[place, 1] = (np.uint64(token.end - token.start) << WORD_BITS) | np.uint64(word + 1)


@kernel
def slots_for(words: Bytes, starts: Offsets, ends: Offsets, size: int) -> Slots:
    """Slots of `size` places, a power of two, for distinct words."""
    slots = np.zeros((size, 2), np.uint64)
    for word in range(len(starts)):
        token = read_token(words, starts[word], ends[word])
        put(slots, find_slot(slots, starts, words, words, token), token, word)
    return slots


@kernel
def build_table(data: Bytes, offsets: Offsets) -> WordTable:
    """The table of distinct words that stand back to back, at most half full."""
    size = 16
    while size < 2 * len(offsets):
        size *= 2
    return WordTable(data, offsets[:-1], slots_for(data, offsets[:-1], offsets[1:], size))


@kernel
def count_tokens(data: Bytes, offsets: Offsets) -> Offsets:
    """Tokens of each cleaned row."""
    rows = len(offsets) - 1
    lengths = np.zeros(rows, np.int64)
    for row in range(rows):
        tokens = 1 if offsets[row + 1] > offsets[row] else 0
        for i in range(offsets[row], offsets[row + 1]):
            tokens += data[i] == SPACE
        lengths[row] = tokens
    return lengths


@kernel
def cut_offsets(lengths: Offsets, max_tokens: int) -> Offsets:
    """Where each row begins once rows are cut to max_tokens."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    for row in range(len(lengths)):
        offsets[row + 1] = offsets[row] + min(lengths[row], max_tokens)
    return offsets


@kernel
def grown(array: Offsets) -> Offsets:
    """The array followed by as much free space again."""
    bigger = np.empty(2 * len(array), np.int64)
    bigger[: len(array)] = array
    return bigger


def number_tokens(data: Bytes, offsets: Offsets, max_tokens: int) -> NumberedTokens:
    """Number the words of cleaned rows by first appearance and hash every row."""
    lengths = count_tokens(data, offsets)
    kept = cut_offsets(lengths, max_tokens)
    rows = NumberedTokens(
        ids=np.empty(kept[-1], np.int32),
        offsets=kept,
        lengths=lengths,
        hashes=np.empty(len(lengths), np.uint64),
        word_starts=np.empty(FIRST_CAPACITY, np.int64),
        word_ends=np.empty(FIRST_CAPACITY, np.int64),
    )
    slots = np.zeros((2 * FIRST_CAPACITY, 2), np.uint64)
    row, count = 0, 0
    while True:
        row, count = number_rows(data, offsets, rows, slots, row, count)
        if row == len(lengths):
            break
        # Growing inside the kernel would make it count references for every token: 4 times slower.
        starts, ends = grown(rows.word_starts), grown(rows.word_ends)
        slots = slots_for(data, starts[:count], ends[:count], 2 * len(slots))
        rows = rows._replace(word_starts=starts, word_ends=ends)
    return rows._replace(word_starts=rows.word_starts[:count].copy(), word_ends=rows.word_ends[:count].copy())


@kernel
def number_rows(
    data: Bytes, offsets: Offsets, rows: NumberedTokens, slots: Slots, row: int, count: int
) -> tuple[int, int]:
    """Number the rows from `row` on, with `count` words known, until the room for words may not do.

    Returns the row to go on with and how many words there are now.
    """
    ids, kept, _, hashes, starts, ends = rows
    while row < len(kept) - 1 and count + kept[row + 1] - kept[row] <= len(starts):
        state = HASH_START
        at = offsets[row]
        n = kept[row]
        while at < offsets[row + 1]:
            token = read_token(data, at, offsets[row + 1])
            state = absorb(state, token.hash)
            if n < kept[row + 1]:
                place = find_slot(slots, starts, data, data, token)
                if slots[place, 1] == NOTHING:
                    put(slots, place, token, count)
                    starts[count], ends[count] = token.start, token.end
                    count += 1
                ids[n] = np.int64(slots[place, 1] & WORD_MASK) - 1
                n += 1
            at = token.end + 1
        hashes[row] = finish_hash(state)
        row += 1
    return row, count


@kernel
def look_up(
    data: Bytes, offsets: Offsets, kept: Offsets, table: WordTable, unknown_id: int
) -> tuple[NDArray[np.int32], Offsets]:
    """Ids of the first tokens of each row by a fixed table, and how many of a row's were unknown."""
    words, starts, slots = table
    ids = np.empty(kept[-1], np.int32)
    unknown = np.zeros(len(kept) - 1, np.int64)
    for row in range(len(kept) - 1):
        at = offsets[row]
        for n in range(kept[row], kept[row + 1]):
            token = read_token(data, at, offsets[row + 1])
            entry = slots[find_slot(slots, starts, words, data, token), 1]
            if entry == NOTHING:
                ids[n] = unknown_id
                unknown[row] += 1
            else:
                ids[n] = np.int64(entry & WORD_MASK) - 1
            at = token.end + 1
    return ids, unknown
