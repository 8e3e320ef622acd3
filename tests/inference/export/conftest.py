"""A trained model, models put together without training, and how ONNX Runtime is asked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sentiscale.config import CLEANING_VERSIONS, ModelSettings
from sentiscale.inference.onnx_graph import onnx_bytes
from sentiscale.inference.onnx_runtime import OnnxPredictor
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Decision
from sentiscale.model.directory import SavedModel, class_settings, model_config
from sentiscale.model.network import SentimentNet
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.wide import Combination, WideModel
from sentiscale.text.classes import Classes
from sentiscale.text.vocab import SPECIAL, Vocab
from sentiscale.training.launch import train
from tests.cli.conftest import cli
from tests.training.conftest import dataset, quick, reviews

__all__ = ["cli", "dataset", "reviews"]

WORDS = 60
MAX_TOKENS = 13
"""Odd, so that the first half and the last half differ in length."""


@pytest.fixture(scope="session")
def run(dataset, tmp_path_factory) -> Path:
    """The run directory of a model that has learnt a little."""
    path = tmp_path_factory.mktemp("exported") / "run"
    train(dataset, path, quick(train__precision="fp32", train__layout="1x1"))
    return path


@pytest.fixture(scope="session")
def trained(run) -> Path:
    """Its model directory."""
    return run / "model"


@pytest.fixture(scope="session")
def elsewhere(trained, tmp_path_factory) -> Path:
    """The same model where the data it was trained on are not at hand."""
    path = tmp_path_factory.mktemp("elsewhere") / "model"
    shutil.copytree(trained, path)
    record = json.loads((path / "record.json").read_text())
    record["data"]["path"] = "/nowhere"
    (path / "record.json").write_text(json.dumps(record))
    return path


def made(
    ngrams: Ngrams | None = None,
    *,
    wide: bool = True,
    classes: Classes | None = None,
    decision: Decision | None = None,
    **shape,
) -> SavedModel:
    """A model with random weights, larger than those of a start so that its answers bend."""
    vocab = Vocab([*SPECIAL, *(f"w{number}" for number in range(WORDS))])
    classes = classes or Classes()
    settings = ModelSettings(**{"embedding_dim": 8, "hidden_dim": 12, **shape})
    settings = settings.resolved(len(classes), classes.kind)
    net = SentimentNet.build(settings, len(vocab), seed=3, outputs=classes.outputs)
    net.embedding.weight.data *= 10
    net.embedding.weight.data[0] = 0.3  # so that padding taken for a word shows
    for name, parameter in net.named_parameters():
        if "bias" in name:
            parameter.data += 0.3
    net.head.linear.weight.data *= 3
    net.eval()
    beside = random_wide(ngrams or Ngrams(10, 3, 2), classes.outputs) if wide else None
    joined = Combination(0.7, 0.6 if wide else 0.0, -0.2)
    if classes.outputs > 1:  # a factor and a bias of its own for each class
        each = [number / 10 for number in range(classes.outputs)]
        joined = Combination(
            tuple(0.7 + number for number in each),
            tuple(0.6 + number if wide else 0.0 for number in each),
            tuple(number - 0.2 for number in each),
        )
    config = model_config(
        cleaning="words",
        cleaning_version=CLEANING_VERSIONS["words"],
        max_tokens=MAX_TOKENS,
        stored_tokens=40,
        model=settings,
        wide=beside,
        combination=joined,
        **class_settings(classes, decision or Decision(classes.names)),
    )
    return SavedModel(config, vocab, net, beside, joined)


def random_wide(ngrams: Ngrams, outputs: int = 1) -> WideModel:
    """Scales and weights drawn at random."""
    scales, *weights = np.random.default_rng(3).random((1 + outputs, 2**ngrams.bits), np.float32) * 4
    if outputs == 1:
        return WideModel(scales + 0.1, weights[0] - 2, 0.7, ngrams)
    intercept = tuple(0.7 - code / 4 for code in range(outputs))
    return WideModel(scales + 0.1, np.stack(weights, axis=1) - 2, intercept, ngrams)


def both(model: SavedModel, **options) -> tuple[Predictor, OnnxPredictor]:
    """The model in torch, and as an ONNX file in ONNX Runtime."""
    return Predictor(model), OnnxPredictor(onnx_bytes(model, **options), threads=1)


def ragged(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows back to back, and where each begins."""
    tokens = np.array([token for row in rows for token in row], np.int32)
    return tokens, np.cumsum([0, *map(len, rows)]).astype(np.int64)
