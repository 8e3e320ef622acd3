"""Counting words: against a plain counter, whatever goes to disk and in whatever order it comes."""

from collections import Counter
from itertools import count

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.data.wordcount import FIRST_BYTES, FIRST_WORDS, WordCounter, WordCounts, WordTally
from sentiscale.text.clean import raw_rows

# Up to 8 bytes a word is its own key; then its hash is, and its bytes are compared.
EDGES = ["a", "b", "!", "don't", "abcdefgh", "abcdefghi", "abcdefghj", "x" * 16, "x" * 17, "x" * 63, "x" * 64]
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters=" ABCDEFGHIJKLMNOPQRSTUVWXYZ")
WORDS = st.sampled_from(EDGES) | st.text(LETTERS, min_size=1, max_size=16)
PARTS = st.lists(st.dictionaries(WORDS, st.integers(1, 5), max_size=12), max_size=8)
LIMITS = st.sampled_from([0, 10**9])
NUMBERS = count()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("words")


def counts_of(words):
    data, offsets = raw_rows(pa.array([word.encode() for word in words], pa.large_binary()))
    return WordCounts(data, offsets, np.array(list(words.values()), np.int64))


def counter_of(root, parts, limit):
    folder = root / str(next(NUMBERS))
    folder.mkdir()
    counter = WordCounter(folder, limit)
    for part in parts:
        counter.add(counts_of(part))
    return counter


def by_counter(parts, size, min_count):
    total = Counter()
    for part in parts:
        total.update(part)
    frequent = [(word.encode(), number) for word, number in total.items() if number >= min_count]
    return [word for word, _ in sorted(frequent, key=lambda item: (-item[1], item[0]))][:size]


@given(PARTS, LIMITS, st.integers(1, 20), st.integers(1, 6), st.randoms())
def test_equals_a_counter(root, parts, limit, size, min_count, random):
    expected = by_counter(parts, size, min_count)
    random.shuffle(parts)
    counter = counter_of(root, parts, limit)
    assert counter.vocabulary(size, min_count).to_pylist() == expected
    assert counter.distinct == len(set().union(*parts))
    assert (counter.spilled_bytes > 0) == (limit == 0 and any(parts[:-1]))


def test_equal_counts_are_ordered_by_bytes(root):
    words = ["b", "a", "zz", "z", "é", "\U0001f600", "a'", "aa", "日"]
    for limit in (0, 10**9):
        counter = counter_of(root, [dict.fromkeys(words, 3), dict.fromkeys(reversed(words), 1)], limit)
        assert counter.vocabulary(8, 1).to_pylist() == sorted(word.encode() for word in words)[:8]


def random_words(rng, number):
    return {
        f"{word:x}" * (1 + word % 5): int(times)
        for word, times in zip(
            rng.integers(0, 2**22, number).tolist(), rng.geometric(0.3, number), strict=True
        )
    }


def test_the_table_grows_past_its_first_size_and_goes_to_disk_past_the_limit(root):
    rng = np.random.default_rng(0)
    parts = [random_words(rng, 40_000) for _ in range(6)]
    distinct = len(set().union(*parts))
    assert distinct > FIRST_WORDS
    assert sum(map(len, set().union(*parts))) > 2 * FIRST_BYTES
    results = []
    for limit in (0, 12 * 2**20, 10**9):
        counter = counter_of(root, parts, limit)
        results.append(counter.vocabulary(50_000, 2).to_pylist())
        assert counter.distinct == distinct
        assert (counter.spilled_bytes > 0) == (limit < 10**9)
    assert results[0] == results[1] == results[2] == by_counter(parts, 50_000, 2)


def test_a_table_never_outgrows_its_limit(root):
    """It goes to disk before it grows, for a growing table is there twice."""
    rng = np.random.default_rng(1)
    (root / "limit").mkdir()
    counter = WordCounter(root / "limit", 40 * 2**20)

    def size():
        return sum(array.nbytes for array in counter._table.words) + counter._table.counts.nbytes

    for _ in range(8):
        held = size()
        counter.add(counts_of(random_words(rng, 60_000)))
        assert size() + (held if size() > held else 0) <= counter.limit_bytes
    assert counter.spilled_bytes > 0


def test_a_single_part_may_be_larger_than_the_table(root):
    part = {f"word{number}": 1 + number % 7 for number in range(2 * FIRST_WORDS)}
    for limit in (0, 10**9):
        assert counter_of(root, [part, part], limit).vocabulary(100_000, 1).to_pylist() == by_counter(
            [part] * 2, 100_000, 1
        )


def test_words_of_many_sizes_fill_the_bytes_exactly():
    """Room for the bytes is made before they are written, also when they just fit."""
    tally = WordTally()
    sizes = [64] * (FIRST_BYTES // 64)
    part = {f"{number:064d}": 1 for number in range(len(sizes))}
    tally.add(counts_of(part))
    tally.add(counts_of({"y": 2, "z" * 64: 3}))
    counted = tally.counted()
    assert counted.counts.sum() == len(part) + 5
    assert counted.data.tobytes() == "".join(part).encode() + b"y" + b"z" * 64


def test_many_files_of_words_take_little_memory_in_the_end(root):
    """Of each file only what can still be among the most frequent is held."""
    parts = [{f"{part}-{number}": 1 + number for number in range(3000)} for part in range(4)]
    counter = counter_of(root, parts, 0)
    before = pa.total_allocated_bytes()
    held = []
    tables = counter._tallies

    def watched():
        for table in tables():
            held.append(pa.total_allocated_bytes() - before)
            yield table

    counter._tallies = watched
    assert counter.vocabulary(300, 1).to_pylist() == by_counter(parts, 300, 1)
    assert max(held) < 50_000


def test_no_word_at_all(root):
    for limit in (0, 10**9):
        assert len(counter_of(root, [], limit).vocabulary(10, 1)) == 0
        assert len(counter_of(root, [{}, {}], limit).vocabulary(10, 1)) == 0


def test_a_full_disk_is_named_when_words_go_to_it(small_disk):
    with pytest.raises(OSError, match="No space left on device"):
        counter_of(small_disk, [{f"{number:032d}": 1 for number in range(20_000)}, {"a": 1}], 0)
