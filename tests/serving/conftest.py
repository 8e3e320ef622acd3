"""A model with random weights, written to disk, and the real service on it."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sentiscale.config import CLEANING_VERSIONS, ModelSettings
from sentiscale.inference.predictor import Predictor
from sentiscale.model.directory import SavedModel, model_config, save_model
from sentiscale.model.network import SentimentNet
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.wide import Combination, WideModel
from sentiscale.records import Host, RunRecord, now
from sentiscale.text.vocab import SPECIAL, Vocab
from tests.serving.running_service import RunningService, running_service

WORDS = ("great", "not", "bad", "the", "a", "n't", "do", "'s", "!", "good", "film", "é", "😀")
CONFUSION = [[40, 10], [5, 45]]


def write_model(path: Path, *, seed: int = 3) -> Path:
    """A model directory with weights drawn from `seed`, and the record of a run that never was."""
    vocab = Vocab([*SPECIAL, *WORDS])
    settings = ModelSettings(embedding_dim=16, hidden_dim=16)
    net = SentimentNet.build(settings, len(vocab), seed=seed)
    net.embedding.weight.data *= 10
    generator = np.random.default_rng(seed)
    scales, weights = generator.random((2, 2**10), np.float32) + 0.1
    wide = WideModel(scales, weights - 0.6, 0.7, Ngrams(10, 3, 2))
    joined = Combination(0.7, 0.6, -0.35)  # both labels occur
    config = model_config(
        cleaning="words",
        cleaning_version=CLEANING_VERSIONS["words"],
        max_tokens=400,
        stored_tokens=512,
        model=settings,
        wide=wide,
        combination=joined,
    )
    save_model(path, SavedModel(config, vocab, net.eval(), wide, joined), record())
    return path


def record() -> RunRecord:
    """Scores as training writes them."""
    scores = {
        "accuracy": 0.85,
        "loss": 0.4,
        "f1": 0.86,
        "precision": 0.82,
        "recall": 0.9,
        "auc": None,
        "ece": 0.03,
        "rows": 100,
        "confusion": CONFUSION,
        "calibration": [{"low": 0.5, "high": 0.6, "rows": 4, "confidence": 0.55, "accuracy": 0.5}],
    }
    return RunRecord(
        id="made",
        started_at=now(),
        argv=[],
        settings={},
        layout="1x1",
        world_size=1,
        threads_per_rank=1,
        seed=0,
        data_digest="d1",
        host=Host.current(),
        versions={},
        valid=scores,
        test=scores,
        train_seconds=3.5,
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where logs and models go."""
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="session")
def model(folder: Path) -> Path:
    """A model directory that no test changes."""
    return write_model(folder / "critic" / "model")


@pytest.fixture(scope="session")
def predictor(model: Path) -> Predictor:
    """The same model in this process."""
    return Predictor.load(model)


@pytest.fixture(scope="session")
def service(model: Path, folder: Path) -> Iterator[RunningService]:
    """A service that is there for many tests; impatient with slow clients, so that they need not wait."""
    os.environ.pop("SENTISCALE_API_KEY", None)
    short = ("header_timeout_s=3", "body_timeout_s=3", "keep_alive_s=1", "max_characters=5000")
    options = ["--workers", "1"] + [word for setting in short for word in ("--set", f"serve.{setting}")]
    with running_service(model, folder, *options) as running:
        yield running
