"""Ranks that were started apart find out that they were not given the same, before they train."""

from dataclasses import replace
from pathlib import Path

import pytest

from sentiscale.config import resolve
from sentiscale.data.prepare import prepare
from sentiscale.data.prepared import PreparedDataset
from sentiscale.datasets.output import synth
from sentiscale.errors import UsageError
from sentiscale.parallel.world import World
from sentiscale.training.launch import check_same_job
from sentiscale.training.run import TrainJob
from sentiscale.training.run_directory import RunDir
from tests.worlds import run_world


@pytest.fixture
def data(tmp_path: Path) -> Path:
    synth(40, 5, out=tmp_path / "reviews.txt")
    return prepare(tmp_path / "reviews.txt", tmp_path / "data", workers=1).path


def complaint(world: World, data: Path, out: Path, by_rank: list[dict[str, object]]) -> str:
    """What a rank says when each was started with flags of its own; nothing if it has no complaint."""
    flags = dict(by_rank[world.rank])
    resume = bool(flags.pop("resume", False))
    job = TrainJob(PreparedDataset.open(data), RunDir(out), resolve(flags=flags))
    job.run_dir.checkpoints.mkdir(parents=True, exist_ok=True)
    try:
        check_same_job(replace(job, resume=resume), world)
    except UsageError as error:
        return str(error)
    return ""


def test_other_settings_on_one_host_are_named_on_all(data, tmp_path):
    by_rank = [{"train.lr": 1e-3, "model.cell": "gru"}, {"train.lr": 2e-3, "resume": True}]
    first, second = run_world(complaint, "2x1", data, tmp_path / "run", by_rank, hosts=2)
    assert first == second
    for expected in ("train.lr is 0.002, not 0.001", 'model.cell is "lstm", not "gru"', "--resume is true"):
        assert expected in first
    assert "Start every rank with the same command" in first
    assert "seed" not in first, "what is the same is not told"


def test_threads_may_differ_as_cores_do(data, tmp_path):
    by_rank = [{"train.threads_per_rank": 1, "prepare.min_count": 7}, {"train.threads_per_rank": 4}]
    assert run_world(complaint, "2x1", data, tmp_path / "run", by_rank, hosts=2) == ["", ""]
