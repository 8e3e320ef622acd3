"""What the unit tests share; property tests have no time limit an example: the first one compiles kernels."""

import os

import pytest
from hypothesis import settings

settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")


@pytest.fixture
def write(tmp_path):
    def to(name, lines):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return to


@pytest.fixture
def encoded(tmp_path_factory, monkeypatch):
    """Call it for the partitions encoded since the test began: (number, copies of raw bytes there were).

    Tasks travel to their workers as copies, so what they do is written to a file.
    """
    from sentiscale.data import phases

    log = str(tmp_path_factory.mktemp("encoded") / "log")
    encode = phases.encode_partition

    def watched(task):
        shards, shard = os.path.split(task.shard)
        copies = len(os.listdir(os.path.join(os.path.dirname(shards), "spool")))
        with open(log, "a") as file:
            file.write(f"{shard.split('.')[0]} {copies}\n")
        return encode(task)

    def logged():
        with open(log) as file:
            return [tuple(map(int, line.split())) for line in file]

    monkeypatch.setattr(phases, "encode_partition", watched)
    return logged
