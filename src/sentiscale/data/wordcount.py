"""Count the words of all partitions in bounded memory and choose the vocabulary.

Words are counted in one compiled table. When the table exceeds its limit, its words are written to files
chosen by their hashes, and a new table starts. At the end, the counts of each file are added up separately.
The result is exact in both cases.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiscale.text.clean import raw_rows
from sentiscale.text.compiled import Bytes, Offsets, check_offsets, frozen, kernel
from sentiscale.text.lines import binary_array
from sentiscale.text.word_table import WordTable, add_words, read_token, slots_for

FILES = 64
FILE_BITS = np.uint64(58)
FIRST_WORDS = 2**17
FIRST_BYTES = 2**20
BYTES_PER_WORD = 48
"""Memory per word in a table, without the word itself: two slots of 16 bytes, an offset and a count."""


class WordCounts(NamedTuple):
    """Distinct words (word i is data[offsets[i]:offsets[i + 1]]) and the number of occurrences of each."""

    data: Bytes
    offsets: Offsets
    counts: NDArray[np.int64]


class WordCounter:
    """Sums the word counts of partitions."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        """Use up to `limit_bytes` of memory, including table growth, and store further words in `folder`."""
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.spilled_bytes = 0
        self.distinct = 0
        """Total number of distinct words; set by `vocabulary`."""
        self.tokens = self.characters = 0
        """Total number of words and of their characters; set by `vocabulary`."""
        self._table = WordTally()
        self._writers: list[pa.ipc.RecordBatchStreamWriter] = []

    def add(self, part: WordCounts) -> None:
        if self._table.count and self._table.bytes_to_add(part) > self.limit_bytes:
            self._spill()
        self._table.add(part)

    def vocabulary(self, size: int, min_count: int) -> pa.Array:
        """Return up to `size` of the most frequent words that occur at least `min_count` times.

        Words are binaries in descending order of count, then in ascending order of their bytes.
        """
        best = pa.table({"word": pa.array([], pa.large_binary()), "count": pa.array([], pa.int64())})
        for tally in self._tallies():
            self.distinct += tally.count
            counted = tally.counted()
            self._measure(counted)
            frequent = _as_batch(counted).filter(pa.array(counted.counts >= min_count))
            best = pa.concat_tables([best, pa.Table.from_batches([frequent])])
            best = _most_frequent(best, size)  # after each file: the words of all files may not fit in memory
        words = best.sort_by([("count", "descending"), ("word", "ascending")])
        return words["word"].slice(0, size).combine_chunks()

    @property
    def mean_characters(self) -> float:
        """Average length of the words, 0 without words."""
        return self.characters / max(1, self.tokens)

    def _measure(self, part: WordCounts) -> None:
        if len(part.counts):
            first_bytes = (part.data & 0xC0) != 0x80  # of a character in UTF-8
            lengths = np.add.reduceat(first_bytes, part.offsets[:-1], dtype=np.int64)
            self.characters += int(lengths @ part.counts)
            self.tokens += int(part.counts.sum())

    def _tallies(self) -> Iterator["WordTally"]:
        if not self.spilled_bytes:
            yield self._table
            return
        self._spill()
        for writer in self._writers:
            writer.close()
        for number in range(FILES):
            table = WordTally()
            with pa.OSFile(str(self._file(number))) as file, pa.ipc.open_stream(file) as batches:
                for batch in batches:
                    table.add(WordCounts(*raw_rows(batch["word"]), batch["count"].to_numpy()))
            yield table

    def _spill(self) -> None:
        """Write the table's words to the files and start an empty table."""
        part = self._table.counted()
        files = (word_hashes(frozen(part.data), frozen(part.offsets, np.int64)) >> FILE_BITS).astype(np.uint8)
        batch = _as_batch(part)
        if not self._writers:
            self._writers = [pa.ipc.new_stream(str(self._file(n)), batch.schema) for n in range(FILES)]
        for number, writer in enumerate(self._writers):
            writer.write_batch(batch.filter(pa.array(files == number)))
        self.spilled_bytes += batch.nbytes
        self._table = WordTally()

    def _file(self, number: int) -> Path:
        return self.folder / f"words-{number:02d}.arrow"


class WordTally:
    """A growing table of words and their counts."""

    def __init__(self) -> None:
        offsets = np.zeros(FIRST_WORDS + 1, np.int64)
        slots = np.zeros((2 * FIRST_WORDS, 2), np.uint64)
        self.words = WordTable(np.empty(FIRST_BYTES, np.uint8), offsets, slots)
        self.counts = np.zeros(FIRST_WORDS, np.int64)
        self.count = 0

    def bytes_to_add(self, part: WordCounts) -> int:
        """Return the peak memory of adding these counts: a growing table briefly exists twice."""
        held = sum(array.nbytes for array in self.words) + self.counts.nbytes
        size, words = self._room_for(part)
        grows = (size, words) != (len(self.words.data), len(self.counts))
        return held + (size + words * BYTES_PER_WORD if grows else 0)

    def add(self, part: WordCounts) -> None:
        size, words = self._room_for(part)
        data, offsets, slots = self.words
        if size > len(data):
            data = _longer(data, int(offsets[self.count]), size)
        if words > len(self.counts):
            offsets = _longer(offsets, self.count + 1, words + 1)
            self.counts = _longer(self.counts, self.count, words)
            slots = slots_for(data, offsets, self.count, 2 * words)
        self.words = WordTable(data, offsets, slots)
        numbers, bounds = frozen(part.counts, np.int64), frozen(part.offsets, np.int64)
        self.count = add_words(frozen(part.data), bounds, numbers, self.words, self.counts, self.count)

    def counted(self) -> WordCounts:
        """Return all words and counts, in order of first appearance."""
        offsets = self.words.offsets[: self.count + 1]
        return WordCounts(self.words.data[: offsets[-1]], offsets, self.counts[: self.count])

    def _room_for(self, part: WordCounts) -> tuple[int, int]:
        """Return the capacity needed, in bytes and words: the present one, or at least twice as much."""
        size, words = len(self.words.data), len(self.counts)
        used = int(self.words.offsets[self.count]) + len(part.data)
        while words < self.count + len(part.counts):
            words *= 2
        return size if used <= size else 2 * used, words


def _longer(array: NDArray[Any], used: int, size: int) -> NDArray[Any]:
    longer = np.zeros(size, array.dtype)
    longer[:used] = array[:used]
    return longer


def _as_batch(part: WordCounts) -> pa.RecordBatch:
    return pa.record_batch({"word": binary_array(part.data, part.offsets), "count": part.counts})


def _most_frequent(words: pa.Table, size: int) -> pa.Table:
    """Return the `size` most frequent words, and all that are as frequent as the last of them."""
    if len(words) <= size:
        return words
    counts = words["count"].to_numpy()
    return words.filter(pa.array(counts >= np.partition(counts, -size)[-size])).combine_chunks()


def word_hashes(data: Bytes, offsets: Offsets) -> NDArray[np.uint64]:
    check_offsets(offsets, len(data))
    return _word_hashes(data, offsets)


@kernel
def _word_hashes(data: Bytes, offsets: Offsets) -> NDArray[np.uint64]:
    hashes = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(hashes)):
        hashes[i] = read_token(data, offsets[i], offsets[i + 1]).hash
    return hashes
