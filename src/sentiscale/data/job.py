"""Input files, settings, split shares and memory budget of a preparation."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from sentiscale.config import CLEANING_VERSIONS, PrepareSettings
from sentiscale.data.corpus import Corpus, Source
from sentiscale.data.prepared import SPLITS
from sentiscale.errors import UsageError
from sentiscale.records import package_versions
from sentiscale.util.storage import stored_file

Paths = str | Path | Sequence[str | Path]

DEFAULT_SHARES = (0.8, 0.1, 0.1)
DEFAULT_SHARES_WITH_TEST = (0.95, 0.05)

MB = 10**6
BASE_MB = 330
"""Memory of an interpreter with all libraries and of the client's work."""
PROCESS_MB = 200
"""Memory of a worker process."""
MEMORY_PER_BYTE = 12
"""Measured bytes of memory per byte of a partition while a worker encodes it."""
LEAST_STATE_MB = 32
LEAST_BLOCK_MB = 0.5
DEFAULT_MB = 700
DEFAULT_PER_WORKER_MB = 100


@dataclass(frozen=True)
class PrepareJob:
    corpus: Corpus
    test: Corpus | None
    """The named test set, if any."""
    settings: PrepareSettings

    @classmethod
    def find(cls, inputs: Paths, test: Paths, settings: PrepareSettings) -> "PrepareJob":
        """Find the files of the inputs and of the named test set, if any.

        Raises: DataError as `Corpus.find`; UsageError when the number of split shares is wrong.
        """
        corpus = Corpus.find(inputs, settings)
        job = cls(corpus, Corpus.find(test, settings) if test else None, settings)
        wanted, why = (2, "with") if job.test else (3, "without")
        if len(job.shares) != wanted:
            raise UsageError(
                f"split has {len(job.shares)} shares; {why} --test it needs {wanted}: "
                f"{', '.join(SPLITS[:wanted])}."
            )
        return job

    @cached_property
    def sources(self) -> list[tuple[Source, bool]]:
        """Input files in order, and whether each belongs to the named test set."""
        tests = [(source, True) for source in self.test.sources] if self.test else []
        return [(source, False) for source in self.corpus.sources] + tests

    @property
    def label_columns(self) -> dict[bool, str]:
        """Name of the first column of labels (False) and of stars (True)."""
        tables = [source.table for source, _ in reversed(self.sources)]
        return {table.stars: table.label for table in tables if table.label is not None}

    @property
    def label_sources(self) -> list[str]:
        """The distinct columns of labels and stars, each with its first file."""
        first: dict[tuple[str | None, bool], str] = {}
        for source, _ in self.sources:
            first.setdefault((source.table.label, source.table.stars), source.path)
        return [f"'{label or 'folder name'}' in {path}" for (label, _), path in first.items()]

    @property
    def size(self) -> int | None:
        """Total size of the files as stored, in bytes; None if one is a pipe."""
        if any(source.pipe is not None for source, _ in self.sources):
            return None
        return sum(source.size for source, _ in self.sources)

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of train and valid, and of test unless a test set was given."""
        return self.settings.split or (DEFAULT_SHARES_WITH_TEST if self.test else DEFAULT_SHARES)

    def plan(self, block_bytes: int) -> dict[str, Any]:
        """Return the properties that must be equal to reuse finished shards of an interrupted run."""
        files = [[source.path, source.size, _version_of(source), test] for source, test in self.sources]
        settings = self.settings.model_dump(mode="json", exclude={"memory", "block_mb"})
        release = package_versions("sentiscale")
        return {
            "files": files,
            "settings": settings,
            "cleaning_version": CLEANING_VERSIONS[self.settings.clean],
            "block_bytes": block_bytes,
            "release": release,
        }


def _version_of(source: Source) -> str:
    """Return a file's modification time or ETag; a new value for a pipe, which cannot be read again."""
    if source.pipe is not None:
        return uuid4().hex
    return stored_file(source.path).version


@dataclass(frozen=True)
class Budget:
    """Division of the memory limit, in bytes."""

    block_bytes: int
    """Raw bytes per partition."""
    duplicates_bytes: int
    """Memory for the records that find duplicate texts; further records go to disk."""
    words_bytes: int
    """Memory for the table of words; further words go to disk."""


def share_out(memory: int | None, workers: int, block_mb: float, *, processes: bool) -> Budget:
    """Divide `memory` bytes; None is 0.7 GB plus 0.1 GB per worker, but at most half of the machine's memory.

    Partitions are smaller than `block_mb` if memory requires it, which does not change the result.

    Raises: UsageError when `memory` is too small.
    """
    fixed = BASE_MB + (PROCESS_MB * workers if processes else 0)
    least = LEAST_STATE_MB + workers * LEAST_BLOCK_MB * MEMORY_PER_BYTE
    if memory is None:
        own = min(DEFAULT_MB + DEFAULT_PER_WORKER_MB * workers, psutil.virtual_memory().total / MB / 2)
        total = max(own, fixed + least)
    else:
        total = memory / MB
    left = total - fixed
    if left < least:
        raise UsageError(
            f"--memory is {total:.0f} MB; {workers} workers need at least {fixed + least:.0f} MB. "
            f"Allow more, or use fewer --workers."
        )
    block = min(block_mb, max(left / 2, left - 4 * LEAST_STATE_MB) / workers / MEMORY_PER_BYTE)
    state = int((left - block * workers * MEMORY_PER_BYTE) / 2 * MB)
    return Budget(max(1, int(block * MB)), state, state)
