"""Cleaning profiles: what becomes of a review, by rules a reader can check."""

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.text.clean import MAX_TOKEN_BYTES, clean

REVIEW_LIKE = st.text(
    st.one_of(
        st.sampled_from("abcXYZ0129 \t\n\r'\u2019!?.,-\"`\u00e9\u00c9\u00a0\u2013\u2014\ufe0f\U0001f600"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


def words(text: str) -> str:
    return clean(pa.array([text]), "words").texts()[0]


def alpha(text: str) -> str:
    return clean(pa.array([text]), "alpha").texts()[0]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Great SCREEN", "great screen"),
        ("", ""),
        ("  .,;-- ", ""),
        ("3.5/10 isn't 10", "3 5 10 is n't 10"),
        ("don't", "do n't"),
        ("can't won't", "ca n't wo n't"),
        ("do n't", "do n't"),
        ("It's I'm we're they've he'll she'd", "it 's i 'm we 're they 've he 'll she 'd"),
        ("it 's i 'm we 're", "it 's i 'm we 're"),
        ("don't've", "do n't 've"),
        ("don\u2019t it\u2019s", "do n't it 's"),
        ("'quoted' ''twice'' dogs'", "quoted twice dogs"),
        ("rock'n'roll o'clock", "rock'n'roll o'clock"),
        ("x'n't", "x n't"),
        ("'so 'tis", "so tis"),
        ("Wow!!!!!!!", "wow ! ! !"),
        ("Wow ! ! ! ! !", "wow ! ! !"),
        ("?!?!?!", "? ! ?"),
        ("no! no! no! no! no!", "no ! no ! no ! no ! no !"),
        ("ÜBER École ΑΒΓ ЖЗ", "über école αβγ жз"),
        ("caf\u00e9\u2013bar\u2014x\u2026y", "café bar x y"),
        ("a\u00a0b\u00abc\u00bb", "a b c"),
        ("😀😀 fine👍🏽", "😀 😀 fine 👍 🏽"),
        ("\u2764\ufe0f love", "\u2764 love"),
        ("\ufeffstart", "start"),
        ("日本 語", "日本 語"),
        ("tab\tand\r\nlines\x0b\x0c", "tab and lines"),
        ("<br /> a&b_c", "br a b c"),
    ],
)
def test_words_keeps_what_carries_sentiment(text, cleaned):
    assert words(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Don't BUY 2 of these!", "dont buy of these"),
        ("a\u00a0b\u2003c\u3000d\x1ce", "a b c d e"),
        ("café—bar", "cafbar"),
        ("  12 !? ", ""),
    ],
)
def test_alpha_is_the_classic_rule(text, cleaned):
    assert alpha(text) == cleaned


@given(REVIEW_LIKE)
def test_alpha_equals_the_regular_expression(text):
    expected = " ".join(word[:MAX_TOKEN_BYTES] for word in re.sub(r"[^a-zA-Z\s]", "", text).lower().split())
    assert alpha(text) == expected


@given(REVIEW_LIKE)
@settings(max_examples=300)
def test_cleaning_again_changes_nothing(text):
    for profile in (words, alpha):
        once = profile(text)
        assert profile(once) == once


@given(REVIEW_LIKE)
def test_case_of_latin_text_does_not_matter(text):
    assert words(text.upper()) == words(text) or not text.isascii()


@given(REVIEW_LIKE)
def test_tokens_are_single_spaced_short_and_valid(text):
    cleaned = words(text)
    assert cleaned == " ".join(cleaned.split(" "))
    assert "\ufffd" not in cleaned or "\ufffd" in text, "a character was cut in two"
    assert all(0 < len(token.encode()) <= MAX_TOKEN_BYTES for token in cleaned.split(" ") if cleaned)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("x" * 1000, "x" * 64),
        ("x" * 63 + "éa", "x" * 63),  # the two bytes of é do not fit, and what follows must not slip in
        ("é" * 40, "é" * 32),
        ("日" * 22, "日" * 21),  # 63 bytes; a 64th would be a third of a character
        ("x" * 63 + "'s ok", "x" * 63 + " ok"),
    ],
)
def test_long_tokens_are_cut_at_a_character(text, cleaned):
    assert words(text) == cleaned


def test_rows_do_not_touch_each_other():
    texts = ["It", "'s", "", "a!!", "!!b", None, "é"]
    assert clean(pa.array(texts), "words").texts() == ["it", "'s", "", "a ! !", "! ! b", "", "é"]


def test_slices_and_both_kinds_of_array_are_read_right():
    texts = pa.array(["drop me", "Keep", "THIS", "not this"]).slice(1, 2)
    for array in (texts, texts.cast(pa.binary()), texts.cast(pa.large_string())):
        assert clean(array, "words").texts() == ["keep", "this"]


@given(st.lists(st.binary(max_size=12), max_size=6))
@settings(max_examples=300)
def test_no_bytes_whatever_reach_beyond_their_row(rows):
    """Broken UTF-8 may become anything, but each row alone and every row in time."""
    together = clean(pa.array(rows, pa.large_binary()), "words").texts()
    alone = [clean(pa.array([row], pa.large_binary()), "words").texts()[0] for row in rows]
    assert together == alone
