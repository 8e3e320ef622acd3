"""More than two classes, and weights of classes and texts."""

import pickle
import random
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import recall_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sentiscale.inference.evaluate import evaluate
from sentiscale.inference.mlflow_model import _load_pyfunc
from sentiscale.inference.predictor import Predictor
from sentiscale.inference.sklearn import SentimentClassifier
from tests.inference.sklearn_estimator.conftest import Reviews, small

WORDS = {
    "bad": ["broken", "awful", "useless", "poor"],
    "good": ["lovely", "great", "superb", "fine"],
    "okay": ["average", "middling", "passable", "decent"],
}
OTHERS = ["the", "a", "it", "was", "is", "this", "box", "phone", "soap", "book", "and", "of", "to", "in"]


def sentences(labels: list[str], seed: int = 0, said: int = 2) -> Reviews:
    """Texts whose class is told by `said` words."""
    rng = random.Random(seed)
    texts = [" ".join([*rng.choices(OTHERS, k=9), *rng.choices(WORDS[label], k=said)]) for label in labels]
    return Reviews(texts, labels)


@pytest.fixture(scope="module")
def three() -> Reviews:
    return sentences(random.Random(1).choices(["okay", "good", "bad"], k=240))


@pytest.fixture(scope="module")
def fitted_to_three(three) -> SentimentClassifier:
    return small().fit(*three)


def test_each_class_has_a_logit_a_probability_and_a_label(fitted_to_three, three):
    logits = fitted_to_three.decision_function(three.texts)
    chances = fitted_to_three.predict_proba(three.texts)
    assert fitted_to_three.classes_.tolist() == ["bad", "good", "okay"]
    assert logits.shape == chances.shape == (240, 3)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(chances, powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    assert (fitted_to_three.predict(three.texts) == fitted_to_three.classes_[chances.argmax(axis=1)]).all()
    assert fitted_to_three.score(*three) > 0.9


def test_a_model_of_three_classes_travels(fitted_to_three, three, tmp_path):
    fitted_to_three.save(tmp_path / "model")
    loaded = SentimentClassifier.load(tmp_path / "model")
    for again in (loaded, pickle.loads(pickle.dumps(fitted_to_three))):
        assert again.classes_.tolist() == ["bad", "good", "okay"]
        assert (again.predict_proba(three.texts) == fitted_to_three.predict_proba(three.texts)).all()
    prediction = Predictor.load(tmp_path / "model").predict(three.texts[0])
    assert prediction.label == fitted_to_three.predict(three.texts[:1])[0]
    assert list(prediction.probabilities) == ["bad", "good", "okay"]
    (row,) = _load_pyfunc(str(tmp_path / "model")).predict(three.texts[:1])
    assert (row["label"], row["probability"]) == (prediction.label, prediction.probability)
    assert row["probabilities"] == prediction.probabilities
    lines = [f"{label},{text}\n" for text, label in zip(*three, strict=True)]
    (tmp_path / "reviews.csv").write_text("label,text\n" + "".join(lines))
    scores = evaluate(tmp_path / "model", tmp_path / "reviews.csv")
    assert scores.accuracy == fitted_to_three.score(*three)
    (tmp_path / "model" / "estimator.json").unlink()
    assert SentimentClassifier.load(tmp_path / "model").classes_.tolist() == ["bad", "good", "okay"]


def test_a_label_is_returned_even_where_the_model_is_unsure(fitted_to_three, three):
    predictor = fitted_to_three.predictor_
    decision = replace(predictor.decision, thresholds={"okay": 0.0}, abstain={"okay": 1.0})
    try:
        predictor.decision = decision
        expected = fitted_to_three.classes_[fitted_to_three.predict_proba(three.texts).argmax(axis=1)]
        assert (fitted_to_three.predict(three.texts) == expected).all()
        predictor.decision = replace(decision, abstain={})
        assert set(fitted_to_three.predict(three.texts)) == {"okay"}
    finally:
        predictor.decision = replace(decision, thresholds={}, abstain={})


def test_cross_validation_of_a_pipeline(three):
    pipeline = make_pipeline(
        FunctionTransformer(lambda texts: texts), small(wide=False, class_weight="balanced")
    )
    assert clone(pipeline)[1].class_weight == "balanced"
    scores = cross_val_score(pipeline, *three, cv=2, scoring="f1_macro", error_score="raise")
    assert scores.min() > 0.15  # without n-grams and with 120 texts


@pytest.mark.parametrize("labels", [(0, 1, 2), (-1.0, 0.0, 3.0), ("", " x", "unsure")], ids=str)
def test_any_labels_come_back(three, labels):
    """Those that cannot name a class are numbered in the model, and come back all the same."""
    y = [labels[["bad", "good", "okay"].index(label)] for label in three.labels]
    classifier = small(wide=False).fit(three.texts, y)
    assert classifier.classes_.tolist() == list(labels)
    assert set(classifier.predict(three.texts)) <= set(labels)


def test_ordered_labels(three):
    y = np.array([{"bad": 1, "okay": 10, "good": 20}[label] for label in three.labels])
    classifier = small(wide=False, ordinal=True).fit(three.texts, y)
    assert classifier.record_["settings"]["model"]["head"] == "ordinal"
    assert 0 <= classifier.record_["valid"]["mae"] <= 19
    assert classifier.predictor_.classes.stars == (1, 10, 20)
    with pytest.raises(ValueError, match="ordinal=True needs numbers as labels; they are 1, 10, 2"):
        small(ordinal=True).fit(three.texts, ["1", "10", "2"] * 80)  # text is sorted as text
    with pytest.raises(ValueError, match="ordinal=True needs numbers as labels; they are bad, good, okay"):
        small(ordinal=True).fit(*three)


def test_a_class_weight_raises_the_recall_of_a_rare_class(few_bad):
    """95 of 100 are good, and one word tells little: the weights count in labels, not in probabilities."""
    seen, unseen = few_bad
    plain, weighted = (small(class_weight=weight).fit(*seen) for weight in (None, "balanced"))
    low, high = (
        recall_score(unseen.labels, each.predict(unseen.texts), pos_label="bad") for each in (plain, weighted)
    )
    assert high > low + 0.5
    assert weighted.predict_proba(unseen.texts)[:, 0].mean() == pytest.approx(0.05, abs=0.02)
    named = small(class_weight={"bad": 10.0}).fit(*seen)
    assert named.predictor_.decision.weights == {"negative": 10.0, "positive": 1.0}
    with pytest.raises(ValueError, match="not in class_weight"):
        small(class_weight={"worse": 2}).fit(*seen)


@pytest.fixture(scope="module")
def few_bad() -> tuple[Reviews, Reviews]:
    """Texts to fit and to score; every tenth good text has a word of the bad ones."""
    rng = random.Random(2)
    labels = ["bad" if rng.random() < 0.05 else "good" for _ in range(4000)]
    told = ["bad" if label == "bad" or rng.random() < 0.1 else "good" for label in labels]
    texts = sentences(told, said=1).texts
    return Reviews(texts[:3000], labels[:3000]), Reviews(texts[3000:], labels[3000:])


def test_weights_of_texts(three):
    """A text of weight 0 counts as left out, equal weights as none; a text of weight 9 counts more."""
    weights = np.ones(240)
    plain = small(wide=False).fit(*three).predict_proba(three.texts)
    same = small(wide=False).fit(*three, sample_weight=weights * 7).predict_proba(three.texts)
    assert (same == plain).all()
    weights[:40] = 0
    zero = small().fit(*three, sample_weight=weights)
    left_out = small().fit(three.texts[40:], three.labels[40:])
    assert (zero.predict_proba(three.texts) == left_out.predict_proba(three.texts)).all()
    weights[40:80] = 9
    heavy = small().fit(*three, sample_weight=weights)
    assert (heavy.predict_proba(three.texts) != zero.predict_proba(three.texts)).any()
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        small().fit(*three, sample_weight=-np.ones(240))
    with pytest.raises(ValueError, match="the smallest class has 0"):
        small().fit(*three, sample_weight=[float(label != "bad") for label in three.labels])
