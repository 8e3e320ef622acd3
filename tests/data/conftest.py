"""Watch which partitions a preparation encodes."""

import os

import pytest


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
