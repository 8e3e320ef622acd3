"""Where predictions go: lines on standard output, or tables in Parquet, CSV, TSV and JSON lines."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from sentiscale.data.inputs import Chunk, InputReader, Reject
from sentiscale.errors import UsageError
from sentiscale.inference.predictor import Predictions
from sentiscale.text.clean import raw_rows
from sentiscale.text.formats.json_lines import OBJECT
from sentiscale.util.atomic import check_output, remove_abandoned, whole_file

SPECIAL = r'[\x00-\x1f"\\]'
"""What JSON escapes in strings."""
WHOLE = r"^-?\d+$"
"""Numbers that would be read back as integers."""
NULL = "null"


def json_lines(table: pa.Table, objects: pa.Array | None = None) -> bytes:
    """One object a row, a line each, in UTF-8.

    Args:
        table: the columns, whose names are the keys.
        objects: JSON objects as text; the columns are put at their ends.
    """
    if not table.num_rows:
        return b""
    parts: list[Any] = ["{" if objects is None else _beginnings(objects)]
    for place, name in enumerate(table.column_names):
        parts.append(f"{', ' if place else ''}{json.dumps(name, ensure_ascii=False)}: ")
        parts.append(_values(_one_array(table.column(place))))
    data, offsets = raw_rows(_joined(*parts, "}\n"))
    return bytes(data[offsets[0] : offsets[-1]])


def _joined(*parts: Any) -> pa.Array:
    """Strings and arrays of strings put together, row by row; a null makes the row null."""
    as_large = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*as_large, pa.scalar("", pa.large_string()))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _beginnings(objects: pa.Array) -> pa.Array:
    """The objects without their last brace and with a comma, unless they are empty."""
    bodies = pc.utf8_rtrim(pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(objects), 0, -1), " \t\r\n")
    return pc.if_else(pc.equal(bodies, "{"), bodies, _joined(bodies, ", "))


def _values(column: pa.Array) -> pa.Array:
    """A column as JSON texts."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        texts = _quoted(column.cast(pa.large_string()))
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        texts = column.cast(pa.large_string())
    elif pa.types.is_floating(kind):
        numbers = column.cast(pa.float64())
        texts = pc.if_else(pc.is_finite(numbers), numbers, None).cast(pa.large_string())
        texts = pc.if_else(pc.match_substring_regex(texts, WHOLE), _joined(texts, ".0"), texts)
    else:
        texts = pa.array([_dumped(value) for value in column.to_pylist()], pa.large_string())
    return pc.fill_null(texts, NULL)


def _quoted(column: pa.Array) -> pa.Array:
    texts = _joined('"', column, '"')
    special = pc.fill_null(pc.match_substring_regex(column, SPECIAL), False)
    if not pc.any(special).as_py():
        return texts
    escaped = [json.dumps(value, ensure_ascii=False) for value in column.filter(special).to_pylist()]
    return pc.replace_with_mask(texts, special, pa.array(escaped, pa.large_string()))


def _dumped(value: Any) -> str | None:
    return None if value is None else json.dumps(_plain(value), ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    """The same with null for numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
PREDICTED = pa.schema(
    {
        "line": pa.int64(),
        "label": pa.string(),
        "probability": pa.float64(),
        "positive_probability": pa.float64(),
        "truncated": pa.bool_(),
        "unknown_share": pa.float64(),
    }
)
EXPLAINED = pa.schema(
    {
        "logit": pa.float64(),
        "base": pa.float64(),
        "words": pa.list_(
            pa.struct(
                {"word": pa.string(), "start": pa.int64(), "end": pa.int64(), "contribution": pa.float64()}
            )
        ),
    }
)
FILE = pa.schema({"file": pa.string()})
NAMES = pa.array(["negative", "positive"])
TOLD = 5
"""Rows without a prediction that are told to the user one by one."""


class Sink(Protocol):
    """Takes the chunks in input order."""

    def __call__(self, chunk: Chunk, predictions: Predictions) -> None:
        """Take one."""


@dataclass(frozen=True)
class Added:
    """The columns that are added to each row, and their names."""

    prefix: str = ""
    """Put before every added name."""
    file: bool = False
    """Whether the file's name is one of them."""
    explained: bool = False
    """Whether each word's contribution is."""

    @property
    def schema(self) -> pa.Schema:
        """Names and types."""
        parts = [*([FILE] if self.file else []), PREDICTED, *([EXPLAINED] if self.explained else [])]
        return pa.schema([(self.prefix + field.name, field.type) for part in parts for field in part])

    def check(self, inputs: InputReader) -> None:
        """Fail before any work when a table has a column of the same name.

        Raises: UsageError with the remedy.
        """
        taken = [name for name in self.schema.names if name in inputs.names]
        if taken:
            raise UsageError(
                f"the input has a column '{taken[0]}' already, which the predictions need. Give them a "
                f"prefix: --prefix predicted_ names theirs 'predicted_{taken[0]}'."
            )

    def table(self, chunk: Chunk, predictions: Predictions, explained: pa.Table | None = None) -> pa.Table:
        """The added columns of a chunk."""
        columns = [
            *([pa.array([chunk.file]).take(pa.array(np.zeros(len(chunk), np.int8)))] if self.file else []),
            pa.array(chunk.lines),
            NAMES.take(pa.array(predictions.is_positive.astype(np.int8))),
            *(
                pa.array(column)
                for column in (
                    predictions.probability,
                    predictions.positive_probability,
                    predictions.truncated,
                    predictions.unknown_share,
                )
            ),
            *(explained.columns if explained is not None else []),
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)


def print_lines(chunk: Chunk, predictions: Predictions) -> None:
    """`label<TAB>probability` for every review."""
    places = np.rint(predictions.probability * 10_000).astype(np.int64) - 5_000
    places += 5_001 * predictions.is_positive
    sys.stdout.write("".join(map(PRINTED.__getitem__, places.tolist())))
    sys.stdout.flush()


PRINTED = [
    f"{label}\t{place / 10_000:.4f}\n" for label in ("negative", "positive") for place in range(5_000, 10_001)
]
"""All lines there can be: the probability of a label has four digits and is 0.5 or more."""


class TableWriter:
    """Writes rows to an open file; all columns of every row have a place in it."""

    def __init__(self, file: BinaryIO, suffix: str, kept: pa.Schema | None, added: Added) -> None:
        self.file = file
        self.suffix = suffix
        self.schema = pa.schema([*(kept or ()), *added.schema])
        self.writer: pyarrow.parquet.ParquetWriter | pyarrow.csv.CSVWriter | None = None
        if suffix == ".parquet":
            self.writer = pyarrow.parquet.ParquetWriter(file, self.schema)
        elif suffix != ".jsonl":
            options = pyarrow.csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
            self.writer = pyarrow.csv.CSVWriter(file, self.schema, write_options=options)

    def write(self, chunk: Chunk, added: pa.Table) -> None:
        """Write a chunk's own columns and those that are added."""
        others = chunk.extra
        if self.writer is None:
            whole = others is not None and others.column_names == [OBJECT]
            objects = others.column(0).combine_chunks() if others is not None and whole else None
            self.file.write(json_lines(added if whole or others is None else beside(others, added), objects))
        else:
            self.writer.write_table(fitted(added if others is None else beside(others, added), self.schema))

    def close(self) -> None:
        """Write what belongs at the end."""
        if self.writer is not None:
            self.writer.close()


def beside(one: pa.Table, other: pa.Table) -> pa.Table:
    """The columns of both."""
    schema = pa.schema([*one.schema, *other.schema])
    return pa.Table.from_arrays([*one.columns, *other.columns], schema=schema)


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of `schema`, nulls where it has none."""
    if table.schema.equals(schema):
        return table
    columns = []
    for field in schema:
        place = table.schema.get_field_index(field.name)
        column = pa.nulls(table.num_rows, field.type) if place < 0 else table.column(place).cast(field.type)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


class Rejects:
    """Writes rows that could not be read beside the output, if there are any; a context manager."""

    def __init__(self, out: Path | None) -> None:
        self.path = out and rejects_path(out)
        self.first: list[Reject] = []
        """Those that are told to the user."""
        self._stack = ExitStack()
        self._file: BinaryIO | None = None

    def add(self, rejects: tuple[Reject, ...]) -> None:
        """Take some."""
        self.first += rejects[: max(0, TOLD - len(self.first))]
        if rejects and self.path is not None:
            self._file = self._file or self._stack.enter_context(whole_file(self.path))
            self._file.write("".join(json.dumps(asdict(reject)) + "\n" for reject in rejects).encode())

    def __enter__(self) -> "Rejects":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]
        if self.path is not None and self._file is None and error[0] is None:
            self.path.unlink(missing_ok=True)  # of an earlier run


def rejects_path(out: Path) -> Path:
    """Where the rows stand that have no prediction in `out`."""
    return out.with_name(f"{out.name}.rejects.jsonl")


def check_file(out: Path, inputs: InputReader, added: Added) -> None:
    """Fail before any work when the output cannot be written.

    Raises: UsageError for another ending, a place that cannot be written, or one that is an input.
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out is {out}; it must end in {', '.join(SUFFIXES)}.")
    if out.is_dir():
        raise UsageError(f"{out} is a folder. Choose another --out.")
    check_output(out, replace=True)
    for path in inputs.inputs.paths:
        if "://" not in path and Path(path).exists() and out.exists() and out.samefile(path):
            raise UsageError(f"{out} is an input too. Choose another --out.")
    columns = [*(inputs.schema or ()), *added.schema]
    nested = [field for field in columns if pa.types.is_nested(field.type)]
    if nested and out.suffix in (".csv", ".tsv"):
        raise UsageError(
            f"column '{nested[0].name}' is of type {nested[0].type}, for which {out.suffix} has no form. "
            f"Write --out FILE.parquet or FILE.jsonl."
        )


@contextmanager
def opened_table(out: Path, inputs: InputReader, added: Added) -> Iterator[TableWriter]:
    """A writer to a file that appears, or replaces what is there, when the block ends well."""
    remove_abandoned(out)
    with whole_file(out) as file:
        writer = TableWriter(file, out.suffix, inputs.schema, added)
        try:
            yield writer
        finally:
            writer.close()
