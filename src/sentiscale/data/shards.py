"""What a worker does with one partition: encode it, count its words, write its rows; and the shard between.

A shard holds a partition's usable reviews as ids into the partition's own word list. It is written whole or
not at all, so a finished shard need not be made again when an interrupted preparation goes on.
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
from safetensors.numpy import save

from sentiscale.config import Cleaning
from sentiscale.data.blocks import RawBlock
from sentiscale.data.corpus import Source, read_reviews
from sentiscale.data.duplicates import Records, first_of_each
from sentiscale.data.oddities import raw_oddities
from sentiscale.data.sources import Stream
from sentiscale.data.workspace import Workspace
from sentiscale.text.bytes8 import WIDTH, load_eight
from sentiscale.text.clean import raw_rows
from sentiscale.text.compiled import Bytes, frozen, kernel
from sentiscale.text.formats.base import TableFormat
from sentiscale.text.labels import Reason
from sentiscale.text.lines import binary_array
from sentiscale.text.reviews import Reviews
from sentiscale.text.tokens import number_new, rule_for
from sentiscale.text.word_table import HASH_START, absorb


@dataclass(frozen=True)
class Piece:
    """Whole records of one file, and where their bytes lie."""

    file: str
    """Path or URL of the reviews, for messages."""
    path: str
    """File to read the bytes from: the same, or a copy a worker can read."""
    offset: int
    """Where they begin there."""
    begin: int
    """Where they begin in the reviews' file, decompressed."""
    size: int
    """Bytes, decompressed."""
    table: TableFormat
    """Where text and label are in the file."""
    too_long: bool
    """Whether the bytes are only the beginning of one record beyond the size limit."""
    lines_before: int | None
    """Header lines before the first piece of a file; None for its other pieces."""


@dataclass(frozen=True)
class EncodeTask:
    """A partition and what to do with it; small, for it travels to the worker."""

    pieces: tuple[Piece, ...]
    """What is read, in order."""
    is_test: bool
    """Whether all of it is of the named test set."""
    cleaning: Cleaning
    """Cleaning profile."""
    max_tokens: int
    """Most tokens stored of a review."""
    keep_text: bool
    """Whether raw texts are stored too."""
    shard: str
    """Where the shard goes."""


class PartitionSummary(NamedTuple):
    """What the client needs to know of a partition."""

    rows: int
    """Usable rows, repeated ones included."""
    words: int
    """Different words in them."""
    codes: NDArray[np.int64]
    """Usable rows by label code."""
    records: Records
    """Its different texts."""
    rejects: NDArray[np.int64]
    """Rejected rows by Reason."""
    line_counts: NDArray[np.int64]
    """Lines of each piece."""
    size: int
    """Bytes of raw input."""


def encode_partition(task: EncodeTask) -> PartitionSummary:
    """Parse, clean and number one partition; write its shard and tell the client what is in it."""
    parts = [_read_piece(piece) for piece in task.pieces]
    good = [np.flatnonzero(part.reasons == Reason.NONE) for part in parts]
    chosen = [_taken(part.text, rows) for part, rows in zip(parts, good, strict=True)]
    text = pa.concat_arrays(chosen) if len(chosen) > 1 else chosen[0]
    data, offsets = raw_rows(text)
    numbered, words = number_new(data, offsets, rule_for(task.cleaning, task.max_tokens))
    filled = numbered.lengths > 0
    _reject_empty(parts, good, filled)
    columns = {
        "hashes": numbered.hashes,
        "codes": np.concatenate([part.codes[rows] for part, rows in zip(parts, good, strict=True)]),
        "lengths": numbered.lengths.astype(np.uint32),
        "lines": np.concatenate([part.lines[rows] for part, rows in zip(parts, good, strict=True)]),
        "pieces": np.repeat(np.arange(len(parts), dtype=np.uint32), [len(rows) for rows in good]),
        "oddities": raw_oddities(data, offsets),
    }
    if not filled.all():
        columns = {name: column[filled] for name, column in columns.items()}
    sizes = [piece.size for piece in task.pieces]
    arrays: dict[str, NDArray[Any]] = {
        **columns,
        "ids": numbered.ids.astype(np.uint16) if len(words.offsets) <= 2**16 else numbered.ids,
        "words": words.data,
        "words_offsets": words.offsets,
        "line_counts": np.array([part.line_count for part in parts]),
        "meta": np.array([sum(sizes), task.is_test]),
    }
    arrays |= _reject_arrays(parts)
    if task.keep_text:
        arrays |= _rows("text", text.filter(pa.array(filled)))
    _write_shard(Path(task.shard), arrays, task.pieces)
    return summary_of(arrays)


def summary_of(arrays: Mapping[str, NDArray[Any]]) -> PartitionSummary:
    """The summary of a shard's arrays."""
    size, is_test = arrays["meta"].tolist()
    codes = arrays["codes"]
    return PartitionSummary(
        rows=len(codes),
        words=len(arrays["words_offsets"]) - 1,
        codes=np.bincount(codes, minlength=256),
        records=first_of_each(arrays["hashes"], codes, bool(is_test)),
        rejects=np.bincount(arrays["reject_reasons"], minlength=len(Reason)),
        line_counts=arrays["line_counts"],
        size=size,
    )


def finished_summary(path: Path, pieces: tuple[Piece, ...]) -> PartitionSummary | None:
    """The summary of a shard on disk; None when there is none, it is damaged or was made of other pieces."""
    try:
        with Shard(path) as shard:
            if shard.made_of(pieces) and shard.whole():
                return summary_of(shard)
    except (OSError, SafetensorError, KeyError, ValueError):
        pass
    return None


class Shard(Mapping[str, NDArray[Any]]):
    """The arrays of a shard on disk, each read when it is asked for; a context manager."""

    def __init__(self, path: str | Path) -> None:
        opened: Any = safe_open(path, framework="numpy")
        self._file = opened
        self._names = list(opened.keys())
        self._notes: dict[str, str] = opened.metadata() or {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = self._file.get_tensor(name)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __enter__(self) -> "Shard":
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def whole(self) -> bool:
        """Whether the contents are what was written; after a power cut a file may hold zeros."""
        return self._notes["checksum"] == checksum(self)

    def made_of(self, pieces: tuple[Piece, ...]) -> bool:
        """Whether it was made of these; files that workers read themselves are cut at other places."""
        return self._notes["pieces"] == named(pieces)


def named(pieces: tuple[Piece, ...]) -> str:
    """What tells pieces from others of the same files."""
    return json.dumps([[piece.file, piece.begin, piece.size] for piece in pieces])


def checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    """A quick sum over all arrays, against accidents only."""
    state = HASH_START
    for name in sorted(arrays):
        for part in (name.encode(), arrays[name].data):
            state = np.uint64(mix_bytes(frozen(part), state))
    return f"{state:016x}"


@kernel
def mix_bytes(data: Bytes, state: np.uint64) -> np.uint64:
    """The running hash after these bytes, eight at a time."""
    whole = len(data) - len(data) % WIDTH
    for i in range(0, whole, WIDTH):
        state = absorb(state, load_eight(data, i))
    for i in range(whole, len(data)):
        state = absorb(state, np.uint64(data[i]))
    return absorb(state, np.uint64(len(data)))


def shard_rows(arrays: Mapping[str, NDArray[Any]], name: str) -> pa.Array:
    """An array of binaries that a shard holds as two plain ones."""
    return binary_array(arrays[name], arrays[f"{name}_offsets"])


class RejectedRows(NamedTuple):
    """Rejected rows of a partition."""

    pieces: NDArray[np.uint32]
    """Number of the piece each is from."""
    lines: NDArray[np.int64]
    """Line of the piece, from 0."""
    reasons: NDArray[np.uint8]
    """Values of `Reason`."""
    snippets: pa.Array
    """First characters of each."""


def rejected_rows(shard: Path) -> RejectedRows:
    """Read the rejected rows of a shard."""
    with Shard(shard) as arrays:
        snippets = shard_rows(arrays, "reject_text").cast(pa.large_string()).cast(pa.string())
        pieces, lines, reasons = (arrays[f"reject_{name}"] for name in ("pieces", "lines", "reasons"))
        return RejectedRows(pieces, lines, reasons, snippets)


def _read_piece(piece: Piece) -> Reviews:
    with Stream(piece.path, None) as stream:
        data = stream.read_at(piece.offset, piece.size)
    return read_reviews(data, piece.table, "required", too_long_record=piece.too_long)


def _taken(text: pa.Array, rows: NDArray[np.int64]) -> pa.Array:
    return text if len(rows) == len(text) else text.take(pa.array(rows))


def _reject_empty(parts: list[Reviews], good: list[NDArray[np.int64]], filled: NDArray[np.bool_]) -> None:
    """Note the rows of which cleaning left nothing."""
    first = 0
    for part, rows in zip(parts, good, strict=True):
        empty = ~filled[first : first + len(rows)]
        part.reasons[rows[empty]] = Reason.EMPTY_AFTER_CLEANING
        first += len(rows)


def _reject_arrays(parts: list[Reviews]) -> dict[str, NDArray[Any]]:
    """Rejected rows and blank lines of all pieces, by piece and line."""
    pieces, lines, reasons, texts = [], [], [], []
    for number, part in enumerate(parts):
        bad = np.flatnonzero(part.reasons != Reason.NONE)
        own = np.concatenate([part.lines[bad], part.blank])
        order = np.argsort(own, kind="stable")
        blanks = np.full(len(part.blank), Reason.BLANK_LINE, np.uint8)
        pieces.append(np.full(len(own), number, np.uint32))
        lines.append(own[order])
        reasons.append(np.concatenate([part.reasons[bad], blanks])[order])
        texts.append(
            pa.concat_arrays([part.snippets(bad), pa.array([""] * len(blanks), pa.string())]).take(order)
        )
    return {
        "reject_pieces": np.concatenate(pieces),
        "reject_lines": np.concatenate(lines),
        "reject_reasons": np.concatenate(reasons),
        **_rows("reject_text", pa.concat_arrays(texts)),
    }


def _rows(name: str, values: pa.Array) -> dict[str, NDArray[Any]]:
    """An array of binaries as two plain arrays."""
    data, offsets = raw_rows(values)
    return {name: data[offsets[0] : offsets[-1]], f"{name}_offsets": offsets - offsets[0]}


def _write_shard(path: Path, arrays: dict[str, NDArray[Any]], pieces: tuple[Piece, ...]) -> None:
    """Write under a name of its own, for another worker may be making the same shard, then rename."""
    temporary = path.with_suffix(f".{uuid4().hex}.tmp")
    try:
        temporary.write_bytes(save(arrays, {"checksum": checksum(arrays), "pieces": named(pieces)}))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


MOST = 1.1
"""A partition takes a further piece up to this times its target."""


@dataclass
class Partition:
    """Consecutive pieces of the input, all of the named test set or none; its summary comes from a worker."""

    number: int
    """From 0, in input order."""
    is_test: bool
    """Whether it is of the named test set."""
    pieces: tuple[Piece, ...]
    """What is read, in order."""
    consumed: int
    """Stored bytes read for it."""
    summary: PartitionSummary | None = field(default=None)
    """None until it is encoded."""

    @property
    def done(self) -> PartitionSummary:
        """The summary, once the partition was encoded."""
        assert self.summary is not None, "the partition has not been encoded"
        return self.summary


class Partitioner:
    """Cuts files into pieces and puts small ones together; pieces that workers cannot read are spooled."""

    def __init__(self, work: Workspace, target_bytes: int, readable: Callable[[Source], bool]) -> None:
        """Aim at `target_bytes` a partition; `readable` says whether workers can open a file themselves."""
        self.work = work
        self.target_bytes = target_bytes
        self.readable = readable

    def partitions(self, sources: Sequence[tuple[Source, bool]]) -> Iterator[Partition]:
        """Yield all partitions in input order, reading each file once."""
        number, size, consumed = 0, 0, 0
        pieces: list[Piece] = []
        kind = False
        for source, is_test in sources:
            in_place = self.readable(source)
            for raw in source.blocks(self._piece_bytes(source), in_place=in_place):
                if pieces and (is_test != kind or size + raw.size > self.target_bytes * MOST):
                    yield Partition(number, kind, tuple(pieces), consumed)
                    number, size, consumed, pieces = number + 1, 0, 0, []
                kind = is_test
                pieces.append(self._piece(source, raw, in_place, f"{number:08d}-{len(pieces)}"))
                size += raw.size
                consumed += raw.consumed
        if pieces:
            yield Partition(number, kind, tuple(pieces), consumed)

    def _piece_bytes(self, source: Source) -> int:
        """Bytes that divide a plain file evenly, so that its last piece is no smaller than the others."""
        if not source.plain or not source.size:
            return self.target_bytes
        return -(-source.size // -(-source.size // self.target_bytes))

    def _piece(self, source: Source, raw: RawBlock, in_place: bool, name: str) -> Piece:
        """Point the worker to the file itself where it can read it, else to a copy of the bytes."""
        path = Path(source.path).absolute() if in_place else self.work.spool(name, raw.data)
        return Piece(
            file=source.path,
            path=str(path),
            offset=raw.offset if in_place else 0,
            begin=raw.offset,
            size=raw.size,
            table=source.table,
            too_long=raw.too_long,
            lines_before=raw.lines_before if raw.first else None,
        )


def first_lines(partitions: Sequence[Partition]) -> list[list[int]]:
    """Number of the first line of each piece in its file, from 1."""
    lines, line = [], 1
    for partition in partitions:
        own = []
        for piece, count in zip(partition.pieces, partition.done.line_counts.tolist(), strict=True):
            if piece.lines_before is not None:
                line = 1 + piece.lines_before
            own.append(line)
            line += count
        lines.append(own)
    return lines


def balance(partitions: Sequence[Partition]) -> dict[str, float]:
    """How evenly the work was divided: number of partitions, and the largest over the mean."""
    rows = np.array([partition.done.rows for partition in partitions])
    sizes = np.array([sum(piece.size for piece in partition.pieces) for partition in partitions])
    return {
        "count": len(partitions),
        "rows_mean": round(float(rows.mean()), 1),
        "rows_max_over_mean": round(float(rows.max() / max(rows.mean(), 1)), 3),
        "bytes_mean": round(float(sizes.mean()), 1),
        "bytes_max_over_mean": round(float(sizes.max() / max(sizes.mean(), 1)), 3),
    }


def rejected(partitions: Sequence[Partition]) -> dict[str, int]:
    """Rejected rows by reason; reasons that did not occur are left out."""
    counts = sum((partition.done.rejects for partition in partitions), np.zeros(len(Reason), np.int64))
    return {reason.name.lower(): int(counts[reason]) for reason in Reason if counts[reason]}
