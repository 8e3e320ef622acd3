"""Sum up a finished preparation as the manifest of its dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiscale.data.job import Block, Job, Rows, rejected
from sentiscale.data.prepared import (
    REJECTS,
    SPLITS,
    VOCABULARY,
    Manifest,
    content_digest,
    digests,
    split_file,
)
from sentiscale.data.selection import Selection
from sentiscale.records import package_versions

MB = 10**6


@dataclass(frozen=True)
class Effort:
    """What a preparation took."""

    seconds: float
    peak_memory_mb: float
    workers: int


@dataclass(frozen=True)
class Outcome:
    """What came of a preparation."""

    blocks: Sequence[Block]
    rows: Rows
    selection: Selection
    vocab_size: int
    unknown: list[int]
    """Unknown tokens of each split."""


def make_manifest(result: Path, job: Job, outcome: Outcome, effort: Effort) -> Manifest:
    """Describe the dataset whose files lie in `result`."""
    rows, selection = outcome.rows, outcome.selection
    kept = selection.splits < len(SPLITS)
    lengths = rows.lengths[kept]
    per_split = [labels_in(rows.labels[selection.splits == code]) for code in range(len(SPLITS))]
    names = [split_file(split, part) for split in SPLITS for part in ("tokens", "offsets", "labels")]
    files = digests(result, [*names, VOCABULARY, REJECTS])
    reasons = rejected(outcome.blocks)
    bytes_in = sum(block.done.size for block in outcome.blocks)
    return Manifest(
        rows=dict(zip(SPLITS, map(int, np.bincount(selection.splits, minlength=256)), strict=False)),
        labels=labels_in(rows.labels[kept]),
        labels_per_split=dict(zip(SPLITS, per_split, strict=True)),
        rejected={"total": sum(reasons.values()), "by_reason": reasons},
        duplicates=selection.duplicates,
        conflicts=selection.conflicts,
        tokens=int(np.minimum(lengths, job.settings.max_tokens).sum(dtype=np.int64)),
        unknown=dict(zip(SPLITS, outcome.unknown, strict=True)),
        cut=int((lengths > job.settings.max_tokens).sum()),
        vocab_size=outcome.vocab_size,
        cleaning=job.settings.clean,
        max_tokens=job.settings.max_tokens,
        length_histogram=histogram(lengths),
        settings=job.settings.model_dump(mode="json"),
        inputs=job.corpus.paths,
        test_inputs=job.test.paths if job.test else [],
        versions=package_versions("sentiscale", "numpy", "pyarrow", "numba", "distributed"),
        bytes_in=bytes_in,
        seconds=round(effort.seconds, 3),
        mb_per_s=round(bytes_in / MB / max(effort.seconds, 1e-9), 2),
        peak_memory_mb=effort.peak_memory_mb,
        workers=effort.workers,
        files=files,
        digest=content_digest(files, job.settings.clean),
    )


def labels_in(labels: NDArray[np.uint8]) -> dict[str, int]:
    """Rows of each class."""
    positive = int(labels.sum(dtype=np.int64))
    return {"negative": len(labels) - positive, "positive": positive}


def histogram(lengths: NDArray[np.uint32]) -> dict[str, int]:
    """Rows by length: key n (1, 2, 4, 8, …) counts lengths from n/2 + 1 to n."""
    powers = np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    return {str(2**power): int(count) for power, count in enumerate(np.bincount(powers)) if count}
