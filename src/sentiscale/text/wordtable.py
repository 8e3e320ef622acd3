"""Number the tokens of cleaned text with an open-addressing hash table over their bytes, compiled."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiscale.text.clean import SPACE
from sentiscale.text.compiled import Bytes, Offsets, kernel

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
SHIFT = np.uint64(33)


class WordTable(NamedTuple):
    """Words and the slots that find them; word w is `data[starts[w]:ends[w]]`."""

    data: Bytes
    starts: Offsets
    ends: Offsets
    hashes: NDArray[np.uint64]
    slots: NDArray[np.int32]
    """Word number + 1 at each place of the hash table, 0 where empty; a power of two long."""


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
    starts: Offsets
    """First byte of each distinct word in the cleaned data."""
    ends: Offsets
    """One past the last byte of each distinct word."""


@kernel
def finish_hash(value: np.uint64) -> np.uint64:
    """Spread every input bit over all output bits (the finaliser of MurmurHash3)."""
    value ^= value >> SHIFT
    value *= MIX_1
    value ^= value >> SHIFT
    value *= MIX_2
    value ^= value >> SHIFT
    return value


@kernel
def hash_token(data: Bytes, start: int, end: int) -> np.uint64:
    """FNV-1a of the bytes, then spread."""
    value = FNV_OFFSET
    for i in range(start, end):
        value = (value ^ np.uint64(data[i])) * FNV_PRIME
    return finish_hash(value)


@kernel
def token_end(data: Bytes, start: int, end: int) -> int:
    """Where the token that begins at `start` ends."""
    i = start
    while i < end and data[i] != SPACE:
        i += 1
    return i


@kernel
def find_slot(table: WordTable, data: Bytes, start: int, end: int, value: np.uint64) -> int:
    """Place of the token data[start:end] in the table: its own slot or the empty one to put it in."""
    mask = len(table.slots) - 1
    place = np.int64(value & np.uint64(mask))
    while True:
        word = table.slots[place] - 1
        if word < 0:
            return place
        if table.hashes[word] == value and table.ends[word] - table.starts[word] == end - start:
            at = table.starts[word]
            k = 0
            while k < end - start and table.data[at + k] == data[start + k]:
                k += 1
            if k == end - start:
                return place
        place = (place + 1) & mask


@kernel
def fill_slots(hashes: NDArray[np.uint64], count: int, size: int) -> NDArray[np.int32]:
    """Slots of a table of `size` places (a power of two) with the first `count` words in it."""
    slots = np.zeros(size, np.int32)
    mask = np.uint64(size - 1)
    for word in range(count):
        place = np.int64(hashes[word] & mask)
        while slots[place] != 0:
            place = (place + 1) & (size - 1)
        slots[place] = word + 1
    return slots


@kernel
def build_table(data: Bytes, offsets: Offsets) -> WordTable:
    """The table of given distinct words, at most a third full."""
    count = len(offsets) - 1
    hashes = np.empty(count, np.uint64)
    for word in range(count):
        hashes[word] = hash_token(data, offsets[word], offsets[word + 1])
    size = 16
    while size < 3 * count:
        size *= 2
    return WordTable(data, offsets[:-1], offsets[1:], hashes, fill_slots(hashes, count, size))


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
def number_tokens(data: Bytes, offsets: Offsets, max_tokens: int) -> NumberedTokens:
    """Number the words of cleaned rows by first appearance and hash every row."""
    lengths = count_tokens(data, offsets)
    kept = cut_offsets(lengths, max_tokens)
    ids = np.empty(kept[-1], np.int32)
    row_hashes = np.empty(len(lengths), np.uint64)
    capacity = 1 << 14
    starts = np.empty(capacity, np.int64)
    ends = np.empty(capacity, np.int64)
    hashes = np.empty(capacity, np.uint64)
    slots = np.zeros(2 * capacity, np.int32)
    count = 0
    for row in range(len(lengths)):
        row_hash = FNV_OFFSET
        start = offsets[row]
        for k in range(lengths[row]):
            end = token_end(data, start, offsets[row + 1])
            value = hash_token(data, start, end)
            row_hash = (row_hash ^ value) * FNV_PRIME
            row_hash ^= row_hash >> SHIFT
            if k < max_tokens:
                if count == capacity:
                    capacity *= 2
                    starts, ends, hashes = grown(starts), grown(ends), grown(hashes)
                    slots = fill_slots(hashes, count, 2 * capacity)
                table = WordTable(data, starts, ends, hashes, slots)
                place = find_slot(table, data, start, end, value)
                if slots[place] == 0:
                    starts[count], ends[count], hashes[count] = start, end, value
                    count += 1
                    slots[place] = count
                ids[kept[row] + k] = slots[place] - 1
            start = end + 1
        row_hashes[row] = finish_hash(row_hash)
    return NumberedTokens(ids, kept, lengths, row_hashes, starts[:count].copy(), ends[:count].copy())


@kernel
def grown(array: NDArray[np.int64]) -> NDArray[np.int64]:
    """The array followed by as much free space again."""
    bigger = np.empty(2 * len(array), array.dtype)
    bigger[: len(array)] = array
    return bigger


@kernel
def look_up(
    data: Bytes, offsets: Offsets, kept: Offsets, table: WordTable, unknown_id: int
) -> tuple[NDArray[np.int32], Offsets]:
    """Ids of the first tokens of each row by a fixed table, and how many of a row's were unknown."""
    ids = np.empty(kept[-1], np.int32)
    unknown = np.zeros(len(kept) - 1, np.int64)
    for row in range(len(kept) - 1):
        start = offsets[row]
        for k in range(kept[row], kept[row + 1]):
            end = token_end(data, start, offsets[row + 1])
            place = find_slot(table, data, start, end, hash_token(data, start, end))
            word = table.slots[place] - 1
            if word < 0:
                word = unknown_id
                unknown[row] += 1
            ids[k] = word
            start = end + 1
    return ids, unknown
