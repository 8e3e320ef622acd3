"""Where predictions go: lines on standard output, or tables in Parquet, CSV, TSV and JSON lines."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from sentiscale.atomic import check_output, remove_abandoned, whole_file
from sentiscale.errors import UsageError
from sentiscale.labelling.inputs import Chunk, KeptInputs, Reject
from sentiscale.labelling.jsonlines import json_lines
from sentiscale.predictor import Predictions
from sentiscale.text.originals import OBJECT

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

    def check(self, inputs: KeptInputs) -> None:
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
                    predictions.probability, predictions.positive_probability,
                    predictions.truncated, predictions.unknown_share,
                )
            ),
            *(explained.columns if explained is not None else []),
        ]  # fmt: skip
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
        others = chunk.others
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


def check_file(out: Path, inputs: KeptInputs, added: Added) -> None:
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
def opened_table(out: Path, inputs: KeptInputs, added: Added) -> Iterator[TableWriter]:
    """A writer to a file that appears, or replaces what is there, when the block ends well."""
    remove_abandoned(out)
    with whole_file(out) as file:
        writer = TableWriter(file, out.suffix, inputs.schema, added)
        try:
            yield writer
        finally:
            writer.close()
