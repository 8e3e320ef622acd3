"""The interface of an input format, and the columns that its parser returns."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiscale.config import PrepareSettings, Quoting
from sentiscale.errors import DataError, UsageError, did_you_mean
from sentiscale.text.compiled import Bytes
from sentiscale.text.labels import BYTES, ValueRules
from sentiscale.text.lines import LF

LabelMode = Literal["required", "optional", "none"]
READERS = {"gzip": "gzip -dc", "bz2": "bzip2 -dc", "xz": "xz -dc", "zstd": "zstd -dc", None: "cat"}
SNIPPET_BYTES = 200
TypedColumns = tuple[tuple[int, frozenset[bytes] | None], ...]
"""Columns by index and the values that occur in them; None for any number."""
MAX_RECORD_BYTES = 16 * 2**20
"""Maximum size of a record; longer records, which occur only in broken files, are rejected."""


@dataclass(frozen=True)
class FileStart:
    """The first bytes of a file, decompressed and without a byte-order mark."""

    path: str
    name: str
    """File name without a compression suffix; it determines the format if the content is ambiguous."""
    data: bytes
    whole: bool
    """Whether `data` contains the entire file."""
    compression: str | None = None
    pipe: bool = False

    @property
    def reader(self) -> str:
        """Command that writes the decompressed file to standard output."""
        return f"{READERS[self.compression]} {quote(self.path)}"


@dataclass(frozen=True)
class TableFormat:
    """Where a file stores text, title and label; determined once per file and used for all its blocks."""

    format: str
    """Name of an `InputFormat`."""
    text: str = ""
    title: str | None = None
    label: str | None = None
    stars: bool = False
    """Whether the label column contains ratings, such as 1 to 5 stars."""
    label_from: str = "format"
    """Why this column was taken as the label: flag, usual name, position, folder name or format."""
    weight: str | None = None
    """Column of `extra` with the weight of each row; None if there is none."""
    label_names: tuple[str, ...] = ()
    """Names of the labels 0, 1, ... of a Parquet file that Hugging Face datasets wrote; empty if none."""
    others: tuple[str, ...] = ()
    """Other columns with a usual name of labels or stars; empty if a flag names the column."""
    rules: ValueRules = field(default_factory=ValueRules)
    """How values of the label column become label codes."""
    label_type: str = "string"
    """Arrow type of a JSON label: string, int64, double or bool."""
    delimiter: str = ","
    quoting: Quoting = "standard"
    """How a CSV file is quoted; not auto."""
    spaces: bool = False
    """Whether spaces around the quotes of a CSV field are ignored."""
    lines_before: int = 0
    """Number of lines before the first record: a header, comments, blank lines."""
    typed_columns: TypedColumns | None = None
    """Types of columns, by which lines within a quoted field of a CSV file look like rows; None: none do."""
    columns: tuple[str, ...] = ()
    """Columns of a CSV file in order, "" without a name; for JSON lines, the keys at the file's beginning."""
    escapes: bool = False
    """Whether `\\n` in the text stands for a line break, as in Amazon Polarity files without a header."""
    terminator: int = LF
    """Byte that ends a line."""
    extra: pa.Schema | None = None
    """Columns to read in addition to text and label; None if there are none."""
    encoding: str | None = None
    """Encoding of the text; None for UTF-8."""
    folders: tuple[str, ...] = ()
    """Names of the folders to read, for one review per file; empty for all."""
    document: bool = False
    """Whether JSON records are in an array or span lines, rather than being one line each."""
    folder_label: str | None = None
    """Label of all rows, from a folder such as `label=1`; None if there is none, "" if it is null."""
    folder_column: str | None = None
    """Name of the label in the folder's name, such as label."""

    @property
    def has_labels(self) -> bool:
        return self.label is not None or self.folder_label is not None


def no_lines() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Columns:
    """The parsed records of a block; all arrays have one entry per record."""

    text: pa.Array
    """Texts as large binaries, including the title."""
    label: pa.Array | None
    """Raw label values of any type; None if the file has no labels."""
    lines: NDArray[np.int64]
    """Line or row of the block on which each record begins, counted from 0."""
    line_count: int
    """Number of lines or rows in the block."""
    faults: NDArray[np.uint8]
    """MALFORMED or TOO_LONG for records that could not be parsed, NONE for all others; see `Reason`."""
    blank: NDArray[np.int64] = field(default_factory=no_lines)
    """Line numbers of the block's blank lines, which are not records."""
    extra: pa.Table | None = None
    """The columns of `TableFormat.extra`; null for records that could not be parsed."""
    problems: pa.Array | None = None
    """Why records could not be parsed, as large binaries; null for all others, None if that is not known."""


class UnclearRecordError(Exception):
    """A record that may be several; the message ends a sentence about the place of the record."""

    def __init__(self, begin: int, message: str) -> None:
        super().__init__(message)
        self.begin = begin
        """Position of the record in the data."""


class InputFormat(ABC):
    """An input format: recognises a file, splits it into records, and parses them.

    The defaults suit a format with one record per line. Instances are stateless.
    """

    name: str
    """Value of `--format`."""
    title: str
    """Name of the format in error messages."""
    suffixes: tuple[str, ...]
    """Suffixes of the format's files; used to find files in folders, and if the content is ambiguous."""
    one_record_per_line: bool = True
    """Whether every `TableFormat.terminator` ends a record, and nothing else does."""
    in_batches: bool = False
    """Whether the file is read with `batches`, because its records are not stored consecutively."""
    has_columns: bool = True
    """Whether files are tables, whose columns `predict` copies to its output."""

    def recognises(self, start: bytes) -> bool:
        """Return whether the first bytes of a file identify this format; this overrides the file name."""
        return False

    @abstractmethod
    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        """Determine where a file stores text and label.

        Raises:
            DataError: the file cannot be read, or lacks the usual columns.
            UsageError: a column named in the settings does not exist.
        """

    @abstractmethod
    def parse(self, data: Bytes, table: TableFormat) -> Columns:
        """Parse a block of complete records.

        Implementations use compiled code or Arrow; a Python loop over records is too slow.
        """

    def last_record_end(self, data: bytes, table: TableFormat) -> int:
        """Return the end of the last complete record in `data`, which begins with a record; 0 if none.

        Raises: UnclearRecordError when records cannot be told apart.
        """
        return data.rfind(table.terminator.to_bytes()) + 1

    def count_lines(self, data: bytes, table: TableFormat) -> int:
        """Count the lines of a block in the same way as `parse`."""
        terminator = table.terminator.to_bytes()
        return data.count(terminator) + (len(data) > 0 and not data.endswith(terminator))

    def batches(self, path: str, table: TableFormat, block_bytes: int) -> Iterator[tuple[bytes, int]]:
        """Yield blocks for `parse` and the number of file bytes each covers; needed only if `in_batches`."""
        raise NotImplementedError

    def schema(self, path: str, table: TableFormat) -> pa.Schema:
        """Return names and types of the file's columns, as far as known without reading the whole file."""
        return pa.schema([(name, pa.large_string()) for name in table.columns])

    def full_schema(
        self, path: str, table: TableFormat, blocks: Iterable[bytes] | None, *, whole_records: bool
    ) -> pa.Schema:
        """Return names and types of the columns that `predict` copies to its output.

        Args:
            blocks: content of the file, for formats whose columns are known only at its end; None if the file
                cannot be read twice.
            whole_records: whether the output can store unparsed records instead of their columns.
        """
        return self.schema(path, table)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type contains bytes, which may be invalid UTF-8, rather than text."""
    return any(check(kind) for check in BYTES)


def as_binary(values: pa.Array) -> pa.Array:
    """Convert values to large binaries; nulls become empty."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not pa.types.is_large_binary(values.type):
        if not (pa.types.is_string(values.type) or is_bytes(values.type)):
            values = values.cast(pa.large_string())
        values = values.cast(pa.large_binary())
    return values.fill_null(b"") if values.null_count else values


def as_text(values: pa.Array) -> pa.Array:
    """Convert strings or bytes to large strings; invalid UTF-8 becomes U+FFFD."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        return values.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        texts = [None if value is None else value.decode("utf-8", "replace") for value in values.to_pylist()]
        return pa.array(texts, pa.large_string())


def join_title(text: pa.Array, title: pa.Array | None) -> pa.Array:
    """Return `title: text`, or only the non-empty one of the two, as large binaries without nulls."""
    text = as_binary(text)
    if title is None:
        return text
    title = as_binary(title)
    joined = pc.binary_join_element_wise(title, text, pa.scalar(b": ", pa.large_binary()))
    joined = pc.if_else(pc.equal(pc.binary_length(title), 0), text, joined)
    return pc.if_else(pc.equal(pc.binary_length(text), 0), title, joined)


def nested_column(table: pa.Table, name: str) -> pa.Array:
    """Return a column, or the field of an object that a name with dots, such as `review.body`, stands for."""
    if name in table.column_names:
        return table[name].combine_chunks()
    first, *fields = name.split(".")
    return pc.struct_field(table[first].combine_chunks(), fields)


# Usual column names, compared case-insensitively, with spaces for underscores; the first one present is used.
TEXT_NAMES = [
    "text",
    "review",
    "review_text",
    "reviewtext",
    "content",
    "body",
    "comment",
    "sentence",
    "review_body",
]
TITLE_NAMES = ["title", "summary", "review_title", "review_headline", "headline"]
LABEL_NAMES = ["label", "sentiment", "polarity", "class", "target"]
STARS_NAMES = ["stars", "rating", "overall", "star_rating", "score"]


def choose_columns(
    format_name: str, path: str, columns: Sequence[str], settings: PrepareSettings, mode: LabelMode
) -> TableFormat:
    """Choose the text, title and label columns of a file.

    Raises:
        UsageError: a column named by a flag does not exist, or both a label and a stars column are named.
        DataError: a column is not named, and the file has no column with a usual name.
    """
    if settings.label_column and settings.stars_column:
        raise UsageError(
            "--label-column and --stars-column exclude each other; give the one that contains the labels."
        )
    listed = ", ".join(columns) or "no columns"

    def named(name: str | None, flag: str) -> str | None:
        if name is not None and name not in columns:
            hint = did_you_mean(name, columns)
            raise UsageError(f"{flag} is '{name}', but {path} has no such column.{hint} Columns: {listed}.")
        return name

    text = named(settings.text_column, "--text-column") or _usual(columns, TEXT_NAMES)
    if text is None:
        raise DataError(
            f"{path} has no column with a usual name for the review. It has: {listed}. "
            f"Name one with --text-column."
        )
    title = named(settings.title_column, "--title-column") or _usual(columns, TITLE_NAMES)
    stars = named(settings.stars_column, "--stars-column")
    label = named(settings.label_column, "--label-column")
    if mode != "none" and not stars and not label:
        label = None if settings.classes == "stars" else _usual(columns, LABEL_NAMES)
        stars = None if label else _usual(columns, STARS_NAMES)
        label = label or (None if stars else _usual(columns, LABEL_NAMES))
    if mode == "required" and not stars and not label:
        raise DataError(
            f"{path} has no column with a usual name for the label. It has: {listed}. "
            f"Name one with --label-column or --stars-column."
        )
    title = title if title != text else None
    for name in (text, title, stars or label):
        if list(columns).count(name or "") > 1:
            raise DataError(
                f"{path} has {list(columns).count(name or '')} columns named '{name}'. Rename them."
            )
    by_flag = settings.label_column or settings.stars_column
    usual = {*LABEL_NAMES, *STARS_NAMES} if not by_flag and (label or stars) else set()
    taken = {text, title, stars or label}
    return TableFormat(
        format_name,
        text,
        title,
        stars or label,
        stars is not None,
        label_from="flag" if by_flag else "usual name",
        others=tuple(name for name in columns if name.lower() in usual and name not in taken),
        columns=tuple(columns),
    )


def _usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    spaced = {column.lower().replace(" ", "_"): column for column in reversed(columns)}
    present = spaced | {column.lower(): column for column in reversed(columns)}
    return next((present[name] for name in names if name in present), None)
