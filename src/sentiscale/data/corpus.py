"""Find review files, recognise the format of each, and read them block by block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiscale.config import PrepareSettings
from sentiscale.data.blocks import RawBlock, cut_blocks
from sentiscale.data.sources import Stream, compression_of, find_files, is_pipe
from sentiscale.errors import DataError
from sentiscale.text.formats import format_of, parse, recognise
from sentiscale.text.formats.base import LabelMode, TableFormat
from sentiscale.text.labels import (
    MINUS_ONE,
    NEGATIVE,
    NO_LABEL,
    ONE,
    POSITIVE,
    TWO,
    ZERO,
    Reason,
    resolve_labels,
)
from sentiscale.text.rejects import Reject
from sentiscale.text.reviews import Reviews, judge, too_long

MB = 10**6


@dataclass(frozen=True)
class Source:
    """One file of reviews."""

    path: str
    """Path or URL; - is standard input."""
    compression: str | None
    """gzip, bz2, xz or zstd; None for a plain file."""
    table: TableFormat
    size: int
    """Size of the stored file in bytes; 0 for a pipe."""
    pipe: Stream | None = None
    """The opened pipe; it can be read only once."""

    @property
    def plain(self) -> bool:
        """Whether records can be read from the file by offset: it is not compressed, Parquet or a pipe."""
        return self.compression is None and self.pipe is None and not format_of(self.table).in_batches

    def blocks(self, block_bytes: int, *, in_place: bool = False) -> Iterator[RawBlock]:
        """Divide the file into raw blocks; `in_place` may omit a plain file's bytes (see `cut_blocks`)."""
        if self.pipe is not None and self.pipe.closed:
            raise DataError(f"{self.path} is a pipe and can be read only once. Write its content to a file.")
        stream = self.pipe or Stream(self.path, self.compression)
        return cut_blocks(stream, self.table, block_bytes, in_place=in_place and self.plain)


@dataclass(frozen=True)
class ReviewBlock:
    """Usable reviews from consecutive lines of one file."""

    text: pa.Array
    """Texts including titles, as UTF-8 in large binaries."""
    labels: NDArray[np.uint8]
    """0 for negative, 1 for positive, 255 for no label."""
    line: NDArray[np.int64]
    """Number of the line on which each review begins, from 1; for Parquet, the row number."""
    rejects: tuple[Reject, ...] = ()
    """Rows between these reviews that cannot be used."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Corpus:
    """Review files in input order."""

    sources: tuple[Source, ...]
    settings: PrepareSettings
    mode: LabelMode

    @classmethod
    def find(
        cls,
        inputs: str | Path | Sequence[str | Path],
        settings: PrepareSettings | None = None,
        *,
        labels: LabelMode = "required",
    ) -> "Corpus":
        """Find files and recognise the format of each.

        Args:
            inputs: files, globs, folders or fsspec URLs.
            settings: format and column names; None for the defaults.
            labels: "required" rejects rows without a usable label or text, "optional" keeps rows with or
                without a label, "none" ignores labels.

        Raises:
            DataError: no file was found, or a file cannot be used.
            UsageError: a file lacks a column that the settings name.
        """
        settings = settings or PrepareSettings()
        return cls(tuple(_source(path, settings, labels) for path in find_files(inputs)), settings, labels)

    @property
    def size(self) -> int:
        """Total size of the files as stored, in bytes."""
        return sum(source.size for source in self.sources)

    @property
    def paths(self) -> list[str]:
        return [source.path for source in self.sources]

    @property
    def has_labels(self) -> bool:
        """Whether every file has labels or stars."""
        return all(source.table.label is not None for source in self.sources)

    def blocks(self) -> Iterator[ReviewBlock]:
        """Read all usable reviews in order, one block in memory at a time.

        Raises: DataError when a file is damaged or 1/2 labels are mixed with 0/1 labels.
        """
        kinds = self.label_kinds() if self.mode != "none" and self.has_labels else set()
        for source in self.sources:
            line = 1
            for raw in source.blocks(int(self.settings.block_mb * MB)):
                line += raw.lines_before
                reviews = read_reviews(raw.data, source.table, self.mode, too_long_record=raw.too_long)
                yield _review_block(reviews, source.path, line, kinds)
                line += reviews.line_count

    def label_kinds(self) -> set[int]:
        """Return the label codes that occur, reading only until it is clear which class "1" means."""
        kinds: set[int] = set()
        for source in self.sources:
            for raw in source.blocks(int(self.settings.block_mb * MB)):
                reviews = read_reviews(raw.data, source.table, "optional", too_long_record=raw.too_long)
                kinds |= set(np.flatnonzero(np.bincount(reviews.codes, minlength=256)).tolist())
                if kinds & {ZERO, TWO, MINUS_ONE} or ONE not in kinds:
                    return kinds
        return kinds


def read_reviews(
    data: bytes | memoryview | pa.Buffer,
    table: TableFormat,
    mode: LabelMode,
    *,
    too_long_record: bool = False,
) -> Reviews:
    if too_long_record:
        return too_long(bytes(data))
    return judge(parse(data, table), table, mode)


def _source(path: str, settings: PrepareSettings, mode: LabelMode) -> Source:
    if is_pipe(path):
        pipe = Stream.of_pipe(path)
        return Source(path, pipe.compression, recognise(pipe.start(), settings, mode), 0, pipe)
    compression = compression_of(path)
    with Stream(path, compression) as stream:
        table = recognise(stream.start(), settings, mode)
    filesystem, root = fsspec.core.url_to_fs(path)
    return Source(path, compression, table, int(filesystem.size(root) or 0))


def _review_block(reviews: Reviews, file: str, line: int, kinds: set[int]) -> ReviewBlock:
    good = reviews.reasons == Reason.NONE
    labels = resolve_labels(reviews.codes, kinds)[good]
    labels[(labels != NEGATIVE) & (labels != POSITIVE)] = NO_LABEL
    text = reviews.text if good.all() else reviews.text.filter(pa.array(good))
    return ReviewBlock(text, labels, reviews.lines[good] + line, reviews.rejects(file, line))
