"""Write predictions as lines to standard output or as tables in Parquet, CSV, TSV or JSON Lines."""

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from sentiscale.data.inputs import Chunk, InputReader
from sentiscale.errors import UsageError
from sentiscale.inference.predictor import Predictions
from sentiscale.text.classes import UNSURE, Classes
from sentiscale.text.clean import raw_rows
from sentiscale.text.formats.base import as_text, is_bytes
from sentiscale.text.formats.json_lines import OBJECT
from sentiscale.text.rejects import Reject
from sentiscale.util.atomic import check_output, remove_abandoned, whole_file

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
WORD = {"word": pa.string(), "start": pa.int64(), "end": pa.int64(), "contribution": pa.float64()}
EXPLANATION_COLUMNS = {"logit": pa.float64(), "base": pa.float64(), "words": pa.list_(pa.struct(WORD))}
REPLACEMENT = "\ufffd"
REJECTS_SHOWN = 5
"""Number of rejected rows that the command prints; the rejects file contains all of them."""


@dataclass(frozen=True)
class AddedColumns:
    """Columns that predictions add to each row of a table.

    `positive_probability` is added for two classes only, `expected_star` for stars only, and the explained
    `class` for more than two classes.
    """

    classes: Classes
    prefix: str = ""
    """Prefix of all added column names."""
    probabilities: Literal["none", "columns", "object"] = "none"
    """Whether to add the probability of each class, in a column each or in one column of objects."""
    file: bool = False
    """Whether to add a column `file` with the input file of each row."""
    explained: bool = False
    """Whether to add columns with the contribution of each word."""

    @property
    def schema(self) -> pa.Schema:
        number, names = pa.float64(), self.classes.names
        columns = {"file": pa.string()} if self.file else {}
        columns |= {"line": pa.int64(), "label": pa.string(), "probability": number}
        if len(names) == 2:
            columns["positive_probability"] = number
        if self.probabilities == "columns":
            columns |= dict.fromkeys(probability_columns(names), number)
        elif self.probabilities == "object":
            columns["probabilities"] = pa.struct([(name, number) for name in names])
        if self.classes.stars:
            columns["expected_star"] = number
        columns |= {"truncated": pa.bool_(), "unknown_share": number}
        columns |= self.explanation_columns if self.explained else {}
        return pa.schema([(self.prefix + name, kind) for name, kind in columns.items()])

    @property
    def explanation_columns(self) -> dict[str, pa.DataType]:
        return ({"class": pa.string()} if len(self.classes) > 2 else {}) | EXPLANATION_COLUMNS

    def check(self, inputs: InputReader) -> None:
        """Raise UsageError when an input table already has one of the added columns."""
        taken = [name for name in self.schema.names if name in inputs.names]
        if taken:
            raise UsageError(
                f"the input already has a column '{taken[0]}', which predictions would add. Set a prefix: "
                f"with --prefix predicted_, the added column is 'predicted_{taken[0]}'."
            )

    def table(self, chunk: Chunk, predictions: Predictions, explanations: pa.Table | None = None) -> pa.Table:
        columns = [pa.array([chunk.file]).take(pa.array(np.zeros(len(chunk), np.int8)))] if self.file else []
        labels = pa.array([*self.classes.names, UNSURE]).take(pa.array(predictions.codes))
        columns += [pa.array(chunk.lines), labels, pa.array(predictions.probability)]
        if predictions.positive_probability is not None:
            columns.append(pa.array(predictions.positive_probability))
        by_class = [pa.array(chances) for chances in predictions.probabilities.T]
        if self.probabilities == "columns":
            columns += by_class
        elif self.probabilities == "object":
            columns.append(pa.StructArray.from_arrays(by_class, self.classes.names))
        if predictions.expected_star is not None:
            columns.append(pa.array(predictions.expected_star))
        columns += [pa.array(predictions.truncated), pa.array(predictions.unknown_share)]
        if explanations is not None:
            columns += explanations.columns
        return pa.Table.from_arrays(columns, schema=self.schema)


def probability_columns(names: Sequence[str]) -> list[str]:
    """Return a column name for each class: letters, digits and underscores, and no two alike.

    A name without letters and digits, such as an emoji, is replaced by the position of its class.
    """
    columns: list[str] = []
    for code, name in enumerate(names):
        plain = re.sub(r"\W", "_", name).lower()
        column = f"probability_{plain if any(map(str.isalnum, plain)) else code}"
        while column in columns:  # many databases do not distinguish case
            column += "_"
        columns.append(column)
    return columns


def print_lines(chunk: Chunk, predictions: Predictions) -> None:
    """Print one line `label<TAB>probability` per review."""
    # All cores wait for this thread, and looking up lines is faster than formatting them.
    places = np.rint(predictions.probability * 10_000).astype(np.int64) + 10_001 * predictions.codes
    lines = _printed_lines(predictions.classes)
    sys.stdout.write("".join(map(lines.__getitem__, places.tolist())))
    sys.stdout.flush()


def print_probabilities(chunk: Chunk, predictions: Predictions) -> None:
    """Print one line per review: label, probability, that of each class, and the mean number of stars."""
    numbers = [predictions.probability, *predictions.probabilities.T]
    if predictions.expected_star is not None:
        numbers.append(predictions.expected_star)
    line = "%s" + "\t%.4f" * len(numbers) + "\n"
    columns = (predictions.labels.tolist(), *(column.tolist() for column in numbers))
    sys.stdout.write("".join(line % row for row in zip(*columns, strict=True)))
    sys.stdout.flush()


class _Lines(dict[int, str]):
    """Lines by label and then by probability with four decimals, formatted when they first occur."""

    def __init__(self, classes: Classes) -> None:
        self.labels = [*classes.names, UNSURE]

    def __missing__(self, place: int) -> str:
        code, probability = divmod(place, 10_001)
        line = self[place] = f"{self.labels[code]}\t{probability / 10_000:.4f}\n"
        return line


_printed_lines = cache(_Lines)


class TableWriter:
    """Writes chunks to an open file; every row has the columns of `inputs_schema` and `added`."""

    def __init__(
        self, file: BinaryIO, suffix: str, inputs_schema: pa.Schema | None, added: AddedColumns
    ) -> None:
        self.file = file
        self.schema = pa.schema([*(inputs_schema or ()), *added.schema])
        self.replaced: set[str] = set()
        """Columns with bytes that are not UTF-8 and were replaced, because the output holds only text."""
        if suffix != ".parquet":
            self.schema = pa.schema([(field.name, _text_type(field.type)) for field in self.schema])
        self.writer: pyarrow.parquet.ParquetWriter | pyarrow.csv.CSVWriter | None = None
        if suffix == ".parquet":
            self.writer = pyarrow.parquet.ParquetWriter(file, self.schema)
        elif suffix != ".jsonl":
            options = pyarrow.csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
            self.writer = pyarrow.csv.CSVWriter(file, self.schema, write_options=options)

    def write(self, chunk: Chunk, added: pa.Table) -> None:
        if isinstance(self.writer, pyarrow.parquet.ParquetWriter):
            self.writer.write_table(aligned(all_columns(chunk, added), self.schema))
        elif self.writer is not None:
            self.writer.write_table(aligned(self._as_text(all_columns(chunk, added)), self.schema))
        elif chunk.extra is not None and chunk.extra.column_names == [OBJECT]:
            self.file.write(json_lines(added, chunk.extra.column(0).combine_chunks()))
        else:
            self.file.write(json_lines(self._as_text(all_columns(chunk, added))))

    def _as_text(self, table: pa.Table) -> pa.Table:
        """Convert columns of bytes, and of types that CSV does not support, to strings."""
        for place, field in enumerate(table.schema):
            if _text_type(field.type) != field.type:
                values = table.column(place).combine_chunks()
                texts = as_text(values)
                if pc.any(pc.match_substring(texts, REPLACEMENT)).as_py():
                    self.replaced.add(field.name)
                table = table.set_column(place, field.name, texts)
        return table

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


@contextmanager
def open_table(out: Path, inputs: InputReader, added: AddedColumns) -> Iterator[TableWriter]:
    """Yield a writer; the file is created or replaced only when the `with` block succeeds."""
    remove_abandoned(out)
    with whole_file(out) as file:
        writer = TableWriter(file, out.suffix, inputs.schema, added)
        try:
            yield writer
        finally:
            writer.close()


def check_file(out: Path, inputs: InputReader, added: AddedColumns) -> None:
    """Check before prediction starts that the output can be written.

    Raises: UsageError when the suffix is unknown, the path is not writable, the output is also an input, the
        format cannot store a column, or a column of the input has the name of an added column.
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out is {out}; it must end in {', '.join(SUFFIXES)}.")
    if out.is_dir():
        raise UsageError(f"{out} is a folder. Choose another --out.")
    check_output(out, replace=True)
    for path in inputs.inputs.paths:
        if "://" not in path and Path(path).exists() and out.exists() and out.samefile(path):
            raise UsageError(f"{out} is also an input. Choose another --out.")
    columns = [*(inputs.schema or ()), *added.schema]
    nested = [field for field in columns if pa.types.is_nested(field.type)]
    if nested and out.suffix in (".csv", ".tsv"):
        raise UsageError(
            f"column '{nested[0].name}' is of type {nested[0].type}, which {out.suffix} cannot hold. "
            f"Write --out FILE.parquet or FILE.jsonl."
        )
    added.check(inputs)


def all_columns(chunk: Chunk, added: pa.Table) -> pa.Table:
    """Append the added columns to the chunk's own columns."""
    if chunk.extra is None:
        return added
    schema = pa.schema([*chunk.extra.schema, *added.schema])
    return pa.Table.from_arrays([*chunk.extra.columns, *added.columns], schema=schema)


def aligned(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast a table to `schema`; missing columns are filled with nulls."""
    if table.schema.equals(schema):
        return table
    columns = []
    for field in schema:
        place = table.schema.get_field_index(field.name)
        column = pa.nulls(table.num_rows, field.type) if place < 0 else table.column(place).cast(field.type)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


def _text_type(kind: pa.DataType) -> pa.DataType:
    """Return a string type for bytes and string views, which CSV and JSON cannot hold; else the type."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.large_string() if is_bytes(inner) or pa.types.is_string_view(inner) else kind


def rejects_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.rejects.jsonl")


def reject_lines(rejects: tuple[Reject, ...] | list[Reject]) -> bytes:
    return "".join(json.dumps(asdict(reject)) + "\n" for reject in rejects).encode()


class RejectWriter:
    """Context manager that writes rejected rows, if there are any, to `rejects_path(out)`."""

    def __init__(self, out: Path | None) -> None:
        self.path = out and rejects_path(out)
        self.first: list[Reject] = []
        """The first rejected rows, at most REJECTS_SHOWN."""
        self._stack = ExitStack()
        self._file: BinaryIO | None = None

    def add(self, rejects: tuple[Reject, ...]) -> None:
        self.first += rejects[: max(0, REJECTS_SHOWN - len(self.first))]
        if rejects and self.path is not None:
            self._file = self._file or self._stack.enter_context(whole_file(self.path))
            self._file.write(reject_lines(rejects))

    def __enter__(self) -> "RejectWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]
        if self.path is not None and self._file is None and error[0] is None:
            self.path.unlink(missing_ok=True)  # left by an earlier job with the same output


JSON_ESCAPED = r'[\x00-\x1f"\\]'
INTEGER = r"^-?\d+$"


def json_lines(table: pa.Table, objects: pa.Array | None = None) -> bytes:
    """Encode rows as one JSON object per line, in UTF-8.

    Whole columns are encoded in Arrow, which is faster than encoding each row with the standard library.

    Args:
        table: rows to encode; column names become keys.
        objects: JSON objects as text (rows,), to which the columns of each row are appended.
    """
    if not table.num_rows:
        return b""
    columns = [
        column.chunk(0) if column.num_chunks == 1 else column.combine_chunks() for column in table.columns
    ]
    opened = "{" if objects is None else _opened_objects(objects)
    data, offsets = raw_rows(_json_objects(opened, table.column_names, columns, "}\n"))
    return bytes(data[offsets[0] : offsets[-1]])


def _json_objects(opened: str | pa.Array, names: list[str], columns: list[pa.Array], closed: str) -> pa.Array:
    parts = [opened]
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        parts += [f"{', ' if place else ''}{json.dumps(name, ensure_ascii=False)}: ", _json_values(column)]
    return _concatenated(*parts, closed)


def _concatenated(*parts: str | pa.Array) -> pa.Array:
    """Concatenate strings and string arrays row by row; a null in any part makes the row null."""
    as_large = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*as_large, pa.scalar("", pa.large_string()))


def _opened_objects(objects: pa.Array) -> pa.Array:
    """Remove the closing brace of each object and append a comma unless the object is empty."""
    bodies = pc.utf8_rtrim(pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(objects), 0, -1), " \t\r\n")
    return pc.if_else(pc.equal(bodies, "{"), bodies, _concatenated(bodies, ", "))


def _json_values(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        texts = _json_strings(column.cast(pa.large_string()))
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        texts = column.cast(pa.large_string())
    elif pa.types.is_floating(kind):
        numbers = column.cast(pa.float64())
        texts = pc.if_else(pc.is_finite(numbers), numbers, None).cast(pa.large_string())
        # Arrow formats 1.0 as "1", which readers would parse as an integer.
        texts = pc.if_else(pc.match_substring_regex(texts, INTEGER), _concatenated(texts, ".0"), texts)
    elif pa.types.is_struct(kind) and kind.num_fields:
        objects = _json_objects("{", kind.names, column.flatten(), "}")
        texts = pc.if_else(column.is_valid(), objects, None)
    else:
        texts = pa.array([_json_value(value) for value in column.to_pylist()], pa.large_string())
    return pc.fill_null(texts, "null")


def _json_strings(column: pa.Array) -> pa.Array:
    texts = _concatenated('"', column, '"')
    special = pc.fill_null(pc.match_substring_regex(column, JSON_ESCAPED), False)
    if not pc.any(special).as_py():
        return texts
    escaped = [json.dumps(value, ensure_ascii=False) for value in column.filter(special).to_pylist()]
    return pc.replace_with_mask(texts, special, pa.array(escaped, pa.large_string()))


def _json_value(value: Any) -> str | None:
    return None if value is None else json.dumps(_finite(value), ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not support, by None, and bytes by text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
