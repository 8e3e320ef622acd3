"""Numbering tokens: the compiled table against a dictionary, and hashes that must never change."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.text.clean import clean
from sentiscale.text.wordtable import Token, build_table, find_slot, number_tokens, read_token

# Lengths around 8 and 16 bytes are where a word stops being its own key.
TOKENS = st.sampled_from(["a", "b", "aa", "abcdefgh", "abcdefghi", "abcdefghj", "x" * 16, "x" * 17, "x" * 64])
ROWS = st.lists(st.lists(TOKENS, max_size=8).map(" ".join), min_size=1, max_size=8)


def numbered(texts, max_tokens=512):
    cleaned = clean(pa.array(texts), "words")
    result = number_tokens(cleaned.data, cleaned.offsets, max_tokens)
    data = cleaned.data.tobytes()
    bounds = zip(result.word_starts.tolist(), result.word_ends.tolist(), strict=True)
    return result, [data[start:end].decode() for start, end in bounds]


@given(ROWS, st.integers(1, 10))
def test_equals_a_dictionary(texts, max_tokens):
    result, vocabulary = numbered(texts, max_tokens)
    expected: dict[str, int] = {}
    ids = [expected.setdefault(word, len(expected)) for text in texts for word in text.split()[:max_tokens]]
    assert result.ids.tolist() == ids
    assert vocabulary == list(expected)
    assert result.lengths.tolist() == [len(text.split()) for text in texts]
    assert np.diff(result.offsets).tolist() == [min(len(text.split()), max_tokens) for text in texts]


def test_words_with_the_same_hash_stay_apart():
    """Such a pair cannot be had, so one word is looked up with the other one's hash."""
    words = np.frombuffer(b"first-long-word other-long-word", np.uint8)
    table = build_table(words[:15], np.array([0, 15]))
    known = read_token(words, 0, len(words))
    place = find_slot(table.slots, table.starts, table.data, words, known)
    assert table.slots[place, 1] != 0
    impostor = Token(16, 31, known.key, known.hash)
    assert table.slots[find_slot(table.slots, table.starts, table.data, words, impostor), 1] == 0


def test_the_table_grows_past_its_first_size():
    words = [f"word{number}" for number in range(50_000)]
    result, vocabulary = numbered([" ".join(words[i : i + 100]) for i in range(0, 50_000, 100)])
    assert vocabulary == words
    assert result.ids.tolist() == list(range(50_000))


def test_one_row_may_bring_more_words_than_the_table_holds():
    words = [f"w{number}" for number in range(40_000)]
    assert numbered([" ".join(words)], max_tokens=100_000)[1] == words


@given(ROWS)
def test_equal_texts_have_equal_hashes_and_others_differ(texts):
    hashes = numbered(texts)[0].hashes.tolist()
    cleaned = [" ".join(text.split()) for text in texts]
    for one, first in zip(hashes, cleaned, strict=True):
        for other, second in zip(hashes, cleaned, strict=True):
            assert (one == other) == (first == second)


def test_the_hash_covers_tokens_beyond_the_cut():
    hashes = numbered(["a b c", "a b d"], max_tokens=2)[0].hashes
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0xEFD01F60BA992926),
        ("a", 0xB430C80097A23625),
        ("great screen", 0xCFD032FB76B1BFF8),
        ("a very longish tokenofmorethansixteenbytes", 0x78CDE6C16BE7E1A4),
    ],
)
def test_hashes_never_change(text, value):
    """Splits of every dataset ever prepared depend on them."""
    assert hex(numbered([text])[0].hashes[0]) == hex(value)
