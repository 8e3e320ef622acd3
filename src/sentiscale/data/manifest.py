"""Sum up a finished preparation as the manifest of its dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentiscale.data.duplicates import Repeats
from sentiscale.data.job import Job
from sentiscale.data.placement import PlacementCounts
from sentiscale.data.prepared import SPLITS, Manifest, content_digest
from sentiscale.data.shards import Partition, balance, rejected
from sentiscale.records import package_versions

MB = 10**6
FEW, MANY = 0.01, 0.05
"""Shares of the rows from which on trouble is worth a sentence."""
LOPSIDED = 0.2
"""A smaller class below this share of the training rows is worth a sentence."""


@dataclass(frozen=True)
class Effort:
    """What a preparation took."""

    seconds: float
    """From the first look at the input to the last file in place."""
    peak_memory_mb: float
    """Of all processes together, in MB of 2^20 bytes."""
    workers: int
    """How many worked at once."""
    phases: Mapping[str, float]
    """Seconds of each."""


@dataclass(frozen=True)
class Totals:
    """The counts of all partitions, added up."""

    tokens: NDArray[np.int64]
    """By split."""
    labels: NDArray[np.int64]
    """By split and class (3, 2)."""
    lengths: NDArray[np.int64]
    """Kept rows by tokens before cutting, in powers of two."""
    cut: NDArray[np.int64]
    """Rows that were cut, and tokens cut off them (2,)."""

    @classmethod
    def of(cls, counts: Sequence[PlacementCounts]) -> "Totals":
        """Add up."""
        return cls(*(sum(getattr(part, name) for part in counts) for name in cls.__dataclass_fields__))

    @property
    def rows(self) -> NDArray[np.int64]:
        """By split."""
        rows: NDArray[np.int64] = self.labels.sum(axis=1)
        return rows


@dataclass(frozen=True)
class Outcome:
    """What came of a preparation."""

    partitions: Sequence[Partition]
    """All of them, encoded."""
    repeats: Repeats
    """Equal texts, and texts with both labels."""
    totals: Totals
    """Their counts."""
    vocab_size: int
    """Padding and unknown included."""
    distinct_words: int
    """Of the training split, in the vocabulary or not."""
    unknown: NDArray[np.int64]
    """Unknown tokens of each split."""
    conflicts: int
    """Rows whose text occurs with both labels."""
    oddities: Mapping[str, int]
    """Rows that look unusual, by kind."""
    files: Mapping[str, str]
    """Digest of every file."""
    spilled: Mapping[str, int]
    """Bytes of texts and words that went by way of the disk."""


def make_manifest(job: Job, outcome: Outcome, effort: Effort) -> Manifest:
    """Describe a dataset."""
    totals = outcome.totals
    reasons = rejected(outcome.partitions)
    bytes_in = sum(partition.done.size for partition in outcome.partitions)
    manifest = Manifest(
        rows=_by_split(totals.rows),
        labels=_by_class(totals.labels.sum(axis=0)),
        labels_per_split={split: _by_class(totals.labels[code]) for code, split in enumerate(SPLITS)},
        rejected={"total": sum(reasons.values()), "by_reason": reasons},
        duplicates=outcome.repeats.duplicates if job.settings.dedupe else 0,
        leaks=outcome.repeats.leaks if job.settings.dedupe else 0,
        conflicts=outcome.conflicts,
        conflicting_texts=len(outcome.repeats.conflicting),
        oddities={name: count for name, count in outcome.oddities.items() if count},
        tokens=int(totals.tokens.sum()),
        unknown=_by_split(outcome.unknown),
        cut=int(totals.cut[0]),
        tokens_cut=int(totals.cut[1]),
        distinct_words=outcome.distinct_words,
        vocab_size=outcome.vocab_size,
        cleaning=job.settings.clean,
        max_tokens=job.settings.max_tokens,
        length_histogram={str(2**p): int(count) for p, count in enumerate(totals.lengths) if count},
        settings=job.settings.model_dump(mode="json"),
        inputs=job.corpus.paths,
        test_inputs=job.test.paths if job.test else [],
        versions=package_versions("sentiscale", "numpy", "pyarrow", "numba", "distributed"),
        bytes_in=bytes_in,
        seconds=round(effort.seconds, 3),
        mb_per_s=round(bytes_in / MB / max(effort.seconds, 1e-9), 2),
        peak_memory_mb=effort.peak_memory_mb,
        workers=effort.workers,
        partitions=balance(outcome.partitions),
        spilled_mb={name: round(size / MB, 1) for name, size in outcome.spilled.items()},
        phases={name: round(seconds, 3) for name, seconds in effort.phases.items()},
        files=dict(outcome.files),
        digest=content_digest(outcome.files, job.settings.clean),
    )
    return manifest.model_copy(update={"warnings": warnings(manifest, outcome.repeats)})


def warnings(manifest: Manifest, repeats: Repeats) -> list[str]:
    """What a person should know about the data, one sentence each."""
    rows = sum(manifest.rows.values())
    read = rows + manifest.rejected["total"] + manifest.duplicates
    training = manifest.labels_per_split["train"]
    smaller = min(training, key=lambda name: training[name])
    share = training[smaller] / max(1, sum(training.values()))
    told = []
    if share < LOPSIDED:
        told.append(
            f"Only {100 * share:.1f} % of the training rows are {smaller}; accuracy alone will mislead."
        )
    if manifest.rejected["total"] > FEW * read:
        told.append(
            f"{manifest.rejected['total']:,} of {read:,} rows were rejected; rejects.parquet says why."
        )
    if foreign := manifest.rejected["by_reason"].get("invalid_utf8"):
        told.append(
            f"{foreign:,} rows are no UTF-8. If the file comes from Windows, convert it, then prepare "
            "the copy: iconv -f WINDOWS-1252 -t UTF-8 FILE > utf8-copy.csv"
        )
    if repeats.duplicates > FEW * read:
        done = "were dropped" if manifest.duplicates else "stay in, since --no-dedupe was given"
        told.append(f"{repeats.duplicates:,} rows repeat the text of another one and {done}.")
    if repeats.leaks:
        done = "left training" if manifest.leaks else "are still in training"
        told.append(f"{repeats.leaks:,} rows have the text of a test review and {done}.")
    if manifest.conflicts > FEW * read:
        told.append(
            f"{manifest.conflicts:,} rows have a text that occurs with both labels; see conflicts.parquet."
        )
    for name, count in manifest.oddities.items():
        if count > MANY * rows:
            told.append(f"{count:,} rows are odd ({name.replace('_', ' ')}); see oddities.parquet.")
    return told


def _by_split(values: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(SPLITS, values.tolist(), strict=True))


def _by_class(counts: NDArray[np.int64]) -> dict[str, int]:
    negative, positive = counts.tolist()
    return {"negative": negative, "positive": positive}
