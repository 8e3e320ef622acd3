"""Number words with an open-addressing hash table over their bytes, compiled.

A slot of the table is two 64-bit numbers: the word's key, and its length and number. The key of a word of
up to 8 bytes is the word itself, so most look-ups compare one number and touch no text; longer words
have their hash as key, and their bytes are compared as well.

Why not Python's dict or Arrow's dictionary encoding: both need each token as a value of its own first, and
merging the word counts of 115 MB with Arrow's group_by took 0.27 s on the core that hands out the work.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiscale.text.clean import SPACE
from sentiscale.text.compiled import Bytes, Offsets, inlined, kernel

# FNV-1a (Fowler, Noll, Vo), but over eight bytes at a time: `absorb` therefore also folds the high bits down,
# which a multiplication alone never does. MurmurHash3's finaliser then spreads them for `hash & mask`.
HASH_START = np.uint64(0xCBF29CE484222325)
HASH_PRIME = np.uint64(0x100000001B3)
MIX_FACTORS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
MIX_SHIFT = np.uint64(33)

NOTHING = np.uint64(0)
ONE = np.uint64(1)
BYTE = np.uint64(8)
WORD_BITS = np.uint64(32)
WORD_MASK = np.uint64(2**32 - 1)
KEY_BYTES = 8
BATCH = 256
"""Words looked up together."""
FEWEST_SLOTS = 16

LOWER = np.frombuffer(bytes(range(256)).lower(), np.uint8)
"""Every byte, ASCII capitals as small letters."""

Slots = NDArray[np.uint64]
"""Shape (size, 2), size a power of two: key; length << 32 | word number + 1, 0 where empty."""

Tokens = NDArray[np.uint64]
"""Shape (BATCH, 2): key and hash of some words."""


class WordTable(NamedTuple):
    """Distinct words and the slots that find them; word w is `data[offsets[w]:offsets[w + 1]]`."""

    data: Bytes
    offsets: Offsets
    slots: Slots


class Token(NamedTuple):
    """The place of a word in some data, where it may be written in capitals."""

    start: int
    end: int
    key: np.uint64
    hash: np.uint64


@inlined
def finish_hash(value: np.uint64) -> np.uint64:
    """Spread every input bit over all output bits (the finaliser of MurmurHash3); ONNX graphs repeat it."""
    value ^= value >> MIX_SHIFT
    value *= MIX_FACTORS[0]
    value ^= value >> MIX_SHIFT
    value *= MIX_FACTORS[1]
    value ^= value >> MIX_SHIFT
    return value


@inlined
def absorb(state: np.uint64, value: np.uint64) -> np.uint64:
    """The running hash after one more number; the order of the numbers matters."""
    state = (state ^ value) * HASH_PRIME
    return state ^ (state >> MIX_SHIFT)


@inlined
def read_token(data: Bytes, start: int, end: int) -> Token:
    """The token from `start` to the next space, in a row that ends at `end`."""
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


@inlined
def find_slot(words: Bytes, offsets: Offsets, slots: Slots, data: Bytes, token: Token) -> np.uint64:
    """Slot of a token of `data`: its own, or the empty one to put it in.

    Takes the table's arrays one by one: numba would count references for a tuple of them at every call.
    """
    mask = np.uint64(len(slots) - 1)
    size = token.end - token.start
    place = token.hash & mask
    while True:
        entry = slots[place, 1]
        if entry == NOTHING:
            return place
        if slots[place, 0] == token.key and (entry >> WORD_BITS) == np.uint64(size):
            at = offsets[np.int64(entry & WORD_MASK) - 1]
            k = 0 if size > KEY_BYTES else size  # a short word is its key: nothing is left to compare
            while k < size and words[at + k] == LOWER[data[token.start + k]]:
                k += 1
            if k == size:
                return place
        place = (place + ONE) & mask


@inlined
def put(slots: Slots, place: np.uint64, token: Token, word: int) -> None:
    slots[place, 0] = token.key
    slots[place, 1] = (np.uint64(token.end - token.start) << WORD_BITS) | np.uint64(word + 1)


@inlined
def find_word(words: Bytes, offsets: Offsets, slots: Slots, data: Bytes, token: Token) -> int:
    """The number of a token's word, -1 for an unknown word."""
    return int(np.int64(slots[find_slot(words, offsets, slots, data, token), 1] & WORD_MASK)) - 1


@inlined
def enter_word(words: Bytes, offsets: Offsets, slots: Slots, data: Bytes, token: Token, count: int) -> int:
    """The number of a token's word; a new word gets number `count`, for which there must be room."""
    place = find_slot(words, offsets, slots, data, token)
    entry = slots[place, 1]
    if entry != NOTHING:
        return int(np.int64(entry & WORD_MASK)) - 1
    put(slots, place, token, count)
    at = offsets[count]
    for k in range(token.start, token.end):
        words[at] = LOWER[data[k]]
        at += 1
    offsets[count + 1] = at
    return count


@kernel
def slots_for(data: Bytes, offsets: Offsets, count: int, size: int) -> Slots:
    """`size` slots, a power of two, for the first `count` words."""
    slots = np.zeros((size, 2), np.uint64)
    for word in range(count):
        token = read_token(data, offsets[word], offsets[word + 1])
        put(slots, find_slot(data, offsets, slots, data, token), token, word)
    return slots


def build_table(data: Bytes, offsets: Offsets) -> WordTable:
    """A table of distinct words that stand back to back, at most half full; copies them."""
    data, offsets = (
        np.array(data),
        np.array(offsets),
    )  # writeable like any other table, so that kernels are compiled once
    size = max(FEWEST_SLOTS, 1 << (2 * len(offsets) - 1).bit_length())
    return WordTable(data, offsets, slots_for(data, offsets, len(offsets) - 1, size))


@inlined
def read_ahead(slots: Slots, data: Bytes, offsets: Offsets, begin: int, end: int, tokens: Tokens) -> int:
    """Read the words from `begin` to `end` and touch their slots.

    In a large table every look-up waits for memory. Those of a batch do not depend on each other, so the
    processor fetches the next slots while it waits for the first: 60 ns a word instead of 125 (4 MB table).
    """
    mask = np.uint64(len(slots) - 1)
    touched = NOTHING
    for word in range(begin, end):
        token = read_token(data, offsets[word], offsets[word + 1])
        tokens[word - begin, 0] = token.key
        tokens[word - begin, 1] = token.hash
        touched ^= slots[token.hash & mask, 1]
    return int(np.int64(touched))  # a result, or the compiler would drop the reads


@kernel
def look_up(data: Bytes, offsets: Offsets, table: WordTable, unknown: int) -> NDArray[np.int32]:
    """Numbers of words that stand back to back; `unknown` for unknown ones."""
    words, starts, slots = table
    numbers = np.empty(len(offsets) - 1, np.int32)
    tokens = np.empty((BATCH, 2), np.uint64)
    for begin in range(0, len(numbers), BATCH):
        end = min(begin + BATCH, len(numbers))
        read_ahead(slots, data, offsets, begin, end, tokens)
        for word in range(begin, end):
            k = word - begin
            token = Token(offsets[word], offsets[word + 1], tokens[k, 0], tokens[k, 1])
            number = find_word(words, starts, slots, data, token)
            numbers[word] = number if number >= 0 else unknown
    return numbers


@kernel
def add_words(
    data: Bytes,
    bounds: Offsets,
    numbers: NDArray[np.int64],
    table: WordTable,
    counts: NDArray[np.int64],
    count: int,
) -> int:
    """Add distinct words with their numbers to a table of `count` words; returns its new size.

    The table must have room for all of them.
    """
    words, offsets, slots = table
    tokens = np.empty((BATCH, 2), np.uint64)
    for begin in range(0, len(numbers), BATCH):
        end = min(begin + BATCH, len(numbers))
        read_ahead(slots, data, bounds, begin, end, tokens)
        for i in range(begin, end):
            token = Token(bounds[i], bounds[i + 1], tokens[i - begin, 0], tokens[i - begin, 1])
            word = enter_word(words, offsets, slots, data, token, count)
            counts[word] += numbers[i]
            count += word == count
    return count
