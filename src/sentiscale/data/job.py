"""What one preparation is to do: files in order, settings, shares."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

import fsspec

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus, Source
from sentiscale.data.prepared import SPLITS
from sentiscale.errors import UsageError
from sentiscale.records import package_versions

DEFAULT_SHARES = (0.8, 0.1, 0.1)
DEFAULT_SHARES_WITH_TEST = (0.95, 0.05)


@dataclass(frozen=True)
class Job:
    """What is to be prepared."""

    corpus: Corpus
    """The reviews."""
    test: Corpus | None
    """The named test set."""
    settings: PrepareSettings
    """How they are prepared."""

    @cached_property
    def sources(self) -> list[tuple[Source, bool]]:
        """Files in order, and whether each belongs to the named test set."""
        tests = [(source, True) for source in self.test.sources] if self.test else []
        return [(source, False) for source in self.corpus.sources] + tests

    @property
    def size(self) -> int | None:
        """Bytes of all files as stored; None when some come through a pipe."""
        if any(source.pipe is not None for source, _ in self.sources):
            return None
        return sum(source.size for source, _ in self.sources)

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of train, valid and, without a named test set, test."""
        return self.settings.split or (DEFAULT_SHARES_WITH_TEST if self.test else DEFAULT_SHARES)

    def check(self) -> None:
        """Fail before any work.

        Raises: UsageError when the number of shares does not fit.
        """
        wanted, why = (2, "with") if self.test else (3, "without")
        if len(self.shares) != wanted:
            raise UsageError(
                f"split has {len(self.shares)} shares; {why} --test it needs {wanted}: "
                f"{', '.join(SPLITS[:wanted])}."
            )

    def plan(self, block_bytes: int) -> dict[str, Any]:
        """What makes finished shards reusable: the same files, settings, size of partitions and release."""
        files = [[source.path, source.size, version_of(source), test] for source, test in self.sources]
        settings = self.settings.model_dump(mode="json", exclude={"memory", "block_mb"})
        release = package_versions("sentiscale")
        return {"files": files, "settings": settings, "block_bytes": block_bytes, "release": release}


def version_of(source: Source) -> str:
    """What changes with the file's content; what comes through a pipe is never the same."""
    if source.pipe is not None:
        return uuid4().hex
    filesystem, root = fsspec.core.url_to_fs(source.path)
    info = filesystem.info(root)
    return str(info.get("mtime") or info.get("LastModified") or info.get("ETag") or "")
