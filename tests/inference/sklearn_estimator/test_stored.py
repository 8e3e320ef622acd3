"""Fitted estimators travel: pickle, joblib, copies and model directories, all without objects of torch."""

import copy
import io
import json
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import sentiscale
from sentiscale.errors import DataError, OutputExistsError, UsageError
from sentiscale.inference.sklearn import SentimentClassifier
from tests.inference.sklearn_estimator.conftest import small


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def by_pickle(classifier, folder):
    return pickle.loads(pickle.dumps(classifier))


def by_joblib(classifier, folder):
    joblib.dump(classifier, folder / "classifier.joblib", compress=3)
    return joblib.load(folder / "classifier.joblib")


def by_copy(classifier, folder):
    return copy.deepcopy(classifier)


def by_directory(classifier, folder):
    classifier.save(folder / "there")
    return SentimentClassifier.load(folder / "there")


@pytest.mark.parametrize("way", [by_pickle, by_joblib, by_copy, by_directory])
def test_it_answers_the_same_afterwards(fitted, reviews, tmp_path, way):
    again = way(fitted, tmp_path)
    assert (again.decision_function(reviews.texts) == fitted.decision_function(reviews.texts)).all()
    assert (again.predict(reviews.texts) == fitted.predict(reviews.texts)).all()
    assert again.get_params() == fitted.get_params()
    assert again.record_ == fitted.record_
    assert again.classes_.tolist() == fitted.classes_.tolist()


def test_a_pickle_needs_nothing_of_torch(fitted):
    needed = set()

    class Noting(pickle.Unpickler):
        def find_class(self, module, name):
            needed.add(module.split(".")[0])
            return super().find_class(module, name)

    Noting(io.BytesIO(pickle.dumps(fitted))).load()
    assert "sentiscale" in needed
    assert needed <= {"sentiscale", "numpy"}


@pytest.mark.slow
def test_a_pickle_is_read_in_another_process(fitted, reviews, tmp_path):
    (tmp_path / "classifier.pickle").write_bytes(pickle.dumps(fitted))
    code = (
        "import pickle, sys, json\n"
        "classifier = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(json.dumps(classifier.predict(json.loads(sys.argv[2])).tolist()))"
    )
    texts = json.dumps(reviews.texts[:5])
    command = [
        sys.executable,
        "-W",
        "ignore::ResourceWarning",
        "-c",
        code,
        tmp_path / "classifier.pickle",
        texts,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == fitted.predict(reviews.texts[:5]).tolist()


def test_a_damaged_pickle_is_told(fitted):
    state = fitted.__getstate__()
    state["model_files_"]["weights.safetensors"] = b"nothing"
    with pytest.raises(DataError, match="does not match the digest"):
        SentimentClassifier().__setstate__(state)


def test_one_that_is_not_fitted_travels_too(tmp_path):
    again = by_pickle(small(), tmp_path)
    assert again.get_params() == small().get_params()
    with pytest.raises(NotFittedError):
        again.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_saved_directory_is_an_ordinary_model(saved, fitted, reviews):
    assert {file.name for file in saved.iterdir()} == {
        "config.toml",
        "vocab.txt",
        "weights.safetensors",
        "digests.json",
        "record.json",
        "estimator.json",
    }
    predictions = sentiscale.Predictor.load(saved).predict(reviews.texts[:9])
    assert [p.positive_probability for p in predictions] == pytest.approx(
        fitted.predict_proba(reviews.texts[:9])[:, 1].tolist(), abs=1e-6
    )


def test_a_model_that_the_command_trained_is_loaded(saved, reviews, fitted):
    (saved / "estimator.json").unlink()  # what is left is what `sentiscale train` writes
    classifier = SentimentClassifier.load(saved)
    assert classifier.classes_.tolist() == ["negative", "positive"]
    assert (classifier.decision_function(reviews.texts) == fitted.decision_function(reviews.texts)).all()


@pytest.mark.parametrize("labels", [(False, True), (3, 4), (0.0, 1.0), ("b", "g")])
def test_labels_keep_their_kind(reviews, tmp_path, labels):
    y = np.where(np.array(reviews.labels) == "good", labels[1], labels[0])
    classifier = by_directory(small().fit(reviews.texts, y), tmp_path)
    assert classifier.classes_.dtype == np.unique(y).dtype
    assert classifier.predict(reviews.texts[:2]).dtype == np.unique(y).dtype


def test_labels_without_a_place_in_json_are_refused(reviews, tmp_path):
    dates = np.where(np.array(reviews.labels) == "good", np.datetime64("2020"), np.datetime64("2019"))
    classifier = small().fit(reviews.texts, dates)
    assert by_pickle(classifier, tmp_path).classes_.tolist() == classifier.classes_.tolist()
    with pytest.raises(ValueError, match="str, bool, int or float"):
        classifier.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_only_models_are_replaced_and_only_if_asked(saved, fitted, tmp_path):
    with pytest.raises(OutputExistsError):
        fitted.save(saved)
    fitted.save(saved, force=True)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("Dear")
    with pytest.raises(UsageError, match="does not replace it"):
        fitted.save(tmp_path / "letters", force=True)


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        '{"classes": ["a"]}',
        '{"classes": ["a", "b", "c"], "dtype": "<U1", "parameters": {}}',
        '{"classes": ["a", "b"], "dtype": "<U1000000000", "parameters": {}}',
        '{"classes": ["a", "b"], "dtype": "<U1", "parameters": {"gamma": 1}}',
        "[]",
    ],
)
def test_a_damaged_directory_is_told(saved, content):
    (saved / "estimator.json").write_text(content)
    with pytest.raises(DataError, match=r"estimator\.json"):
        SentimentClassifier.load(saved)


def test_parameters_that_json_does_not_know_are_left_out(reviews, tmp_path):
    classifier = small(random_state=np.random.RandomState(1)).fit(*reviews)
    again = by_directory(classifier, tmp_path)
    assert again.random_state == 0
    assert clone(again).get_params() == again.get_params()
