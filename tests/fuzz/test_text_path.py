"""The properties of the text path on texts that hypothesis draws; text_path.py looks for longer."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentiscale.errors import DataError
from sentiscale.inference.predictor import Predictor
from sentiscale.text.column import as_array
from tests.fuzz.properties import check_bytes, check_texts
from tests.inference.predict.conftest import WORDS, tiny_model
from tests.serving.odd_texts import CONTROLS, ODD_TEXTS

PIECES = (
    *WORDS,
    "n't",
    "'s",
    "x'n't",
    "don\u2019t",
    " ",
    "\n",
    "\u3000",
    "'",
    "!!!!",
    "\ufe0f",
    "\U0001f600",
    "\u0130",
    "\ud800",
    "\x00",
    "a" * 63,
    "\u00e9" * 32,
    *CONTROLS,
)
texts = st.lists(st.sampled_from(PIECES) | st.text(st.characters(), max_size=8), max_size=12).map("".join)


@pytest.fixture(scope="module")
def tiny() -> Predictor:
    return Predictor(tiny_model())


@example(texts=list(ODD_TEXTS.values()))
@settings(max_examples=60)
@given(texts=st.lists(texts, min_size=1, max_size=5))
def test_any_texts(tiny, texts):
    check_texts(tiny, texts)


@example(data=b"\xf0\x9f\x98")
@example(data=b"__label__2 \xc3\n\n\xe2\x80")
@settings(max_examples=60)
@given(data=st.binary(max_size=80))
def test_any_bytes(tiny, data):
    check_bytes(tiny, data)


def test_what_is_no_text_is_named_beside_half_a_pair_too():
    """Texts with halves of pairs took a way of their own, on which all else became a null."""
    with pytest.raises(DataError, match=r"text 1 \(counted from 0\) is of type int"):
        as_array(["\ud800", 5])
    assert as_array(["\ud800", b"bytes", None]).to_pylist() == ["?", "bytes", None]
