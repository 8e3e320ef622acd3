"""One small finished run, and copies of it in every state that a run can be in."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sentiscale.training.launch import train
from tests.cli.conftest import cli
from tests.training.conftest import dataset, quick, reviews

__all__ = ["cli", "dataset", "reviews"]


@pytest.fixture(scope="session")
def finished(dataset, tmp_path_factory) -> Path:
    """A finished run; not to be changed."""
    run = tmp_path_factory.mktemp("finished") / "first"
    train(dataset, run, quick(train__epochs=0.5))
    return run


def change(run: Path, **values: object) -> Path:
    """Rewrite some of a run's record."""
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps(record | values))
    return run


def silent(run: Path, seconds: float = 3600.0) -> Path:
    """Make all files of a run look as if nobody had written them for so long."""
    for file in run.rglob("*"):
        os.utime(file, (time.time() - seconds,) * 2)
    return run


@pytest.fixture
def copied(finished, tmp_path) -> Callable[..., Path]:
    """`copied("name", status="failed")`: a copy of the run under `runs/`; an unfinished one has no model."""

    def copy(name: str, **values: object) -> Path:
        run = tmp_path / "runs" / name
        shutil.copytree(finished, run)
        if values.get("status", "finished") != "finished":
            shutil.rmtree(run / "model")
            shutil.rmtree(run / "plots")
            values = {"valid": {}, "test": None, **values}
        return change(run, **values)

    return copy


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
