"""The estimator learns, answers in the caller's labels, refuses what it cannot use, leaves no trace."""

import os
import pickle
import random
import signal
import sys
import tempfile
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sentiscale.inference.sklearn import SentimentClassifier
from tests.inference.sklearn_estimator.conftest import SMALL, small

KINDS = {
    "tuple": tuple,
    "numpy strings": np.array,
    "numpy objects": lambda texts: np.array(texts, object),
    "pandas column": pd.Series,
    "pandas objects": lambda texts: pd.Series(texts, dtype=object, index=range(7, 7 + len(texts))),
    "pandas categories": lambda texts: pd.Series(texts, dtype="category"),
    "Polars column": pl.Series,
    "Arrow array": pa.array,
    "Arrow array of categories": lambda texts: pa.array(texts).dictionary_encode(),
    "Arrow chunks": lambda texts: pa.chunked_array([texts[:3], texts[3:]]),
    "bytes": lambda texts: [text.encode() for text in texts],
}


def test_it_learns(plain):
    classifier = small()
    assert classifier.fit(plain.texts[:150], plain.labels[:150]) is classifier
    assert classifier.score(plain.texts[150:], plain.labels[150:]) > 0.8


@pytest.mark.slow
def test_it_learns_from_real_reviews_as_its_peer_does(real_data):
    """Two thousand are few: n-grams decide, and neither is far ahead."""
    lines = (real_data / "sample-2000.ft.txt").read_text(encoding="utf-8").splitlines()
    labels, texts = zip(*(line.split(" ", 1) for line in lines), strict=True)
    peer = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10))
    ours, theirs = (
        cross_val_score(classifier, texts, labels, cv=3, scoring="roc_auc").mean()
        for classifier in (SentimentClassifier(preset="fast"), peer)
    )
    assert ours > theirs - 0.02


def test_label_probability_and_logit_agree(fitted, reviews):
    logits, both = fitted.decision_function(reviews.texts), fitted.predict_proba(reviews.texts)
    assert logits.shape == (200,)
    assert both.shape == (200, 2)
    assert both.sum(axis=1) == pytest.approx(1)
    assert both[:, 1] == pytest.approx(1 / (1 + np.exp(-logits.astype(float))))
    assert (fitted.predict(reviews.texts) == fitted.classes_[both.argmax(axis=1)]).all()
    assert fitted.classes_.tolist() == ["bad", "good"]
    assert len(set(fitted.predict(reviews.texts))) == 2


def test_many_texts_are_answered_as_each_alone(fitted, reviews, monkeypatch):
    together = fitted.decision_function(reviews.texts)
    monkeypatch.setattr("sentiscale.inference.sklearn.CHUNK_ROWS", 7)
    assert fitted.decision_function(reviews.texts) == pytest.approx(together, abs=1e-5)
    assert fitted.decision_function(reviews.texts[40:41]) == pytest.approx(together[40:41], abs=1e-5)


@pytest.mark.parametrize("negative_positive", [(False, True), (-1, 1), (0.0, 1.0), ("no", "yes")])
def test_labels_of_any_kind_come_back(reviews, fitted, negative_positive):
    names = dict(zip(("bad", "good"), negative_positive, strict=True))
    classifier = small().fit(reviews.texts, [names[label] for label in reviews.labels])
    assert classifier.classes_.tolist() == list(negative_positive)
    assert set(classifier.predict(reviews.texts).tolist()) == set(negative_positive)
    assert (classifier.decision_function(reviews.texts) == fitted.decision_function(reviews.texts)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_texts_may_come_in_any_column(fitted, reviews, kind):
    texts = KINDS[kind](reviews.texts[:20])
    assert (fitted.decision_function(texts) == fitted.decision_function(reviews.texts[:20])).all()


def test_labels_may_come_in_any_column(fitted, reviews):
    texts = reviews.texts[:20]
    for column in (pd.Series, pl.Series, pa.array):
        classifier = small().fit(column(reviews.texts), column(reviews.labels))
        assert (classifier.predict(texts) == fitted.predict(texts)).all()
    with pytest.warns(DataConversionWarning):
        small().fit(reviews.texts, np.array(reviews.labels)[:, None])


def test_texts_that_python_alone_knows_do_no_harm(fitted):
    assert np.isfinite(fitted.decision_function(["\ud800 broken", "", "\x00", "great " * 5000])).all()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "raw text documents expected"),
        ([], "0 sample"),
        (np.array([["a"], ["b"]]), r"got 2D array instead \(shape=\(2, 1\)\)"),
        (pd.DataFrame({"text": ["a"]}), "got 2D"),
        (["good", None], r"X\[1\] is None"),
        (["good", float("nan")], r"X\[1\] is nan"),
        (pd.Series(["good", None]), r"X\[1\] is nan|X\[1\] is None"),
        (pa.array(["good", None]), r"X\[1\] is None"),
        (np.arange(3), r"X\[0\] is 0 \(int\)"),
        ([["a", "b"], ["c"]], r"X\[0\] is \['a', 'b'\] \(list\)"),
        (["\ud800", 3], r"X\[1\] is 3"),
    ],
)
def test_anything_but_texts_is_refused(fitted, texts, message):
    with pytest.raises(ValueError, match=message):
        fitted.predict(texts)
    with pytest.raises(ValueError, match=message):
        small().fit(texts, [0, 1])


def test_texts_without_a_length_are_refused(fitted):
    with pytest.raises(TypeError, match="Expected sequence"):
        fitted.predict(text for text in ["good"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "requires y to be passed"),
        ([0] * 6, "only one class"),
        (list(range(101)) * 2, "y has 101 different labels; at most 100"),
        ([0, 1], "inconsistent numbers of samples"),
        ([0.5, 1.5, 2.5] * 2, "Unknown label type"),
        ([0, 1, float("nan")] * 2, "NaN"),
        ([[0, 1]] * 6, "1d array"),
        ([0, 0, 0, 0, 0, 1], "the smallest class has 1"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        small().fit(["good", "bad"] * max(3, len(labels or ()) // 2), labels)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lr": -1}, "train.lr is -1"),
        ({"model": "transformer"}, "model.cell is 'transformer'"),
        ({"preset": "fats"}, "Did you mean 'fast'"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"settings": {"model.hidden": 3}}, "unknown setting 'model.hidden'"),
        ({"settings": {"prepare.dedupe": True}}, "'prepare.dedupe' has no effect on texts in memory"),
        ({"layout": "three"}, "three"),
    ],
)
def test_parameters_that_cannot_work_are_named(reviews, parameters, message):
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(*reviews)


def test_it_must_be_fitted_first():
    with pytest.raises(NotFittedError):
        small().predict(["good"])


def test_few_texts_do():
    classifier = small().fit(["good stuff", "good stuff", "bad stuff", "bad thing"], [1, 1, 0, 0])
    assert classifier.record_["valid"]["rows"] == 2
    assert np.isfinite(classifier.decision_function(["good", "unheard of"])).all()


def test_settings_win_over_parameters_and_those_over_the_preset(reviews):
    classifier = small(preset="fast", max_tokens=50, lr=np.float64(0.01), batch_size=np.int64(16))
    settings = classifier.fit(*reviews).record_["settings"]
    assert settings["train"]["max_tokens"] == SMALL["train.max_tokens"]
    assert settings["train"]["lr"] == 0.01
    assert settings["train"]["batch_size"] == 16
    assert settings["vectors"]["passes"] == SMALL["vectors.passes"]
    assert settings["prepare"]["min_count"] == 1


def test_same_seed_same_model(fitted, reviews):
    again = clone(fitted).fit(*reviews)
    assert (again.decision_function(reviews.texts) == fitted.decision_function(reviews.texts)).all()
    other = small(random_state=1).fit(*reviews)
    assert (other.decision_function(reviews.texts) != fitted.decision_function(reviews.texts)).any()
    drawn = [small(random_state=np.random.RandomState(3)).fit(*reviews) for _ in range(2)]
    assert drawn[0].record_["seed"] == drawn[1].record_["seed"] not in (0, 3)


def test_nothing_of_the_process_is_changed(reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = process_state()
    classifier = small(threads=None).fit(*reviews)
    pickle.loads(pickle.dumps(classifier)).predict(reviews.texts)
    assert process_state() == before
    assert list(tmp_path.iterdir()) == []


def test_denormal_numbers_are_treated_as_the_caller_wishes(fitted, reviews):
    torch.set_flush_denormal(True)
    try:
        fitted.predict(reviews.texts)
        assert sys.float_info.min / 2 == 0.0
    finally:
        torch.set_flush_denormal(False)
    fitted.predict(reviews.texts)
    assert sys.float_info.min / 2 > 0.0


def process_state() -> list[object]:
    numpy_state = np.random.get_state()
    return [
        torch.get_num_threads(),
        torch.random.get_rng_state().tolist(),
        numpy_state[1].tolist(),
        random.getstate(),
        sys.float_info.min / 2 > 0,
        dict(os.environ),
        os.getcwd(),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
        threading.active_count(),
    ]


def test_ctrl_c_ends_it_and_leaves_nothing(reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told = []

    def interrupt(lines, message):  # at the first validation: training is under way
        told.append(message)
        if "valid accuracy" in message and len(told) < 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("sentiscale.inference.sklearn.StderrProgress.say", interrupt)
    classifier = small(verbose=1, settings={**SMALL, "train.epochs": 1000})
    with pytest.raises(KeyboardInterrupt, match="SIGINT received"):
        classifier.fit(*reviews)
    assert list(tmp_path.iterdir()) == []
    assert not hasattr(classifier, "classes_")


def test_training_tells_how_it_goes_if_asked(reviews, capsys):
    small(verbose=1).fit(*reviews)
    told = capsys.readouterr()
    assert "valid accuracy" in told.err
    assert told.out == ""
    small().fit(*reviews)
    assert capsys.readouterr().err == ""
