"""Predictor takes columns of every library, and gives columns back."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sentiscale.errors import DataError

TEXTS = ["good film", None, "not good !", "caf\u00e9 \U0001f600"]

FORMS = {
    "tuple": tuple(TEXTS),
    "generator": TEXTS,
    "numpy objects": np.array(TEXTS, object),
    "pandas": pd.Series(TEXTS),
    "pandas objects": pd.Series([text if text is not None else float("nan") for text in TEXTS], dtype=object),
    "pandas categories": pd.Series(TEXTS, dtype="category"),
    "polars": pl.Series(TEXTS),
    "polars categories": pl.Series(TEXTS, dtype=pl.Categorical),
    "arrow": pa.array(TEXTS),
    "arrow views": pa.array(TEXTS, pa.string_view()),
    "arrow binaries": pa.array([text and text.encode() for text in TEXTS]),
    "arrow dictionary": pa.array(TEXTS).dictionary_encode(),
    "arrow chunks": pa.chunked_array([TEXTS[:1], [], TEXTS[1:]], pa.string()),
    "arrow slice": pa.array(["x", *TEXTS, "y"]).slice(1, 4),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_column_gives_the_same(predictor, form):
    texts = (text for text in TEXTS) if form == "generator" else FORMS[form]
    assert predictor.predict(texts) == predictor.predict(list(TEXTS))


def test_fixed_width_and_variable_strings_of_numpy(predictor):
    wanted = predictor.predict(["good", "bad film"])
    assert predictor.predict(np.array(["good", "bad film"])) == wanted
    assert predictor.predict(np.array(["good", "bad film"], np.dtypes.StringDType())) == wanted


def test_a_null_is_an_empty_review(predictor):
    found = predictor.predict([None, ""])
    assert found[0] == found[1]
    assert found[0].unknown_share == 1


def test_lone_surrogates_are_replaced(predictor):
    assert predictor.predict(["good \ud800", "good ?"])[0].label in ("positive", "negative")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["good", 3], "text 1 .* is of type int"),
        (np.array(["good", 3.5], object), "text 1 .* is of type float"),
        (pd.Series([1, 2]), "type int64; strings are needed"),
        (pl.Series([1.5]), "type double; strings are needed"),
        (np.array([["a"], ["b"]]), r"shape \(2, 1\)"),
        (b"good", "put it into a list"),
    ],
)
def test_what_is_no_column_of_texts_is_named(predictor, texts, message):
    with pytest.raises(DataError, match=message):
        predictor.predict(texts)


def test_empty_columns_give_nothing(predictor):
    for texts in ([], pl.Series([], dtype=pl.String), pa.array([], pa.string()), pd.Series([], dtype=object)):
        assert predictor.predict(texts) == []
        assert predictor.predict_proba(texts).shape == (0, 2)


def test_probabilities_are_as_in_scikit_learn(predictor):
    found = predictor.predict_proba(pd.Series(["good", "awful film"]))
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found[:, 1].tolist() == [
        each.positive_probability for each in predictor.predict(["good", "awful film"])
    ]
    assert predictor.predict_proba("good").shape == (1, 2)


def test_more_rows_than_a_chunk(predictor, monkeypatch):
    monkeypatch.setattr("sentiscale.inference.predictor.CHUNK_ROWS", 3)
    texts = ["good", "bad film", "not good", "it is great !", "never again", "", "a"]
    alone = [predictor.predict(text).positive_probability for text in texts]
    np.testing.assert_allclose(predictor.predict_proba(texts)[:, 1], alone, rtol=0, atol=1e-5)
    assert [each.label for each in predictor.stream(iter(texts), 2)] == [
        each.label for each in predictor.predict(texts)
    ]
