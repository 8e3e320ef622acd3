"""Checkpoints that were damaged, edited or exchanged: refused with one message, never resumed silently."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from sentiscale.errors import DataError, SentiscaleError
from sentiscale.training.checkpoint import load_state, saved_checkpoints, verify
from sentiscale.training.launch import train
from sentiscale.util.progress import Progress
from tests.training.conftest import QUICK, quick

SETTINGS = {**QUICK, "train.checkpoint_every": 10}
STAGE, ROWS = "stage-0.safetensors", "rows-0-of-1.safetensors"


class Said(Progress):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("checkpoints") / "run"
    train(dataset, run, quick(**{key.replace(".", "__"): value for key, value in SETTINGS.items()}))
    return run


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(finished, tmp_path / "run")


def newest(run: Path) -> Path:
    return saved_checkpoints(run / "checkpoints")[-1]


def seal(checkpoint: Path, **fields: object) -> None:
    """Change fields of state.json and bring all digests up to date, as a careful stranger would."""
    document = json.loads((checkpoint / "state.json").read_text())
    for name in document["digests"]:
        document["digests"][name] = hashlib.sha256((checkpoint / name).read_bytes()).hexdigest()
    document |= fields
    content = {key: value for key, value in document.items() if key != "digest"}
    document["digest"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (checkpoint / "state.json").write_text(json.dumps(document))


def test_a_sealed_copy_is_as_good_as_the_original(dataset, run):
    before = load_file(newest(run) / STAGE)
    seal(newest(run))
    said = Said()
    train(dataset, run, resume=True, progress=said)
    assert not any("skipped" in message for message in said.messages)
    assert all((value == before[name]).all() for name, value in load_file(newest(run) / STAGE).items())


@pytest.mark.parametrize(
    "fields",
    [
        {"step": -1},
        {"step": 1},
        {"step": "many"},
        {"rows": -5},
        {"seconds": float("nan")},
        {"seconds": -1.0},
        {"loss_sum": -1.0},
        {"loss_scale": 0.0},
        {"best_accuracy": 2.0},
        {"best_combination": {"net": float("inf")}},
        {"best_combination": {"other": 1.0}},
        {"metrics": [{"step": 1}]},
        {"digests": {}},
        {"digests": {"../../record.json": "0" * 64}},
        {"digests": {STAGE: "0" * 64, "rows-0-of-0.safetensors": "0" * 64}},
        {"digests": {STAGE: "0" * 64, "rows-1-of-1.safetensors": "0" * 64}},
        {"digests": {STAGE: "0" * 64, "rows-0-of-2.safetensors": "0" * 64}},
        {"digests": {ROWS: "0" * 64}},
        {"phases": {"data": -1.0}},
    ],
    ids=str,
)
def test_a_state_that_no_run_writes_is_refused(run, fields):
    seal(newest(run), **fields)
    with pytest.raises(DataError, match=r"is (damaged|incomplete): ") as caught:
        verify(newest(run))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"good_steps": 7}, {"best_loss": 0.25}, {"stale": 3}, {"rows": 1}])
def test_an_edited_number_is_found(run, change):
    file = newest(run) / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=r"state\.json does not match its digest"):
        verify(newest(run))


def test_a_state_written_before_it_had_a_digest_is_read(run):
    file = newest(run) / "state.json"
    document = json.loads(file.read_text())
    del document["digest"]
    file.write_text(json.dumps(document))
    assert verify(newest(run)).step == document["step"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a":' * 90 + b"1" + b"}" * 90]
)
def test_a_broken_state_is_refused(run, content):
    (newest(run) / "state.json").write_bytes(content)
    with pytest.raises(DataError, match=r"checkpoint .* is incomplete: "):
        load_state(newest(run))


@pytest.mark.parametrize("name", ["state.json", STAGE, ROWS])
def test_a_fifo_or_a_device_in_place_of_a_file_is_refused_at_once(run, name):
    (newest(run) / name).unlink()
    os.mkfifo(newest(run) / name)
    with pytest.raises(DataError, match="is a FIFO"):
        verify(newest(run))
    (newest(run) / name).unlink()
    (newest(run) / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is a device"):
        verify(newest(run))


def spoil(name, change):
    """Rewrite one file of tensors."""

    def spoiled(checkpoint: Path) -> None:
        tensors = load_file(checkpoint / name)
        change(tensors)
        save_file(tensors, checkpoint / name)

    return spoiled


def first(tensors):
    return next(name for name in tensors if name.startswith("weights/") and tensors[name].ndim > 1)


SPOILED = {
    "a smaller matrix": spoil(STAGE, lambda t: t.update({first(t): t[first(t)][:-1].copy()})),
    "half precision": spoil(STAGE, lambda t: t.update({first(t): t[first(t)].astype(np.float16)})),
    "a scalar": spoil(STAGE, lambda t: t.update({first(t): np.array(1, np.float32)})),
    "a value that is not a number": spoil(STAGE, lambda t: t[first(t)].fill(np.nan)),
    "a missing tensor": spoil(STAGE, lambda t: t.pop(first(t))),
    "fewer rows": spoil(ROWS, lambda t: t.update({first(t): t[first(t)][:-1].copy()})),
    "more rows": spoil(ROWS, lambda t: t.update({first(t): np.concatenate([t[first(t)]] * 2)})),
    "narrower rows": spoil(ROWS, lambda t: t.update({first(t): t[first(t)][:, :3].copy()})),
    "infinite rows": spoil(ROWS, lambda t: t[first(t)].fill(np.inf)),
    "no rows": spoil(ROWS, lambda t: t.pop(first(t))),
    "a header beyond the file": lambda c: (c / ROWS).write_bytes((2**62).to_bytes(8, "little") + b"{}"),
    "an empty file": lambda c: (c / STAGE).write_bytes(b""),
}


@pytest.mark.parametrize("damage", SPOILED.values(), ids=SPOILED.keys())
def test_tensors_of_another_network_are_refused_though_the_digests_match(dataset, run, damage):
    damage(newest(run))
    seal(newest(run))
    with pytest.raises(DataError, match=r"checkpoint .*(another network|damaged)") as caught:
        train(dataset, run, resume=True)
    assert "\n" not in str(caught.value)


def test_weights_too_large_to_compute_with_end_with_a_message(dataset, run):
    spoil(STAGE, lambda tensors: [tensors[name].fill(3e38) for name in tensors])(newest(run))
    seal(newest(run))
    with pytest.raises(SentiscaleError, match="logits became infinite or NaN: training diverged"):
        train(dataset, run, resume=True)


@pytest.mark.parametrize("name", ["metrics.jsonl", "train.log"])
def test_a_file_to_append_to_must_be_a_file(dataset, run, name):
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    with pytest.raises(DataError, match=f"{name} is a directory; only a regular file is allowed"):
        train(dataset, run, resume=True)


def test_the_previous_checkpoint_is_used_with_a_message(dataset, run):
    before, lost = saved_checkpoints(run / "checkpoints")
    expected = load_file(lost / STAGE)
    seal(lost, digests={})
    said = Said()
    train(dataset, run, resume=True, progress=said)
    assert any(f"skipped: checkpoint {lost} is damaged" in message for message in said.messages)
    assert f"at step {int(before.name[5:])}" in " ".join(said.messages)
    assert all((value == expected[name]).all() for name, value in load_file(newest(run) / STAGE).items())


def test_what_is_not_a_checkpoint_neither_counts_nor_is_deleted(dataset, run):
    (run / "checkpoints" / "step-notes.txt").write_text("mine")
    (run / "checkpoints" / "step-99999999").write_text("mine")
    (run / "checkpoints" / "step-zzz").mkdir()
    said = Said()
    train(dataset, run, resume=True, progress=said)
    assert not any("skipped" in message for message in said.messages)
    assert (run / "checkpoints" / "step-notes.txt").exists()


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def other_size(path: Path) -> None:
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    save_file(arrays | {"scales": arrays["scales"][:1].copy()}, path, metadata)


@pytest.mark.parametrize(
    "damage",
    [
        flip_byte,
        other_size,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: save_file(load_file(path), path),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    ],
    ids=["flipped", "other-size", "cut", "empty", "no-digest", "fifo", "device"],
)
def test_a_damaged_ngram_model_is_fitted_again_with_the_same_numbers(dataset, run, damage):
    file = run / "checkpoints" / "wide.safetensors"
    before = file.read_bytes()
    damage(file)
    said = Said()
    train(dataset, run, resume=True, progress=said)
    assert any(f"skipped: {file}" in message for message in said.messages)
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["record.json", "train.log"])
def test_a_fifo_in_the_run_directory_does_not_hang(dataset, run, name):
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(DataError, match="is a FIFO"):
        train(dataset, run, resume=True)


@pytest.mark.parametrize(
    "settings",
    [{"model": {"layers": "many"}}, {"model": []}, {"other": {}}, {"train": {"epochs": -1}}],
    ids=str,
)
def test_settings_in_the_record_that_no_run_has_are_refused(dataset, run, settings):
    file = run / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"settings": settings}))
    with pytest.raises(SentiscaleError) as caught:
        train(dataset, run, resume=True)
    assert caught.value.exit_code in (2, 3)
