"""Find review files, recognise the format of each, and read them block by block."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sentiscale.config import PrepareSettings
from sentiscale.data.blocks import RawBlock, batch_blocks, cut_blocks
from sentiscale.data.sources import Stream, find_files, is_pipe
from sentiscale.errors import DataError
from sentiscale.text.classes import BINARY, Classes
from sentiscale.text.encodings import GUESSED
from sentiscale.text.formats import format_of, parse, recognise
from sentiscale.text.formats.base import STARS_NAMES, FileStart, LabelMode, TableFormat
from sentiscale.text.formats.excel import sheet_names
from sentiscale.text.formats.files import is_review
from sentiscale.text.formats.json_records import RecordLines
from sentiscale.text.label_reading import LabelReading, for_model, label_values, read_labels
from sentiscale.text.labels import NO_LABEL, LabelCounts, Reason, ValueRules
from sentiscale.text.rejects import Reject
from sentiscale.text.reviews import Reviews, judge, too_long
from sentiscale.util.storage import names_in, printable, split_member, stored_file

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
    def name(self) -> str:
        """The path as valid Unicode, for messages and tables."""
        return printable(self.path)

    @property
    def plain(self) -> bool:
        """Whether the bytes of records are those of the file, so that they can be read by offset."""
        table = self.table
        as_stored = self.compression is None and table.encoding is None and not table.document
        alone = self.pipe is None and split_member(self.path) is None
        return as_stored and alone and not format_of(table).in_batches

    @property
    def has_columns(self) -> bool:
        """Whether the file is a table rather than lines of text."""
        return format_of(self.table).has_columns

    def open(self) -> Stream:
        """Open the file at its beginning.

        Raises: DataError when it is a pipe that has been read.
        """
        stream = self.pipe or Stream(self.path, self.compression, self.table.encoding)
        if stream.closed:
            raise DataError(f"{self.path} is a pipe and can be read only once. Write its content to a file.")
        if self.table.document:
            stream.add_filter(RecordLines())
        return stream

    def blocks(self, block_bytes: int, *, in_place: bool = False) -> Iterator[RawBlock]:
        """Divide the file into raw blocks; `in_place` may omit a plain file's bytes (see `cut_blocks`)."""
        if format_of(self.table).in_batches:
            yield from batch_blocks(self.path, self.table, block_bytes)
            return
        yield from cut_blocks(self.open(), self.table, block_bytes, in_place=in_place and self.plain)


@dataclass(frozen=True)
class ReviewBlock:
    """Usable reviews from consecutive lines of one file."""

    text: pa.Array
    """Texts including titles, as UTF-8 in large binaries."""
    labels: NDArray[np.uint8]
    """Position of each row's class in `Corpus.classes`; 255 for no label."""
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
    known: LabelReading | None = None
    """What the labels of a model's training data meant, if the corpus is read for a model."""
    reading: LabelReading | None = None
    """What the labels mean; None before `decided`."""
    label_values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What became of each distinct label; empty before `decided`."""

    @classmethod
    def find(
        cls,
        inputs: str | Path | Sequence[str | Path],
        settings: PrepareSettings | None = None,
        *,
        labels: LabelMode = "required",
        known: LabelReading | None = None,
    ) -> "Corpus":
        """Find files and recognise the format of each.

        Args:
            inputs: files, globs, folders or fsspec URLs.
            settings: format and column names; None for the defaults.
            labels: "required" rejects rows without a usable label or text, "optional" keeps rows with or
                without a label, "none" ignores labels.
            known: what the labels of a model's training data meant; the labels become the model's classes,
                and rows whose label is none of them are rejected as unknown_label.

        Raises:
            DataError: no file was found, or a file cannot be used.
            UsageError: a file lacks a column, or there is not a class, that the settings name.
        """
        settings = for_model(settings or PrepareSettings(), known)
        named = {str(inputs)} if isinstance(inputs, str | Path) else set(map(str, inputs))
        paths = find_files(inputs, one_per_review=settings.format == "files")
        archives = {path: inside[0] for path in paths if path not in named and (inside := split_member(path))}
        sources = []
        for path in paths:
            try:
                sources.append(open_source(path, settings, labels))
            except DataError as error:
                others = [other for other in archives if archives[other] == archives.get(path)]
                if len(others) < 2:
                    raise
                raise DataError(f"{error}\n{_listed(archives[path], others)}") from error
        corpus = cls(tuple(sources), settings, labels, known)
        corpus._check_archives(archives)
        return corpus

    def _check_archives(self, archives: Mapping[str, str]) -> None:
        """Raise DataError if the files of an archive differ in kind; `archives` has the archive per path."""
        kinds: dict[str, tuple[object, ...]] = {}
        for source in self.sources:
            if (archive := archives.get(source.path)) is not None:
                table = source.table
                kind = table.format, table.text, table.title, table.label, table.stars
                if kinds.setdefault(archive, kind) != kind:
                    others = [path for path in archives if archives[path] == archive]
                    raise DataError(
                        f"{archive} contains files of different kinds. {_listed(archive, others)}"
                    )

    @property
    def classes(self) -> Classes:
        """The classes that labels are divided into, once `decided`."""
        return (self.reading or LabelReading()).class_set

    @property
    def size(self) -> int:
        """Total size of the files as stored, in bytes."""
        return sum(source.size for source in self.sources)

    @property
    def paths(self) -> list[str]:
        return [source.path for source in self.sources]

    @property
    def notes(self) -> list[str]:
        """What was assumed about the files, for the user to check."""
        notes: dict[str, str] = {}
        for source in self.sources:
            for kind, note in _notes(source, self.settings):
                notes.setdefault(kind, note)
        return list(notes.values())

    @property
    def has_labels(self) -> bool:
        """Whether every file has labels or stars."""
        return all(source.table.has_labels for source in self.sources)

    def blocks(self) -> Iterator[ReviewBlock]:
        """Read all usable reviews in order, one block in memory at a time.

        Raises: DataError when a file is damaged, or the labels do not have exactly one meaning.
        """
        for source in self.decided().sources:
            line = 1
            for raw in source.blocks(int(self.settings.block_mb * MB)):
                line += raw.lines_before
                reviews = read_reviews(raw.data, source.table, self.mode, too_long_record=raw.too_long)
                yield _review_block(reviews, source.name, line)
                line += reviews.line_count

    def decided(self) -> "Corpus":
        """Return the corpus with rules that give every label its class, after reading all labels.

        Raises: DataError when the labels do not have exactly one meaning.
        """
        if self.mode == "none" or self.reading is not None:
            return self
        files: dict[str, LabelCounts] = {}
        for source in self.sources:
            counts = files.setdefault(source.name, LabelCounts())
            for raw in source.blocks(int(self.settings.block_mb * MB)):
                counts.add(
                    read_reviews(raw.data, source.table, "optional", too_long_record=raw.too_long).values
                )
        tables = [source.table for source in reversed(self.sources)]
        columns = {table.stars: table.label or table.folder_column or "" for table in tables}
        reading = read_labels(files, self.settings, columns, self.known)
        check_other_columns(self.sources, reading, self.settings)
        sources = tuple(
            replace(
                source,
                table=replace(source.table, rules=reading.rules(self.settings, stars=source.table.stars)),
            )
            for source in self.sources
        )
        values = label_values(LabelCounts.total(files.values()), reading, self.settings)
        return replace(self, sources=sources, reading=reading, label_values=values)


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


def check_other_columns(sources: Sequence[Source], reading: LabelReading, settings: PrepareSettings) -> None:
    """Compare labels with other columns of usual names, in the first megabyte of the first file of a kind.

    Raises: DataError when a column contradicts the labels in most rows.
    """
    kinds = {(source.table.label, source.table.others): source for source in reversed(sources)}
    for source in kinds.values() if settings.classes == "binary" else ():
        if not source.table.others or source.pipe is not None:
            continue
        extra = pa.schema([(name, pa.string()) for name in source.table.others])
        whole = replace(source, table=replace(source.table, extra=extra))
        data = b"".join(block.data for block in islice(whole.blocks(MB), 1))
        rules = reading.rules(settings, stars=source.table.stars)
        own = read_reviews(data, replace(source.table, rules=rules), "optional").codes
        for other in source.table.others:
            codes = _codes_alone(data, replace(source.table, label=other, stars=other.lower() in STARS_NAMES))
            both = (own < len(BINARY)) & (codes < len(BINARY))
            differ = int((own != codes)[both].sum())
            if differ > both.sum() / 2:
                names = f"'{source.table.label}' and '{other}'"
                flags = f"{_column_flag(source.table.label or '')} or {_column_flag(other)}"
                raise DataError(
                    f"{source.name} has the columns {names}, which contradict each other in {differ:,} of "
                    f"{both.sum():,} rows. Name the one with the labels: {flags}"
                )


def _codes_alone(data: bytes, table: TableFormat) -> NDArray[np.uint8]:
    """Return the classes of a column's labels if they are read alone; NO_LABEL if they have no meaning."""
    table = replace(table, label_type="string", label_names=(), rules=ValueRules())
    found = read_reviews(data, table, "optional")
    try:
        reading = read_labels({"": found.values}, PrepareSettings(), {})
    except DataError:
        return np.full_like(found.codes, NO_LABEL)
    return found.codes if table.stars else reading.codes(found.meanings)[found.codes]


def _column_flag(name: str) -> str:
    kind = "stars" if name.lower() in STARS_NAMES else "label"
    return f"--{kind}-column {quote(name)}"


def open_source(path: str, settings: PrepareSettings, mode: LabelMode) -> Source:
    """Recognise the compression, encoding and format of a file, pipe or folder with one review per file."""
    if path.endswith("/"):
        table = recognise(FileStart(path, path, b"", whole=False), settings, mode)
        return Source(path, None, table, stored_file(path).size)
    stream = Stream.detected(path, settings.codec)
    if is_pipe(path):
        table = recognise(stream.start(), settings, mode)
        return Source(path, stream.compression, replace(table, encoding=stream.encoding), 0, stream)
    with stream:
        table = recognise(stream.start(), settings, mode)
    table = replace(table, encoding=stream.encoding)
    return Source(path, stream.compression, table, stored_file(path).size)


def _listed(archive: str, paths: list[str]) -> str:
    names = ", ".join(path.removeprefix(archive).strip("/") for path in paths)
    return f"It contains {names}. Name the file to read: sentiscale prepare {quote(paths[0])}"


def _notes(source: Source, settings: PrepareSettings) -> Iterator[tuple[str, str]]:
    """Yield what was assumed about a file; of several notes of one kind, the first is enough."""
    path, table = source.name, source.table
    if table.encoding in GUESSED and settings.codec is None:
        yield (
            "encoding",
            f"{path} has no byte-order mark and was read as {table.encoding}; --encoding names another.",
        )
    if settings.codec is not None and table.encoding is None and table.format != "files":
        yield (path, f"{path} is valid UTF-8 and was read as such, not as {settings.codec}.")
    if table.others:
        yield (
            "label column",
            f"{path} also has the column '{table.others[0]}'; the labels are those of '{table.label}'. "
            "--label-column or --stars-column names another.",
        )
    if table.folder_label:
        yield "label", f"{path} has the label '{table.folder_label}' from the name of its folder."
    if table.format == "excel" and len(names := sheet_names(source.path)) > 1:
        yield path, f"{path} has {len(names)} sheets; only the first, '{names[0]}', was read."
    if table.format == "files":
        names = names_in(source.path.rstrip("/"))
        reviews = sum(is_review(name, table) for name in names)
        yield (
            path,
            f"{path}: {reviews:,} files are one review each; {len(names) - reviews:,} files were skipped.",
        )
        train = next((name for name in names if "train/" in name), None)
        root = path + train[: train.index("train/")] if train is not None else None
        if root is not None and any((path + name).startswith(f"{root}test/") for name in names):
            yield (
                f"{path} test",
                f"{path} has folders train and test, which were read together. To keep the test set apart: "
                f"{quote(root + 'train')} --test {quote(root + 'test')}",
            )


def _review_block(reviews: Reviews, file: str, line: int) -> ReviewBlock:
    good = reviews.reasons == Reason.NONE
    labels = reviews.codes[good]
    labels[labels >= len(reviews.meanings)] = NO_LABEL
    text = reviews.text if good.all() else reviews.text.filter(pa.array(good))
    return ReviewBlock(text, labels, reviews.lines[good] + line, reviews.rejects(file, line))
