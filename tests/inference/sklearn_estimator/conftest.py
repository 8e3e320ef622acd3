"""Generated reviews in memory, settings of a fit in a fraction of a second, and one estimator fitted so."""

import random
from typing import NamedTuple

import pytest

from sentiscale.datasets.output import synth
from sentiscale.inference.sklearn import SentimentClassifier

SMALL = {
    "model.embedding_dim": 8,
    "model.hidden_dim": 8,
    "wide.bits": 12,
    "vectors.passes": 0.5,
    "train.epochs": 1,
    "train.max_tokens": 32,
    "train.validate_every": 1,
}


def small(**parameters: object) -> SentimentClassifier:
    """An estimator that fits a few hundred texts at once."""
    return SentimentClassifier(**{"settings": SMALL, "precision": "fp32", **parameters})


class Reviews(NamedTuple):
    """Texts and what they are: "bad" or "good"."""

    texts: list[str]
    labels: list[str]


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Reviews:
    """200 generated reviews."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.txt"
    synth(200, 5, out=path)
    lines = [line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    names = {"__label__1": "bad", "__label__2": "good"}
    return Reviews([text for _, text in lines], [names[label] for label, _ in lines])


@pytest.fixture(scope="session")
def plain() -> Reviews:
    """200 sentences in which single words decide: few enough to learn from."""
    rng = random.Random(0)
    labels = [rng.choice(["bad", "good"]) for _ in range(200)]
    words = {"bad": ["broken", "awful", "useless", "poor"], "good": ["lovely", "great", "superb", "fine"]}
    others = ["the", "a", "it", "was", "is", "this", "box", "phone", "soap", "book", "and", "of", "to", "in"]
    texts = [" ".join([*rng.choices(others, k=9), *rng.choices(words[label], k=2)]) for label in labels]
    return Reviews(texts, labels)


@pytest.fixture(scope="session")
def fitted(reviews: Reviews) -> SentimentClassifier:
    """Fitted to them; not to be changed."""
    return small().fit(*reviews)
