"""A table as JSON lines, column by column: Python looks only at the values that need it."""

import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sentiscale.text.clean import raw_rows

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
