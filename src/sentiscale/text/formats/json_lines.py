"""JSON files: one object per line, one after the other, or in an array."""

import ast
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from shlex import quote
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError, UsageError
from sentiscale.text.compiled import Bytes, Offsets
from sentiscale.text.formats import base
from sentiscale.text.formats.base import (
    Columns,
    FileStart,
    InputFormat,
    LabelMode,
    TableFormat,
    as_binary,
    as_text,
    choose_columns,
    join_title,
    nested_column,
)
from sentiscale.text.formats.json_records import RecordLines
from sentiscale.text.labels import Reason
from sentiscale.text.lines import gather, line_spans, trimmed

OBJECT = "\0object"
"""Name of the single column that stores unparsed JSON objects."""
WHOLE_OBJECTS = pa.schema([(OBJECT, pa.large_string())])
START = re.compile(rb"""\s*(\{\s*("[^"]*"\s*:|'[^']*'\s*:|\})|\[\s*(\{|\[|"[^"\n]*"\s*[,\]]))""")
"""Beginning of an object or array, also of one that Python wrote, but not of text in braces or brackets."""
FROM_PYTHON = (
    'python3 -c "import ast, json, sys; [print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]"'
)
PANDAS_SHAPES = {
    "split": r'\{\s*"columns"\s*:\s*\[',
    "columns": r'\{\s*"[^"]*"\s*:\s*(\{\s*"\d+"\s*:|\[\s*[^\s\[{])',
    "index": r'\{\s*"\d+"\s*:\s*\{',
}
"""Beginnings of the objects that `DataFrame.to_json` and `DataFrame.to_dict("list")` write, by `orient`."""
SAMPLE_LINES = 200
LABEL_TYPES = {int: "int64", float: "double", bool: "bool"}


class JsonLines(InputFormat):
    name = "jsonl"
    title = "JSON lines"
    suffixes = (".jsonl", ".ndjson", ".json")

    def recognises(self, start: bytes) -> bool:
        return START.match(start) is not None

    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        document, objects = _sample(start)
        if not objects:
            _refuse(start)
        keys = list(dict.fromkeys(key for item in objects for key in item))
        names = list(dict.fromkeys(name for item in objects for name in _dotted(item)))
        try:
            chosen = choose_columns(self.name, start.path, names, settings, mode)
        except DataError as error:
            if len(objects) == 1:
                _refuse_shape(start)
                if inner := _lists_of_objects(objects[0]):
                    raise _one_object(start, inner[0]) from error
            raise
        table = replace(chosen, columns=tuple(keys), document=document)
        for name in (table.text, table.title, table.label):
            values = [_value(item, _parts(name, table)) for item in objects] if name else []
            nested = [isinstance(value, dict | list) for value in values if value is not None]
            if 2 * sum(nested) > len(nested):  # fewer are rows without text or label
                if len(objects) == 1:
                    _refuse_shape(start)
                inner = [each for each in names if each.startswith(f"{name}.")]
                remedy = f"Name one of its fields: {', '.join(inner)}." if inner else "Name another column."
                raise DataError(f"column '{name}' of {start.path} contains objects or lists. {remedy}")
        texts = [_value(item, _parts(table.text, table)) for item in objects]
        texts = [value for value in texts if value is not None and value == value]  # NaN differs from itself
        if texts and not any(isinstance(value, str) for value in texts):
            raise DataError(
                f"column '{table.text}' of {start.path} contains {json.dumps(texts[0])} and no text. It has: "
                f"{', '.join(names)}. Name the column of the reviews with --text-column."
            )
        labels = [_value(item, _parts(table.label, table)) for item in objects] if table.label else []
        kinds = {type(label) for label in labels if label is not None}
        if kinds == {int, float}:
            kinds = {float}
        label_type = LABEL_TYPES.get(kinds.pop(), "string") if len(kinds) == 1 else "string"
        return replace(table, label_type=label_type)

    def parse(self, data: Bytes, table: TableFormat) -> Columns:
        """Parse a block with Arrow, or line by line if Arrow cannot parse one of its lines."""
        starts, ends = line_spans(data)
        inner, last = trimmed(data, starts, ends)
        has_text = (last > inner) | (ends - starts > base.MAX_RECORD_BYTES)
        lines, blank = np.flatnonzero(has_text), np.flatnonzero(~has_text)
        starts, ends, inner, last = (place[lines] for place in (starts, ends, inner, last))
        names = [name for name in (table.text, table.title, table.label) if name is not None]
        types = {table.label: pa.type_for_alias(table.label_type)}
        schema = pa.schema([(name, types.get(name, pa.string())) for name in names])
        places = {name: _parts(name, table) for name in names}
        parsed = None
        # Arrow ignores line ends, so records and lines match only if each line begins and ends with a brace.
        if np.all(data[inner] == ord("{")) and np.all(data[last - 1] == ord("}")):
            parsed = _read_json(data, _nested_schema(schema, places))
        clean = parsed is not None and parsed.num_rows == len(lines)
        if parsed is not None and clean:
            values = {name: nested_column(parsed, name) for name in names}
            good = np.ones(len(lines), np.bool_)
        else:
            values, good = _read_line_by_line(data, starts, ends, places)
        text = join_title(values[table.text], values.get(table.title or ""))
        faults = np.where(good, Reason.NONE, Reason.MALFORMED).astype(np.uint8)
        faults[ends - starts > base.MAX_RECORD_BYTES] = Reason.TOO_LONG
        if faults.any():
            raw = gather(data, starts, np.minimum(ends, starts + base.SNIPPET_BYTES))
            text = pc.if_else(pa.array(faults == Reason.NONE), text, raw)
        extra = None
        if table.extra is not None:
            extra = _extra_columns(data, (inner, last), faults == Reason.NONE, clean, table.extra)
        line_count = len(lines) + len(blank)
        return Columns(text, values.get(table.label or ""), lines, line_count, faults, blank, extra)

    def full_schema(
        self, path: str, table: TableFormat, blocks: Iterable[bytes] | None, *, whole_records: bool
    ) -> pa.Schema:
        """Return all keys, each with a type that fits all its values; WHOLE_OBJECTS if `whole_records`.

        Text that looks like a time remains text. A key whose values have no common type becomes text too, and
        its values are written as JSON.

        Raises: UsageError when the columns are needed but the file cannot be read twice.
        """
        if whole_records:
            return WHOLE_OBJECTS
        if blocks is None:
            raise UsageError(
                f"the columns of JSON lines are known only after reading all of them, and {path} can be read "
                f"once. Write --out FILE.jsonl, or give a file."
            )
        types: dict[str, pa.DataType] = {}
        for block in blocks:
            for name, kind in _types_in(block).items():
                types[name] = common_type(types.get(name, pa.null()), kind)
        return pa.schema([(name, _null_as_text(kind)) for name, kind in types.items()])


def _sample(start: FileStart) -> tuple[bool, list[dict[str, Any]]]:
    """Return whether the records are not one per line, and the first objects."""

    def objects_of(data: bytes) -> list[dict[str, Any]]:
        lines = data.split(b"\n")
        sample = (lines if start.whole else lines[:-1])[:SAMPLE_LINES]
        return [found for line in sample if (found := _object(line)) is not None]

    first = start.data.lstrip().partition(b"\n")[0]
    by_line = objects_of(start.data)
    if by_line and not first.startswith(b"[") and not first.rstrip().endswith(b"},"):
        return False, by_line
    return True, objects_of(RecordLines()(start.data, start.whole))


def _refuse(start: FileStart) -> NoReturn:
    """Raise DataError for a file without JSON objects, with the remedy that its beginning suggests."""
    try:
        written_by_python = isinstance(
            ast.literal_eval(start.data.lstrip().partition(b"\n")[0].decode()), dict
        )
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        written_by_python = False
    if written_by_python:
        raise DataError(
            f"{start.path} contains Python dicts, not JSON. Convert it: "
            f"{start.reader} | {FROM_PYTHON} > reviews.jsonl"
        )
    _refuse_shape(start)
    if (key := re.match(rb'\s*\{\s*"([^"]*)"\s*:\s*\[', start.data)) is not None:
        raise _one_object(start, key[1].decode("utf-8", "replace"))
    raise DataError(
        f"{start.path} has no JSON object in its first lines. Allowed: one object per line, or an array of "
        f"objects. If jq reads it, convert it: {start.reader} | jq -c . > reviews.jsonl"
    )


def _refuse_shape(start: FileStart) -> None:
    """Raise DataError for one object that pandas wrote, or for lists, with the command that converts it."""
    data = start.data.decode("utf-8", "replace").lstrip()
    for orient, pattern in PANDAS_SHAPES.items():
        if re.match(pattern, data):
            code = (
                f"import pandas; pandas.read_json({json.dumps(start.path, ensure_ascii=False)}, "
                f'orient="{orient}").to_json("reviews.jsonl", orient="records", lines=True)'
            )
            raise DataError(
                f"{start.path} is one JSON object with a whole table, as pandas writes it (orient={orient}). "
                f"Convert it: python3 -c {quote(code)}"
            )
    if data.startswith("[") and (rows := _objects_of_lists(data)) is not None:
        raise DataError(
            f"{start.path} contains lists, not objects. Convert it: "
            f"{start.reader} | jq -c {quote(rows)} > reviews.jsonl"
        )


def _objects_of_lists(data: str) -> str | None:
    """Return the jq filter that names the values of lists: the longest string of the first is the text.

    Returns None if the first list has no string.
    """
    inside = re.match(r"\[\s*(?=\[)", data)
    try:
        row, end = json.JSONDecoder().raw_decode(data, inside.end() if inside else 0)
    except ValueError:
        row, end = [], len(data)
    if not inside and not data[end:].lstrip().startswith("["):
        return ".[] | {text: .}" if re.match(r'\[\s*"', data) else None
    texts = [place for place, value in enumerate(row) if isinstance(value, str)]
    if not texts:
        return None
    text = max(texts, key=lambda place: len(row[place]))
    others = [place for place in range(len(row)) if place != text]
    names = ["label"] if len(others) == 1 else [f"column{place + 1}" for place in others]
    pairs = "".join(f"{name}: .[{place}], " for name, place in zip(names, others, strict=True))
    return f"{'.[] | ' if inside else ''}{{{pairs}text: .[{text}]}}"


def _one_object(start: FileStart, key: str) -> DataError:
    return DataError(
        f"{start.path} is one JSON object whose records are in the list '{key}'. Extract them: "
        f"{start.reader} | jq -c '.[\"{key}\"][]' > reviews.jsonl"
    )


def _lists_of_objects(item: dict[str, Any]) -> list[str]:
    return [
        key for key, value in item.items() if isinstance(value, list) and value and isinstance(value[0], dict)
    ]


def _dotted(item: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the keys of an object and, with dots, those of the objects in it."""
    for key, value in item.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")


def _parts(name: str, table: TableFormat) -> list[str]:
    """Split a name with dots into keys, unless it is a key itself."""
    return [name] if name in table.columns else name.split(".")


def _value(item: dict[str, Any], parts: list[str]) -> Any:
    value: Any = item
    for part in parts:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _nested_schema(schema: pa.Schema, places: dict[str, list[str]]) -> pa.Schema:
    """Replace names with dots by structs."""
    fields: dict[str, Any] = {}
    for field in schema:
        *parents, last = places[field.name]
        inside = fields
        for parent in parents:
            inside = inside.setdefault(parent, {})
        inside[last] = field.type

    def made(inner: Any) -> pa.DataType:
        if not isinstance(inner, dict):
            return inner
        return pa.struct([(name, made(kind)) for name, kind in inner.items()])

    return pa.schema([(name, made(kind)) for name, kind in fields.items()])


def _read_json(data: Bytes, schema: pa.Schema | None) -> pa.Table | None:
    """Read the keys in `schema`, or all keys if it is None; returns None if Arrow rejects an object."""
    behavior = "infer" if schema is None else "ignore"
    try:
        return pj.read_json(
            pa.BufferReader(pa.py_buffer(data)),
            read_options=pj.ReadOptions(use_threads=False, block_size=max(len(data) + 1, 64)),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=behavior),
        )
    except pa.ArrowInvalid:
        return None


def _read_line_by_line(
    data: Bytes, starts: Offsets, ends: Offsets, places: dict[str, list[str]]
) -> tuple[dict[str, pa.Array], NDArray[np.bool_]]:
    """Read a block with invalid lines or mixed types, slowly.

    Returns the values of each key, and whether each line is an object.
    """
    spans = zip(starts.tolist(), ends.tolist(), strict=True)
    rows = [_read_line(data[start:end], places) for start, end in spans]
    good = np.array([row is not None for row in rows], np.bool_)
    values = {
        name: pa.array([row[name] if row is not None else None for row in rows], pa.large_binary())
        for name in places
    }
    return values, good


def _read_line(line: Bytes, places: dict[str, list[str]]) -> dict[str, bytes | None] | None:
    """Read the values at `places` from one line; returns None if it is not an object.

    Accepts every object that Arrow accepts.
    """
    try:
        document = json.loads(line.tobytes().decode("utf-8", "surrogateescape"))
    except json.JSONDecodeError:
        return None
    except (ValueError, RecursionError):  # numbers or nesting beyond Python's limits
        schema = pa.schema([(name, pa.string()) for name in places])
        parsed = _read_json(line, _nested_schema(schema, places))
        if parsed is None or parsed.num_rows != 1:
            return None
        return {name: as_binary(nested_column(parsed, name))[0].as_py() for name in places}
    if not isinstance(document, dict):
        return None
    return {name: _encoded(_value(document, parts)) for name, parts in places.items()}


def _encoded(value: Any) -> bytes | None:
    if value is None or value != value or isinstance(value, dict | list):  # NaN differs from itself
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate: the result is rejected as invalid UTF-8
        return text.encode("utf-8", "surrogatepass")


def _extra_columns(
    data: Bytes, spans: tuple[Offsets, Offsets], good: NDArray[np.bool_], clean: bool, schema: pa.Schema
) -> pa.Table:
    """Read the keys that `predict` copies, or unparsed objects; rows that are not `good` are null.

    Args:
        data: the block.
        spans: start and end of each record's line.
        good: whether each record is an object.
        clean: whether every line is a single object that Arrow can parse.
        schema: keys and their types.
    """
    if schema.names == [OBJECT]:
        lines = as_text(gather(data, *spans))
        return pa.Table.from_arrays([pc.if_else(pa.array(good), lines, None)], schema=schema)
    table = _read_json(data, schema) if clean else None
    if table is not None and table.num_rows == len(good):
        return table.select(schema.names).combine_chunks()
    objects = [
        (_object(data[start:end]) if fine else None) or {}
        for start, end, fine in zip(*(span.tolist() for span in spans), good.tolist(), strict=True)
    ]
    values = [_column([item.get(field.name) for item in objects], field.type) for field in schema]
    return pa.Table.from_arrays(values, schema=schema)


def _object(line: Bytes | bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(bytes(line).decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        values = [value if value is None else value.encode("utf-8", "replace").decode() for value in values]
    elif pa.types.is_floating(kind):
        values = [value if value is None else _number(value) for value in values]
    return pa.array(values, kind)


def _number(value: Any) -> float:
    """Return a number, also one that is written as text; NaN for other values."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return a type that can represent the values of both types; text if there is no such type."""
    both = [pa.schema([("", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.large_string()


def _types_in(block: bytes) -> dict[str, pa.DataType]:
    table = _read_json(np.frombuffer(block, np.uint8), None)
    if table is not None:
        return {field.name: _time_as_text(field.type) for field in table.schema}
    objects = [_object(line) or {} for line in block.split(b"\n")]
    names = dict.fromkeys(name for item in objects for name in item)
    return {name: _inferred([item.get(name) for item in objects]) for name in names}


def _inferred(values: list[Any]) -> pa.DataType:
    try:
        return _time_as_text(pa.array(values).type)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.large_string()


def _time_as_text(kind: pa.DataType) -> pa.DataType:
    """Replace time types with strings, because Arrow would write times in another format."""
    temporal = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind)
    return pa.string() if temporal else _inside(kind, _time_as_text)


def _null_as_text(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_null(kind) else _inside(kind, _null_as_text)


def _inside(kind: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """Apply `change` to the types inside structs and lists."""
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, change(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(change(kind.value_type))
    return kind
