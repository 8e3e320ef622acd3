"""Divide a file into raw blocks of whole records in one pass and bounded memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sentiscale.data.sources import BOM, Stream, is_pipe
from sentiscale.errors import DataError
from sentiscale.text.formats import base, format_of
from sentiscale.text.formats.base import TableFormat, UnclearRecordError

LOOK_BACK_BYTES = 2**17
"""Number of bytes to search backwards for the end of a block's last line. `_Cutter` handles longer lines."""
LINE_ENDS = re.compile(rb"\r\n?|\n")


@dataclass(frozen=True)
class RawBlock:
    """Consecutive records of one file as bytes."""

    data: bytes
    """Bytes of the block; empty if the worker reads them from the file itself."""
    size: int
    """Size of the block in bytes."""
    offset: int
    """Offset of the block in the decompressed file."""
    consumed: int
    """Bytes of the stored, possibly compressed, file that were read for this block."""
    too_long: bool = False
    """Whether `data` is only the beginning of a single record that exceeds the size limit."""
    lines_before: int = 0
    """Lines before the first record of the file, which belong to no block but count for line numbers."""
    first: bool = False
    """Whether this is the first block of its file."""


def cut_blocks(
    stream: Stream, table: TableFormat, block_bytes: int, *, in_place: bool = False
) -> Iterator[RawBlock]:
    """Yield a file's records in blocks of about `block_bytes`, then close the stream.

    Args:
        stream: the opened file.
        table: format of the file.
        block_bytes: approximate size of a block.
        in_place: leave `data` empty for blocks whose end can be found without reading them completely. The
            consumer then reads the bytes from the file itself.

    Raises: DataError when the file is truncated or damaged, or its records cannot be told apart.
    """
    with stream:
        for place, block in enumerate(_blocks(stream, table, block_bytes, in_place)):
            yield block if place else replace(block, first=True)


def batch_blocks(path: str, table: TableFormat, block_bytes: int) -> Iterator[RawBlock]:
    """Yield the blocks of a format that opens its files itself."""
    batches = format_of(table).batches(path, table, block_bytes)
    for place, (data, consumed) in enumerate(batches):
        lines_before = 0 if place else table.lines_before
        yield RawBlock(data, len(data), 0, consumed, lines_before=lines_before, first=not place)


def _blocks(stream: Stream, table: TableFormat, block_bytes: int, in_place: bool) -> Iterator[RawBlock]:
    cutter = _Cutter(stream, table, block_bytes)
    if in_place and format_of(table).one_record_per_line:
        yield from _line_blocks(stream, cutter, block_bytes)
    yield from cutter.blocks()


def _line_blocks(stream: Stream, cutter: "_Cutter", block_bytes: int) -> Iterator[RawBlock]:
    """Yield blocks of lines, reading only their ends; `cutter` continues at the last block or a long line.

    Reading the whole file here would occupy a core that the workers need (0.09 s per 115 MB).
    """
    offset = len(BOM) if stream.read_at(0, len(BOM)) == BOM else 0
    while True:
        end = offset + block_bytes
        begin = max(offset, end - LOOK_BACK_BYTES)
        window = stream.read_at(begin, end - begin)
        found = window.rfind(cutter.terminator) + 1
        if len(window) < end - begin or not found:
            break
        size = begin + found - offset
        yield RawBlock(b"", size, offset, size)
        offset += size
    stream.seek(offset)
    cutter.offset = cutter.consumed = offset


class _Cutter:
    """Reads a stream and divides it at the ends of records, holding at most one block and one record."""

    def __init__(self, stream: Stream, table: TableFormat, block_bytes: int) -> None:
        self.stream = stream
        self.table = table
        self.format = format_of(table)
        self.terminator = table.terminator.to_bytes()
        self.block_bytes = max(block_bytes, len(BOM))
        self.rest = b""
        """Bytes read but not yet yielded."""
        self.offset = 0
        self.consumed = 0
        self.ended = False

    def blocks(self) -> Iterator[RawBlock]:
        self._fill()
        if self.offset == 0 and self.rest.startswith(BOM):
            self._drop(len(BOM))
        lines = self._skip_lines(self.table.lines_before)
        while self.rest or not self.ended:
            end = self._last_end()
            if end:
                yield self._take(end, lines)
                lines = 0
                if len(self.rest) < self.block_bytes:
                    self._fill()
            elif self._too_long(0):
                yield self._skip_long_record(lines)
                lines = 0
            else:
                self._fill()

    def _fill(self) -> None:
        """Read a block, or as many bytes as are already buffered if that is more.

        Doubling the buffer keeps the number of searches through a long record small.
        """
        size = max(self.block_bytes, len(self.rest))
        more = b"" if self.ended else self.stream.read(size)
        self.ended = len(more) < size
        self.rest = self.rest + more if self.rest else more

    def _last_end(self) -> int:
        """End of the last complete record in `rest`; 0 if there is none."""
        if self.ended and self.format.one_record_per_line:
            return len(self.rest)
        try:
            end = self.format.last_record_end(self.rest, self.table)
        except UnclearRecordError as error:
            raise self._unclear(error) from None
        return len(self.rest) if self.ended and not self._too_long(end) else end

    def _too_long(self, begin: int) -> bool:
        """Whether the bytes from `begin` on exceed the size limit of a record, not counting a final CR."""
        return len(self.rest) - begin - self.rest.endswith(b"\r") > base.MAX_RECORD_BYTES

    def _drop(self, size: int) -> None:
        self.rest = self.rest[size:]
        self.offset += size

    def _take(self, size: int, lines: int) -> RawBlock:
        consumed = self.stream.consumed()
        block = RawBlock(self.rest[:size], size, self.offset, consumed - self.consumed, lines_before=lines)
        self.consumed = consumed
        self._drop(size)
        return block

    def _skip_lines(self, count: int) -> int:
        """Drop lines before the first record; return their number."""
        end = 0
        for _ in range(count):
            while not (found := self._any_line_end(end)) and not self.ended:
                self._fill()
            end = found or len(self.rest)
        self._drop(end)
        return count

    def _unclear(self, error: UnclearRecordError) -> DataError:
        """Add the place of the record to the error, reading the file again up to that place."""
        path, place = self.stream.path, self.offset + error.begin
        if is_pipe(path):
            return DataError(f"{path}: the record at byte {place} {error}")
        with Stream(path, self.stream.compression, self.stream.encoding) as stream:
            line, left, before = 1, place, b""
            while left and (data := stream.read(min(left, self.block_bytes))):
                line += self.format.count_lines(data, self.table)
                line -= before.endswith(b"\r") and data.startswith(b"\n")  # one line break
                left, before = left - len(data), data
        return DataError(f"{path}:{line}: the record on this line {error}")

    def _skip_long_record(self, lines: int) -> RawBlock:
        """Drop the first line of a record that is too long; return a block with the line's beginning.

        A CSV record can seem too long because a quote is never closed, so the lines after it are kept.
        """
        offset = self.offset
        while not (end := self._line_end()) and not self.ended:
            if not self.rest.endswith(b"\r"):
                kept = self.rest[: base.SNIPPET_BYTES]
                self.offset += len(self.rest) - len(kept)
                self.rest = kept
            self._fill()
        total = end or len(self.rest)
        snippet = self._take(min(base.SNIPPET_BYTES, total), lines)
        self._drop(total - snippet.size)
        return replace(snippet, offset=offset, too_long=True)

    def _line_end(self) -> int:
        """End of the first line in `rest`; 0 if more bytes are needed to find it."""
        if self.format.one_record_per_line:
            return self.rest.find(self.terminator) + 1
        return self._any_line_end()

    def _any_line_end(self, begin: int = 0) -> int:
        """End of the first line in `rest` from `begin` on; 0 if more bytes are needed to find it."""
        found = LINE_ENDS.search(self.rest, begin)
        whole = found and (found.end() < len(self.rest) or found.group() != b"\r")
        return found.end() if found and whole else 0
