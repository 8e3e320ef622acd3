"""Number words with an open-addressing hash table over their bytes, compiled.

A slot of the table consists of two 64-bit integers: the word's key, and its length and number. The key of a
word of up to 8 bytes is the word itself, so most look-ups compare one integer and read no text. The key of a
longer word is its hash, and its bytes are compared as well.

Python's dict and Arrow's dictionary encoding are slower: both require each token as a separate value, and
merging the word counts of 115 MB with Arrow's group_by took 0.27 s in the process that distributes the work.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiscale.text.clean import SPACE
from sentiscale.text.compiled import Bytes, Offsets, check_array, check_offsets, inlined, kernel

# FNV-1a (Fowler, Noll, Vo), but over eight bytes at a time. A multiplication alone never carries high bits
# down, so `absorb` also folds them into the low bits. MurmurHash3's finaliser then mixes all bits, so that
# `hash & mask` depends on all of them.
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
"""Number of words looked up together."""
FEWEST_SLOTS = 16

LOWER = np.frombuffer(bytes(range(256)).lower(), np.uint8)
"""All byte values, with ASCII letters in lower case."""

Slots = NDArray[np.uint64]
"""Shape (size, 2), where size is a power of two: key, and length << 32 | word number + 1 (0 if empty)."""

Tokens = NDArray[np.uint64]
"""Shape (BATCH, 2): key and hash of each word."""


class WordTable(NamedTuple):
    """Distinct words and their hash table; word w is `data[offsets[w]:offsets[w + 1]]`."""

    data: Bytes
    offsets: Offsets
    slots: Slots


class Token(NamedTuple):
    """Position, key and hash of a word in some data, where it may contain capital letters."""

    start: int
    end: int
    key: np.uint64
    hash: np.uint64


@inlined
def finish_hash(value: np.uint64) -> np.uint64:
    """Mix every input bit into all output bits (MurmurHash3's finaliser); ONNX graphs replicate it."""
    value ^= value >> MIX_SHIFT
    value *= MIX_FACTORS[0]
    value ^= value >> MIX_SHIFT
    value *= MIX_FACTORS[1]
    value ^= value >> MIX_SHIFT
    return value


@inlined
def absorb(state: np.uint64, value: np.uint64) -> np.uint64:
    """Update a running hash with one more integer; the order of the integers matters."""
    state = (state ^ value) * HASH_PRIME
    return state ^ (state >> MIX_SHIFT)


@inlined
def read_token(data: Bytes, start: int, end: int) -> Token:
    """Read the token from `start` to the next space or to `end`, the end of the row."""
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
    """Return the slot that contains a token of `data`, or the empty slot in which to insert it.

    The table's arrays are separate arguments because numba would count references to a tuple in every call.
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
            k = 0 if size > KEY_BYTES else size  # a short word equals its key: nothing else to compare
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
    """Return the number of a token's word, or -1 if the word is unknown."""
    return int(np.int64(slots[find_slot(words, offsets, slots, data, token), 1] & WORD_MASK)) - 1


@inlined
def enter_word(words: Bytes, offsets: Offsets, slots: Slots, data: Bytes, token: Token, count: int) -> int:
    """Return the number of a token's word; add a new word as number `count`, for which there must be room."""
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


def slots_for(data: Bytes, offsets: Offsets, count: int, size: int) -> Slots:
    """Create `size` slots, a power of two above `count`, and fill them with the first `count` words."""
    if size & (size - 1) or not 0 <= count < size:
        raise ValueError(f"{count} words need a power of two of slots, more than words; got {size}")
    check_offsets(offsets[: count + 1], len(data))
    return _slots_for(data, offsets, count, size)


@kernel
def _slots_for(data: Bytes, offsets: Offsets, count: int, size: int) -> Slots:
    slots = np.zeros((size, 2), np.uint64)
    for word in range(count):
        token = read_token(data, offsets[word], offsets[word + 1])
        put(slots, find_slot(data, offsets, slots, data, token), token, word)
    return slots


def build_table(data: Bytes, offsets: Offsets) -> WordTable:
    """Build a table, at most half full, from concatenated distinct words, which are copied."""
    data, offsets = (
        np.array(data),
        np.array(offsets),
    )  # writeable like all other tables, so that kernels are compiled only once
    size = max(FEWEST_SLOTS, 1 << (2 * len(offsets) - 1).bit_length())
    return WordTable(data, offsets, slots_for(data, offsets, len(offsets) - 1, size))


@inlined
def read_ahead(slots: Slots, data: Bytes, offsets: Offsets, begin: int, end: int, tokens: Tokens) -> int:
    """Read the words from `begin` to `end` and load their slots into the cache.

    In a large table, every look-up waits for memory. The look-ups of a batch are independent, so the
    processor loads several slots at once: 60 ns per word instead of 125 ns (4 MB table).
    """
    mask = np.uint64(len(slots) - 1)
    touched = NOTHING
    for word in range(begin, end):
        token = read_token(data, offsets[word], offsets[word + 1])
        tokens[word - begin, 0] = token.key
        tokens[word - begin, 1] = token.hash
        touched ^= slots[token.hash & mask, 1]
    return int(np.int64(touched))  # returned so that the compiler keeps the reads


def check_table(table: WordTable) -> None:
    """Raise ValueError unless the arrays of a table have the types and sizes that kernels rely on.

    The slots themselves are not checked: they come from `slots_for` and the kernels, never from a file.
    """
    size = len(table.slots)
    if size & (size - 1) or not 0 < len(table.offsets) <= size:
        raise ValueError(f"a table has a power of two of slots, more than words; got {size}")
    check_array("data", table.data, np.uint8, (-1,))
    check_array("offsets", table.offsets, np.int64, (-1,))
    check_array("slots", table.slots, np.uint64, (size, 2))


def look_up(data: Bytes, offsets: Offsets, table: WordTable, unknown: int) -> NDArray[np.int32]:
    """Look up the numbers of concatenated words; unknown words get the number `unknown`."""
    check_offsets(offsets, len(data))
    check_table(table)
    return _look_up(data, offsets, table, unknown)


@kernel
def _look_up(data: Bytes, offsets: Offsets, table: WordTable, unknown: int) -> NDArray[np.int32]:
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


def add_words(
    data: Bytes,
    bounds: Offsets,
    numbers: NDArray[np.int64],
    table: WordTable,
    counts: NDArray[np.int64],
    count: int,
) -> int:
    """Add distinct words to a table of `count` words, and `numbers`, their frequencies, to `counts`.

    The table must have room for all words. Returns its new number of words.
    """
    check_offsets(bounds, len(data))
    check_array("numbers", numbers, np.int64, (len(bounds) - 1,))
    check_table(table)
    words = count + len(numbers)
    size = int(table.offsets[count]) + int(bounds[-1] - bounds[0])
    room = len(table.offsets) - 1, len(counts), len(table.slots) - 1
    if count < 0 or words > min(room) or size > len(table.data):
        raise ValueError(
            f"no room for {words} words of {size} bytes in a table for {min(room)} words of "
            f"{len(table.data)} bytes"
        )
    return _add_words(data, bounds, numbers, table, counts, count)


@kernel
def _add_words(
    data: Bytes,
    bounds: Offsets,
    numbers: NDArray[np.int64],
    table: WordTable,
    counts: NDArray[np.int64],
    count: int,
) -> int:
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
