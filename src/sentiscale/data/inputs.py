"""What is to be labelled: lines and tables, chunk by chunk, with all that is to be kept of them."""

import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus, Source
from sentiscale.data.sources import STDIN, Stream, compression_of, find_files, is_pipe
from sentiscale.errors import DataError, UsageError
from sentiscale.text.compiled import frozen
from sentiscale.text.formats import MAX_RECORD_BYTES, LabelMode, Layout, judge, parse
from sentiscale.text.labels import NEGATIVE, ONE, POSITIVE, TWO, Reason, settle
from sentiscale.text.originals import OBJECT, WHOLE_OBJECTS, common_type, json_schema

BLOCK_BYTES = 2**22
"""Bytes that are labelled together: some 10,000 reviews."""
PAUSE_SECONDS = 0.05
"""A pipe that gives nothing for so long is not waited for: what has come is labelled."""

LF = b"\n"


def whole_lines(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Blocks of whole lines out of what `read` gives, until it gives nothing.

    Of a line beyond 16 MB only the beginning is kept, so that memory stays bounded. No model reads as much.
    """
    rest, skipping = b"", False
    while data := read():
        if skipping:
            end = data.find(LF)
            if end < 0:
                continue
            data, skipping = data[end:], False
        end = data.rfind(LF) + 1
        if end:
            yield rest + data[:end]
            rest = b""
        rest += data[end:]
        if len(rest) > MAX_RECORD_BYTES:
            rest, skipping = rest[:MAX_RECORD_BYTES], True
    if rest:
        yield rest


def standard_input() -> Callable[[], bytes]:
    """A reader of standard input that gives what is there when nothing more comes for a moment."""
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError):  # not a file of the system, as in a test
        return lambda: sys.stdin.buffer.read(BLOCK_BYTES)
    return lambda: what_comes(descriptor)


def what_comes(descriptor: int) -> bytes:
    """The next bytes of an open file or pipe: a block, or what there is when it pauses; empty at the end."""
    parts = [os.read(descriptor, BLOCK_BYTES)]
    size = len(parts[0])
    while parts[-1] and size < BLOCK_BYTES:
        if not select.select([descriptor], [], [], PAUSE_SECONDS)[0]:
            break
        parts.append(os.read(descriptor, BLOCK_BYTES - size))
        size += len(parts[-1])
    return b"".join(parts)


TABLES = {".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"}
COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}
LABELS = ("__label__1", "__label__2", "__label__negative", "__label__positive")
MB = 10**6
REPLACEMENT = "\ufffd".encode()
"""What stands in a text for bytes that are no UTF-8."""

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Reject:
    """A row that could not be read and gets no prediction."""

    file: str
    """Path or URL."""
    line: int
    """From 1; of Parquet the row."""
    reason: str
    """Name of a `Reason`."""
    text: str
    """Its beginning."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive reviews of one file."""

    file: str
    """Path or URL."""
    texts: pa.Array
    """Large binaries, UTF-8."""
    lines: npt.NDArray[np.int64]
    """Line on which each begins, from 1; of Parquet the row."""
    labels: UInt8Array | None
    """0 negative, 1 positive, where the input is labelled."""
    others: pa.Table | None
    """The table's own columns."""
    rejects: tuple[Reject, ...] = ()
    """Rows between them that could not be read."""
    consumed: int = 0
    """Stored bytes read for it."""

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def not_utf8(self) -> int:
        """How many of the reviews hold the sign that stands for bytes that are no UTF-8."""
        return int(pc.sum(pc.match_substring(self.texts, REPLACEMENT)).as_py() or 0)


@dataclass(frozen=True)
class Inputs:
    """Files in order, or standard input."""

    paths: tuple[str, ...]
    """Files or URLs; - is standard input."""
    settings: PrepareSettings
    """How tables are read."""
    labelled: bool = False
    """Whether there are labels to compare with."""

    @classmethod
    def find(
        cls, given: Sequence[str], settings: PrepareSettings | None = None, *, labelled: bool = False
    ) -> "Inputs":
        """Resolve files, globs, folders and URLs; `-` is standard input.

        Raises: DataError when one of them leads to no file, or `-` is not alone.
        """
        settings = settings or PrepareSettings()
        if "-" in given and len(given) > 1:
            raise UsageError("- is standard input and cannot stand beside files. Give one or the other.")
        if list(given) == ["-"]:
            return cls(("-",) if settings.format in ("auto", "fasttext") else (STDIN,), settings, labelled)
        return cls(tuple(find_files(list(given))), settings, labelled)

    @property
    def can_be_read_again(self) -> bool:
        """Whether an interrupted job can go on."""
        return not any(path in ("-", STDIN) or is_pipe(path) for path in self.paths)

    @property
    def size(self) -> int | None:
        """Bytes of all files as stored; None where that is not known."""
        if not self.can_be_read_again:
            return None
        sizes = [fsspec.core.url_to_fs(path)[0].size(path) for path in self.paths]
        return None if None in sizes else sum(int(size) for size in sizes)

    @cached_property
    def tables(self) -> Corpus:
        """The files that are tables.

        Raises: DataError or UsageError when one of them cannot be read.
        """
        found = [path for path in self.paths if self.is_table(path)]
        mode: LabelMode = "required" if self.labelled else "none"
        corpus = Corpus((), self.settings, mode)
        return Corpus.find(found, self.settings, labels=mode) if found else corpus

    def is_table(self, path: str) -> bool:
        """Whether a file has columns; anything else has one review a line."""
        if path == "-":
            return False
        stem = path.removesuffix(Path(path).suffix) if Path(path).suffix in COMPRESSED else path
        return Path(stem).suffix.lower() in TABLES or self.settings.format not in ("auto", "fasttext")

    def keeping(self, *, objects: bool) -> "KeptInputs":
        """The same with the tables' own columns; `objects`: those of JSON lines as they are written."""
        return KeptInputs(self, *_kept(self.tables, objects=objects))

    def bare(self) -> "KeptInputs":
        """The same with the reviews alone."""
        return KeptInputs(self, {source.path: source for source in self.tables.sources}, None)


@dataclass(frozen=True)
class KeptInputs:
    """Inputs of which it is known what is kept of them."""

    inputs: Inputs
    """What is read."""
    sources: dict[str, Source]
    """Of the tables, by path."""
    schema: pa.Schema | None
    """Columns of all tables together; None when nothing is kept."""

    @property
    def names(self) -> list[str]:
        """Names of kept columns as far as they are known; of JSON lines those seen at the beginning."""
        found = [name for source in self.sources.values() for name in source.layout.columns]
        found += self.schema.names if self.schema is not None else []
        return [name for name in dict.fromkeys(found) if name != OBJECT] if self.schema is not None else []

    def chunks(self) -> Iterator[Chunk]:
        """All reviews in order.

        Raises: DataError when a file is damaged, or a labelled line has no label.
        """
        for path in self.inputs.paths:
            if path in self.sources:
                yield from self._table_chunks(self.sources[path])
            else:
                yield from _line_chunks(path, labelled=self.inputs.labelled)

    def _table_chunks(self, source: Source) -> Iterator[Chunk]:
        corpus = self.inputs.tables
        kinds = corpus.label_kinds() if self.inputs.labelled else None
        line = 1
        for raw in source.blocks(min(BLOCK_BYTES, int(self.inputs.settings.block_mb * MB))):
            line += raw.lines_before
            chunk, lines = read_chunk(raw.data, source, line, kinds, too_long=raw.too_long)
            yield replace(chunk, consumed=raw.consumed)
            line += lines


def read_chunk(
    data: bytes, source: Source, first_line: int, kinds: set[int] | None, *, too_long: bool
) -> tuple[Chunk, int]:
    """Parse one block of a table's records; returns its reviews and how many lines the block has.

    Args:
        data: the block.
        source: its file; `source.layout` says how it is read.
        first_line: number of its first line.
        kinds: label codes that occur in the input; None when it is not labelled.
        too_long: whether the block is only the beginning of one record beyond the size limit.
    """
    if too_long:
        return _one_reject(data, source, first_line), 1
    columns = parse(data, source.layout)
    reviews = judge(columns, source.layout, "none" if kinds is None else "required")
    good = reviews.reasons == Reason.NONE
    bad = np.flatnonzero(~good)
    lines = columns.lines + first_line
    texts, others = reviews.text, columns.others
    if len(bad):
        texts = texts.filter(pa.array(good))
        others = others.filter(pa.array(good)) if others is not None else None
    rejects = tuple(
        Reject(source.path, line, Reason(reason).name.lower(), text)
        for line, reason, text in zip(
            lines[bad].tolist(), reviews.reasons[bad].tolist(), reviews.snippets(bad).to_pylist(), strict=True
        )
    )
    labels = settle(reviews.codes, kinds)[good] if kinds is not None else None
    return Chunk(source.path, texts, lines[good], labels, others, rejects), columns.line_count


def _one_reject(data: bytes, source: Source, line: int) -> Chunk:
    reject = Reject(source.path, line, Reason.TOO_LONG.name.lower(), data[:200].decode("utf-8", "replace"))
    wanted = source.layout.others
    others = wanted.empty_table() if wanted is not None else None
    return Chunk(source.path, pa.array([], pa.large_binary()), np.empty(0, np.int64), None, others, (reject,))


def _line_chunks(path: str, *, labelled: bool) -> Iterator[Chunk]:
    if path == "-":
        yield from _chunks_of_lines("standard input", whole_lines(standard_input()), labelled)
        return
    if is_pipe(path):
        with open(path, "rb", buffering=0) as pipe:
            blocks = whole_lines(lambda: what_comes(pipe.fileno()))
            yield from _chunks_of_lines(path, blocks, labelled)
        return
    compression = compression_of(path) if os.path.splitext(path)[1] in COMPRESSED else None
    with Stream(path, compression) as stream:
        consumed = 0
        for chunk in _chunks_of_lines(path, whole_lines(lambda: stream.read(BLOCK_BYTES)), labelled):
            yield replace(chunk, consumed=stream.consumed() - consumed)
            consumed = stream.consumed()


def _chunks_of_lines(name: str, blocks: Iterator[bytes], labelled: bool) -> Iterator[Chunk]:
    layout = Layout("fasttext", label="label" if labelled else None)
    line = 1
    for block in blocks:
        columns = parse(frozen(block), layout)
        reviews = judge(columns, layout, "optional" if labelled else "none")
        lines = columns.lines + line
        labels = _line_labels(name, reviews.codes, lines, columns.blank + line) if labelled else None
        yield Chunk(name, reviews.text, lines, labels, None)
        line += columns.line_count


def _line_labels(
    name: str, codes: UInt8Array, lines: npt.NDArray[np.int64], blank: npt.NDArray[np.int64]
) -> UInt8Array:
    """Classes of fastText labels.

    Raises: DataError naming file and line where a label is missing or unknown.
    """
    wrong = np.concatenate([lines[~np.isin(codes, (NEGATIVE, POSITIVE, ONE, TWO))], blank])
    if len(wrong):
        raise DataError(f"{name}:{wrong.min()} does not begin with a label; allowed are {', '.join(LABELS)}.")
    return settle(codes, {ONE, TWO})


def _kept(corpus: Corpus, *, objects: bool) -> tuple[dict[str, Source], pa.Schema]:
    """Every table with what is kept of it, and the columns of all of them together."""
    sources: dict[str, Source] = {}
    together: dict[str, pa.DataType] = {}
    for source in corpus.sources:
        own = _own_columns(source, objects=objects)
        sources[source.path] = replace(source, layout=replace(source.layout, others=own))
        for field in own if own is not None and own is not WHOLE_OBJECTS else ():
            before = together.get(field.name, field.type)
            kind = together[field.name] = common_type(before, field.type)
            if pa.types.is_nested(before) and not pa.types.is_nested(kind):
                raise DataError(
                    f"column '{field.name}' is of type {before} in one file and of type {field.type} in "
                    f"{source.path}. Label the files one by one."
                )
    return sources, pa.schema(list(together.items()))


def _own_columns(source: Source, *, objects: bool) -> pa.Schema | None:
    """Names and types of one table's columns.

    Raises: UsageError when two have the same name, or they cannot be known before a pipe was read.
    """
    layout = source.layout
    if layout.format == "fasttext":
        return None
    if layout.format == "jsonl":
        if objects:
            return WHOLE_OBJECTS
        if source.pipe is not None:
            raise UsageError(
                f"the columns of JSON lines are known when all were read, and {source.path} can be read "
                f"once. Write --out FILE.jsonl, or give a file."
            )
        return json_schema(raw.data for raw in source.blocks(BLOCK_BYTES) if not raw.too_long)
    if layout.format == "parquet":
        with fsspec.open(source.path, "rb") as file:
            schema = pq.ParquetFile(file).schema_arrow.remove_metadata()
    else:
        schema = pa.schema([(name, pa.large_string()) for name in layout.columns])
    twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{source.path} has two columns '{twice}'. Rename one of them.")
    return schema
