"""Build the manifest of a dataset from the results of its preparation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiscale.config import CLEANING_VERSIONS
from sentiscale.data.duplicates import Duplicates
from sentiscale.data.job import MB, PrepareJob
from sentiscale.data.placement import SplitCounts
from sentiscale.data.prepared import SPLITS, Manifest, content_digest
from sentiscale.data.shards import Partition, reject_examples, rejected
from sentiscale.records import package_versions
from sentiscale.text.classes import listed
from sentiscale.text.label_reading import LabelReading, merged_spellings, stars_note, unused_labels
from sentiscale.text.label_remedies import SHOWN

FEW, MANY = 0.01, 0.05
"""Shares of the rows above which a problem causes a warning."""
LONG_WORD = 16
"""Average number of characters of a word above which words are probably whole sentences."""
LOPSIDED = 0.2
"""Share of the smaller class in the training rows below which there is a warning; with several classes,
relative to equal shares."""
RARE_ROWS = 50
"""Number of training rows of a class below which there is a warning."""


@dataclass(frozen=True)
class PrepareOutcome:
    """Results of all phases of a preparation."""

    partitions: Sequence[Partition]
    duplicates: Duplicates
    totals: SplitCounts
    vocab_size: int
    """Size of the vocabulary, including padding and the unknown word."""
    distinct_words: int
    """Number of distinct words in the training split, in the vocabulary or not."""
    word_characters: float
    """Average number of characters of a word of the training split."""
    unknown: NDArray[np.int64]
    """Number of unknown tokens per split."""
    conflicts: int
    """Number of rows whose text occurs with different labels."""
    oddities: Mapping[str, int]
    """Number of unusual rows by kind."""
    files: Mapping[str, str]
    """Digest of every file, by name."""
    reading: LabelReading
    """What the labels mean."""
    label_sources: Sequence[str]
    """The distinct columns of labels and stars, each with its first file."""
    label_values: dict[str, dict[str, Any]]
    """What became of each distinct label; see `label_reading.label_values`."""
    spilled: Mapping[str, int]
    """Bytes of text records and words that were written to disk because memory was full."""


class Effort(NamedTuple):
    """Resources that a preparation used; for units see `Manifest`."""

    seconds: float
    peak_memory_mb: float
    workers: int
    phases: Mapping[str, float]


def make_manifest(job: PrepareJob, outcome: PrepareOutcome, effort: Effort) -> Manifest:
    totals = outcome.totals
    reasons = rejected(outcome.partitions)
    version = CLEANING_VERSIONS[job.settings.clean]
    bytes_in = sum(partition.summary.size for partition in outcome.partitions)
    records = sum(each.summary.rows + int(each.summary.rejects.sum()) for each in outcome.partitions)
    lines = sum(int(each.summary.line_counts.sum()) for each in outcome.partitions)
    classes = outcome.reading.class_set
    labels = [dict(zip(classes.names, counts, strict=True)) for counts in totals.labels.tolist()]
    manifest = Manifest(
        rows=_by_split(totals.rows),
        classes=classes.names,
        labels={name: sum(split[name] for split in labels) for name in classes.names},
        labels_per_split=dict(zip(SPLITS, labels, strict=True)),
        records=records,
        continuation_lines=max(0, lines - records),
        columns=_columns(job),
        label_from=job.sources[0][0].table.label_from,
        label_values=outcome.label_values,
        label_reading=outcome.reading,
        rejected={"total": sum(reasons.values()), "by_reason": reasons},
        reject_examples=reject_examples(outcome.partitions),
        duplicates=outcome.duplicates.count if job.settings.dedupe else 0,
        leaks=outcome.duplicates.leaks if job.settings.dedupe else 0,
        conflicts=outcome.conflicts,
        conflicting_texts=len(outcome.duplicates.conflicting),
        oddities={name: count for name, count in outcome.oddities.items() if count},
        tokens=int(totals.tokens.sum()),
        unknown=_by_split(outcome.unknown),
        cut=int(totals.cut[0]),
        tokens_cut=int(totals.cut[1]),
        distinct_words=outcome.distinct_words,
        vocab_size=outcome.vocab_size,
        cleaning=job.settings.clean,
        cleaning_version=version,
        max_tokens=job.settings.max_tokens,
        length_histogram={str(2**p): int(count) for p, count in enumerate(totals.lengths) if count},
        settings=job.settings.model_dump(mode="json"),
        inputs=[source.name for source in job.corpus.sources],
        test_inputs=[source.name for source in job.test.sources] if job.test else [],
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
        digest=content_digest(outcome.files, job.settings.clean, version, classes),
    )
    notes = [*job.corpus.notes, *(job.test.notes if job.test else ())]
    return manifest.model_copy(update={"warnings": [*notes, *_warnings(manifest, outcome)]})


def _warnings(manifest: Manifest, outcome: PrepareOutcome) -> list[str]:
    duplicates = outcome.duplicates
    rows = sum(manifest.rows.values())
    read = rows + manifest.rejected["total"] + manifest.duplicates
    found = [
        f"The {split} split is empty: prepare more reviews, or give other shares with --split."
        for split, count in manifest.rows.items()
        if not count
    ]
    several = "both" if manifest.class_set.kind == "binary" else "different"
    found += _label_notes(manifest, outcome)
    found += _class_notes(manifest)
    if manifest.rejected["total"] > FEW * read:
        found.append(
            f"{manifest.rejected['total']:,} of {read:,} rows were rejected; "
            "rejects.parquet lists the reasons."
        )
    if foreign := manifest.rejected["by_reason"].get("invalid_utf8"):
        found.append(
            f"{foreign:,} rows are not UTF-8; --encoding names their encoding, such as windows-1252."
        )
    if duplicates.count > FEW * read:
        done = "were dropped" if manifest.duplicates else "stay in, since --no-dedupe was given"
        found.append(f"{duplicates.count:,} rows repeat the text of another row and {done}.")
    if duplicates.leaks:
        done = "were removed from training" if manifest.leaks else "are still in training"
        found.append(f"{duplicates.leaks:,} rows have the text of a test review and {done}.")
    if manifest.conflicts > FEW * read:
        found.append(
            f"{manifest.conflicts:,} rows have a text that occurs with {several} labels; "
            "see conflicts.parquet."
        )
    if outcome.word_characters > LONG_WORD:
        found.append(
            f"The average word has {outcome.word_characters:.0f} characters. If the reviews have no spaces "
            "between words, put some in; otherwise a model learns little."
        )
    removes_markup = manifest.cleaning == "words"
    if removes_markup and (markup := manifest.oddities.get("markup")):
        found.append(f"{markup:,} rows contain HTML; tags were removed and entities decoded.")
    for name, count in manifest.oddities.items():
        if count > MANY * rows and not (removes_markup and name == "markup"):
            found.append(f"{count:,} rows are odd ({name.replace('_', ' ')}); see oddities.parquet.")
    return found


def _label_notes(manifest: Manifest, outcome: PrepareOutcome) -> Iterator[str]:
    if note := stars_note(manifest.label_values, outcome.reading):
        yield note
    if len(outcome.label_sources) > 1:
        yield f"Labels come from different columns: {', '.join(outcome.label_sources)}."
    if outcome.reading.kind == "labels":
        for alike in merged_spellings(manifest.label_values)[:SHOWN]:
            yield f"{listed(alike)} are one class."
    unused = unused_labels(manifest.label_values, manifest.settings["label_map"] or {})
    if unused:
        yield f"No row has the value {listed(unused)} of --label-map."


def _class_notes(manifest: Manifest) -> Iterator[str]:
    training = manifest.labels_per_split["train"]
    total = max(1, sum(training.values()))
    smallest, largest = (choose(training, key=lambda name: training[name]) for choose in (min, max))
    if manifest.class_set.kind == "binary":
        share = 100 * training[smallest] / total
        if share < 100 * LOPSIDED:
            yield f"Only {share:.1f} % of the training rows are {smallest}; accuracy alone will mislead."
        return
    if training[smallest] * len(training) < LOPSIDED * total:
        yield (
            f"{100 * training[largest] / total:.1f} % of the training rows are {largest}, "
            f"{100 * training[smallest] / total:.1f} % {smallest}; accuracy alone will mislead."
        )
    if rare := [name for name, rows in training.items() if rows < RARE_ROWS]:
        listed = ", ".join(f"{name} ({training[name]})" for name in rare[:SHOWN])
        more = f" and {len(rare) - SHOWN} more" if len(rare) > SHOWN else ""
        yield f"Fewer than {RARE_ROWS} training rows each: {listed}{more}; a model learns little of them."


def _columns(job: PrepareJob) -> dict[str, str | None]:
    """Return the columns of the first file."""
    table = job.sources[0][0].table
    label, stars = (None, table.label) if table.stars else (table.label, None)
    weight = {"weight": table.weight} if table.weight is not None else {}
    return {"text": table.text or None, "title": table.title, "label": label, "stars": stars, **weight}


def balance(partitions: Sequence[Partition]) -> dict[str, float]:
    """Return the number of partitions, and mean and max/mean ratio of their rows and bytes."""
    rows = np.array([partition.summary.rows for partition in partitions])
    sizes = np.array([sum(part.size for part in partition.slices) for partition in partitions])
    return {
        "count": len(partitions),
        "rows_mean": round(float(rows.mean()), 1),
        "rows_max_over_mean": round(float(rows.max() / max(rows.mean(), 1)), 3),
        "bytes_mean": round(float(sizes.mean()), 1),
        "bytes_max_over_mean": round(float(sizes.max() / max(sizes.mean(), 1)), 3),
    }


def _by_split(values: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(SPLITS, values.tolist(), strict=True))
