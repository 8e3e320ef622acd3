"""Digests of files in chunks: of every byte, whoever computes them."""

import hashlib

import numpy as np
import pytest

from sentiscale.util import digests
from sentiscale.util.digests import chunk_digests, combined, digest_tasks, file_digest, file_digests

CHUNK = 64


@pytest.fixture
def small_chunks(monkeypatch):
    """So that small files have many chunks and several tasks."""
    monkeypatch.setattr(digests, "CHUNK_BYTES", CHUNK)


def content(size):
    return np.random.default_rng(size).bytes(size)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 8 * CHUNK, 8 * CHUNK + 1, 50 * CHUNK - 7]
)
def test_it_is_the_digest_of_the_chunks_digests(tmp_path, size):
    data = content(size)
    (tmp_path / "a").write_bytes(data)
    chunks = [data[place : place + CHUNK] for place in range(0, size, CHUNK)]
    expected = hashlib.sha256(b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)).hexdigest()
    assert file_digest(tmp_path / "a") == expected
    assert list(file_digests([tmp_path / "a"] * 3)) == [expected] * 3
    tasks = digest_tasks(tmp_path / "a")
    backwards = [chunk_digests(task) for task in reversed(tasks)]
    assert combined(reversed(backwards)) == expected
    assert len(tasks) == -(-len(chunks) // digests.TASK_CHUNKS)


@pytest.mark.usefixtures("small_chunks")
def test_every_byte_counts_and_so_does_the_order(tmp_path):
    path, data = tmp_path / "a", content(9 * CHUNK + 5)
    changed = [data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] for place in range(len(data))]
    swapped = data[CHUNK : 2 * CHUNK] + data[:CHUNK] + data[2 * CHUNK :]
    found = set()
    for one in (data, *changed, swapped, data[:-1], data + b"\0", data[CHUNK:], b""):
        path.write_bytes(one)
        found.add(file_digest(path))
    assert len(found) == len(changed) + 6


def test_a_file_of_several_real_chunks(tmp_path):
    data = bytearray(2 * digests.CHUNK_BYTES + 10)
    (tmp_path / "a").write_bytes(data)
    before = file_digest(tmp_path / "a")
    for place in (0, digests.CHUNK_BYTES - 1, digests.CHUNK_BYTES, len(data) - 1):
        data[place] ^= 1
        (tmp_path / "a").write_bytes(data)
        assert file_digest(tmp_path / "a") != before
        data[place] ^= 1
