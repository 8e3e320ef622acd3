"""One block of raw records to columns: fastText lines, CSV, JSON lines, Arrow; and columns to reviews."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from sentiscale.text.clean import raw_rows
from sentiscale.text.compiled import Bytes, frozen
from sentiscale.text.csv_scanner import (
    CR,
    LF,
    Fields,
    csv_column,
    gather,
    line_spans,
    split_csv,
    split_labels,
    text_faults,
    trimmed,
)
from sentiscale.text.labels import MIDDLE, NONE, UNKNOWN, Reason, label_codes, star_codes
from sentiscale.text.originals import csv_table, json_table, null_rows

LabelMode = Literal["required", "optional", "none"]
SNIPPET_BYTES = 200
MAX_RECORD_BYTES = 16 * 2**20
"""A longer record is rejected; no review is that long, but broken files have such lines."""
MOST_STRAY_QUOTES = 50
COLON = pa.scalar(b": ", pa.large_binary())


@dataclass(frozen=True)
class Layout:
    """Where a file keeps text, title and label; worked out once a file, used for each of its blocks."""

    format: Literal["fasttext", "csv", "jsonl", "parquet"]
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
    others: pa.Schema | None = None
    """Columns wanted beside text and label, by name and type; None for none."""


def _no_lines() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Columns:
    """Records of a block, before anybody judged them; all arrays have one entry a record."""

    text: pa.Array
    """Binaries, title included."""
    label: pa.Array | None
    """Raw label values of any type; None when the file has none."""
    lines: NDArray[np.int64]
    """Line (or row) of the block on which each record begins, from 0."""
    line_count: int
    """Lines (or rows) of the whole block."""
    faults: NDArray[np.uint8]
    """Reason.MALFORMED or TOO_LONG where a record cannot be used as it stands, else Reason.NONE."""
    blank: NDArray[np.int64] = field(default_factory=_no_lines)
    """Blank lines of the block, which are no records."""
    others: pa.Table | None = None
    """The columns of `Layout.others`; nulls in records that could not be parsed."""


@dataclass(frozen=True)
class Reviews:
    """Judged records of a block."""

    text: pa.Array
    """Large binaries; rows to be rejected included."""
    codes: NDArray[np.uint8]
    """Label codes of `sentiscale.text.labels`."""
    lines: NDArray[np.int64]
    line_count: int
    reasons: NDArray[np.uint8]
    """Reason of each row, NONE where it is good so far."""
    blank: NDArray[np.int64] = field(default_factory=_no_lines)
    """Blank lines of the block, which are no rows."""

    def snippets(self, rows: NDArray[np.int64]) -> pa.Array:
        """The first bytes of some rows' texts as valid strings, for rejects.parquet."""
        cut = [text[:SNIPPET_BYTES] for text in self.text.take(pa.array(rows)).to_pylist()]
        return pa.array(
            [text.decode("utf-8", "replace").replace("\0", "\ufffd") for text in cut], pa.string()
        )


def parse(data: bytes | memoryview | pa.Buffer, layout: Layout) -> Columns:
    """Parse a block that holds whole records only."""
    return PARSERS[layout.format](frozen(data), layout)


def judge(columns: Columns, layout: Layout, mode: LabelMode) -> Reviews:
    """Give every record its label code and the reason why it cannot be used, if any.

    With mode "required" faulty texts and labels are reasons to reject; otherwise only records that could
    not be parsed are, so that every review can be given a prediction, and bytes that are no UTF-8 become
    U+FFFD.
    """
    text = columns.text
    rows = len(text)
    reasons = columns.faults.copy()
    _note(reasons, np.asarray(pc.binary_length(text)) > MAX_RECORD_BYTES, Reason.TOO_LONG)
    codes = np.full(rows, NONE, np.uint8)
    if columns.label is not None and mode != "none":
        codes = star_codes(columns.label) if layout.stars else label_codes(columns.label)
    data, offsets = raw_rows(text)
    faults = np.zeros(rows, np.uint8)
    if len(data) and not 0 < data.min() <= data.max() < 0x80:
        text_faults(data, offsets, Reason.NUL_BYTE, Reason.INVALID_UTF8, faults)
    if mode != "required":
        text = _repaired(text, faults != 0) if faults.any() else text
    else:
        _note(reasons, faults != 0, faults)
        _note(reasons, codes == NONE, Reason.NO_LABEL)
        _note(reasons, codes == UNKNOWN, Reason.UNKNOWN_LABEL)
        _note(reasons, codes == MIDDLE, Reason.NEUTRAL)
        _note(reasons, np.diff(offsets) == 0, Reason.NO_TEXT)
    return Reviews(text, codes, columns.lines, columns.line_count, reasons, columns.blank)


def _repaired(text: pa.Array, faulty: NDArray[np.bool_]) -> pa.Array:
    """The texts with U+FFFD for what is no UTF-8."""
    mask = pa.array(faulty)
    repaired = [value.decode("utf-8", "replace").encode() for value in text.filter(mask).to_pylist()]
    return pc.replace_with_mask(text, mask, pa.array(repaired, pa.large_binary()))


def _note(reasons: NDArray[np.uint8], where: NDArray[np.bool_], reason: int | NDArray[np.uint8]) -> None:
    """Enter a reason for rows that have none yet."""
    where = where & (reasons == Reason.NONE)
    reasons[where] = reason[where] if isinstance(reason, np.ndarray) else reason


def too_long(snippet: bytes, line_count: int) -> Reviews:
    """The one rejected row that stands for a record beyond the size limit."""
    one = np.zeros(1, np.int64)
    text = pa.array([snippet], pa.large_binary())
    return Reviews(text, np.array([NONE], np.uint8), one, line_count, np.array([Reason.TOO_LONG], np.uint8))


def parse_fasttext(data: Bytes, layout: Layout) -> Columns:
    """Lines that begin with `__label__X`; a file without labels is one review a line."""
    starts, ends = line_spans(data, layout.terminator)
    label_starts, label_ends, text_starts, text_ends = split_labels(data, starts, ends)
    long = ends - starts > MAX_RECORD_BYTES
    text_starts = np.where(long, starts, text_starts)
    text_ends = np.where(long, np.minimum(ends, starts + SNIPPET_BYTES), text_ends)
    faults = np.where(long, Reason.TOO_LONG, Reason.NONE).astype(np.uint8)
    lines = np.arange(len(starts))
    blank = _no_lines()
    filled = (text_ends > text_starts) | (label_starts > 0)
    if layout.label is not None and not filled.all():  # without labels every line is a review
        lines, blank, faults = lines[filled], lines[~filled], faults[filled]
        label_starts, label_ends = label_starts[filled], label_ends[filled]
        text_starts, text_ends = text_starts[filled], text_ends[filled]
    text = gather(data, text_starts, text_ends)
    label = gather(data, label_starts, label_ends) if layout.label is not None else None
    return Columns(text, label, lines, len(starts), faults, blank)


def parse_csv(data: Bytes, layout: Layout) -> Columns:
    """CSV records; the header is not among them. Records of another width are malformed.

    Where the data ends inside quotes, the line that opened them is malformed and the next one is read as
    if nothing had happened, so that one stray quote does not swallow the rest of a file.
    """
    parts: list[Columns] = []
    while True:
        fields = split_csv(data, ord(layout.delimiter))
        if not fields.unclosed or len(parts) >= 2 * MOST_STRAY_QUOTES:
            return _joined([*parts, _csv_columns(data, fields, layout)])
        begin = fields.begins[-1]
        after = begin + _first_line(data[begin:])
        parts.append(_csv_columns(data[:begin], split_csv(data[:begin], ord(layout.delimiter)), layout))
        parts.append(_malformed_line(data[begin:after], layout))
        data = data[after:]


def _csv_columns(data: Bytes, fields: Fields, layout: Layout) -> Columns:
    good = np.diff(fields.first) == len(layout.columns)
    if fields.unclosed:
        good[-1] = False
    rows = np.flatnonzero(good)
    picked = {
        name: csv_column(data, fields, layout.columns.index(name), rows)
        for name in (layout.text, layout.title, layout.label)
        if name is not None
    }
    text = join_title(picked[layout.text], picked.get(layout.title or ""))
    if layout.escapes:
        text = pc.replace_substring(text, b"\\n", b" ")
    label = picked.get(layout.label or "")
    wanted, others = layout.others, None
    if wanted is not None:
        others = csv_table(data, fields, layout.columns, rows, wanted)
    if len(rows) < len(good):  # malformed records keep their place, with the raw record as text
        place = pa.array(np.cumsum(good) - 1, mask=~good)
        ends = np.minimum(np.append(fields.begins[1:], len(data)), fields.begins + SNIPPET_BYTES)
        text = pc.if_else(pa.array(good), text.take(place), gather(data, fields.begins, ends))
        label = label.take(place) if label is not None else None
        others = others.take(place) if others is not None else None
    faults = np.where(good, Reason.NONE, Reason.MALFORMED).astype(np.uint8)
    return Columns(text, label, fields.lines, _breaks(data), faults, fields.blank, others)


def _malformed_line(data: Bytes, layout: Layout) -> Columns:
    text = pa.array([data[:SNIPPET_BYTES].tobytes()], pa.large_binary())
    faults = np.array([Reason.MALFORMED], np.uint8)
    others = null_rows(layout.others, 1) if layout.others is not None else None
    none = pa.nulls(1, pa.large_binary())
    return Columns(text, none, np.zeros(1, np.int64), _breaks(data), faults, others=others)


def _joined(parts: list[Columns]) -> Columns:
    """Columns of consecutive pieces of one block."""
    if len(parts) == 1:
        return parts[0]
    before = np.cumsum([0] + [part.line_count for part in parts])
    return Columns(
        text=pa.concat_arrays([part.text for part in parts]),
        label=pa.concat_arrays([part.label for part in parts]) if parts[0].label is not None else None,
        lines=np.concatenate([part.lines + lines for part, lines in zip(parts, before, strict=False)]),
        line_count=int(before[-1]),
        faults=np.concatenate([part.faults for part in parts]),
        blank=np.concatenate([part.blank + lines for part, lines in zip(parts, before, strict=False)]),
        others=pa.concat_tables([part.others for part in parts]) if parts[0].others is not None else None,
    )


def _first_line(data: Bytes) -> int:
    """Bytes up to and including the first line break, all when there is none."""
    breaks = np.flatnonzero((data == LF) | ((data == CR) & (np.append(data[1:], CR) != LF)))
    return int(breaks[0]) + 1 if len(breaks) else len(data)


def count_lines(data: bytes, layout: Layout) -> int:
    """Lines (of Parquet: rows) of a block, as `parse` counts them."""
    if layout.format == "parquet":
        with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
            return int(stream.read_all().num_rows)
    if layout.format == "csv":
        return _breaks(frozen(data))
    terminator = bytes([layout.terminator])
    return data.count(terminator) + (len(data) > 0 and not data.endswith(terminator))


def _breaks(data: Bytes) -> int:
    """Line breaks (LF, CR LF or CR) in the data."""
    feeds, returns = data == LF, data == CR
    return int(feeds.sum() + returns.sum() - (returns[:-1] & feeds[1:]).sum())


def parse_jsonl(data: Bytes, layout: Layout) -> Columns:
    """One JSON object a line; a block with a line that Arrow cannot read is read line by line."""
    starts, ends = line_spans(data)
    inner, last = trimmed(data, starts, ends)
    has_text = (last > inner) | (ends - starts > MAX_RECORD_BYTES)
    filled, blank = np.flatnonzero(has_text), np.flatnonzero(~has_text)
    starts, ends, inner, last = (place[filled] for place in (starts, ends, inner, last))
    lines = len(filled) + len(blank)
    names = [name for name in (layout.text, layout.title, layout.label) if name is not None]
    parsed = None
    # Arrow does not look at line ends: only between braces can they be trusted to part the objects.
    if np.all(data[inner] == ord("{")) and np.all(data[last - 1] == ord("}")):
        parsed = _read_json(data, names, layout)
    clean = parsed is not None and len(parsed[names[0]]) == len(filled)
    if parsed is not None and clean:
        good = np.ones(len(filled), np.bool_)
    else:
        parsed, good = _read_json_lines(data, starts, ends, names, layout)
    text = join_title(parsed[layout.text], parsed.get(layout.title or ""))
    faults = np.where(good, Reason.NONE, Reason.MALFORMED).astype(np.uint8)
    faults[ends - starts > MAX_RECORD_BYTES] = Reason.TOO_LONG
    raw = gather(data, starts, np.minimum(ends, starts + SNIPPET_BYTES))
    text = pc.if_else(pa.array(faults == Reason.NONE), text, raw) if faults.any() else text
    wanted, others = layout.others, None
    if wanted is not None:
        others = json_table(data, (inner, last), faults == Reason.NONE, clean, wanted)
    return Columns(text, parsed.get(layout.label or ""), filled, lines, faults, blank, others)


def _read_json(data: Bytes, names: list[str], layout: Layout) -> dict[str, pa.Array] | None:
    """Some keys of all objects in the data; None when Arrow does not take one of them."""
    types = {layout.label: pa.type_for_alias(layout.label_type)}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in names])
    try:
        table = pj.read_json(
            pa.BufferReader(pa.py_buffer(data)),
            read_options=pj.ReadOptions(use_threads=False, block_size=max(len(data) + 1, 64)),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    return {name: table[name].combine_chunks() for name in names}


def _read_json_lines(
    data: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], names: list[str], layout: Layout
) -> tuple[dict[str, pa.Array], NDArray[np.bool_]]:
    """The slow way, for blocks with faulty lines or mixed types: values, and which lines are good."""
    values: dict[str, list[bytes | None]] = {name: [] for name in names}
    good = np.ones(len(starts), np.bool_)
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        found = _read_json_line(data[start:end], names, layout)
        good[row] = found is not None
        for name in names:
            values[name].append(found[name] if found is not None else None)
    return {name: pa.array(column, pa.large_binary()) for name, column in values.items()}, good


def _read_json_line(line: Bytes, names: list[str], layout: Layout) -> dict[str, bytes | None] | None:
    """Some keys of one object; None when the line is none. Takes all that Arrow takes."""
    try:
        document = json.loads(line.tobytes().decode("utf-8", "surrogateescape"))
    except json.JSONDecodeError:
        return None
    except (ValueError, RecursionError):  # numbers and nesting beyond Python's limits, perhaps in other keys
        found = _read_json(line, names, layout)
        if found is None or len(found[names[0]]) != 1:
            return None
        return {name: _binary(column)[0].as_py() for name, column in found.items()}
    return {name: _as_bytes(document.get(name)) for name in names} if isinstance(document, dict) else None


def _as_bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, dict | list):
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair: what it becomes is no UTF-8 and rejected as such
        return text.encode("utf-8", "surrogatepass")


def parse_arrow(data: Bytes, layout: Layout) -> Columns:
    """An Arrow stream with the needed columns, as Parquet files are handed over."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        table = stream.read_all()
    text = join_title(_column(table, layout.text), _column(table, layout.title))
    rows = table.num_rows
    others = table.select(layout.others.names) if layout.others is not None else None
    label, faults = _column(table, layout.label), np.zeros(rows, np.uint8)
    return Columns(text, label, np.arange(rows), rows, faults, others=others)


def _column(table: pa.Table, name: str | None) -> Any:
    return table[name].combine_chunks() if name is not None else None


def join_title(text: pa.Array, title: pa.Array | None) -> pa.Array:
    """`title: text`, or the one that is there; large binaries without nulls."""
    text = _binary(text)
    if title is None:
        return text
    title = _binary(title)
    joined = pc.binary_join_element_wise(title, text, COLON)
    joined = pc.if_else(pc.equal(pc.binary_length(title), 0), text, joined)
    return pc.if_else(pc.equal(pc.binary_length(text), 0), title, joined)


def _binary(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not pa.types.is_large_binary(values.type):
        if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
            values = values.cast(pa.large_string())
        values = values.cast(pa.large_binary())
    return values.fill_null(b"") if values.null_count else values


PARSERS: dict[str, Callable[[Bytes, Layout], Columns]] = {
    "fasttext": parse_fasttext,
    "csv": parse_csv,
    "jsonl": parse_jsonl,
    "parquet": parse_arrow,
}
