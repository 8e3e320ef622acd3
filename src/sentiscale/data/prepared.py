"""Prepared datasets: directories of memory-mapped token ids, offsets and labels, with a manifest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from sentiscale.config import Cleaning, PrepareSettings, Settings
from sentiscale.errors import DataError, did_you_mean
from sentiscale.records import Amount, Count, Record, TrainedOn, reason_of, valid_as
from sentiscale.text.classes import BINARY, NEGATIVE_POSITIVE, Classes, check_names
from sentiscale.text.clean import check_version
from sentiscale.text.label_reading import LabelReading
from sentiscale.text.rejects import Reject
from sentiscale.text.vocab import UNK, Vocab
from sentiscale.util.atomic import write_file
from sentiscale.util.digests import file_digests
from sentiscale.util.files import open_regular, read_bytes, read_json

DATASET_SCHEMA = 2
SPLITS = ("train", "valid", "test")
MANIFEST, VOCABULARY = "manifest.json", "vocab.txt"
REJECTS, CONFLICTS, ODDITIES = NOTES = ("rejects.parquet", "conflicts.parquet", "oddities.parquet")
SPLIT_PARTS = ("tokens", "offsets", "labels")
SPLIT_FILES = tuple(f"{split}/{part}.bin" for split in SPLITS for part in SPLIT_PARTS)
WEIGHT_FILES = tuple(f"{split}/weights.bin" for split in SPLITS)
"""Weights of the rows; only a dataset whose rows have weights has these files."""
PART_TOKENS = 2**22
"""Number of tokens that are mapped and checked at a time."""


def _with_keys(*names: str) -> AfterValidator:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        if set(value) - set(NOTES) not in (set(names), {*names, *WEIGHT_FILES}):
            raise ValueError(f"the keys must be {', '.join(names)}")
        return value

    return AfterValidator(check)


ByClass = dict[str, Count]


class RejectedRows(Record):
    """Number of rejected rows."""

    total: Count
    """Total number."""
    by_reason: dict[str, Count]
    """Number by reason."""


class Manifest(Record):
    """Contents of a prepared dataset and how it was prepared."""

    schema_version: int = DATASET_SCHEMA
    """Version of the dataset format; datasets of other versions are refused."""
    rows: Annotated[dict[str, Count], _with_keys(*SPLITS)]
    """Number of rows per split."""
    classes: tuple[str, ...] = BINARY
    """Names of the classes; a row's label is the position of its class."""
    labels: ByClass
    """Number of rows per class over all splits."""
    labels_per_split: Annotated[dict[str, ByClass], _with_keys(*SPLITS)]
    """Number of rows per class in each split."""
    records: Count = 0
    """Number of records read: kept, rejected and duplicate rows."""
    continuation_lines: Count = 0
    """Number of lines that continue a record, such as a quoted review of several lines."""
    columns: dict[str, str | None] = Field(default_factory=dict)
    """Names of the columns of the first file: text, title, label, stars, and weight if rows have weights."""
    label_from: str = ""
    """Why this column was taken as the label: flag, usual name, position, folder name or format."""
    label_values: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """The most frequent labels as written, each with its rows, its class, and the reason if it has none."""
    label_reading: LabelReading | None = None
    """What the labels mean; None in datasets that were prepared before this field existed."""
    rejected: Annotated[dict[str, Any], valid_as(RejectedRows, "total", "by_reason")]
    """Number of rejected rows, {"total": rows, "by_reason": {reason: rows}}; listed in rejects.parquet."""
    reject_examples: dict[str, Reject] = Field(default_factory=dict)
    """The first rejected row for each reason: file, line, text, label and problem."""
    duplicates: Count
    """Number of rows dropped because a row with the same cleaned text was kept."""
    leaks: Count = 0
    """Number of dropped duplicates whose text is also in the named test set."""
    conflicts: Count
    """Number of rows whose cleaned text occurs with different labels; listed in conflicts.parquet."""
    conflicting_texts: Count = 0
    """Number of distinct texts in these rows."""
    oddities: dict[str, Count] = Field(default_factory=dict)
    """Number of kept rows that look unusual, by kind; listed in oddities.parquet."""
    warnings: list[str] = Field(default_factory=list)
    """Problems with the data, one sentence each."""
    tokens: Count
    """Number of stored tokens over all splits."""
    unknown: Annotated[dict[str, Count], _with_keys(*SPLITS)]
    """Number of stored tokens per split that are not in the vocabulary."""
    cut: Count
    """Number of kept rows that had more than max_tokens tokens."""
    tokens_cut: Count = 0
    """Number of tokens of kept rows that were dropped because they are beyond max_tokens."""
    distinct_words: Count = 0
    """Number of distinct words in the training split, in the vocabulary or not."""
    vocab_size: int = Field(ge=2, lt=2**31)
    """Size of the vocabulary, including padding and the unknown word."""
    cleaning: Cleaning
    """Cleaning profile: alpha or words."""
    cleaning_version: int = 1
    """Version of the cleaning profile."""
    max_tokens: int = Field(ge=1, lt=2**31)
    """Maximum number of tokens stored per review."""
    length_histogram: dict[Annotated[str, Field(pattern="^[1-9][0-9]{0,18}$")], Count]
    """Kept rows by tokens before truncation: key n (1, 2, 4, 8, …) counts rows of n/2 + 1 to n tokens."""
    settings: Annotated[dict[str, Any], valid_as(PrepareSettings)]
    """Resolved settings of the preparation."""
    inputs: list[str]
    """Input files, in order."""
    test_inputs: list[str] = Field(default_factory=list)
    """Files of the named test set."""
    versions: dict[str, str]
    """Versions of sentiscale and of the libraries used, by name."""
    bytes_in: Count
    """Size of the decompressed input, in bytes."""
    seconds: Amount
    """Duration of the preparation."""
    mb_per_s: Amount
    """Decompressed input per second, in MB of 10^6 bytes."""
    peak_memory_mb: Amount
    """Peak memory of all processes together, in MB of 2^20 bytes."""
    workers: Count
    """Number of worker processes or threads."""
    partitions: dict[str, Amount] = Field(default_factory=dict)
    """Partitioning of the input: count, and for rows and bytes the mean and the ratio of maximum to mean."""
    spilled_mb: dict[str, Amount] = Field(default_factory=dict)
    """MB of text records and words that were written to disk because they did not fit into memory."""
    phases: dict[str, Amount] = Field(default_factory=dict)
    """Seconds per phase."""
    files: Annotated[dict[str, str], _with_keys(*SPLIT_FILES, VOCABULARY)]
    """Digests of the split, vocabulary and notes files, by name, as computed by `file_digest`."""
    digest: str
    """Digest of the content: equal for equal input and settings, for any number of workers."""

    @field_validator("classes")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_names(names)
        return names

    @model_validator(mode="after")
    def _by_class(self) -> "Manifest":
        own = {f"labels_per_split.{split}": counts for split, counts in self.labels_per_split.items()}
        for name, counts in {"labels": self.labels, **own}.items():
            if set(counts) != set(self.classes):
                raise ValueError(f"{name}: the keys must be {', '.join(self.classes)}")
        return self

    @property
    def has_weights(self) -> bool:
        """Whether each row has a weight."""
        return WEIGHT_FILES[0] in self.files

    @property
    def class_set(self) -> Classes:
        """The classes, and how they were formed."""
        return Classes(self.classes, self.settings.get("classes", "binary"))


@dataclass(frozen=True)
class Split:
    """Rows of one split: row i has the token ids tokens[offsets[i]:offsets[i + 1]] and label labels[i]."""

    name: str
    tokens: NDArray[np.uint16] | NDArray[np.uint32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.uint8]
    """Position of each row's class in the manifest's `classes`."""
    weights: NDArray[np.float32] | None = None
    """Weight of each row in the loss; None if all are 1."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Split":
        """Return a split of some rows, with copies of their tokens."""
        offsets = np.concatenate([[0], np.cumsum(self.lengths[rows])])
        tokens = np.empty_like(self.tokens, shape=offsets[-1])
        for start, end, row in zip(offsets, offsets[1:], rows, strict=False):
            tokens[start:end] = self.tokens[self.offsets[row] : self.offsets[row + 1]]
        weights = None if self.weights is None else self.weights[rows]
        return Split(self.name, tokens, offsets, self.labels[rows], weights)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of stored tokens per row, at least 1."""
        return np.diff(self.offsets)


class PreparedDataset:
    """A prepared dataset, opened with `open`. Files are read on access."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> "PreparedDataset":
        """Open a directory that `prepare` wrote.

        Args:
            path: the dataset directory.
            verify: compare every file with its digest (half a second per GB on two cores).

        Raises: DataError when the dataset is missing, damaged or of another version.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        _check_files(path, manifest)
        if verify:
            _verify(path, manifest.files)
        version, classes = manifest.cleaning_version, manifest.class_set
        if content_digest(manifest.files, manifest.cleaning, version, classes) != manifest.digest:
            raise DataError(f"{path / MANIFEST} was changed by hand. Prepare {path} again with --force.")
        check_version(manifest.cleaning, manifest.cleaning_version)
        vocabulary = path / VOCABULARY
        words = read_bytes(vocabulary, vocabulary.stat().st_size).count(b"\n")
        if words != manifest.vocab_size:
            raise DataError(
                f"{vocabulary} has {words:,} lines; {MANIFEST} says {manifest.vocab_size:,}. "
                f"Prepare {path} again with --force."
            )
        return cls(path, manifest)

    @cached_property
    def vocab(self) -> Vocab:
        return Vocab.read(self.path / VOCABULARY)

    def split(self, name: str) -> Split:
        """Map one split into memory and check all values.

        Raises: DataError when there is no such split, it has no rows, or a file contains an invalid value.
        """
        rows = self.manifest.rows
        filled = ", ".join(key for key in SPLITS if rows.get(key))
        if not rows.get(name):
            problem = "is empty." if name in rows else f"is unknown.{did_you_mean(name, SPLITS)}"
            raise DataError(f"split '{name}' of {self.path} {problem} Splits with rows: {filled}.")
        split = Split(
            name,
            tokens=self._map(name, "tokens", token_dtype(self.manifest.vocab_size)),
            offsets=self._map(name, "offsets", np.int64),
            labels=self._map(name, "labels", np.uint8),
            weights=self._map(name, "weights", np.float32) if self.manifest.has_weights else None,
        )
        self._check(split)
        return split

    def resolve(self, settings: Settings) -> Settings:
        """Return the settings with the defaults for this dataset's training rows and classes."""
        classes = self.manifest.class_set
        return settings.resolved(self.manifest.rows.get("train", 0), len(classes), classes.kind)

    def described(self) -> TrainedOn:
        """Return the main facts about the dataset, for records that may outlive it."""
        manifest = self.manifest
        return TrainedOn(
            path=str(self.path.absolute()),
            rows=manifest.rows,
            labels=manifest.labels_per_split,
            cleaning=manifest.cleaning,
            vocab_size=manifest.vocab_size,
            duplicates=manifest.duplicates,
            inputs=[*manifest.inputs, *manifest.test_inputs],
        )

    def _check(self, split: Split) -> None:
        """Check the values of a split, because compiled code uses them as indices."""
        rows, size, most = self.manifest.rows[split.name], self.manifest.vocab_size, self.manifest.max_tokens
        offsets, labels, weights = split.offsets, split.labels, split.weights
        if len(labels) != rows or len(offsets) != rows + 1:
            problem = f"it has {len(labels):,} labels and {len(offsets):,} offsets for {rows:,} rows"
        elif offsets[0] != 0 or offsets[-1] != len(split.tokens):
            problem = f"its offsets do not cover its {len(split.tokens):,} tokens"
        elif split.lengths.min() < 1 or split.lengths.max() > most:
            row = int(np.flatnonzero((split.lengths < 1) | (split.lengths > most))[0])
            problem = f"row {row} has {split.lengths[row]} tokens; allowed are 1 to {most}"
        elif labels.max() >= (classes := len(self.manifest.classes)):
            problem = f"row {labels.argmax()} has the label {labels.max()}; allowed are 0 to {classes - 1}"
        elif weights is not None and (bad := _bad_weights(weights, rows)):
            problem = bad
        else:
            ids = _smallest_and_largest(self.path / split_file(split.name, "tokens"), token_dtype(size))
            if ids[0] >= UNK and ids[1] < size:
                return
            problem = f"its token ids are {ids[0]} to {ids[1]}; allowed are {UNK} to {size - 1}"
        raise DataError(
            f"split '{split.name}' of {self.path} is damaged: {problem}. Prepare it again with --force."
        )

    def _map(self, split: str, part: str, dtype: type[np.generic]) -> NDArray[Any]:
        path = self.path / split_file(split, part)
        try:
            return np.memmap(path, dtype, mode="r")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read: {error}. Prepare {self.path} again with --force."
            ) from error


def split_file(split: str, part: str) -> str:
    """Return the relative path of a split's file; `part` is tokens, offsets, labels or weights."""
    return f"{split}/{part}.bin"


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if vocab_size <= 2**16 else np.uint32


def content_digest(
    files: Mapping[str, str], cleaning: str, version: int, classes: Classes = NEGATIVE_POSITIVE
) -> str:
    """Combine the digests of the files that training reads with cleaning profile, its version and classes."""
    content = {name: digest for name, digest in files.items() if name not in NOTES}
    profile = cleaning if version == 1 else f"{cleaning} {version}"  # digests of version 1 must stay valid
    own = [] if classes.kind == "binary" else [[classes.kind, *classes.names]]
    return hashlib.sha256(json.dumps([profile, content, *own], sort_keys=True).encode()).hexdigest()


def _check_files(path: Path, manifest: Manifest) -> None:
    """Check that the files exist and are not larger than the manifest says, before they are read."""
    row_bytes, token_bytes = np.dtype(np.int64).itemsize + 1 + 4, token_dtype(manifest.vocab_size)().itemsize
    expected = sum(manifest.rows.values()) * row_bytes + manifest.tokens * token_bytes
    largest = expected + len(SPLITS) * row_bytes
    for name in manifest.files:
        try:
            open_regular(path / name, largest if name in (*SPLIT_FILES, *WEIGHT_FILES) else None).close()
        except OSError as error:
            raise DataError(
                f"{path / name} is missing; {path} is damaged. Prepare it again with --force."
            ) from error


def _bad_weights(weights: NDArray[np.float32], rows: int) -> str:
    """Return what is wrong with the weights of a split; empty if nothing is."""
    if len(weights) != rows:
        return f"it has {len(weights):,} weights for {rows:,} rows"
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    return f"row {bad[0]} has the weight {weights[bad[0]]}; allowed are numbers from 0 on" if len(bad) else ""


def _smallest_and_largest(path: Path, dtype: type[np.generic]) -> tuple[int, int]:
    """Smallest and largest id in a file of tokens, which is mapped in parts, so that memory stays bounded."""
    count, ends = path.stat().st_size // np.dtype(dtype).itemsize, []
    for first in range(0, count, PART_TOKENS):
        shape = (min(PART_TOKENS, count - first),)
        part = np.memmap(path, dtype, "r", first * np.dtype(dtype).itemsize, shape)
        ends += [int(part.min()), int(part.max())]
    return min(ends), max(ends)


def _verify(path: Path, files: Mapping[str, str]) -> None:
    found = file_digests(path / name for name in files)
    for (name, digest), actual in zip(files.items(), found, strict=True):
        if actual != digest:
            raise DataError(
                f"{path / name} was changed after it was written: its digest differs from the manifest. "
                f"Prepare {path} again with --force."
            )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    write_file(directory / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def _read_manifest(path: Path) -> Manifest:
    if not path.exists():
        raise DataError(f"{path} does not exist. Create it with: sentiscale prepare INPUT --out {path}")
    again = f"Prepare {path} again with --force."
    try:
        document = read_json(path / MANIFEST)
    except NotADirectoryError as error:
        raise DataError(
            f"{path} is a file, not a prepared dataset. "
            f"Prepare it first: sentiscale prepare {path} --out data"
        ) from error
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is not a prepared dataset: it has no {MANIFEST}. Give a directory that `prepare` wrote."
        ) from error
    except DataError as error:
        raise DataError(f"{error} {again}") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != DATASET_SCHEMA:
        raise DataError(
            f"{path} has format version {version!r:.40}; this release reads {DATASET_SCHEMA}. {again}"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise DataError(f"{path / MANIFEST} is damaged: {reason_of(error)}. {again}") from error
