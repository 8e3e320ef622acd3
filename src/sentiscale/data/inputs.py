"""Read the reviews to predict from lines and tables, in chunks, with the columns to copy to the output."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus, Source
from sentiscale.data.sources import BOM, STDIN, Stream, find_files, is_pipe
from sentiscale.errors import DataError, UsageError
from sentiscale.text.formats import check_text, format_of, named_format, parse, refuse_table
from sentiscale.text.formats.base import MAX_RECORD_BYTES, SNIPPET_BYTES, LabelMode, TableFormat
from sentiscale.text.formats.json_lines import OBJECT, WHOLE_OBJECTS, common_type
from sentiscale.text.label_reading import LabelReading, for_model, read_labels
from sentiscale.text.labels import LABEL_PREFIX, LabelCounts, Reason, ValueRules
from sentiscale.text.rejects import Reject
from sentiscale.text.reviews import Reviews, judge
from sentiscale.util.storage import printable

BLOCK_BYTES = 2**22
"""Size of a chunk: about 10,000 reviews."""
FASTTEXT_LABELS = LabelReading(
    values={"1": "negative", "2": "positive", "negative": "negative", "positive": "positive"}
)
"""Labels of lines that are predicted as they arrive, if the model's labels are not known."""
MB = 10**6
REPLACEMENT = "\ufffd".encode()
"""Replaces bytes that are not valid UTF-8."""

UInt8Array = npt.NDArray[np.uint8]


def whole_lines(read: Callable[[], bytes], line_end: bytes = b"\n") -> Iterator[bytes]:
    """Yield blocks of whole lines from the bytes that `read` returns, until it returns none.

    Only the beginning of a line longer than 16 MB is kept, to bound memory. No model uses more of it.
    """
    rest, skipping = b"", False
    while data := read():
        if skipping:
            end = data.find(line_end)
            if end < 0:
                continue
            data, skipping = data[end:], False
        end = data.rfind(line_end) + 1
        if end:
            yield rest + data[:end]
            rest = b""
        rest += data[end:]
        if len(rest) > MAX_RECORD_BYTES:
            rest, skipping = rest[:MAX_RECORD_BYTES], True
    if rest:
        yield rest


@dataclass(frozen=True)
class Chunk:
    """Consecutive reviews of one file."""

    file: str
    texts: pa.Array
    """UTF-8 texts as large binaries."""
    lines: npt.NDArray[np.int64]
    """Number of the line on which each review begins, from 1; for Parquet, the row number."""
    labels: UInt8Array | None
    """Position of each row's class in the model's classes; None if the input is not labelled."""
    extra: pa.Table | None
    """Columns of the input to copy to the output."""
    rejects: tuple[Reject, ...] = ()
    """Rows of this chunk that could not be read."""
    consumed: int = 0
    """Bytes of the stored file read for this chunk."""

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def not_utf8(self) -> int:
        """Number of reviews that contain U+FFFD, the replacement for bytes that are not UTF-8."""
        return int(pc.sum(pc.match_substring(self.texts, REPLACEMENT)).as_py() or 0)


@dataclass(frozen=True)
class Inputs:
    """Input files in order, or standard input."""

    paths: tuple[str, ...]
    """Files or URLs; - is standard input."""
    settings: PrepareSettings
    labelled: bool = False
    """Whether to read labels, to compare predictions with them."""
    items: tuple[str, ...] = ()
    """The files, globs, folders and URLs that `paths` were found from."""
    known: LabelReading | None = None
    """What the labels of the model's training data meant."""

    @classmethod
    def find(
        cls,
        items: Sequence[str],
        settings: PrepareSettings | None = None,
        *,
        labelled: bool = False,
        known: LabelReading | None = None,
    ) -> "Inputs":
        """Resolve files, globs, folders and URLs; `-` is standard input.

        Raises: DataError when an item matches no file; UsageError when `-` is combined with other items.
        """
        settings = for_model(settings or PrepareSettings(), known)
        if "-" in items and len(items) > 1:
            raise UsageError("- is standard input and cannot be combined with files. Give one or the other.")
        if list(items) == ["-"]:
            return cls((STDIN,) if _names_a_table(settings) else ("-",), settings, labelled, known=known)
        paths = find_files(list(items), one_per_review=settings.format == "files")
        return cls(tuple(paths), settings, labelled, tuple(items), known)

    def line_table(self) -> TableFormat:
        """Return the format of files with one review per line."""
        if not self.labelled:
            return TableFormat("fasttext")
        reading, stars = self.known or FASTTEXT_LABELS, self.settings.classes == "stars"
        if not stars and not reading.values:  # the model was trained from stars
            values = {name: name for name in reading.class_set.names}
            reading = LabelReading(values=values, kind=reading.kind) if reading.kind else FASTTEXT_LABELS
        given = ValueRules.given(self.settings, stars=stars)
        rules = reading.rules(self.settings, stars=stars)
        rules = given if given.complete else replace(rules, classes={**rules.classes, **given.classes})
        return TableFormat("fasttext", label="label", stars=stars, rules=rules)

    @property
    def rereadable(self) -> bool:
        """Whether an interrupted job can be resumed: pipes can be read only once."""
        return not any(path in ("-", STDIN) or is_pipe(path) for path in self.paths)

    @property
    def size(self) -> int | None:
        """Total size of the files as stored, in bytes; None if unknown."""
        if not self.rereadable:
            return None
        return self.corpus.size

    @cached_property
    def corpus(self) -> Corpus:
        """The input files, without pipes that deliver lines.

        Raises: DataError or UsageError when one of them cannot be read.
        """
        files = [item for item in self.items or self.paths if not self._delivers_lines(item)]
        mode: LabelMode = "required" if self.labelled else "none"
        if not files:
            return Corpus((), self.settings, mode)
        return Corpus.find(files, self.settings, labels=mode, known=self.known).decided()

    def _delivers_lines(self, path: str) -> bool:
        """Whether a pipe delivers one review per line, which are predicted as they arrive."""
        return (path == "-" or is_pipe(path)) and not _names_a_table(self.settings)

    def with_columns(self, *, whole_records: bool) -> "InputReader":
        """Return a reader that also copies the columns; `whole_records` copies JSON lines unchanged."""
        return InputReader(self, *_with_extra(self.corpus, whole_records=whole_records))

    def without_columns(self) -> "InputReader":
        return InputReader(self, {source.path: source for source in self.corpus.sources}, None)


def _names_a_table(settings: PrepareSettings) -> bool:
    return settings.format != "auto" and named_format(settings.format).has_columns


@dataclass(frozen=True)
class InputReader:
    """Reads the reviews of `inputs`, and the columns of tables that are copied to the output."""

    inputs: Inputs
    sources: dict[str, Source]
    """Files, by path; pipes that deliver lines are missing."""
    schema: pa.Schema | None
    """Union of the columns of all tables; None if columns are not copied."""

    @property
    def names(self) -> list[str]:
        """Names of the copied columns known so far; for JSON lines, those in the first lines."""
        if self.schema is None:
            return []
        names = [name for source in self.sources.values() for name in source.table.columns]
        return [name for name in dict.fromkeys([*names, *self.schema.names]) if name != OBJECT]

    def chunks(self) -> Iterator[Chunk]:
        """Yield all reviews in order.

        Raises: DataError when a file is damaged, or a line of labelled input has no label.
        """
        for path in self.inputs.paths:
            source = self.sources.get(path)
            if source is not None and source.has_columns:
                yield from self._table_chunks(source)
            else:
                yield from self._line_chunks(path, source)

    def _table_chunks(self, source: Source) -> Iterator[Chunk]:
        line = 1
        for raw in source.blocks(min(BLOCK_BYTES, int(self.inputs.settings.block_mb * MB))):
            line += raw.lines_before
            chunk, lines = read_chunk(
                raw.data, source, line, labelled=self.inputs.labelled, too_long=raw.too_long
            )
            yield replace(chunk, consumed=raw.consumed)
            line += lines

    def _line_chunks(self, path: str, source: Source | None) -> Iterator[Chunk]:
        name = "standard input" if path == "-" else printable(path)
        if source is not None:
            stream, table = source.open(), source.table
            read = stream.read
        else:
            stream = Stream.detected(path, self.inputs.settings.codec)
            start = stream.start(wait=False)
            check_text(start, self.inputs.settings)
            refuse_table(replace(start, path=name), self.inputs.settings)
            table = self.inputs.line_table()
            read = stream.read_some if stream.compression is None else stream.read
        with stream:
            consumed = 0
            blocks = whole_lines(lambda: read(BLOCK_BYTES), table.terminator.to_bytes())
            values = LabelCounts()
            for chunk in _chunks_of_lines(name, blocks, table, values):
                yield replace(chunk, consumed=stream.consumed() - consumed)
                consumed = stream.consumed()
            if source is None and values.labels:
                read_labels({name: values}, self.inputs.settings, {}, self.inputs.known)


def read_chunk(
    data: bytes, source: Source, first_line: int, *, labelled: bool, too_long: bool
) -> tuple[Chunk, int]:
    """Parse one block of a table's records; return its reviews and its number of lines.

    Args:
        data: bytes of the block.
        source: the file that the block is part of.
        first_line: number of the block's first line.
        labelled: whether to read labels; the source must be part of a decided corpus.
        too_long: whether the block is only the beginning of a single record that exceeds the size limit.
    """
    if too_long:
        return _one_reject(data, source, first_line), 1
    columns = parse(data, source.table)
    reviews = judge(columns, source.table, "required" if labelled else "none")
    good = reviews.reasons == Reason.NONE
    lines = columns.lines + first_line
    texts, extra = reviews.text, columns.extra
    if not good.all():
        texts = texts.filter(pa.array(good))
        extra = extra.filter(pa.array(good)) if extra is not None else None
    rejects = reviews.rejects(source.name, first_line)
    labels = reviews.codes[good] if labelled else None
    return Chunk(source.name, texts, lines[good], labels, extra, rejects), columns.line_count


def _one_reject(data: bytes, source: Source, line: int) -> Chunk:
    text = data[:SNIPPET_BYTES].decode("utf-8", "replace")
    reject = Reject(source.name, line, Reason.TOO_LONG.name.lower(), text)
    extra = source.table.extra.empty_table() if source.table.extra is not None else None
    return Chunk(source.name, pa.array([], pa.large_binary()), np.empty(0, np.int64), None, extra, (reject,))


def _chunks_of_lines(
    name: str, blocks: Iterator[bytes], table: TableFormat, values: LabelCounts
) -> Iterator[Chunk]:
    """Yield the reviews of blocks of lines, and add their labels to `values`."""
    labelled, line = table.label is not None, 1
    for number, block in enumerate(blocks):
        columns = parse(block if number else block.removeprefix(BOM), table)
        reviews = judge(columns, table, "optional" if labelled else "none")
        lines = columns.lines + line
        if labelled:
            _check_line_labels(name, reviews, line, table.rules)
            values.add(reviews.values)
        labels = reviews.codes if labelled else None
        yield Chunk(name, reviews.text, lines, labels, None)
        line += columns.line_count


def _check_line_labels(name: str, reviews: Reviews, first_line: int, rules: ValueRules) -> None:
    """Raise a DataError, with file and line, when a fastText label is missing or unknown."""
    bad = np.flatnonzero(reviews.codes >= len(rules.names))
    wrong = np.concatenate([reviews.lines[bad], reviews.blank])
    if len(wrong):
        value = reviews.label_snippets(bad[:1]).to_pylist()[0] if wrong.argmin() < len(bad) else ""
        classes = rules.classes or {name: name for name in rules.names}
        allowed = ", ".join(f"{LABEL_PREFIX}{token} ({kind})" for token, kind in classes.items())
        found = f"has the label '{value}'" if value else "does not begin with a label"
        raise DataError(
            f"{name}:{wrong.min() + first_line} {found}; allowed are {allowed}. "
            "For others give --label-map VALUE=CLASS,..."
        )


def _with_extra(corpus: Corpus, *, whole_records: bool) -> tuple[dict[str, Source], pa.Schema]:
    """Return every table with its columns to copy, by path, and the union of these columns."""
    sources: dict[str, Source] = {}
    together: dict[str, pa.DataType] = {}
    for source in corpus.sources:
        extra = _own_columns(source, whole_records=whole_records)
        sources[source.path] = replace(source, table=replace(source.table, extra=extra))
        for field in extra if extra is not None and extra is not WHOLE_OBJECTS else ():
            before = together.get(field.name, field.type)
            kind = together[field.name] = common_type(before, field.type)
            if pa.types.is_nested(before) and not pa.types.is_nested(kind):
                raise DataError(
                    f"column '{field.name}' is of type {before} in one file and of type {field.type} in "
                    f"{source.path}. Predict the files one by one."
                )
    return sources, pa.schema(list(together.items()))


def _own_columns(source: Source, *, whole_records: bool) -> pa.Schema | None:
    """Return names and types of one table's columns; None for a file of lines.

    Raises: UsageError when two columns have the same name, or a pipe must be read to determine the columns.
    """
    file_format = format_of(source.table)
    if not file_format.has_columns:
        return None
    blocks = None
    if source.pipe is None:
        blocks = (raw.data for raw in source.blocks(BLOCK_BYTES) if not raw.too_long)
    schema = file_format.full_schema(source.path, source.table, blocks, whole_records=whole_records)
    twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{source.path} has two columns named '{twice}'. Rename one of them.")
    return schema
