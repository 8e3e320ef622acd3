"""Divide the input into partitions and encode each one as a shard.

A shard holds the usable reviews of its partition as ids into the partition's own word list. Shards are
written atomically, so `--resume` can reuse finished ones.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from sentiscale.config import Cleaning
from sentiscale.data.blocks import RawBlock
from sentiscale.data.corpus import Source, read_reviews
from sentiscale.data.duplicates import Records, first_of_each
from sentiscale.data.oddities import raw_oddities
from sentiscale.data.sources import Stream
from sentiscale.data.workspace import Workspace
from sentiscale.text.clean import raw_rows
from sentiscale.text.formats.base import TableFormat
from sentiscale.text.labels import MOST_MEANINGS, LabelCounts, Reason
from sentiscale.text.lines import binary_array
from sentiscale.text.rejects import Reject
from sentiscale.text.reviews import Reviews
from sentiscale.text.tokens import number_new, rule_for

MAX_FILL = 1.1
"""Slices are added to a partition up to this multiple of its target size."""


@dataclass(frozen=True)
class FileSlice:
    """Consecutive whole records of one file, and where workers read them."""

    file: str
    """Path or URL of the input file, for messages."""
    path: str
    """File that workers read: the input file, or a copy of the slice."""
    offset: int
    """Offset of the slice in `path`."""
    begin: int
    """Offset of the slice in the decompressed input file."""
    size: int
    """Decompressed size in bytes."""
    table: TableFormat
    too_long: bool
    """Whether the slice is only the beginning of a single record that exceeds the size limit."""
    lines_before: int | None
    """Header lines before the first slice of a file; None for its other slices."""


class RejectExample(NamedTuple):
    """A rejected row of a partition."""

    reason: str
    slice: int
    line: int
    """Line within the slice, from 0."""
    text: str
    label: str
    problem: str


class PartitionSummary(NamedTuple):
    """Counts and text records of an encoded partition, as returned to the client."""

    rows: int
    """Number of usable rows, including duplicates."""
    words: int
    """Number of distinct words in these rows."""
    meanings: tuple[str, ...]
    """What each label code of the shard stands for; see `label_codes`."""
    values: tuple[LabelCounts, ...]
    """Rows by label value of each slice, including those of rejected rows."""
    records: Records
    """One record per distinct text."""
    rejects: NDArray[np.int64]
    """Number of rejected rows per Reason."""
    examples: tuple[RejectExample, ...]
    """The first rejected row of each Reason."""
    line_counts: NDArray[np.int64]
    """Number of lines per slice."""
    size: int
    """Size of the raw input in bytes."""


@dataclass
class Partition:
    """Consecutive slices of the input, either all or none from the named test set."""

    number: int
    """Number of the partition in input order, from 0."""
    is_test: bool
    slices: tuple[FileSlice, ...]
    consumed: int
    """Bytes of the stored files read for this partition."""
    summary: PartitionSummary = field(init=False)
    """Set when the partition has been encoded."""


def cut_partitions(
    sources: Sequence[tuple[Source, bool]],
    work: Workspace,
    target_bytes: int,
    readable: Callable[[Source], bool],
) -> Iterator[Partition]:
    """Divide files into slices of about `target_bytes` and combine small ones, reading each file once.

    Args:
        sources: files in order, and whether each belongs to the named test set.
        work: workspace for copies of slices that workers cannot read from the file itself.
        target_bytes: target size of a partition.
        readable: returns whether workers can open a file themselves.
    """
    number, size, consumed = 0, 0, 0
    slices: list[FileSlice] = []
    slices_are_test = False
    for source, is_test in sources:
        in_place = readable(source)
        for raw in source.blocks(_slice_bytes(source, target_bytes), in_place=in_place):
            if slices and (is_test != slices_are_test or size + raw.size > target_bytes * MAX_FILL):
                yield Partition(number, slices_are_test, tuple(slices), consumed)
                number, size, consumed, slices = number + 1, 0, 0, []
            slices_are_test = is_test
            copy = None if in_place else work.spool(f"{number:08d}-{len(slices)}", raw.data)
            slices.append(_file_slice(source, raw, copy))
            size += raw.size
            consumed += raw.consumed
    if slices:
        yield Partition(number, slices_are_test, tuple(slices), consumed)


def _slice_bytes(source: Source, target_bytes: int) -> int:
    """Return the slice size that divides a plain file evenly, to avoid a small last slice."""
    if not source.plain or not source.size:
        return target_bytes
    return -(-source.size // -(-source.size // target_bytes))


def _file_slice(source: Source, raw: RawBlock, copy: Path | None) -> FileSlice:
    return FileSlice(
        file=source.name,
        path=str(copy or Path(source.path).absolute()),
        offset=0 if copy else raw.offset,
        begin=raw.offset,
        size=raw.size,
        table=source.table,
        too_long=raw.too_long,
        lines_before=raw.lines_before if raw.first else None,
    )


def first_lines(partitions: Sequence[Partition]) -> list[list[int]]:
    """Return the number of the first line of each slice in its file, from 1, by partition."""
    lines, line = [], 1
    for partition in partitions:
        own = []
        for part, count in zip(partition.slices, partition.summary.line_counts.tolist(), strict=True):
            if part.lines_before is not None:
                line = 1 + part.lines_before
            own.append(line)
            line += count
        lines.append(own)
    return lines


def rejected(partitions: Sequence[Partition]) -> dict[str, int]:
    """Return the number of rejected rows by reason, without reasons that did not occur."""
    counts = sum((partition.summary.rejects for partition in partitions), np.zeros(len(Reason), np.int64))
    return {reason.name.lower(): int(counts[reason]) for reason in Reason if counts[reason]}


def reject_examples(partitions: Sequence[Partition]) -> dict[str, Reject]:
    """Return the first rejected row of each reason."""
    found: dict[str, Reject] = {}
    for partition, lines in zip(partitions, first_lines(partitions), strict=True):
        for reason, number, line, *values in partition.summary.examples:
            place = partition.slices[number].file, lines[number] + line
            found.setdefault(reason, Reject(*place, reason, *values))
    return found


@dataclass(frozen=True)
class EncodeTask:
    """A partition to encode, without its data, because tasks are sent to workers."""

    slices: tuple[FileSlice, ...]
    is_test: bool
    cleaning: Cleaning
    cleaning_version: int
    max_tokens: int
    keep_text: bool
    """Whether the shard also holds the raw texts."""
    shard: str
    """Path of the shard to write."""


def encode_partition(task: EncodeTask) -> PartitionSummary:
    """Parse, clean and tokenize one partition, and write its shard."""
    parts = [_read_slice(part) for part in task.slices]
    good = [np.flatnonzero(part.reasons == Reason.NONE) for part in parts]
    texts = [
        part.text if len(rows) == len(part.text) else part.text.take(pa.array(rows))
        for part, rows in zip(parts, good, strict=True)
    ]
    text = pa.concat_arrays(texts) if len(texts) > 1 else texts[0]
    data, offsets = raw_rows(text)
    numbered, words = number_new(
        data, offsets, rule_for(task.cleaning, task.max_tokens, version=task.cleaning_version)
    )
    filled = numbered.lengths > 0
    _reject_empty(parts, good, filled)
    meanings, tables = _common_codes(parts)
    columns = {
        "hashes": numbered.hashes,
        "codes": np.concatenate(
            [table[part.codes[rows]] for part, rows, table in zip(parts, good, tables, strict=True)]
        ),
        "lengths": numbered.lengths.astype(np.uint32),
        "lines": np.concatenate([part.lines[rows] for part, rows in zip(parts, good, strict=True)]),
        "slices": np.repeat(np.arange(len(parts), dtype=np.uint32), [len(rows) for rows in good]),
        "oddities": raw_oddities(data, offsets),
    }
    weights = [part.weights[rows] for part, rows in zip(parts, good, strict=True) if part.weights is not None]
    if weights:
        columns["weights"] = np.concatenate(weights)
    if not filled.all():
        columns = {name: column[filled] for name, column in columns.items()}
    size = sum(part.size for part in task.slices)
    arrays: dict[str, NDArray[Any]] = {
        **columns,
        "ids": numbered.ids.astype(np.uint16) if len(words.offsets) <= 2**16 else numbered.ids,
        "words": words.data,
        "words_offsets": words.offsets,
        "line_counts": np.array([part.line_count for part in parts]),
        "meta": np.array([size, task.is_test]),
        **_plain_arrays("meanings", pa.array(meanings, pa.string())),
        **_reject_arrays(parts),
        **_value_arrays(parts),
    }
    if task.keep_text:
        arrays |= _plain_arrays("text", text.filter(pa.array(filled)))
    _write_shard(Path(task.shard), arrays, task.slices)
    return _summary_of(arrays)


def _read_slice(part: FileSlice) -> Reviews:
    with Stream(part.path, None) as stream:
        data = stream.read_at(part.offset, part.size)
    return read_reviews(data, part.table, "required", too_long_record=part.too_long)


def _reject_empty(parts: list[Reviews], good: list[NDArray[np.int64]], filled: NDArray[np.bool_]) -> None:
    """Reject rows whose text is empty after cleaning."""
    first = 0
    for part, rows in zip(parts, good, strict=True):
        empty = ~filled[first : first + len(rows)]
        part.reasons[rows[empty]] = Reason.EMPTY_AFTER_CLEANING
        first += len(rows)


def _common_codes(parts: list[Reviews]) -> tuple[list[str], list[NDArray[np.uint8]]]:
    """Return the label meanings of all slices, and for each slice the table from its codes to common ones."""
    meanings: dict[str, int] = {}
    tables = []
    for part in parts:
        table = np.arange(256, dtype=np.uint8)
        codes = [meanings.setdefault(meaning, len(meanings)) for meaning in part.meanings]
        table[: len(codes)] = np.minimum(codes, MOST_MEANINGS)  # so many are refused later
        tables.append(table)
    return list(meanings)[:MOST_MEANINGS], tables


def _reject_arrays(parts: list[Reviews]) -> dict[str, NDArray[Any]]:
    """Return the rejected rows and blank lines of all slices, ordered by slice and line."""
    slices, lines, reasons, texts, labels, problems = [], [], [], [], [], []
    for number, part in enumerate(parts):
        bad = np.flatnonzero(part.reasons != Reason.NONE)
        own = np.concatenate([part.lines[bad], part.blank])
        order = np.argsort(own, kind="stable")
        blanks = np.full(len(part.blank), Reason.BLANK_LINE, np.uint8)
        slices.append(np.full(len(own), number, np.uint32))
        lines.append(own[order])
        reasons.append(np.concatenate([part.reasons[bad], blanks])[order])
        empty = pa.array([""] * len(blanks), pa.string())
        texts.append(pa.concat_arrays([part.snippets(bad), empty]).take(order))
        labels.append(pa.concat_arrays([part.label_snippets(bad), empty]).take(order))
        problems.append(pa.concat_arrays([part.problem_snippets(bad), empty]).take(order))
    return {
        "reject_slices": np.concatenate(slices),
        "reject_lines": np.concatenate(lines),
        "reject_reasons": np.concatenate(reasons),
        **_plain_arrays("reject_text", pa.concat_arrays(texts)),
        **_plain_arrays("reject_label", pa.concat_arrays(labels)),
        **_plain_arrays("reject_problem", pa.concat_arrays(problems)),
    }


def _plain_arrays(name: str, values: pa.Array) -> dict[str, NDArray[Any]]:
    """Convert an array of binaries to NumPy arrays of bytes and offsets; `shard_rows` converts them back."""
    data, offsets = raw_rows(values)
    return {name: data[offsets[0] : offsets[-1]], f"{name}_offsets": offsets - offsets[0]}


def _summary_of(arrays: Mapping[str, NDArray[Any]]) -> PartitionSummary:
    size, is_test = arrays["meta"].tolist()
    codes = arrays["codes"]
    return PartitionSummary(
        rows=len(codes),
        words=len(arrays["words_offsets"]) - 1,
        meanings=tuple(value.decode() for value in shard_rows(arrays, "meanings").to_pylist()),
        values=_values_of(arrays),
        records=first_of_each(arrays["hashes"], codes, bool(is_test)),
        rejects=np.bincount(arrays["reject_reasons"], minlength=len(Reason)),
        examples=_examples_of(arrays),
        line_counts=arrays["line_counts"],
        size=size,
    )


def _value_arrays(parts: list[Reviews]) -> dict[str, NDArray[Any]]:
    """Return the distinct label values of each slice with their rows."""
    found = [
        (number, is_stars, value, rows)
        for number, part in enumerate(parts)
        for is_stars, counts in ((False, part.values.labels), (True, part.values.stars))
        for value, rows in counts.items()
    ]
    return {
        **_plain_arrays("values", pa.array([value for _, _, value, _ in found], pa.string())),
        "value_slices": np.array([number for number, *_ in found], np.int64),
        "value_is_stars": np.array([is_stars for _, is_stars, *_ in found], np.bool_),
        "value_rows": np.array([rows for *_, rows in found], np.int64),
    }


def _values_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[LabelCounts, ...]:
    parts = tuple(LabelCounts() for _ in arrays["line_counts"])
    values = [value.decode() for value in shard_rows(arrays, "values").to_pylist()]
    places = (arrays[name].tolist() for name in ("value_slices", "value_is_stars", "value_rows"))
    for value, number, is_stars, rows in zip(values, *places, strict=True):
        (parts[number].stars if is_stars else parts[number].labels)[value] = rows
    return parts


def _examples_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[RejectExample, ...]:
    reasons, first = np.unique(arrays["reject_reasons"], return_index=True)
    values = (
        [value.decode() for value in shard_rows(arrays, name).take(first).to_pylist()]
        for name in ("reject_text", "reject_label", "reject_problem")
    )
    places = arrays["reject_slices"][first].tolist(), arrays["reject_lines"][first].tolist()
    names = [Reason(reason).name.lower() for reason in reasons.tolist()]
    return tuple(map(RejectExample, names, *places, *values))


def _write_shard(path: Path, arrays: dict[str, NDArray[Any]], slices: tuple[FileSlice, ...]) -> None:
    """Write to a unique temporary name, then rename, because another worker may be writing the same shard."""
    temporary = path.with_suffix(f".{uuid4().hex}.tmp")
    try:
        temporary.write_bytes(save(arrays, {"checksum": _checksum(arrays), "slices": _names(slices)}))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def finished_summary(path: Path, slices: tuple[FileSlice, ...]) -> PartitionSummary | None:
    """Return the summary of a shard on disk; None if it is missing, damaged or made from other slices.

    Slices differ if an earlier run could not read the file in place and divided it differently. After a power
    failure, a file of the right size may contain zeros, which the checksum detects.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
        arrays = load_file(path)
        if metadata == {"slices": _names(slices), "checksum": _checksum(arrays)}:
            return _summary_of(arrays)
    except (OSError, SafetensorError, KeyError, ValueError):
        pass
    return None


def shard_rows(arrays: Mapping[str, NDArray[Any]], name: str) -> pa.Array:
    """Return an array of binaries that a shard stores as bytes and offsets."""
    return binary_array(arrays[name], arrays[f"{name}_offsets"])


def _names(slices: tuple[FileSlice, ...]) -> str:
    """Return a string that identifies the slices."""
    return json.dumps([[part.file, part.begin, part.size] for part in slices])


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the arrays' names and a fast sum of their bytes, which detects accidents but not tampering."""
    total = 0
    for array in arrays.values():
        data = array.view(np.uint8)
        whole = len(data) - len(data) % 8
        total += int(data[:whole].view(np.uint64).sum()) + int(data[whole:].sum())
    return f"{total} {' '.join(sorted(arrays))}"
