"""Everything is killed, and the run goes on under the same layout or another as if nothing had happened."""

import re
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from safetensors.numpy import load_file

from sentiscale.data.prepare import prepare
from sentiscale.datasets.output import synth
from sentiscale.records import EpochMetrics, read_jsonl
from sentiscale.util.progress import Progress
from tests.parallel.runs import BASE, checkpoints, distance, last_weights, saved_weights, step_of, train_here
from tests.worlds import run_world

ROWS = 400
EPOCH_STEPS = 10
KILLED_AT = 14
"""In the second of two epochs, two steps after a checkpoint."""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few generated reviews, prepared."""
    folder = tmp_path_factory.mktemp("reviews")
    synth(ROWS, 5, out=folder / "reviews.txt")
    return prepare(folder / "reviews.txt", folder / "data", workers=1).path


@pytest.fixture(scope="session")
def undisturbed(data, tmp_path_factory):
    """Runs that nobody stopped, by layout and precision; each is made once."""
    made: dict[tuple[str, str], Path] = {}

    def run(layout: str, precision: str = "fp64") -> Path:
        if (layout, precision) not in made:
            out = tmp_path_factory.mktemp("undisturbed") / "run"
            run_world(train_here, layout, data, out, {"train.precision": precision})
            made[layout, precision] = out
        return made[layout, precision]

    return run


def kill(layout: str, data: Path, run: Path, **flags) -> None:
    """Train until every rank is killed."""
    with pytest.raises(AssertionError, match=r"ended without an answer|failed"):
        run_world(train_here, layout, data, run, flags, False, KILLED_AT)
    assert step_of(checkpoints(run)[-1]) == 12


PAIRS = [
    ("2x1", "1x1"),
    ("1x1", "2x1"),
    ("1x2", "3x1"),
    ("3x1", "2x2"),
    pytest.param("2x1", "2x1", marks=pytest.mark.slow),
    pytest.param("2x2", "1x1", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_killed_under_one_layout_and_resumed_under_another_is_as_never_stopped(
    data, undisturbed, tmp_path, before, after
):
    run = tmp_path / "run"
    kill(before, data, run)
    found = run_world(train_here, after, data, run, {}, True)
    assert all(record["status"] == "finished" for record in found)
    expected = undisturbed("1x1" if before != after else before)
    allowed = 0.0 if before == after else 1e-9
    assert distance(last_weights(run), last_weights(expected)) <= allowed
    assert distance(saved_weights(run), saved_weights(expected)) <= max(allowed, 1e-7 * (before != after))
    lines = [list(read_jsonl(each / "metrics.jsonl", EpochMetrics)) for each in (run, expected)]
    assert [line.step for line in lines[0]] == [line.step for line in lines[1]] == [0, 5, 10, 15, 20]
    for got, wanted in zip(*lines, strict=True):
        assert got.valid_accuracy == wanted.valid_accuracy
        assert got.train_loss == pytest.approx(wanted.train_loss, abs=1e-9)
    assert not list((run / "checkpoints").glob(".*")), "something half-written is left"


@pytest.mark.slow
def test_with_32_bits_the_same_up_to_rounding(data, undisturbed, tmp_path):
    """Seen: 2e-5, of weights that twenty steps have moved by up to 5e-2."""
    run, flags = tmp_path / "run", {"train.precision": "fp32"}
    kill("2x1", data, run, **flags)
    run_world(train_here, "1x1", data, run, flags, True)
    assert distance(last_weights(run), last_weights(undisturbed("1x1", "fp32"))) < 1e-3


def test_all_layouts_write_the_same_numbers(undisturbed):
    first, second = last_weights(undisturbed("1x1")), last_weights(undisturbed("2x1"))
    assert {name.split("/")[0] for name in first} == {"weights", "mean", "square"}
    assert distance(first, second) < 1e-9
    moved = np.abs(first["weights/embedding.weight"] - first["weights/embedding.weight"][0]).max()
    assert moved > 0.01


def test_ranks_write_the_parts_they_own(undisturbed):
    names = {path.name for path in checkpoints(undisturbed("2x1"))[-1].iterdir()}
    assert names == {
        "state.json",
        "stage-0.safetensors",
        "rows-0-of-2.safetensors",
        "rows-1-of-2.safetensors",
    }
    rows = [
        load_file(checkpoints(undisturbed("2x1"))[-1] / f"rows-{rank}-of-2.safetensors") for rank in (0, 1)
    ]
    vocab = len(last_weights(undisturbed("1x1"))["weights/embedding.weight"])
    assert [len(part["mean/embedding.weight"]) for part in rows] == [-(-vocab // 2), vocab // 2]


def test_the_newest_checkpoints_are_kept(data, tmp_path, undisturbed):
    assert [step_of(path) for path in checkpoints(undisturbed("2x1"))] == [16, 20]
    run = tmp_path / "run"
    run_world(train_here, "2x1", data, run, {"train.keep_checkpoints": 3, "train.checkpoint_every": 3})
    assert [step_of(path) for path in checkpoints(run)] == [15, 18, 20]


@pytest.fixture(scope="session")
def killed(data, tmp_path_factory) -> Path:
    """A run that was killed under 2x1; tests go on with copies of it."""
    run = tmp_path_factory.mktemp("killed") / "run"
    kill("2x1", data, run)
    return run


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("rows-1-of-2.safetensors", "changed"),
        ("rows-0-of-2.safetensors", "missing"),
        ("stage-0.safetensors", "cut"),
        ("state.json", "cut"),
    ],
)
def test_a_checkpoint_with_a_damaged_part_is_passed_over(data, undisturbed, killed, tmp_path, part, fault):
    run = shutil.copytree(killed, tmp_path / "run")
    damaged = checkpoints(run)[-1] / part
    content = bytearray(damaged.read_bytes())
    if fault == "missing":
        damaged.unlink()
    else:
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content if fault == "changed" else content[:-9])
    said = run_world(resume_and_listen, "1x1", data, run)[0]
    assert any("skipped: " in line and "step-00000012" in line for line in said)
    assert any("at step 8" in line for line in said)
    assert distance(last_weights(run), last_weights(undisturbed("1x1"))) < 1e-9


def resume_and_listen(world, data: Path, run: Path) -> list[str]:
    """Resume; what was said on the way."""
    said: list[str] = []
    with patch.object(Progress, "say", lambda self, text: said.append(text)):
        train_here(world, data, run, {}, resume=True)
    return said


def test_without_a_sound_checkpoint_the_run_starts_again(data, undisturbed, killed, tmp_path):
    run = shutil.copytree(killed, tmp_path / "run")
    for path in checkpoints(run):
        (path / "state.json").unlink()
    said = run_world(resume_and_listen, "1x1", data, run)[0]
    assert sum("skipped: " in line for line in said) == 2
    assert any(re.search("no checkpoint in .*starting at step 0", line) for line in said)
    assert distance(last_weights(run), last_weights(undisturbed("1x1"))) == 0


def test_what_was_being_saved_when_all_was_killed_is_cleared_away(data, undisturbed, killed, tmp_path):
    run = shutil.copytree(killed, tmp_path / "run")
    unfinished = run / "checkpoints" / ".step-00000016.elsewhere.1.0123abcd.tmp"
    shutil.copytree(checkpoints(run)[-1], unfinished)
    run_world(train_here, "2x1", data, run, {}, True)
    assert not unfinished.exists()
    assert distance(last_weights(run), last_weights(undisturbed("2x1"))) == 0


def test_settings_are_as_small_as_these_tests_think():
    assert BASE["train.batch_size"] * (EPOCH_STEPS - 1) < ROWS * 0.8 <= BASE["train.batch_size"] * EPOCH_STEPS
