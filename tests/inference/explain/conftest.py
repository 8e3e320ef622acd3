"""A trained model, and models that are put together without training."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sentiscale.config import CLEANING_VERSIONS, ModelSettings
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Decision
from sentiscale.model.directory import SavedModel, class_settings, model_config
from sentiscale.model.network import SentimentNet
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.wide import Combination, WideModel
from sentiscale.text.classes import Classes
from sentiscale.text.vocab import SPECIAL, Vocab
from sentiscale.training.launch import train
from tests.training.conftest import dataset, quick, reviews

__all__ = ["dataset", "reviews"]

WORDS = ("great", "not", "bad", "the", "a", "n't", "do", "'s", "!", "good", "é", "😀")
BINARY_CLASSES = Classes()
LETTERS = tuple(word for word in WORDS if re.fullmatch("[a-z]+", word))
"""Those that the profile alpha can produce."""


@pytest.fixture(scope="session")
def trained(dataset, tmp_path_factory) -> Path:
    """A model that has learnt a little of the generated reviews."""
    run = tmp_path_factory.mktemp("trained") / "run"
    train(dataset, run, quick(train__precision="fp32", train__epochs=2.0))
    return run / "model"


@cache
def made(
    joined: Combination,
    cleaning="words",
    *,
    max_tokens=400,
    stored_tokens=512,
    gaps=2,
    classes: Classes = BINARY_CLASSES,
    **shape,
) -> Predictor:
    """A predictor with random weights; `joined` says how much the network and the wide part count.

    The network's weights are made larger than those of a start, so that its logit bends on the way.
    """
    vocab = Vocab([*SPECIAL, *(LETTERS if cleaning == "alpha" else WORDS)])
    settings = ModelSettings(**{"embedding_dim": 8, "hidden_dim": 8, **shape})
    net = SentimentNet.build(settings, len(vocab), seed=3, outputs=classes.outputs)
    net.embedding.weight.data *= 10
    net.head.linear.weight.data *= 3
    net.eval()
    generator = np.random.default_rng(3)
    scales, weights = generator.random((2, 2**10), np.float32) + 0.1
    intercept: float | tuple[float, ...] = 0.7
    if classes.outputs > 1:
        weights = generator.random((2**10, len(classes)), np.float32) + 0.1
        intercept = tuple(generator.random(len(classes)).tolist())
    wide = WideModel(scales, weights - 0.6, intercept, Ngrams(10, 3, gaps))
    config = model_config(
        cleaning=cleaning,
        cleaning_version=CLEANING_VERSIONS[cleaning],
        max_tokens=max_tokens,
        stored_tokens=stored_tokens,
        model=settings,
        wide=wide,
        combination=joined,
        **class_settings(classes, Decision(classes.names)),
    )
    return Predictor(SavedModel(config, vocab, net, wide, joined))
