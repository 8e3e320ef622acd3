"""Prepared data in a folder that all notebooks share: what one has measured the next one finds there."""

from pathlib import Path

import pytest

from sentiscale.data.prepare import prepare
from sentiscale.synthetic.output import synth


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebooks run; `reviews.ft.txt` are 1,500 generated reviews, `data` the same prepared."""
    folder = tmp_path_factory.mktemp("desk")
    synth(1500, out=folder / "reviews.ft.txt")
    prepare(folder / "reviews.ft.txt", folder / "data", workers=1)
    return folder
