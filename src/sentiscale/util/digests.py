"""Digests of files in chunks, so that several threads or processes can compute one digest."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 4 * 2**20
TASK_CHUNKS = 8


class DigestTask(NamedTuple):
    """Consecutive chunks of a file to digest."""

    path: str
    first: int
    """Number of the first chunk, from 0."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the SHA-256 digests of 4 MB chunks, so that chunks can be hashed in parallel."""
    return combined(map(chunk_digests, digest_tasks(path)))


def file_digests(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the digests of files in order, computed on all cores (hashing releases the GIL)."""
    with ThreadPoolExecutor() as threads:
        for parts in [threads.map(chunk_digests, digest_tasks(path)) for path in paths]:
            yield combined(parts)


def digest_tasks(path: Path) -> list[DigestTask]:
    """Divide a file into tasks; an empty file has none."""
    chunks = -(-path.stat().st_size // CHUNK_BYTES)
    return [DigestTask(str(path), first) for first in range(0, chunks, TASK_CHUNKS)]


def chunk_digests(task: DigestTask) -> list[bytes]:
    digests = []
    with open(task.path, "rb") as file:
        file.seek(task.first * CHUNK_BYTES)
        for _ in range(TASK_CHUNKS):
            if not (chunk := file.read(CHUNK_BYTES)):
                break
            digests.append(hashlib.sha256(chunk).digest())
    return digests


def bytes_digest(content: bytes) -> str:
    """Return the `file_digest` of a file with this content."""
    chunks = (content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES))
    return combined([[hashlib.sha256(chunk).digest()] for chunk in chunks])


def combined(parts: Iterable[list[bytes]]) -> str:
    """Return the digest of a file from the digests of its chunks."""
    return hashlib.sha256(b"".join(chain.from_iterable(parts))).hexdigest()
