"""A small prepared dataset and quick settings for the tests of training."""

from pathlib import Path

import pytest

from sentiscale.config import Settings, resolve
from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.datasets.output import synth

QUICK = {
    "model.embedding_dim": 16,
    "model.hidden_dim": 16,
    "wide.bits": 14,
    "train.epochs": 1.0,
    "train.batch_size": 32,
    "train.validate_every": 0.5,
    "train.max_tokens": 64,
}


def quick(**changes: object) -> Settings:
    """Settings of a run of about a second; `train__epochs=2` changes one."""
    flags = {name.replace("__", "."): value for name, value in changes.items()}
    return resolve(flags={**QUICK, **flags})


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 generated reviews as a fastText file."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.txt"
    synth(2000, 5, out=path)
    return path


@pytest.fixture(scope="session")
def dataset(reviews: Path) -> PreparedDataset:
    """The same, prepared."""
    return prepare(reviews, reviews.parent / "data", workers=1)


@pytest.fixture(scope="session")
def more_reviews(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """4,000 generated reviews, prepared: enough for a network to learn that order matters."""
    folder = tmp_path_factory.mktemp("more")
    synth(4000, 5, out=folder / "reviews.txt")
    return prepare(folder / "reviews.txt", folder / "data", workers=1)
