"""Whether explanations mean something: taking away what they name changes the verdict as they say."""

import numpy as np
import pytest

from sentiscale.datasets.output import synth
from sentiscale.inference.explain import Explanation, explain
from sentiscale.inference.predictor import Predictor

TAKEN = 3


def without(text: str, explanation: Explanation, places: list[int]) -> str:
    """The text without some of its words."""
    kept, at = [], 0
    for place in sorted(places):
        share = explanation.words[place]
        kept.append(text[at : share.start])
        at = share.end
    return " ".join([*kept, text[at:]])


@pytest.fixture(scope="module")
def unseen(tmp_path_factory) -> list[str]:
    path = tmp_path_factory.mktemp("unseen") / "reviews.txt"
    synth(150, 77, out=path)
    return [line.split(" ", 1)[1] for line in path.read_text().splitlines()]


def test_words_that_spoke_for_positive_are_missed_more_than_others(trained, unseen):
    predictor = Predictor.load(trained)
    generator = np.random.default_rng(0)
    best, others, texts = [], [], []
    for text, explanation in zip(unseen, explain(predictor, unseen), strict=True):
        shares = np.array([share.contribution for share in explanation.words])
        if len(shares) > 2 * TAKEN:
            texts.append(text)
            best.append(without(text, explanation, np.argsort(-shares)[:TAKEN].tolist()))
            random = generator.choice(len(shares), TAKEN, replace=False).tolist()
            others.append(without(text, explanation, random))
    assert len(texts) > 100
    whole, less, control = (predictor.logits(predictor.encoder.encode(t)) for t in (texts, best, others))
    assert (whole - less).mean() > 0.5
    assert (whole - less).mean() > 3 * abs((whole - control).mean())
    assert (less < control).mean() > 0.9
