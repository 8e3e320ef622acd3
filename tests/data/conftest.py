"""Write input files, call the command, and watch which partitions a preparation encodes."""

import os

import pytest

from tests.cli.conftest import cli
from tests.inference.predict.conftest import model

__all__ = ["cli", "model"]


@pytest.fixture
def write(tmp_path):
    """Write bytes, text or lines to a file and return its path."""

    def to(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{line}\n" for line in content) if isinstance(content, list) else content
        path.write_bytes(text.encode() if isinstance(text, str) else text)
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
