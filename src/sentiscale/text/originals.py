"""All columns of a table's records, for those who keep them beside what they compute."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from sentiscale.text.compiled import Bytes, Offsets
from sentiscale.text.csv_scanner import Fields, csv_column, gather

OBJECT = "\0object"
"""Name of the only column where JSON objects are kept as they are written."""
WHOLE_OBJECTS = pa.schema([(OBJECT, pa.large_string())])


def as_text(values: pa.Array) -> pa.Array:
    """Binaries as large strings; what is no UTF-8 becomes U+FFFD."""
    try:
        return values.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts = [None if value is None else value.decode("utf-8", "replace") for value in values.to_pylist()]
        return pa.array(texts, pa.large_string())


def null_rows(schema: pa.Schema, rows: int) -> pa.Table:
    """A table of nothing but nulls."""
    return pa.Table.from_arrays([pa.nulls(rows, kind) for kind in schema.types], schema=schema)


def csv_table(
    data: Bytes, fields: Fields, columns: tuple[str, ...], records: NDArray[np.int64], schema: pa.Schema
) -> pa.Table:
    """The wanted columns of some CSV records, which have a field for each of `columns`."""
    values = [as_text(csv_column(data, fields, columns.index(name), records)) for name in schema.names]
    return pa.Table.from_arrays(values, schema=schema)


def json_table(
    data: Bytes, spans: tuple[Offsets, Offsets], good: NDArray[np.bool_], clean: bool, schema: pa.Schema
) -> pa.Table:
    """The wanted keys of JSON objects, a line each.

    Args:
        data: the block.
        spans: start and end of each record's line.
        good: which of them are objects; the others are rows of nulls.
        clean: whether each line is one object that Arrow can read.
        schema: keys and their types; OBJECT alone gives the objects as they are written.
    """
    if schema.names == [OBJECT]:
        lines = as_text(gather(data, *spans))
        return pa.Table.from_arrays([pc.if_else(pa.array(good), lines, None)], schema=schema)
    table = _read_all(data, schema) if clean else None
    if table is not None and table.num_rows == len(good):
        return table.select(schema.names).combine_chunks()
    objects = [
        _document(data[start:end]) if fine else {}
        for start, end, fine in zip(*(span.tolist() for span in spans), good.tolist(), strict=True)
    ]
    values = [_column([item.get(field.name) for item in objects], field.type) for field in schema]
    return pa.Table.from_arrays(values, schema=schema)


def json_schema(blocks: Iterable[bytes]) -> pa.Schema:
    """Keys of the objects of all blocks and the types that hold all their values.

    Text stays text, also where it looks like a time. A key whose values agree on no type becomes text too:
    its values are written as JSON.
    """
    types: dict[str, pa.DataType] = {}
    for block in blocks:
        for name, kind in _types_in(block).items():
            types[name] = common_type(types.get(name, pa.null()), kind)
    return pa.schema([(name, _without_null(kind)) for name, kind in types.items()])


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """A type that holds the values of both; text where there is none."""
    both = [pa.schema([("", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.large_string()


def _types_in(block: bytes) -> dict[str, pa.DataType]:
    table = _read_all(np.frombuffer(block, np.uint8), None)
    if table is not None:
        return {field.name: _without_times(field.type) for field in table.schema}
    objects = [_document(line) for line in block.split(b"\n")]
    names = dict.fromkeys(name for item in objects for name in item)
    return {name: _inferred([item.get(name) for item in objects]) for name in names}


def _read_all(data: Bytes, schema: pa.Schema | None) -> pa.Table | None:
    """All objects of a block; None when Arrow does not take one of them."""
    behavior = "infer" if schema is None else "ignore"
    try:
        return pj.read_json(
            pa.BufferReader(pa.py_buffer(data)),
            read_options=pj.ReadOptions(use_threads=False, block_size=max(len(data) + 1, 64)),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=behavior),
        )
    except pa.ArrowInvalid:
        return None


def _document(line: Bytes | bytes) -> dict[str, Any]:
    """The object of a line; an empty one where there is none."""
    try:
        found = json.loads(bytes(line).decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _inferred(values: list[Any]) -> pa.DataType:
    try:
        return _without_times(pa.array(values).type)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.large_string()


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        values = [value if value is None else value.encode("utf-8", "replace").decode() for value in values]
    return pa.array(values, kind)


def _without_times(kind: pa.DataType) -> pa.DataType:
    """The type with text for times, as they were written."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return pa.string()
    return _mapped(kind, _without_times)


def _without_null(kind: pa.DataType) -> pa.DataType:
    """The type with text where nothing but nulls was seen."""
    return pa.string() if pa.types.is_null(kind) else _mapped(kind, _without_null)


def _mapped(kind: pa.DataType, change: Any) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, change(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(change(kind.value_type))
    return kind
