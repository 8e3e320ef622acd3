"""A tiny model with weights drawn at random: what is tested here does not depend on what it learnt."""

from pathlib import Path

import numpy as np
import pytest

from sentiscale.config import CLEANING_VERSIONS, ModelSettings
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Decision
from sentiscale.model.directory import SavedModel, class_settings, model_config, save_model
from sentiscale.model.network import SentimentNet, logits_shape
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.wide import Combination, WideModel
from sentiscale.text.classes import Classes
from sentiscale.text.vocab import SPECIAL, Vocab
from tests.cli.conftest import cli

__all__ = ["cli"]

WORDS = (
    "good",
    "bad",
    "not",
    "great",
    "awful",
    "film",
    "the",
    "a",
    "it",
    "never",
    "again",
    "!",
    "?",
    "n't",
    "is",
)
MAX_TOKENS = 12


def tiny_model(
    seed: int = 0, classes: Classes | None = None, decision: Decision | None = None, **settings: object
) -> SavedModel:
    """An untrained model that reads 12 tokens and knows 15 words."""
    classes = classes or Classes()
    shape = ModelSettings.model_validate({"embedding_dim": 8, "hidden_dim": 8, **settings})
    vocab = Vocab([*SPECIAL, *WORDS])
    net = SentimentNet.build(shape, len(vocab), seed, outputs=classes.outputs)
    drawn = np.random.default_rng(seed)
    ngrams = Ngrams(10, 3, 2)
    scales = drawn.uniform(0.1, 2, 2**10).astype(np.float32)
    weights = drawn.normal(size=(2**10, *logits_shape(1, classes.outputs)[1:])).astype(np.float32)
    if classes.outputs == 1:
        intercept, combination = 0.3, Combination(2.0, 0.7, -0.1)
    else:
        intercept, *factors = map(tuple, drawn.normal(1, 0.3, (4, len(classes))).tolist())
        combination = Combination(*factors)
    wide = WideModel(scales, weights, intercept, ngrams)
    config = model_config(
        cleaning="words",
        cleaning_version=CLEANING_VERSIONS["words"],
        max_tokens=MAX_TOKENS,
        stored_tokens=40,
        model=shape,
        wide=wide,
        combination=combination,
        **class_settings(classes, decision or Decision(classes.names)),
    )
    return SavedModel(config, vocab, net.eval(), wide, combination)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the tiny model."""
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(path, tiny_model())
    return path


@pytest.fixture(scope="session")
def predictor(model: Path) -> Predictor:
    """The tiny model, loaded."""
    return Predictor.load(model)
