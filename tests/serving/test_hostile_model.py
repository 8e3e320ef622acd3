"""Model directories that someone changed: not served, and not taken in place of the old one."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentiscale.model.files import DIGESTS
from tests.model.hostile import CHANGES, DIGEST_CHANGES, Change
from tests.serving.conftest import write_model
from tests.serving.running_service import RunningService, running_service

NAMES = (
    "wide arrays of 1",
    "wide_gaps = -1",
    "config.toml is a FIFO",
    "net.recurrent.cell.weight_hh_l0 with nan",
    "wide.weights alone cut to 16",
    "vocab.txt is a device",
    "max_tokens = 0",
    "weights.safetensors cut to 0.5",
)
CHOSEN = [change for name in NAMES for change in CHANGES if change.name == name]


@pytest.fixture(scope="module")
def live(folder) -> Path:
    return write_model(folder / "hostile" / "model")


@pytest.fixture(scope="module")
def serving(live, folder) -> Iterator[RunningService]:
    """A service that reloads when it receives SIGHUP."""
    with running_service(live, folder, "--workers", 1) as running:
        yield running


def some_slow(changes: list[Change]) -> list[object]:
    """The first three always, the others with the slow tests: each starts a worker."""
    return [
        pytest.param(change, id=change.name, marks=[] if number < 3 else [pytest.mark.slow])
        for number, change in enumerate(changes)
    ]


@pytest.mark.parametrize("change", some_slow(CHOSEN))
def test_it_is_not_served(model, tmp_path, sentiscale, change):
    hostile = shutil.copytree(model, tmp_path / "model")
    (hostile / DIGESTS).unlink()
    change.apply(hostile)
    done = sentiscale("serve", hostile, "--port", "0")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"sentiscale: {hostile}")


@pytest.mark.parametrize("change", some_slow([*CHOSEN[:2], DIGEST_CHANGES[1], *CHOSEN[2:]]))
def test_it_is_not_taken_and_the_old_one_answers(serving, live, tmp_path, change):
    before, refusals = serving.predict("good film").json, len(serving.events("reload_refused"))
    shutil.copytree(live, tmp_path / "whole")
    change.apply(live)
    if change in CHANGES:
        (live / DIGESTS).unlink()
    try:
        serving.process.send_signal(signal.SIGHUP)
        refused = serving.wait_for("reload_refused", refusals + 1)
        assert str(live) in refused["reason"]
        assert serving.predict("good film").json == before
    finally:
        shutil.rmtree(live)
        shutil.copytree(tmp_path / "whole", live)
