"""Find review files from paths, globs, folders and fsspec URLs, and read them decompressed and as UTF-8."""

import bz2
import io
import lzma
import os
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from sentiscale.errors import DataError, did_you_mean
from sentiscale.text.encodings import encoding_of, to_utf8
from sentiscale.text.formats import FORMATS, format_by_suffix
from sentiscale.text.formats.base import FileStart
from sentiscale.util.storage import is_local, open_file

STDIN = "/dev/stdin"
MB = 2**20
START_BYTES = 2**20
"""Number of bytes from which a file's format is recognised."""
BOM = b"\xef\xbb\xbf"
MAGIC_BYTES = 8
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
COMPRESSION_SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
TESTERS = {"gzip": "gzip -t", "bz2": "bzip2 -t", "xz": "xz -t", "zstd": "zstd -t"}
ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""Follows 0x50 to 0x5F at the start of a zstd frame without data, as parallel compressors write them."""
DECODERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "bz2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}
COMPRESSED_BYTES = 2**16
PAUSE_SECONDS = 0.05
"""When a pipe delivers nothing for this long, `Stream.read_some` returns the bytes received so far."""


def find_files(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Resolve files, globs, folders and URLs to files, in the given order and without duplicates.

    Files of a glob or folder are sorted. Named pipes are kept, and `-` is standard input. A local file or
    folder that exists is taken as it is, even if its name looks like a URL or a glob.

    Raises: DataError when an item matches no file.
    """
    items = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not items:
        raise DataError("no input was given. Name at least one file, glob, folder or URL.")
    return list(dict.fromkeys(path for item in items for path in _resolve(str(item))))


def _resolve(item: str) -> list[str]:
    if item == "-":
        item = STDIN
    if is_pipe(item):
        return [item]
    try:
        if is_local(item):
            filesystem, root = LocalFileSystem(), os.path.abspath(item)
        else:
            filesystem, root = fsspec.core.url_to_fs(item)
        if filesystem.isfile(root):
            return [item]
        found = None
        if filesystem.isdir(root):
            found = _review_files(sorted(filesystem.find(root)), root)
            if not found:
                suffixes = ", ".join(suffix for each in FORMATS.values() for suffix in each.suffixes)
                raise DataError(
                    f"folder {item} contains no review files. Looked for {suffixes}, also compressed."
                )
        elif any(sign in item for sign in "*?["):
            hidden = Path(root).name.startswith(".")
            found = [path for path in sorted(filesystem.glob(root)) if filesystem.isfile(path)]
            found = [path for path in found if hidden or not Path(path).name.startswith(".")]
            if not found:
                raise DataError(f"no file matches {item}. Quote the pattern or check its folder.")
        if found is not None:
            local = isinstance(filesystem, LocalFileSystem)
            return [path if local else str(filesystem.unstrip_protocol(path)) for path in found]
    except DataError:
        raise
    except Exception as error:  # each fsspec file system has its own error classes
        raise DataError(f"{item} cannot be reached: {error}. Check the address.") from error
    folder = Path(item).parent
    hint = did_you_mean(Path(item).name, os.listdir(folder)) if folder.is_dir() else ""
    raise DataError(f"{item} does not exist.{hint} Check the path.")


def _review_files(paths: list[str], root: str) -> list[str]:
    """Return the possible review files of a folder, without files of prepared datasets in it."""
    datasets = tuple(path.removesuffix("manifest.json") for path in paths if path.endswith("/manifest.json"))
    return [path for path in paths if _is_review_file(path[len(root) :]) and not path.startswith(datasets)]


def _is_review_file(relative: str) -> bool:
    hidden = any(part.startswith((".", "_")) for part in relative.strip("/").split("/"))
    return not hidden and format_by_suffix(bare_name(relative)) is not None


def bare_name(path: str) -> str:
    """Return the file's name without its compression suffix."""
    name = PurePosixPath(path)
    return name.stem if name.suffix.lower() in COMPRESSION_SUFFIXES else name.name


def is_pipe(path: str) -> bool:
    """Whether the path is a named pipe, or is standard input and that is a pipe."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def compression_of(head: bytes) -> str | None:
    """Detect gzip, bz2, xz or zstd from the first bytes of a file; None for plain files."""
    if head[1:4] == ZSTD_SKIPPABLE and 0x50 <= head[0] <= 0x5F:
        return "zstd"
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


class Stream:
    """A file opened for sequential reading, decompressed and converted to UTF-8; a context manager."""

    def __init__(self, path: str, compression: str | None, encoding: str | None = None) -> None:
        """Open a file whose compression is known; `encoding` is None for UTF-8.

        Raises: DataError when the file cannot be opened.
        """
        self.path, self.compression = path, compression
        with self._explained():
            self._open(open_file(path), encoding)

    @classmethod
    def detected(cls, path: str, encoding: str | None = None) -> "Stream":
        """Open a file or pipe and detect its compression. A pipe can be opened only once.

        Args:
            path: a path or URL; - is standard input.
            encoding: encoding of the text; None for UTF-8, or UTF-16 and UTF-32 if `start` detects them.

        Raises: DataError when the file cannot be opened.
        """
        stream = cls.__new__(cls)
        stream.path, stream.compression = path, None
        with stream._explained():
            file = _Begun(_open_pipe(path) if path == "-" or is_pipe(path) else open_file(path))
            stream.compression = compression_of(file.head)
            stream._open(file, encoding)
        return stream

    def _open(self, file: Any, encoding: str | None) -> None:
        self._file = self._bytes = file
        self._ahead = b""
        """Bytes to return before reading on."""
        if self.compression == "zstd":  # skips skippable frames
            self._bytes = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
        elif self.compression is not None:
            self._bytes = _Decompressed(file, DECODERS[self.compression])
        self._set_encoding(encoding)

    def _set_encoding(self, encoding: str | None) -> None:
        self.encoding = encoding
        self._convert = to_utf8(encoding) if encoding is not None else None

    def start(self, *, wait: bool = True) -> FileStart:
        """Return the beginning of the file; reading returns these bytes again.

        Detects UTF-16 and UTF-32 unless an encoding was given. Without `wait`, the beginning of a pipe is
        what it has received so far.
        """
        data = self.read(START_BYTES) if wait else self.read_some(START_BYTES)
        whole = wait and len(data) < START_BYTES
        if self._convert is None and (found := encoding_of(data)) is not None:
            self._set_encoding(found)
            data = to_utf8(found)(data, False)
        self._ahead = data
        return FileStart(
            self.path,
            bare_name(self.path),
            data.removeprefix(BOM),
            whole,
            self.compression,
            is_pipe(self.path),
        )

    def read_some(self, size: int) -> bytes:
        """Read at most `size` bytes, from a pipe as soon as it pauses; returns none only at the end.

        Raises: DataError when the file is truncated or damaged.
        """
        while not self._ahead:
            with self._explained():
                data = self._bytes.read(size)
                self._ahead = data if self._convert is None else self._convert(data, not data)
            if not data:
                break
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        return found

    def read(self, size: int) -> bytes:
        """Read `size` bytes, or fewer at the end of the file.

        Raises: DataError when the file is truncated or damaged.
        """
        parts = []
        while size and (part := self.read_some(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def read_at(self, offset: int, size: int) -> bytes:
        """Read `size` bytes of a plain file, starting at `offset`."""
        self.seek(offset)
        return self.read(size)

    def seek(self, offset: int) -> None:
        """Continue reading a plain file at `offset`."""
        self._bytes.seek(offset)

    def consumed(self) -> int:
        """Return the number of bytes of the stored, possibly compressed, file read so far."""
        return int(self._file.tell())

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.close()
        self._file.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise DataError(
                f"{self.path} cannot be read: {error.strerror}. Check its permissions."
            ) from error
        except (OSError, EOFError, lzma.LZMAError, zlib.error, pa.ArrowInvalid) as error:
            if self.compression is None:
                raise DataError(f"reading {self.path} failed: {error}.") from error
            raise DataError(
                f"{self.path} is cut short or damaged: {error}. Download or compress it again; "
                f"`{TESTERS[self.compression]} {Path(self.path).name}` checks it."
            ) from error


class _Decompressed:
    """Reads gzip, bz2 or xz data of one or more members, which zero bytes may separate and follow.

    Arrow and the standard library reject or, worse, ignore what follows such padding.
    """

    def __init__(self, file: Any, new_decoder: Callable[[], Any]) -> None:
        self._file = file
        self._new_decoder = new_decoder
        self._decoder = new_decoder()
        self._input = b""

    def read(self, size: int) -> bytes:
        while True:
            if self._decoder.eof and not self._next_member():
                return b""
            if not self._input and getattr(self._decoder, "needs_input", True):
                self._input = self._file.read(COMPRESSED_BYTES)
                if not self._input:
                    raise EOFError("the compressed data end too early")
            data: bytes = self._decoder.decompress(self._input, size)
            self._input = getattr(self._decoder, "unconsumed_tail", b"")  # zlib keeps no input itself
            if data:
                return data

    def _next_member(self) -> bool:
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            more = self._file.read(COMPRESSED_BYTES)
            if not more:
                return False
            rest = more.lstrip(b"\0")
        self._decoder, self._input = self._new_decoder(), rest
        return True

    def close(self) -> None:
        pass


class _Begun(io.RawIOBase):
    """A file whose first bytes can be inspected before reading, and which supports `tell` for pipes.

    A read from a pipe returns what the pipe delivers before it pauses.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.head = b""
        self._place = 0
        self._pauses = isinstance(file, io.FileIO)  # unbuffered: a pipe or a terminal
        # A line that someone types may be shorter than a signature, and no signature contains a line break.
        while len(self.head) < MAGIC_BYTES and b"\n" not in self.head and (more := self._next(MAGIC_BYTES)):
            self.head += more
        self._unread = self.head

    def _next(self, size: int, first: bytes = b"") -> bytes:
        """Return `first` and what follows; less than `size` bytes if the pipe pauses, none at the end."""
        if not self._pauses:
            return first + self._file.read(size - len(first))
        parts = [first or self._file.read(size)]
        missing = size - len(parts[0])
        while parts[-1] and missing > 0 and select.select([self._file], [], [], PAUSE_SECONDS)[0]:
            parts.append(self._file.read(missing))
            missing -= len(parts[-1])
        return b"".join(parts)

    def read(self, size: int = -1) -> bytes:
        first, self._unread = self._unread[:size], self._unread[size:]
        data = self._next(size, first) if len(first) < size else first
        self._place += len(data)
        return data

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_pipe(path: str) -> Any:
    if path != "-":
        return open(path, "rb", buffering=0)
    try:
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    except (OSError, ValueError):  # not backed by a file descriptor, as in tests
        return io.BytesIO(sys.stdin.buffer.read())
