"""Cut a file into raw blocks of whole records, reading it once and keeping little of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sentiscale.data.sniff import BOM
from sentiscale.data.sources import Stream
from sentiscale.errors import DataError
from sentiscale.text.compiled import frozen
from sentiscale.text.formats import MAX_RECORD_BYTES, SNIPPET_BYTES, Layout
from sentiscale.text.records import CR, LF, last_csv_end

LOOK_BACK_BYTES = 2**17
"""Where a block ends the end of a line is looked for so far back; longer lines are found by reading on."""


@dataclass(frozen=True)
class RawBlock:
    """Consecutive records of one file as bytes."""

    data: bytes
    """Left empty where the reader takes it from the file."""
    size: int
    """Bytes of the block."""
    offset: int
    """Place of `data` in the decompressed file."""
    consumed: int
    """Bytes of the stored file read for this block (compressed ones where the file is)."""
    too_long: bool = False
    """Whether `data` is only the beginning of one record beyond the size limit."""
    lines_before: int = 0
    """Lines to count before the block that belong to no block: the header's."""
    first: bool = False
    """Whether it is the first block of its file."""


def cut_blocks(
    stream: Stream, layout: Layout, block_bytes: int, *, in_place: bool = False
) -> Iterator[RawBlock]:
    """Yield a file's records in blocks of about `block_bytes`; closes the stream in the end.

    Args:
        in_place: the reader takes plain data from the file by itself; where they need not be read to find
            the ends of records, they are not.

    Raises: DataError when the file is cut short or damaged.
    """
    with stream:
        for place, block in enumerate(_blocks(stream, layout, block_bytes, in_place)):
            yield block if place else replace(block, first=True)


def _blocks(stream: Stream, layout: Layout, block_bytes: int, in_place: bool) -> Iterator[RawBlock]:
    if layout.format == "parquet":
        yield from _parquet_blocks(stream.path, layout, block_bytes)
        return
    cutter = _TextCutter(stream, layout, block_bytes)
    if in_place and layout.format != "csv":
        yield from _line_blocks(stream, cutter, block_bytes)
    yield from cutter.blocks()


def _line_blocks(stream: Stream, cutter: "_TextCutter", block_bytes: int) -> Iterator[RawBlock]:
    """Blocks of lines, looking only at the end of each; leaves the last and long lines to the cutter."""
    offset = len(BOM) if stream.read_at(0, len(BOM)) == BOM else 0
    terminator = bytes([cutter.layout.terminator])
    while True:
        end = offset + block_bytes
        begin = max(offset, end - LOOK_BACK_BYTES)
        window = stream.read_at(begin, end - begin)
        found = window.rfind(terminator) + 1
        if len(window) < end - begin or not found:
            break
        size = begin + found - offset
        yield RawBlock(b"", size, offset, size)
        offset += size
    stream.seek(offset)
    cutter.offset = cutter.consumed = offset


class _TextCutter:
    """Holds what is read but not yet yielded: never more than a block and one record."""

    def __init__(self, stream: Stream, layout: Layout, block_bytes: int) -> None:
        self.stream = stream
        self.layout = layout
        self.block_bytes = block_bytes
        self.rest = b""
        self.offset = 0
        self.consumed = 0
        self.ended = False

    def blocks(self) -> Iterator[RawBlock]:
        """Yield all blocks in order."""
        self._fill()
        if self.rest.startswith(BOM):
            self._drop(len(BOM))
        lines = self._skip_header() if self.layout.header else 0
        while self.rest or not self.ended:
            end = len(self.rest) if self.ended else self._last_end()
            if end:
                yield self._take(end, lines)
                lines = 0
                self._fill()
            elif len(self.rest) > MAX_RECORD_BYTES:
                yield from self._pass_over(lines)
                lines = 0
            else:
                self._fill()

    def _fill(self) -> None:
        """Read on; twice as much as is held, so that a long record is not searched over and over."""
        size = max(self.block_bytes, len(self.rest))
        more = b"" if self.ended else self.stream.read(size)
        self.ended = len(more) < size
        self.rest = self.rest + more if self.rest else more

    def _last_end(self) -> int:
        """One past the last record that is complete."""
        if self.layout.format == "csv":
            return int(last_csv_end(frozen(self.rest), ord(self.layout.delimiter)))
        return self.rest.rfind(bytes([self.layout.terminator])) + 1

    def _drop(self, size: int) -> None:
        self.rest = self.rest[size:]
        self.offset += size

    def _take(self, size: int, lines: int, *, too_long: bool = False, total: int | None = None) -> RawBlock:
        consumed = self.stream.consumed()
        data = self.rest[:size]
        block = RawBlock(data, len(data), self.offset, consumed - self.consumed, too_long, lines)
        self.consumed = consumed
        self._drop(total if total is not None else size)
        return block

    def _skip_header(self) -> int:
        """Drop the first CSV record; returns its lines."""
        data = frozen(self.rest)
        delimiter = ord(self.layout.delimiter)
        breaks = np.flatnonzero((data == LF) | (data == CR))
        for place in breaks:
            stop = int(place) + 1
            stop += data[place] == CR and stop < len(data) and data[stop] == LF
            # One byte more than the record shows that a CR is not the first half of CR LF.
            if last_csv_end(data[: stop + 1], delimiter) >= stop or stop == len(data):
                lines = self.rest[:stop].count(b"\n") or 1
                self._drop(stop)
                return lines
        self._drop(len(self.rest))
        return 1

    def _pass_over(self, lines: int) -> Iterator[RawBlock]:
        """Yield the beginning of a record that is too long and skip the rest of it.

        A CSV record may only seem long because a quote is never closed: then just its first line goes.
        """
        is_csv = self.layout.format == "csv"
        breaks = (b"\n", b"\r") if is_csv else (bytes([self.layout.terminator]),)
        while True:
            found = [place + 1 for mark in breaks if (place := self.rest.find(mark)) >= 0]
            if found:
                total = min(found)
                yield self._take(min(SNIPPET_BYTES, total), lines, too_long=True, total=total)
                return
            if self.ended:
                yield self._take(SNIPPET_BYTES, lines, too_long=True, total=len(self.rest))
                return
            kept = self.rest[:SNIPPET_BYTES]
            self.offset += len(self.rest) - len(kept)
            self.rest = kept
            self._fill()


def _parquet_blocks(path: str, layout: Layout, block_bytes: int) -> Iterator[RawBlock]:
    """Batches of the needed columns as Arrow streams."""
    columns = [name for name in (layout.text, layout.title, layout.label) if name is not None]
    try:
        with fsspec.open(path, "rb") as file:
            table = pq.ParquetFile(file, memory_map=False, pre_buffer=False)
            rows = max(table.metadata.num_rows, 1)
            size = int(fsspec.core.url_to_fs(path)[0].size(path) or 0)
            weight = (
                sum(table.metadata.row_group(i).total_byte_size for i in range(table.num_row_groups)) / rows
            )
            batch_rows = max(1, min(int(block_bytes / max(weight, 1)), 2**20))
            for batch in table.iter_batches(batch_rows, columns=columns, use_threads=False):
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                data = sink.getvalue().to_pybytes()
                yield RawBlock(data, len(data), 0, size * batch.num_rows // rows)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: {error}. Get it again.") from error
