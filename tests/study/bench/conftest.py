"""Small prepared data, and one real study that the tests of one file look at."""

from dataclasses import replace
from pathlib import Path

import pytest

from sentiscale.config import Settings, resolve
from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.datasets.output import synth
from sentiscale.study.bench.plan import Amount, BenchRequest
from sentiscale.study.bench.study import BenchResult, open_study

SMALL = {"model.embedding_dim": 8, "model.hidden_dim": 8, "train.max_tokens": 32}
STEPS = 12
UNLIMITED = 1e6
"""Cores that others may keep busy: whatever else this machine does is no matter here."""


@pytest.fixture(scope="session")
def settings() -> Settings:
    """A network whose steps take milliseconds."""
    return resolve(flags=SMALL)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """800 generated reviews, prepared."""
    folder = tmp_path_factory.mktemp("reviews")
    synth(800, 5, out=folder / "reviews.txt")
    return prepare(folder / "reviews.txt", folder / "data", workers=1)


@pytest.fixture(scope="session")
def small_request() -> BenchRequest:
    """Two ranks, two stages, and what they are judged by."""
    return BenchRequest(
        layouts=("2x1", "1x2"),
        threads=(1,),
        batch_sizes=(16,),
        models=("lstm",),
        repeats=1,
        seed=4,
        amount=Amount(steps=STEPS),
    )


@pytest.fixture(scope="session")
def measured(
    dataset: PreparedDataset,
    settings: Settings,
    small_request: BenchRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> BenchResult:
    """A study in real processes, without the run that only takes more threads; for one file of tests only."""
    out: Path = tmp_path_factory.mktemp("study") / "out"
    with open_study(dataset.path, out, small_request, settings) as study:
        cases = [case for case in study.plan.cases if case.threads_per_rank == 1]
        plan = study.plan.model_copy(update={"cases": cases})
        return replace(study, plan=plan).run(out, limit_cores=UNLIMITED)
