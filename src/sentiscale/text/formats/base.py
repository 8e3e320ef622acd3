"""What an input format has to define, and what its parser returns."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError, UsageError, did_you_mean
from sentiscale.text.compiled import Bytes
from sentiscale.text.lines import LF

LabelMode = Literal["required", "optional", "none"]
SNIPPET_BYTES = 200
MAX_RECORD_BYTES = 16 * 2**20
"""A longer record is rejected; no review is that long, but broken files have such lines."""


@dataclass(frozen=True)
class FileStart:
    """The first bytes of a file, decompressed and without a byte-order mark."""

    path: str
    name: str
    """The file's name without a compression suffix; counts where the content does not tell the format."""
    data: bytes
    whole: bool
    """Whether `data` is the whole file."""
    compression: str | None = None
    pipe: bool = False


@dataclass(frozen=True)
class TableFormat:
    """Where a file keeps text, title and label; worked out once per file, used for each of its blocks."""

    format: str
    """Name of an `InputFormat`."""
    text: str = ""
    title: str | None = None
    label: str | None = None
    stars: bool = False
    """Whether the label column holds 1-5 stars."""
    label_type: str = "string"
    """Arrow type of a JSON label: string, int64, double or bool."""
    delimiter: str = ","
    header: bool = False
    """Whether the first CSV record names the columns."""
    columns: tuple[str, ...] = ()
    """Columns of a CSV file in order; of JSON lines the keys seen at the beginning."""
    escapes: bool = False
    """Whether a backslash and an n in the text stand for a line break (headerless Amazon Polarity)."""
    terminator: int = LF
    """Byte that ends a line."""
    extra: pa.Schema | None = None
    """Columns to read in addition to text and label; None for none."""


def no_lines() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Columns:
    """The parsed records of a block; all arrays have one entry per record."""

    text: pa.Array
    """Large binaries, title included."""
    label: pa.Array | None
    """Raw label values of any type; None when the file has none."""
    lines: NDArray[np.int64]
    """Line (or row) of the block on which each record begins, from 0."""
    line_count: int
    """Lines (or rows) of the whole block."""
    faults: NDArray[np.uint8]
    """Reason.MALFORMED or TOO_LONG where a record could not be parsed, else Reason.NONE."""
    blank: NDArray[np.int64] = field(default_factory=no_lines)
    """Blank lines of the block, which are not records."""
    extra: pa.Table | None = None
    """The columns of `TableFormat.extra`; null in records that could not be parsed."""


class InputFormat(ABC):
    """One input format: how to recognise a file, cut it into records, and parse them.

    The defaults fit a format with one record per line. Instances hold no state.
    """

    name: str
    """Value of `--format`."""
    title: str
    """The format in error messages."""
    suffixes: tuple[str, ...]
    """File names that stand for the format, in folders and where the content does not tell."""
    one_record_per_line: bool = True
    """Whether records end at `TableFormat.terminator` and nowhere else."""
    in_batches: bool = False
    """Whether `batches` reads the file: its records do not lie one after the other in its bytes."""
    has_columns: bool = True
    """Whether `predict` reads it as a table and writes its own columns next to the predictions."""

    def recognises(self, start: bytes) -> bool:
        """Whether the first bytes of a file can only be of this format; they decide before the name."""
        return False

    @abstractmethod
    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        """Find out where a file keeps text and label.

        Raises:
            DataError: the file cannot be read, or lacks the usual columns.
            UsageError: a column named in the settings is not there.
        """

    @abstractmethod
    def parse(self, data: Bytes, table: TableFormat) -> Columns:
        """Parse a block of whole records, compiled or with Arrow: a Python loop over records is too slow."""

    def last_record_end(self, data: bytes, table: TableFormat) -> int:
        """One past the last complete record in `data`, which begins with a record; 0 if none is complete."""
        return data.rfind(table.terminator.to_bytes()) + 1

    def count_lines(self, data: bytes, table: TableFormat) -> int:
        """Lines of a block, as `parse` counts them."""
        terminator = table.terminator.to_bytes()
        return data.count(terminator) + (len(data) > 0 and not data.endswith(terminator))

    def batches(self, path: str, table: TableFormat, block_bytes: int) -> Iterator[tuple[bytes, int]]:
        """Blocks that `parse` takes, and the stored bytes each stands for; only where `in_batches` is set."""
        raise NotImplementedError

    def schema(self, path: str, table: TableFormat) -> pa.Schema:
        """Names and types of the file's own columns as far as they are known without reading all of it."""
        return pa.schema([(name, pa.large_string()) for name in table.columns])

    def full_schema(
        self, path: str, table: TableFormat, blocks: Iterable[bytes] | None, *, whole_records: bool
    ) -> pa.Schema:
        """Names and types of the columns that `predict` copies to its output.

        Args:
            blocks: the content of the file, for formats whose columns are known only at its end; None when
                it cannot be read twice.
            whole_records: the output can hold records as they are written, without their columns.
        """
        return self.schema(path, table)


def as_binary(values: pa.Array) -> pa.Array:
    """The values as large binaries; a null becomes an empty one."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not pa.types.is_large_binary(values.type):
        if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
            values = values.cast(pa.large_string())
        values = values.cast(pa.large_binary())
    return values.fill_null(b"") if values.null_count else values


def as_text(values: pa.Array) -> pa.Array:
    """Binaries as large strings; bytes that are not UTF-8 become U+FFFD."""
    try:
        return values.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts = [None if value is None else value.decode("utf-8", "replace") for value in values.to_pylist()]
        return pa.array(texts, pa.large_string())


def join_title(text: pa.Array, title: pa.Array | None) -> pa.Array:
    """`title: text`, or the one that is there; large binaries without nulls."""
    text = as_binary(text)
    if title is None:
        return text
    title = as_binary(title)
    joined = pc.binary_join_element_wise(title, text, pa.scalar(b": ", pa.large_binary()))
    joined = pc.if_else(pc.equal(pc.binary_length(title), 0), text, joined)
    return pc.if_else(pc.equal(pc.binary_length(text), 0), title, joined)


# Usual names, compared without regard to case; the first that is present counts.
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
    """Choose among the columns of a file.

    Raises:
        UsageError: a column named by a flag is not there, or both kinds of label were named.
        DataError: nothing was named and no usual name is present.
    """
    if settings.label_column and settings.stars_column:
        raise UsageError(
            "--label-column and --stars-column exclude each other; give the one that holds the truth."
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
        label = _usual(columns, LABEL_NAMES)
        stars = None if label else _usual(columns, STARS_NAMES)
    if mode == "required" and not stars and not label:
        raise DataError(
            f"{path} has no column with a usual name for the label. It has: {listed}. "
            f"Name one with --label-column or --stars-column."
        )
    title = title if title != text else None
    return TableFormat(format_name, text, title, stars or label, stars is not None, columns=tuple(columns))


def _usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    present = {column.lower(): column for column in reversed(columns)}
    return next((present[name] for name in names if name in present), None)
