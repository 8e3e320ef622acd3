"""Cut a file into raw blocks of whole records, reading it once and keeping little of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from sentiscale.data.sniff import BOM
from sentiscale.data.sources import Stream
from sentiscale.errors import DataError
from sentiscale.text.compiled import frozen
from sentiscale.text.csv_scanner import last_csv_end
from sentiscale.text.formats import MAX_RECORD_BYTES, SNIPPET_BYTES, Layout

LOOK_BACK_BYTES = 2**17
"""Where a block ends the end of a line is looked for so far back; longer lines are found by reading on."""
LINE_ENDS = re.compile(rb"\r\n?|\n")


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
        self.block_bytes = max(block_bytes, len(BOM))
        self.rest = b""
        self.offset = 0
        self.consumed = 0
        self.ended = False

    def blocks(self) -> Iterator[RawBlock]:
        """Yield all blocks in order."""
        self._fill()
        if self.offset == 0 and self.rest.startswith(BOM):
            self._drop(len(BOM))
        lines = self._skip_header() if self.layout.header else 0
        while self.rest or not self.ended:
            end = self._last_end()
            if end:
                yield self._take(end, lines)
                lines = 0
                if len(self.rest) < self.block_bytes:
                    self._fill()
            elif self._too_long(0):
                yield self._pass_over(lines)
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
        if self.layout.format != "csv":
            return len(self.rest) if self.ended else self.rest.rfind(bytes([self.layout.terminator])) + 1
        end = int(last_csv_end(frozen(self.rest), ord(self.layout.delimiter), MAX_RECORD_BYTES))
        return len(self.rest) if self.ended and not self._too_long(end) else end

    def _too_long(self, begin: int) -> bool:
        """Whether what is held from `begin` on is more than a record may have; a CR may be its end."""
        return len(self.rest) - begin - self.rest.endswith(b"\r") > MAX_RECORD_BYTES

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
        """Drop the first CSV record and blank lines before it; returns their lines."""
        while not (end := self._header_end()) and not self.ended:
            self._fill()
        header = self.rest[: end or len(self.rest)]
        self._drop(len(header))
        return len(LINE_ENDS.findall(header)) or 1

    def _header_end(self) -> int:
        """One past the first record that is no blank line; 0 when it may go on."""
        first = len(self.rest) - len(self.rest.lstrip(b"\r\n"))
        for found in LINE_ENDS.finditer(self.rest, first):
            # One byte more than the record shows that a CR is not the first half of CR LF.
            held = frozen(self.rest[: found.end() + 1])
            if last_csv_end(held, ord(self.layout.delimiter), MAX_RECORD_BYTES) >= found.end():
                return found.end()
        return 0

    def _pass_over(self, lines: int) -> RawBlock:
        """The beginning of a record that is too long; the rest of it is skipped.

        A CSV record may only seem long because a quote is never closed: then just its first line goes.
        """
        offset = self.offset
        while not (end := self._line_end()) and not self.ended:
            if not self.rest.endswith(b"\r"):
                kept = self.rest[:SNIPPET_BYTES]
                self.offset += len(self.rest) - len(kept)
                self.rest = kept
            self._fill()
        total = end or len(self.rest)
        block = self._take(min(SNIPPET_BYTES, total), lines, too_long=True, total=total)
        return replace(block, offset=offset)

    def _line_end(self) -> int:
        """One past the first line; 0 when it may go on."""
        if self.layout.format != "csv":
            return self.rest.find(bytes([self.layout.terminator])) + 1
        found = LINE_ENDS.search(self.rest)
        whole = found and (found.end() < len(self.rest) or found.group() != b"\r")
        return found.end() if found and whole else 0


def _parquet_blocks(path: str, layout: Layout, block_bytes: int) -> Iterator[RawBlock]:
    """Batches of the needed columns as Arrow streams."""
    others = layout.others.names if layout.others is not None else []
    needed = (layout.text, layout.title, layout.label, *others)
    columns = list(dict.fromkeys(name for name in needed if name is not None))
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
