"""A model with random weights, written to disk, and the real service on it."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiscale.config import CLEANING_VERSIONS, ModelSettings
from sentiscale.inference.predictor import Predictor
from sentiscale.model.decision import Decision
from sentiscale.model.directory import ModelConfig, SavedModel, class_settings, model_config, save_model
from sentiscale.model.metrics import score
from sentiscale.model.network import SentimentNet
from sentiscale.model.ngrams import Ngrams
from sentiscale.model.thresholds import (
    THRESHOLDS,
    ThresholdEntry,
    ThresholdPoint,
    ThresholdReport,
    ThresholdScores,
)
from sentiscale.model.wide import Combination, WideModel
from sentiscale.records import ClassScores, Host, RunRecord, now
from sentiscale.text.classes import Classes
from sentiscale.text.vocab import SPECIAL, Vocab
from tests.serving.running_service import RunningService, running_service

WORDS = ("great", "not", "bad", "the", "a", "n't", "do", "'s", "!", "good", "film", "é", "😀")
CONFUSION = [[40, 10], [5, 45]]
SCORES = {
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
    own = config(settings, wide, joined)
    save_model(path, SavedModel(own, vocab, net.eval(), wide, joined), record(SCORES))
    return path


def config(settings: ModelSettings, wide: WideModel, joined: Combination, **fields) -> ModelConfig:
    return model_config(
        cleaning="words",
        cleaning_version=CLEANING_VERSIONS["words"],
        max_tokens=400,
        stored_tokens=512,
        model=settings,
        wide=wide,
        combination=joined,
        **fields,
    )


def write_class_model(path: Path, classes: Classes, decision: Decision | None = None) -> Path:
    """The same for more than two classes; the scores are those of random logits."""
    vocab = Vocab([*SPECIAL, *WORDS])
    settings = ModelSettings(embedding_dim=16, hidden_dim=16)
    net = SentimentNet.build(settings, len(vocab), seed=3, outputs=classes.outputs)
    net.embedding.weight.data *= 10
    generator = np.random.default_rng(0)
    scales = generator.random(2**10, np.float32) + 0.1
    weights = generator.normal(size=(2**10, len(classes))).astype(np.float32)
    factors, biases = (tuple(np.linspace(*ends, len(classes)).tolist()) for ends in ((8, 12), (0, 0.3)))
    wide = WideModel(scales, weights, biases, Ngrams(10, 3, 2))
    joined = Combination(factors, tuple(np.ones(len(classes)).tolist()), biases)
    decided = class_settings(classes, decision or Decision(classes.names))
    own = config(settings, wide, joined, **decided)
    labels = generator.integers(len(classes), size=1000).astype(np.uint8)
    logits = generator.normal(size=(1000, len(classes))).astype(np.float32)
    logits[range(1000), labels] += 2
    scores = score(logits, labels, classes, decision)
    save_model(path, SavedModel(own, vocab, net.eval(), wide, joined), record(scores.model_dump()))
    return path


def record(scores: dict[str, Any]) -> RunRecord:
    """A record as training writes it."""
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


NAMES_24 = ("<img src=x onerror=document.title='taken'>", "__proto__", *(f"topic {n}" for n in range(22)))
CLASSES = {
    3: (Classes(("negative", "neutral", "positive"), "ternary"), {"thresholds": {"negative": 0.3}}),
    5: (Classes(tuple("12345"), "stars"), {"abstain": dict.fromkeys("12345", 0.45)}),
    24: (Classes(NAMES_24, "labels"), {}),
}
"""Classes and decisions of the models with more than two classes, by number of classes."""


@pytest.fixture(scope="session")
def class_models(folder: Path) -> dict[int, Path]:
    """Model directories by number of classes; that of three has a report on its threshold."""
    models = {
        number: write_class_model(
            folder / f"of {number}" / "model", classes, Decision(classes.names, **table)
        )
        for number, (classes, table) in CLASSES.items()
    }
    (models[3] / THRESHOLDS).write_text(threshold_report().model_dump_json())
    return models


def threshold_report() -> ThresholdReport:
    """How a threshold of negative was chosen."""
    before, after = (
        ClassScores(precision=precision, recall=recall, f1=0.8, rows=300)
        for precision, recall in ((0.85, 0.75), (0.74, 0.91))
    )
    scores = ThresholdScores(part="test", rows=1000, before=before, after=after)
    curve = [(0.1, 0.98, 0.9), (0.5, 0.94, 0.7), (0.75, 0.85, 0.5), (0.91, 0.74, 0.3), (1.0, 0.32, 0.0)]
    entry = ThresholdEntry(
        class_name="negative",
        measure="recall",
        target=0.9,
        threshold=0.3,
        chosen=scores,
        reported=scores,
        data="somebody/reviews",
        date=now(),
        curve=[ThresholdPoint(recall=r, precision=p, threshold=t) for r, p, t in curve],
    )
    return ThresholdReport(entries=[entry])


@pytest.fixture(scope="session")
def class_services(class_models: dict[int, Path], folder: Path) -> Iterator[dict[int, RunningService]]:
    """A service for each of them."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:

        def start(path: Path) -> RunningService:
            return stack.enter_context(running_service(path, folder, "--workers", "1"))

        yield dict(zip(class_models, pool.map(start, class_models.values()), strict=True))
