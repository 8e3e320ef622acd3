"""Cut a file into raw blocks of whole records, reading it once and keeping little of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sentiscale.data.sources import BOM, Stream
from sentiscale.text.formats import base, format_of
from sentiscale.text.formats.base import TableFormat

LOOK_BACK_BYTES = 2**17
"""The end of a block's last line is searched this far back; longer lines are found by reading on."""
LINE_ENDS = re.compile(rb"\r\n?|\n")


@dataclass(frozen=True)
class RawBlock:
    """Consecutive records of one file as bytes."""

    data: bytes
    """Empty where the reader takes it from the file."""
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
    stream: Stream, table: TableFormat, block_bytes: int, *, in_place: bool = False
) -> Iterator[RawBlock]:
    """Yield a file's records in blocks of about `block_bytes`; closes the stream in the end.

    Args:
        in_place: the reader takes plain data from the file by itself; where they need not be read to find
            the ends of records, they are not.

    Raises: DataError when the file is cut short or damaged.
    """
    with stream:
        for place, block in enumerate(_blocks(stream, table, block_bytes, in_place)):
            yield block if place else replace(block, first=True)


def _blocks(stream: Stream, table: TableFormat, block_bytes: int, in_place: bool) -> Iterator[RawBlock]:
    file_format = format_of(table)
    if file_format.in_batches:
        for data, consumed in file_format.batches(stream.path, table, block_bytes):
            yield RawBlock(data, len(data), 0, consumed)
        return
    cutter = _Cutter(stream, table, block_bytes)
    if in_place and file_format.one_record_per_line:
        yield from _line_blocks(stream, cutter, block_bytes)
    yield from cutter.blocks()


def _line_blocks(stream: Stream, cutter: "_Cutter", block_bytes: int) -> Iterator[RawBlock]:
    """Blocks of lines, looking only at the end of each; leaves the last block and long lines to the cutter.

    Reading the whole file here would take a core that the workers need (0.09 s per 115 MB).
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
    """Cuts what it reads of a stream at the ends of records; holds at most a block and one record."""

    def __init__(self, stream: Stream, table: TableFormat, block_bytes: int) -> None:
        self.stream = stream
        self.table = table
        self.format = format_of(table)
        self.terminator = table.terminator.to_bytes()
        self.block_bytes = max(block_bytes, len(BOM))
        self.rest = b""
        """What was read but not yet yielded."""
        self.offset = 0
        self.consumed = 0
        self.ended = False

    def blocks(self) -> Iterator[RawBlock]:
        self._fill()
        if self.offset == 0 and self.rest.startswith(BOM):
            self._drop(len(BOM))
        lines = self._skip_header() if self.table.header else 0
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
        """Read on; twice as much as is held, so that a long record is not searched over and over."""
        size = max(self.block_bytes, len(self.rest))
        more = b"" if self.ended else self.stream.read(size)
        self.ended = len(more) < size
        self.rest = self.rest + more if self.rest else more

    def _last_end(self) -> int:
        """One past the last complete record."""
        if self.ended and self.format.one_record_per_line:
            return len(self.rest)
        end = self.format.last_record_end(self.rest, self.table)
        return len(self.rest) if self.ended and not self._too_long(end) else end

    def _too_long(self, begin: int) -> bool:
        """Whether what is held from `begin` on is more than a record may have; a CR may be its end."""
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

    def _skip_header(self) -> int:
        """Drop the first CSV record and blank lines before it; returns their lines."""
        while not (end := self._header_end()) and not self.ended:
            self._fill()
        header = self.rest[: end or len(self.rest)]
        self._drop(len(header))
        return len(LINE_ENDS.findall(header)) or 1

    def _header_end(self) -> int:
        """One past the first record that is not a blank line; 0 when it may go on."""
        first = len(self.rest) - len(self.rest.lstrip(b"\r\n"))
        for found in LINE_ENDS.finditer(self.rest, first):
            # One byte more than the record shows that a CR is not the first half of CR LF.
            if self.format.last_record_end(self.rest[: found.end() + 1], self.table) >= found.end():
                return found.end()
        return 0

    def _skip_long_record(self, lines: int) -> RawBlock:
        """Drop a record that is too long; the block holds its beginning.

        A CSV record may only seem long because a quote is never closed: then just its first line goes.
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
        """One past the first line; 0 when it may go on."""
        if self.format.one_record_per_line:
            return self.rest.find(self.terminator) + 1
        found = LINE_ENDS.search(self.rest)
        whole = found and (found.end() < len(self.rest) or found.group() != b"\r")
        return found.end() if found and whole else 0
