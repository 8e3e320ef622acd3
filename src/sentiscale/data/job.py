"""What one preparation is to do: files in order, settings, shares; and the rows it found."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus, Source, label_kinds
from sentiscale.data.prepared import SPLITS
from sentiscale.data.shards import BlockSummary
from sentiscale.errors import UsageError
from sentiscale.text.labels import Reason, settle

DEFAULT_SHARES = (0.8, 0.1, 0.1)
DEFAULT_SHARES_WITH_TEST = (0.95, 0.05)


@dataclass(frozen=True)
class Job:
    """What is to be prepared."""

    corpus: Corpus
    test: Corpus | None
    """The named test set."""
    settings: PrepareSettings

    @cached_property
    def sources(self) -> list[tuple[Source, bool]]:
        """Files in order, and whether each belongs to the named test set."""
        tests = [(source, True) for source in self.test.sources] if self.test else []
        return [(source, False) for source in self.corpus.sources] + tests

    @property
    def size(self) -> int:
        """Bytes of all files as stored."""
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

    def plan(self) -> dict[str, Any]:
        """What makes finished shards reusable: the same files and settings."""
        files = [[source.path, source.size, _modified(source.path), test] for source, test in self.sources]
        return {"files": files, "settings": self.settings.model_dump(mode="json")}


@dataclass
class Block:
    """One block of the input; its summary comes when a worker has encoded it."""

    path: str
    is_test: bool
    lines_before: int | None
    """Header lines before the first block of a file; None for its other blocks."""
    consumed: int
    """Stored bytes read for it."""
    summary: BlockSummary | None = None

    @property
    def done(self) -> BlockSummary:
        """The summary, once the block was encoded."""
        assert self.summary is not None, "the block has not been encoded"
        return self.summary


@dataclass(frozen=True)
class Rows:
    """All usable rows in input order."""

    hashes: NDArray[np.uint64]
    labels: NDArray[np.uint8]
    """0 or 1."""
    lengths: NDArray[np.uint32]
    """Tokens before cutting."""
    is_test: NDArray[np.bool_]
    bounds: NDArray[np.int64]
    """Rows before each block but the first, for np.split."""

    def __len__(self) -> int:
        return len(self.hashes)

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> "Rows":
        """Join the blocks' summaries; settles what the label 1 means.

        Raises: DataError when 1/2 labels are mixed with 0/1 labels.
        """
        codes = np.concatenate([np.empty(0, np.uint8), *[block.done.codes for block in blocks]])
        sizes = [len(block.done.codes) for block in blocks]
        return cls(
            hashes=np.concatenate([np.empty(0, np.uint64), *[block.done.hashes for block in blocks]]),
            labels=settle(codes, label_kinds(codes)),
            lengths=np.concatenate([np.empty(0, np.uint32), *[block.done.lengths for block in blocks]]),
            is_test=np.repeat(np.array([block.is_test for block in blocks], np.bool_), sizes),
            bounds=np.cumsum(sizes, dtype=np.int64)[:-1],
        )


def first_lines(blocks: Sequence[Block]) -> list[int]:
    """Number of the first line of each block in its file, from 1."""
    lines, line = [], 1
    for block in blocks:
        if block.lines_before is not None:
            line = 1 + block.lines_before
        lines.append(line)
        line += block.done.line_count
    return lines


def rejected(blocks: Sequence[Block]) -> dict[str, int]:
    """Rejected rows by reason; reasons that did not occur are left out."""
    counts = sum((block.done.rejects for block in blocks), np.zeros(len(Reason), np.int64))
    return {reason.name.lower(): int(counts[reason]) for reason in Reason if counts[reason]}


def _modified(path: str) -> str:
    filesystem, root = fsspec.core.url_to_fs(path)
    info = filesystem.info(root)
    return str(info.get("mtime") or info.get("LastModified") or info.get("ETag") or "")
