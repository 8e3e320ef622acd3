"""Numbering tokens: the compiled table against a dictionary, and hashes that must never change."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.text.clean import clean, raw_rows
from sentiscale.text.compiled import kernel
from sentiscale.text.tokens import number_known, number_new, rule_for
from sentiscale.text.word_table import Token, build_table, find_word, look_up, read_token

# Lengths around 8 and 16 bytes are where a word stops being its own key.
TOKENS = st.sampled_from(["a", "b", "aa", "abcdefgh", "abcdefghi", "abcdefghj", "x" * 16, "x" * 17, "x" * 64])
ROWS = st.lists(st.lists(TOKENS, max_size=8).map(" ".join), min_size=1, max_size=8)


# Everything at whose edges the reader of plain tokens hands over to the cleaning kernels.
TEXTS = st.text(
    st.one_of(
        st.sampled_from(list("abcxyzABZ09 \t\n.,-!?'\"@[`{/:\u2019\u00e9\u00c9\u00a0\u2013\u65e5\U0001f600")),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=200,
)
PROFILES = st.sampled_from(["words", "alpha"])


def numbered(texts, max_tokens=512, profile="words"):
    result, table = number_new(*raw_rows(pa.array(texts, pa.large_string())), rule_for(profile, max_tokens))
    data = table.data.tobytes()
    bounds = table.offsets.tolist()
    return result, [data[bounds[i] : bounds[i + 1]].decode() for i in range(len(bounds) - 1)]


@given(st.lists(TEXTS, min_size=1, max_size=6), PROFILES)
def test_equals_cleaning_followed_by_a_split_at_spaces(texts, profile):
    texts = [*texts, "x" * 100]  # behind it the other rows are long enough before the end to be read in place
    result, vocabulary = numbered(texts, profile=profile)
    cleaned = clean(pa.array(texts, pa.large_string()), profile).texts()
    words = [vocabulary[number] for number in result.ids]
    assert words == [word for text in cleaned for word in text.split(" ") if word]


@given(st.lists(TEXTS, min_size=1, max_size=6), PROFILES)
def test_a_text_and_its_cleaned_form_have_the_same_hash(texts, profile):
    cleaned = clean(pa.array(texts, pa.large_string()), profile).texts()
    assert numbered(texts, profile=profile)[0].hashes.tolist() == numbered(cleaned)[0].hashes.tolist()


@given(st.lists(TEXTS, min_size=1, max_size=6), st.lists(TEXTS, max_size=3), PROFILES)
def test_a_fixed_table_knows_its_own_words_and_no_others(texts, known, profile):
    words = list(dict.fromkeys(word for text in known for word in numbered([text], profile=profile)[1]))
    table = build_table(*raw_rows(pa.array(words, pa.large_string())))
    result = number_known(*raw_rows(pa.array(texts, pa.large_string())), rule_for(profile, 5, 99), table)
    fresh, vocabulary = numbered(texts, 5, profile)
    assert result.ids.tolist() == [
        words.index(vocabulary[n]) if vocabulary[n] in words else 99 for n in fresh.ids
    ]
    assert result.unknown.sum() == sum(vocabulary[n] not in words for n in fresh.ids)


@given(ROWS, st.integers(1, 10))
def test_equals_a_dictionary(texts, max_tokens):
    result, vocabulary = numbered(texts, max_tokens)
    expected: dict[str, int] = {}
    ids = [expected.setdefault(word, len(expected)) for text in texts for word in text.split()[:max_tokens]]
    assert result.ids.tolist() == ids
    assert vocabulary == list(expected)
    assert result.lengths.tolist() == [len(text.split()) for text in texts]
    assert np.diff(result.offsets).tolist() == [min(len(text.split()), max_tokens) for text in texts]


@kernel
def number_with(words, offsets, slots, data, start, end, key, value):
    return find_word(words, offsets, slots, data, Token(start, end, key, value))


@kernel
def token_at(data, start, end):
    return read_token(data, start, end)


def test_words_with_the_same_hash_stay_apart():
    """Such a pair cannot be had, so one word is looked up with the other one's hash."""
    words = np.frombuffer(b"first-long-word other-long-word", np.uint8)
    table = build_table(words[:15], np.array([0, 15]))
    known = token_at(words, 0, len(words))
    assert number_with(*table, words, 0, 15, known.key, known.hash) == 0
    assert number_with(*table, words, 16, 31, known.key, known.hash) == -1


def test_unknown_words_get_the_number_that_was_asked_for():
    table = build_table(*raw_rows(pa.array(["good", "bad"])))
    assert look_up(*raw_rows(pa.array(["bad", "ugly", "good"])), table, 7).tolist() == [1, 7, 0]


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
