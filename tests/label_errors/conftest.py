"""Models to take apart: a trained one, and a made-up one for what needs no sense."""

from pathlib import Path

import pytest

from sentiscale.model.directory import save_model
from sentiscale.model.wide import Combination
from tests.cli.conftest import cli
from tests.inference.explain.conftest import made, trained
from tests.training.conftest import dataset, reviews

__all__ = ["cli", "dataset", "reviews", "trained"]


@pytest.fixture(scope="session")
def made_up(tmp_path_factory) -> Path:
    """A model directory with random weights that knows a dozen words."""
    path = tmp_path_factory.mktemp("made-up") / "model"
    save_model(path, made(Combination(net=0.6, wide=0.8, bias=-0.3)).model)
    return path
