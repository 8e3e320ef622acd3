"""Where tokens stand in the raw text, for any text there is."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentiscale.text.clean import clean
from sentiscale.text.encode import Encoder, as_array, token_spans
from sentiscale.text.vocab import SPECIAL, Vocab
from tests.text.test_clean import NASTY

CHARACTERS = st.one_of(
    st.sampled_from("abDENTSnt's\u2019' !?.,é😀-0\n\u3000\u212a\u0130\ufe0f\u0085\x00"),
    st.characters(),
    st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"]),
)


@pytest.mark.parametrize(("cleaning", "version"), [("words", 1), ("words", 2), ("alpha", 1)])
@example(text="x'n't o's's 's 'll rock'n'roll they'd've \u2019tis")
@example(text="a\u3000b great \ud83d the end")
@example(text="é" * 40 + "'s " + "b" * 70 + "'s c")
@given(text=st.text(CHARACTERS, max_size=60))
def test_tokens_are_those_of_cleaning_and_each_stands_where_it_says(cleaning, version, text):
    spans = token_spans(text, cleaning, version)
    assert " ".join(token for token, _, _ in spans) == clean(as_array([text]), cleaning, version).texts()[0]
    assert len(spans) == Encoder(Vocab(SPECIAL), cleaning, None, version).encode([text]).lengths[0]
    last = 0
    for token, start, end in spans:
        assert last <= start < end <= len(text)
        last = end
        assert token_spans(text[start:end], cleaning, version) == [(token, 0, end - start)]


def test_contractions_are_split_where_the_apostrophe_stands():
    spans = token_spans("I don\u2019t, he's", "words")
    assert spans == [("i", 0, 1), ("do", 2, 4), ("n't", 4, 7), ("he", 9, 11), ("'s", 11, 13)]
    assert token_spans("x'n't!", "words") == [("x", 0, 1), ("n't", 2, 5), ("!", 5, 6)]


def test_letters_only_reach_over_what_was_dropped():
    assert token_spans(" 'Don\u2019t!' 99 é-a", "alpha") == [("dont", 2, 7), ("a", 15, 16)]


def test_a_long_text_takes_time_in_proportion():
    """A hundred thousand cut words: a search from each to the end of the text would not come back."""
    text = ("a" * 70 + "'s ") * 100_000
    spans = token_spans(text, "words")
    assert len(spans) == 100_000
    assert spans[-1] == ("a" * 64, len(text) - 73, len(text) - 9)
    assert np.diff([start for _, start, _ in spans]).tolist() == [73] * 99_999


@given(text=NASTY.filter(lambda text: "\u0345" not in text))
def test_tokens_of_texts_with_markup_and_accents_stand_where_they_say(text):
    spans = token_spans(text, "words", 2)
    assert " ".join(token for token, _, _ in spans) == clean(as_array([text]), "words", 2).texts()[0]
    last = 0
    for token, start, end in spans:
        assert last <= start < end <= len(text)
        last = end
        assert token_spans(text[start:end], "words", 2) == [(token, 0, end - start)]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("I don&#39;t <b>like</b> it", ["I", "do", "n&#39;t", "like", "it"]),
        ("cafe\u0301 noir\u00e9", ["cafe\u0301", "noir\u00e9"]),
        ("&lt;3 &amp;amp;lt;3", ["&lt;3", "&amp;amp;lt;3"]),
        ("Stra\u00dfe, STRASSE's", ["Stra\u00dfe", "STRASSE", "'s"]),
        ("so :))) \uff1a\uff09", ["so", ":)))", "\uff1a\uff09"]),
        ("gr\u200beat\u200b!", ["gr\u200beat", "!"]),
        ("\U0001f44d\U0001f3fd ok\u2764\ufe0f", ["\U0001f44d", "ok", "\u2764"]),
        ("\u7269\u6d41 e\u0323\u0302", ["\u7269", "\u6d41", "e\u0323\u0302"]),
        ("<br/>e&#769;t&#233; &nbsp;x", ["e&#769;t&#233;", "x"]),
        ("&lt;br&gt;a", ["a"]),
        ("\u0130&#199;", ["\u0130&#199;"]),
        ("it\u00b4s", ["it", "\u00b4s"]),
    ],
)
def test_spans_are_those_of_the_raw_text(text, pieces):
    assert [text[start:end] for _, start, end in token_spans(text, "words", 2)] == pieces
