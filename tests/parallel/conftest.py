"""A world of ranks of which nothing is left when the test is over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parallel.rank_processes import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "world")
    yield world
    world.clean_up()


@pytest.fixture
def other_world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "other-world")
    yield world
    world.clean_up()
