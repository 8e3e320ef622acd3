"""Cleaning profiles: what becomes of a review, by rules a reader can check; test_words.py has version 2."""

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiscale.errors import DataError
from sentiscale.text.clean import MAX_TOKEN_BYTES, clean, raw_rows, rows_for
from sentiscale.text.emoticons import EMOTICONS

REVIEW_LIKE = st.text(
    st.one_of(
        st.sampled_from("abcXYZ0129 \t\n\r'\u2019!?.,-\"`\u00e9\u00c9\u00a0\u2013\u2014\ufe0f\U0001f600"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


SINGLE = "abDENTSnt's\u2019\u00b4` !?.,\u00e90359-_\n:;=()<>^*/\\&#\x00\u2028"
LETTERS = (
    "Ii\u0130\u0131\u00df\u1e9e\u03c2\u03a3\u0149\ufb01\u023a\u1fb3\u0390\u212b\u212a\u017f\u4e2d\u30fc\u1100"
)
COMBINING = "\u0301\u0316\u0307\u0323\u0338\u0345\u093c\u09be\u0e48\u1161\u11ab"
SIGNS = "\u037e\u1fef\u2260\u2665\u2639\U0001f44d\uff01\uff1f\u203c\uff1a\uff09\uff07\u3002\u061f"
INVISIBLE = "\u200b\u200d\ufe0f\ufeff\u00ad\U0001f3fd"
MARKUP = "&#39; &amp; &lt; &gt; &#x301; &quot; &eacute; &nbsp <br/> <b> </p>"
WHOLE = "n't 'll 's \u0e14\u0e35\u0e48 \u1780\u17d2 1\ufe0f\u20e3"
LONG = ["x" * 61, "\u00e9" * 31, "a" * 63]
PIECES = [
    *SINGLE,
    *LETTERS,
    *COMBINING,
    *SIGNS,
    *INVISIBLE,
    *MARKUP.split(" "),
    *WHOLE.split(),
    *LONG,
    *EMOTICONS,
]
NASTY = st.lists(
    st.one_of(st.sampled_from(PIECES), st.characters(exclude_categories=["Cs"])), max_size=16
).map("".join)
"""Texts of characters and sequences that have a meaning in version 2, or are close to having one."""


def words(text: str, version: int = 1) -> str:
    return clean(pa.array([text]), "words", version).texts()[0]


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
def test_version_1_keeps_what_it_kept(text, cleaned):
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


@given(NASTY)
@settings(max_examples=400)
@example("&amp;#39;&lt;br&gt;i\u0307\u0307 :-)))(: \u0345\u0301' \u212b<\u0338br>")
def test_cleaning_again_changes_nothing_in_version_2(text):
    once = words(text, 2)
    assert words(once, 2) == once
    assert all(0 < len(token.encode()) <= MAX_TOKEN_BYTES for token in once.split(" ") if once)


@given(NASTY.filter(lambda text: not set(text) & set("&<")))
@settings(max_examples=300)
def test_canonical_forms_are_one_text(text):
    """Markup aside: a mark that combines with its last character makes it another character."""
    forms = {words(unicodedata.normalize(form, text), 2) for form in ("NFC", "NFD")}
    assert forms == {words(text, 2)}


@given(NASTY.filter(lambda text: not set(text) & set("&<\u0345\u0149\u1fb3")))
@settings(max_examples=300)
def test_case_does_not_matter(text):
    """Except for U+0345, whose capital is a letter, and U+0149, whose capital is an apostrophe and N."""
    composed = unicodedata.normalize("NFC", text)
    if any("\u0345" in unicodedata.normalize("NFD", char) for char in composed):
        return
    assert words(composed.lower(), 2) == words(text, 2)


@given(REVIEW_LIKE)
def test_case_of_latin_text_does_not_matter(text):
    for version in (1, 2):
        assert words(text.upper(), version) == words(text, version) or not text.isascii() or "&" in text


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
    for version in (1, 2):
        cleaned = clean(pa.array(texts), "words", version).texts()
        assert cleaned == ["it", "'s", "", "a ! !", "! ! b", "", "é"]
    texts = ["<b", ">", "&", "lt;", "e", "\u0301", ":", ")", "a", "&#39;s", "<i>b", "\u200b", "c"]
    alone = [words(text, 2) for text in texts]
    assert alone == ["b", "", "", "lt", "e", "", "", "", "a", "'s", "b", "", "c"]
    assert clean(pa.array(texts), "words", 2).texts() == alone


def test_slices_and_both_kinds_of_array_are_read_right():
    texts = pa.array(["drop me", "Keep", "THIS", "not this"]).slice(1, 2)
    for array in (texts, texts.cast(pa.binary()), texts.cast(pa.large_string())):
        assert clean(array, "words").texts() == ["keep", "this"]


@given(st.lists(st.binary(max_size=12), max_size=6))
@settings(max_examples=300)
def test_no_bytes_whatever_reach_beyond_their_row(rows):
    """Broken UTF-8 may become anything, but each row alone and every row in time."""
    for version in (1, 2):
        together = clean(pa.array(rows, pa.large_binary()), "words", version).texts()
        alone = [clean(pa.array([row], pa.large_binary()), "words", version).texts()[0] for row in rows]
        assert together == alone


def test_the_newest_version_is_the_default_and_an_unknown_one_is_refused():
    assert clean(pa.array([":)"]), "words").texts() == [":)"]
    with pytest.raises(DataError, match="version 3 of the cleaning profile 'words' is unknown"):
        clean(pa.array([":)"]), "words", 3)
    with pytest.raises(DataError, match="knows 1 to 1"):
        clean(pa.array([":)"]), "alpha", 2)


def test_arrays_that_are_no_rows_are_refused():
    data, offsets = raw_rows(pa.array(["one", "two"], pa.large_string()))
    for wrong in (offsets - 1, offsets + 1, offsets[::-1], offsets[:0]):
        with pytest.raises(ValueError, match=r"offsets|spans|contiguous"):
            rows_for(2, data, wrong)
    with pytest.raises(ValueError, match="contiguous"):
        rows_for(2, data.astype(np.int16), offsets)
