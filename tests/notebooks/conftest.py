"""A desk that all notebooks share: what one has prepared or measured the next one finds there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import AsyncKernelManager

from sentiscale.data.prepare import prepare
from sentiscale.datasets.output import synth
from tests.conftest import REPOSITORY
from tests.notebooks.running import kernel


def a_desk(folder: Path) -> Path:
    """A folder to run notebooks in, with the examples beside it, as in the repository."""
    (folder / "examples").symlink_to(REPOSITORY / "examples")
    (folder / "notebooks").mkdir()
    return folder / "notebooks"


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With 1,500 generated reviews, prepared in `data`."""
    desk = a_desk(tmp_path_factory.mktemp("desk"))
    synth(1500, out=desk / "reviews.ft.txt")
    prepare(desk / "reviews.ft.txt", desk / "data", workers=1)
    return desk


@pytest.fixture(scope="module")
def shared_kernel(desk: Path) -> Iterator[AsyncKernelManager]:
    """One for all notebooks: starting it and loading torch takes as long as most of them."""
    with kernel(desk) as manager:
        yield manager


@pytest.fixture(scope="session")
def own_desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With nothing on it: the notebooks make all they need."""
    return a_desk(tmp_path_factory.mktemp("own"))
