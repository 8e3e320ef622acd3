"""Digests of files in chunks, so that many hands can compute them: SHA-256 of the chunks' SHA-256."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 4 * 2**20
TASK_CHUNKS = 8


class DigestTask(NamedTuple):
    """Some chunks of a file."""

    path: str
    """The file."""
    first: int
    """Number of the first chunk."""


def file_digest(path: Path) -> str:
    """The digest of one file, in hexadecimal."""
    return combined(map(chunk_digests, digest_tasks(path)))


def file_digests(paths: Iterable[Path]) -> Iterator[str]:
    """The digests of files in order, computed on all cores (hashing runs without the GIL)."""
    with ThreadPoolExecutor() as threads:
        for parts in [threads.map(chunk_digests, digest_tasks(path)) for path in paths]:
            yield combined(parts)


def digest_tasks(path: Path) -> list[DigestTask]:
    """Divide a file; an empty one has no chunks."""
    chunks = -(-path.stat().st_size // CHUNK_BYTES)
    return [DigestTask(str(path), first) for first in range(0, chunks, TASK_CHUNKS)]


def chunk_digests(task: DigestTask) -> list[bytes]:
    """The digests of a task's chunks."""
    digests = []
    with open(task.path, "rb") as file:
        file.seek(task.first * CHUNK_BYTES)
        for _ in range(TASK_CHUNKS):
            if not (chunk := file.read(CHUNK_BYTES)):
                break
            digests.append(hashlib.sha256(chunk).digest())
    return digests


def combined(parts: Iterable[list[bytes]]) -> str:
    """The digest of a file from those of its tasks, in order."""
    return hashlib.sha256(b"".join(chain.from_iterable(parts))).hexdigest()
