"""Parquet files, passed from reader to parser as Arrow streams."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError
from sentiscale.text.compiled import Bytes
from sentiscale.text.formats.base import (
    Columns,
    FileStart,
    InputFormat,
    LabelMode,
    TableFormat,
    choose_columns,
    is_bytes,
    join_title,
    nested_column,
)
from sentiscale.util.storage import open_file, split_member, stored_file

MOST_BATCH_ROWS = 2**20
VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


class Parquet(InputFormat):
    name = "parquet"
    title = "Parquet"
    suffixes: tuple[str, ...] = (".parquet",)
    one_record_per_line = False
    in_batches = True

    def recognises(self, start: bytes) -> bool:
        return start.startswith(b"PAR1")

    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        path = start.path
        if start.pipe:
            raise DataError(
                f"{path} is a pipe, but Parquet files cannot be read sequentially. Give the file."
            )
        if split_member(path) is not None:
            raise DataError(f"{path} is a Parquet file in an archive. Unpack the archive.")
        if start.compression:
            raise DataError(
                f"{path} is a compressed Parquet file; decompress it first (Parquet compresses inside)."
            )
        try:
            schema = _stored_schema(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{path} is not a readable Parquet file: {error}. Get it again.") from error
        named = [each for field in schema for each in _nested_types(field)]
        kinds = dict(named)
        table = choose_columns(self.name, path, [name for name, _ in named], settings, mode)
        for name in (table.text, table.title, table.label):
            if name is not None and pa.types.is_nested(kinds[name]):
                inner = [each for each in kinds if each.startswith(f"{name}.")]
                remedy = f"Name one of its fields: {', '.join(inner)}" if inner else "Name another column"
                raise DataError(
                    f"column '{name}' of {path} is of type {kinds[name]}; text, numbers or truth values are "
                    f"needed. {remedy}, or write the file with a flat one."
                )
        if not _is_text(kinds[table.text]):
            texts = ", ".join(name for name, kind in kinds.items() if _is_text(kind) and name != table.label)
            raise DataError(
                f"column '{table.text}' of {path} is of type {kinds[table.text]}, not text. "
                + (
                    f"Columns of text: {texts}. Name one with --text-column."
                    if texts
                    else "No other is text."
                )
            )
        others = tuple(name for name in table.others if not pa.types.is_nested(kinds[name]))
        names = _class_names(schema, table.label)
        return replace(table, columns=tuple(schema.names), others=others, label_names=names)

    def schema(self, path: str, table: TableFormat | None = None) -> pa.Schema:
        return _stored_schema(path).remove_metadata()

    def batches(self, path: str, table: TableFormat, block_bytes: int) -> Iterator[tuple[bytes, int]]:
        """Yield batches of the needed columns as Arrow streams."""
        extra = table.extra.names if table.extra is not None else []
        needed = (table.text, table.title, table.label, *extra)
        columns = list(dict.fromkeys(name for name in needed if name is not None))
        try:
            with open_file(path) as file:
                parquet = pq.ParquetFile(file, memory_map=False, pre_buffer=False)
                groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
                rows = max(parquet.metadata.num_rows, 1)
                size = stored_file(path).size
                row_bytes = sum(group.total_byte_size for group in groups) / rows
                batch_rows = max(1, min(int(block_bytes / max(row_bytes, 1)), MOST_BATCH_ROWS))
                for batch in parquet.iter_batches(batch_rows, columns=columns, use_threads=False):
                    sink = pa.BufferOutputStream()
                    with pa.ipc.new_stream(sink, batch.schema) as writer:
                        writer.write_batch(batch)
                    yield sink.getvalue().to_pybytes(), size * batch.num_rows // rows
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{path} is damaged: {error}. Get it again.") from error

    def parse(self, data: Bytes, table: TableFormat) -> Columns:
        stream = read_stream(data)

        def column(name: str | None) -> Any:
            return nested_column(stream, name) if name is not None else None

        rows = stream.num_rows
        text = join_title(column(table.text), column(table.title))
        extra = stream.select(table.extra.names) if table.extra is not None else None
        faults = np.zeros(rows, np.uint8)
        label = column(table.label)
        if table.label_names:
            label = _named(label, table.label_names)
        return Columns(text, label, np.arange(rows), rows, faults, extra=extra)

    def count_lines(self, data: bytes, table: TableFormat) -> int:
        return int(read_stream(data).num_rows)


def _is_text(kind: pa.DataType) -> bool:
    """Whether a column may contain texts; one of type null contains nothing."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    strings = pa.string(), pa.large_string(), pa.string_view(), pa.null()
    return value in strings or is_bytes(value)


def _stored_schema(path: str) -> pa.Schema:
    with open_file(path) as file:
        return pq.ParquetFile(file).schema_arrow


def _class_names(schema: pa.Schema, column: str | None) -> tuple[str, ...]:
    """Return the names of a column's labels, which Hugging Face datasets stores in the schema."""
    try:
        stored = json.loads((schema.metadata or {})[b"huggingface"])
        names = stored["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _named(labels: pa.Array, names: tuple[str, ...]) -> pa.Array:
    """Replace the numbers of labels with their names; numbers without a name, such as -1, become null."""
    numbers = labels.cast(pa.int64())
    named = pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, len(names)))
    return pa.array(names, pa.large_string()).take(pc.if_else(named, numbers, None))


def _nested_types(field: pa.Field) -> Iterator[tuple[str, pa.DataType]]:
    """Yield the name and type of a column and, with dots, those of the fields of a struct."""
    yield field.name, field.type
    if pa.types.is_struct(field.type):
        for inner in field.type:
            for name, kind in _nested_types(inner):
                yield f"{field.name}.{name}", kind


def read_stream(data: Bytes | bytes) -> pa.Table:
    """Read a batch; views become plain strings and bytes, which Arrow can filter and concatenate."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        table = stream.read_all()
    for place, field in enumerate(table.schema):
        if (plain := VIEWS.get(field.type)) is not None:
            table = table.set_column(place, field.name, table.column(place).cast(plain))
    return table
