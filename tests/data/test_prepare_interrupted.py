"""A preparation that was stopped half-way: what is taken up, and what is made again."""

import fcntl
import os
from contextlib import contextmanager

import pytest

from sentiscale.data.prepare import prepare
from sentiscale.errors import Interrupted, UsageError
from sentiscale.util.progress import Progress
from tests.data.prepare_data import reviews


class StopAfter(Progress):
    """A person who presses Ctrl-C after so many steps of a task."""

    def __init__(self, task, steps):
        self.left = steps
        self.wanted = task

    @contextmanager
    def task(self, name, total, unit):
        def advance(amount, note):
            if name == self.wanted:
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize(("task", "steps"), [("read and clean", 5), ("count words", 2), ("write", 3)])
def test_an_interrupted_preparation_goes_on_to_the_same_result(write, tmp_path, encoded, task, steps):
    path = write("a.txt", reviews(400))
    expected = prepare(path, tmp_path / "whole", block_mb=0.002).manifest.digest
    with pytest.raises(Interrupted, match="--resume"):
        prepare(path, tmp_path / "data", block_mb=0.002, progress=StopAfter(task, steps))
    assert not (tmp_path / "data").exists()
    before = len(encoded())
    resumed = prepare(path, tmp_path / "data", block_mb=0.002, resume=True)
    assert resumed.manifest.digest == expected
    again = len(encoded()) - before
    blocks = resumed.manifest.partitions["count"]
    assert again <= blocks - 5, "finished blocks were done again"
    assert (again > 0) == (task == "read and clean")
    assert not (tmp_path / ".data.partial").exists()


def test_other_settings_or_input_do_not_resume(write, tmp_path):
    path = write("a.txt", reviews(400))
    with pytest.raises(Interrupted):
        prepare(path, tmp_path / "data", block_mb=0.002, progress=StopAfter("count words", 2))
    resumed = prepare(path, tmp_path / "data", block_mb=0.002, resume=True, clean="alpha")
    fresh = prepare(path, tmp_path / "fresh", clean="alpha")
    assert resumed.manifest.digest == fresh.manifest.digest


def test_a_damaged_shard_is_made_again(write, tmp_path):
    path = write("a.txt", reviews(400))
    with pytest.raises(Interrupted):
        prepare(path, tmp_path / "data", block_mb=0.002, progress=StopAfter("count words", 2))
    shards = sorted((tmp_path / ".data.partial" / "shards").iterdir())
    shards[0].write_bytes(shards[0].read_bytes()[:-40])
    shards[1].write_bytes(b"")
    zeroed = shards[2].read_bytes()  # as after a power cut
    shards[2].write_bytes(zeroed[:-400] + bytes(400))
    expected = prepare(path, tmp_path / "whole").manifest.digest
    assert prepare(path, tmp_path / "data", block_mb=0.002, resume=True).manifest.digest == expected


def test_two_preparations_of_one_output_do_not_mix(write, tmp_path):

    path = write("a.txt", reviews(50))
    (tmp_path / ".data.partial").mkdir()
    descriptor = os.open(tmp_path / ".data.partial", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="another process is writing"):
        prepare(path, tmp_path / "data")
    os.close(descriptor)
    assert prepare(path, tmp_path / "data").manifest.rows["train"] > 0
