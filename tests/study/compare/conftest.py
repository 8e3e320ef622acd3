"""Small prepared data, and one real comparison that several tests look at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sentiscale.config import Settings, resolve
from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.datasets.output import synth
from sentiscale.study.compare.comparison import Comparison, compare
from sentiscale.study.compare.records import CompareConditions, CompareJob, CompareOutcome, CompareTask
from tests.data.relabel import STARS, relabelled

QUICK = {
    "model.embedding_dim": 8,
    "model.hidden_dim": 8,
    "wide.bits": 14,
    "train.epochs": 1.0,
    "train.batch_size": 32,
    "train.validate_every": 0.5,
    "train.max_tokens": 32,
}
ONE_THREAD = CompareConditions(threads=1)


@pytest.fixture(scope="session")
def quick() -> Settings:
    """Settings with which ours trains in a second."""
    return resolve(flags=QUICK)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """1,500 generated reviews, prepared."""
    folder = tmp_path_factory.mktemp("reviews")
    synth(1500, 5, out=folder / "reviews.txt")
    return prepare(folder / "reviews.txt", folder / "data", workers=1)


@pytest.fixture(scope="session")
def five_stars(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """The same reviews with five classes."""
    out = tmp_path_factory.mktemp("stars") / "data"
    return relabelled(dataset.path, out, STARS.names, STARS.kind)


@pytest.fixture(scope="session")
def comparison(
    dataset: PreparedDataset, quick: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Comparison:
    """Ours and a peer, in processes of their own."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    return compare(
        dataset.path, ["fast", "tfidf-lr"], out=out, seeds=(7,), conditions=ONE_THREAD, settings=quick
    )


@pytest.fixture
def train(dataset: PreparedDataset, tmp_path: Path):
    """Run a function of a peer: `train(linear.train, {…recipe})`."""

    def run(
        trainer: Callable, recipe: dict, data: Path = dataset.path, **conditions: object
    ) -> CompareOutcome:
        job = CompareJob(
            model="peer",
            seed=3,
            recipe=recipe,
            data_digest=dataset.manifest.digest,
            conditions=CompareConditions(threads=1, **conditions),
        )
        return trainer(CompareTask(job=job, data=data), tmp_path)

    return run
