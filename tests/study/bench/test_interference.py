"""Other programs are noticed: before a run, and during it."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sentiscale.study.bench.study import open_study
from sentiscale.study.load import CoreMeter, other_cores, wait_for_quiet

BUSY = "while True: pass"


@pytest.fixture
def busy_core() -> Iterator[None]:
    """A program that keeps a core busy."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    yield
    process.kill()
    process.wait()


def test_a_busy_program_is_seen(busy_core):
    assert other_cores(0.5) > 0.4


def test_own_work_is_told_from_that_of_others():
    meter, until = CoreMeter(), time.perf_counter() + 0.5
    while time.perf_counter() < until:
        pass
    everybody, own = meter.read()
    assert 0.2 < own < 1.1
    assert everybody > own - 0.2


def test_waiting_for_a_quiet_machine_ends(busy_core):
    assert wait_for_quiet(0.01, looks=2) > 0.01


@pytest.mark.slow
def test_a_run_beside_a_busy_program_is_repeated_and_flagged(
    dataset, settings, small_request, tmp_path, busy_core
):
    serial = small_request.model_copy(update={"layouts": ("1x1",), "baselines": False})
    with open_study(dataset.path, tmp_path / "out", serial, settings) as study:
        (run,) = study.run(tmp_path / "out", limit_cores=0.1).runs
    assert run.interference is not None
    assert run.interference.disturbed
    assert run.interference.cores_before > 0.1
