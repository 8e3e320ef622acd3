"""TensorBoard's events, read back from the files as TensorBoard reads them."""

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from safetensors.numpy import load_file
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event

from sentiscale.records import EpochMetrics, RunRecord, read_jsonl
from sentiscale.tracking.tensorboard_events import TensorboardEvents
from sentiscale.tracking.tracker import TrackedRun
from sentiscale.training.launch import train
from tests.training.conftest import quick


def masked(content: bytes) -> int:
    """The checksum of TensorFlow's record files."""
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events(folder: Path) -> Iterator[Event]:
    """All events of a folder's files, oldest file first, checksums compared."""
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack_from("<Q", content)
            head, body = content[:8], content[12 : 12 + length]
            assert struct.unpack_from("<I", content, 8)[0] == masked(head)
            assert struct.unpack_from("<I", content, 12 + length)[0] == masked(body)
            yield Event.FromString(body)
            content = content[16 + length :]


def values(folder: Path, tag: str) -> list[tuple[int, float]]:
    """(step, value) of a curve, without what a later file says was redone."""
    points: list[tuple[int, float]] = []
    for event in events(folder):
        if event.session_log.status == 1:  # START: what came before this step counts, nothing after it
            points = [point for point in points if point[0] < event.step]
        points += [(event.step, item.simple_value) for item in event.summary.value if item.tag == tag]
    return points


def test_curves_are_those_of_metrics_jsonl(followed_run):
    lines = list(read_jsonl(followed_run / "metrics.jsonl", EpochMetrics))
    assert len(lines) >= 3
    for name in ("valid_accuracy", "valid_loss", "learning_rate", "seconds"):
        points = values(followed_run / "tensorboard", name)
        assert points == [(line.step, pytest.approx(getattr(line, name), rel=1e-6)) for line in lines]
    losses = [(line.step, pytest.approx(line.train_loss, rel=1e-6)) for line in lines if line.train_loss]
    assert values(followed_run / "tensorboard", "train_loss") == losses


def test_final_scores_settings_and_picture_are_there(followed_run):
    record = RunRecord.model_validate_json((followed_run / "record.json").read_bytes())
    folder = followed_run / "tensorboard"
    assert values(folder, "test.accuracy") == [(record.steps, pytest.approx(record.test["accuracy"]))]
    found = {item.tag: item for event in events(folder) for item in event.summary.value}
    settings = found["settings/text_summary"].tensor.string_val[0].decode()
    assert "| model.hidden_dim | 16 |" in settings
    shown = matplotlib.image.imread(io.BytesIO(found["curves"].image.encoded_image_string))
    drawn = matplotlib.image.imread(followed_run / "plots" / "curves.png")
    assert np.allclose(shown[..., :3], drawn[..., :3], atol=1 / 255)


def test_being_followed_changes_nothing(followed_run, dataset, tmp_path):
    train(dataset, tmp_path / "alone", quick())
    alone = load_file(tmp_path / "alone" / "model" / "weights.safetensors")
    for name, value in load_file(followed_run / "model" / "weights.safetensors").items():
        assert (value == alone[name]).all(), name
    assert not (tmp_path / "alone" / "tensorboard").exists()


def test_a_resumed_run_takes_back_what_is_redone(followed_run, tmp_path):
    record = RunRecord.model_validate_json((followed_run / "record.json").read_bytes())
    for resumed_at, steps in ((None, (0, 10, 20)), (10, (0, 10, 20, 30))):
        tracker = TensorboardEvents()
        tracker.begin({}, TrackedRun(tmp_path, record, resumed_at))
        for step in steps:
            tracker.metrics(step, {"valid_loss": 1.0}, float(step))
        tracker.end("interrupted", {})
    assert [step for step, _ in values(tmp_path / "tensorboard", "valid_loss")] == [0, 10, 20, 30]


def test_a_resumed_run_that_was_not_followed_before_gets_all(followed_run, tmp_path):
    record = RunRecord.model_validate_json((followed_run / "record.json").read_bytes())
    tracker = TensorboardEvents()
    tracker.begin({}, TrackedRun(tmp_path, record, 20))
    for step in (0, 10, 20):
        tracker.metrics(step, {"valid_loss": 1.0}, 0.0)
    tracker.end("finished", {"test.accuracy": 0.5})
    assert [step for step, _ in values(tmp_path / "tensorboard", "valid_loss")] == [0, 10, 20]


def test_a_disk_that_takes_no_events_does_not_end_training(dataset, tmp_path):
    """A file stands where the folder should be: every write fails, the run ends well."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "tensorboard").write_text("in the way")
    record = train(dataset, run, quick(track__to="tensorboard", train__epochs=0.5), resume=True)
    assert record.status == "finished"
    log = (run / "train.log").read_text()
    assert log.count("tensorboard cannot be written") == 1
    assert log.count("entries missing in tensorboard") == 1


def test_settings_are_stored_and_taken_up_again(followed_run):
    assert json.loads((followed_run / "record.json").read_text())["settings"]["track"]["to"] == [
        "tensorboard"
    ]


@pytest.mark.slow
def test_of_several_ranks_the_first_is_followed(dataset, tmp_path):
    settings = quick(track__to="tensorboard", train__layout="2x1", train__oversubscribe=True)
    record = train(dataset, tmp_path / "run", settings)
    folder = tmp_path / "run" / "tensorboard"
    assert len(list(folder.iterdir())) == 1
    assert [step for step, _ in values(folder, "valid_loss")] == [point.step for point in record.metrics]
