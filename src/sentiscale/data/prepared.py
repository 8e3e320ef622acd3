"""A prepared dataset: a directory of memory-mapped token ids, offsets and labels, with a manifest."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from sentiscale.config import Cleaning
from sentiscale.errors import DataError, did_you_mean
from sentiscale.records import Record, TrainedOn, reason_of
from sentiscale.text.vocab import Vocab
from sentiscale.util.atomic import write_file

CHUNK_BYTES = 4 * 2**20
TASK_CHUNKS = 8
DATASET_SCHEMA = 2
SPLITS = ("train", "valid", "test")
MANIFEST, VOCABULARY = "manifest.json", "vocab.txt"
REJECTS, CONFLICTS, ODDITIES = NOTES = ("rejects.parquet", "conflicts.parquet", "oddities.parquet")


class Manifest(Record):
    """What a prepared dataset holds and how it was made."""

    schema_version: int = DATASET_SCHEMA
    """Version of the directory's format; other versions are refused."""
    rows: dict[str, int]
    """Rows of each split."""
    labels: dict[str, int]
    """Rows of each class ("negative", "positive") over all splits."""
    labels_per_split: dict[str, dict[str, int]]
    """Rows of each class in each split."""
    rejected: dict[str, Any]
    """{"total": rows, "by_reason": {reason: rows}}; each is a row of rejects.parquet."""
    duplicates: int
    """Rows dropped because an equal cleaned text was kept."""
    leaks: int = 0
    """Dropped duplicates whose text is also in the named test set."""
    conflicts: int
    """Rows whose cleaned text occurs with both labels; each is a row of conflicts.parquet."""
    conflicting_texts: int = 0
    """Different texts among these rows."""
    oddities: dict[str, int] = Field(default_factory=dict)
    """Kept rows that look unusual, by kind; each is a row of oddities.parquet."""
    warnings: list[str] = Field(default_factory=list)
    """Problems of the data, one sentence each."""
    tokens: int
    """Tokens stored over all splits."""
    unknown: dict[str, int]
    """Stored tokens of each split that are not in the vocabulary."""
    cut: int
    """Kept rows that had more than max_tokens tokens."""
    tokens_cut: int = 0
    """Tokens of kept rows beyond max_tokens, which were dropped."""
    distinct_words: int = 0
    """Different words of the training split, whether in the vocabulary or not."""
    vocab_size: int
    """Words of the vocabulary, padding and unknown included."""
    cleaning: Cleaning
    """Cleaning profile: alpha or words."""
    max_tokens: int
    """Most tokens stored of a review."""
    length_histogram: dict[str, int]
    """Kept rows by tokens before cutting: key n (1, 2, 4, 8, …) counts rows of n/2 + 1 to n tokens."""
    settings: dict[str, Any]
    """The resolved settings of preparation."""
    inputs: list[str]
    """Files that were read, in order."""
    test_inputs: list[str] = Field(default_factory=list)
    """Files of the named test set."""
    versions: dict[str, str]
    """Versions of sentiscale and of the libraries used, by name."""
    bytes_in: int
    """Bytes of raw input after decompression."""
    seconds: float
    """Seconds of the whole preparation."""
    mb_per_s: float
    """Megabytes (10^6 bytes) of raw input per second."""
    peak_memory_mb: float
    """Largest memory of all processes together, in MB of 2^20 bytes."""
    workers: int
    """Processes or threads that worked at once."""
    partitions: dict[str, float] = Field(default_factory=dict)
    """How the input was divided: count, rows_mean, bytes_mean, and for both the largest over the mean."""
    spilled_mb: dict[str, float] = Field(default_factory=dict)
    """MB of texts and words that did not fit into memory and went to disk."""
    phases: dict[str, float] = Field(default_factory=dict)
    """Seconds of each phase."""
    files: dict[str, str]
    """Digest of every file but the manifest, made by `sentiscale.data.prepared`."""
    digest: str
    """Identity of the content: equal for equal input and settings, whatever the number of workers."""


@dataclass(frozen=True)
class Split:
    """Rows of one split; row i has the word ids tokens[offsets[i]:offsets[i + 1]] and the label labels[i]."""

    name: str
    tokens: NDArray[np.uint16] | NDArray[np.uint32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.uint8]
    """0 negative, 1 positive."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Stored tokens of each row, at least 1."""
        return np.diff(self.offsets)


class PreparedDataset:
    """Opened prepared data; use `open`. Files are read on access."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> "PreparedDataset":
        """Open a directory that `prepare` wrote.

        Args:
            path: the directory.
            verify: compare every file with its digest (half a second per GB on two cores).

        Raises: DataError when it is missing, damaged or of another version.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        for name in manifest.files:
            if not (path / name).is_file():
                raise DataError(
                    f"{path / name} is missing; {path} is damaged. Prepare it again with --force."
                )
        if verify:
            _verify(path, manifest.files)
        if content_digest(manifest.files, manifest.cleaning) != manifest.digest:
            raise DataError(f"{path / MANIFEST} was changed by hand. Prepare {path} again with --force.")
        return cls(path, manifest)

    @cached_property
    def vocab(self) -> Vocab:
        return Vocab.read(self.path / VOCABULARY)

    def split(self, name: str) -> Split:
        """Map one split into memory.

        Raises: DataError when there is no such split or it has no rows.
        """
        rows = self.manifest.rows
        filled = ", ".join(key for key in SPLITS if rows.get(key))
        if not rows.get(name):
            problem = "is empty" if name in rows else "is unknown"
            raise DataError(
                f"split '{name}' of {self.path} {problem}.{did_you_mean(name, SPLITS)} "
                f"Splits with rows: {filled}."
            )
        offsets = self._map(name, "offsets", np.int64)
        labels = self._map(name, "labels", np.uint8)
        tokens = self._map(name, "tokens", token_dtype(self.manifest.vocab_size))
        if len(labels) != rows[name] or len(offsets) != len(labels) + 1 or offsets[-1] != len(tokens):
            raise DataError(
                f"the files of split '{name}' in {self.path} do not fit together. "
                f"Prepare it again with --force."
            )
        return Split(name, tokens, offsets, labels)

    def described(self) -> TrainedOn:
        """A copy of the important numbers for records, which may outlive the data."""
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

    def _map(self, split: str, part: str, dtype: type[np.generic]) -> NDArray[Any]:
        path = self.path / split_file(split, part)
        try:
            return np.memmap(path, dtype, mode="r")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read: {error}. Prepare {self.path} again with --force."
            ) from error


def split_file(split: str, part: str) -> str:
    """Name of a split's file; part is tokens, offsets or labels."""
    return f"{split}/{part}.bin"


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if vocab_size <= 2**16 else np.uint32


def content_digest(files: Mapping[str, str], cleaning: str) -> str:
    """One digest over the files that training reads and the cleaning that predictions must repeat."""
    content = {name: digest for name, digest in files.items() if name not in NOTES}
    return hashlib.sha256(json.dumps([cleaning, content], sort_keys=True).encode()).hexdigest()


def _verify(path: Path, files: Mapping[str, str]) -> None:
    found = file_digests(path / name for name in files)
    for (name, digest), actual in zip(files.items(), found, strict=True):
        if actual != digest:
            raise DataError(
                f"{path / name} was changed after it was written: its digest is not the manifest's. "
                f"Prepare {path} again with --force."
            )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    write_file(directory / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def _read_manifest(path: Path) -> Manifest:
    if not path.exists():
        raise DataError(f"{path} does not exist. Make it with: sentiscale prepare INPUT --out {path}")
    try:
        document = json.loads((path / MANIFEST).read_bytes())
        version = document.get("schema_version")
        if version != DATASET_SCHEMA:
            raise DataError(
                f"{path} has format version {version}, this release reads {DATASET_SCHEMA}. "
                f"Prepare it again with --force."
            )
        return Manifest.model_validate(document)
    except NotADirectoryError as error:
        raise DataError(
            f"{path} is a file, not a prepared dataset. "
            f"Prepare it first: sentiscale prepare {path} --out data"
        ) from error
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is not a prepared dataset: it has no {MANIFEST}. Give a directory that `prepare` wrote."
        ) from error
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        raise DataError(
            f"{path / MANIFEST} is damaged: {reason_of(error)}. Prepare {path} again with --force."
        ) from error


class DigestTask(NamedTuple):
    """Some chunks of a file."""

    path: str
    first: int
    """Number of the first chunk."""


def file_digest(path: Path) -> str:
    """SHA-256 over the SHA-256 of each 4 MB, in hexadecimal: chunks can be hashed on all cores."""
    return combined(map(chunk_digests, digest_tasks(path)))


def file_digests(paths: Iterable[Path]) -> Iterator[str]:
    """The digests of files in order, computed on all cores (hashing releases the GIL)."""
    with ThreadPoolExecutor() as threads:
        for parts in [threads.map(chunk_digests, digest_tasks(path)) for path in paths]:
            yield combined(parts)


def digest_tasks(path: Path) -> list[DigestTask]:
    """Divide a file into tasks; an empty one has none."""
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


def combined(parts: Iterable[list[bytes]]) -> str:
    """The digest of a file from those of its chunks."""
    return hashlib.sha256(b"".join(chain.from_iterable(parts))).hexdigest()
