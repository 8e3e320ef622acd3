"""Find review files from paths, globs, folders and fsspec URLs, and open and decompress them."""

import io
import lzma
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa

from sentiscale.errors import DataError, did_you_mean
from sentiscale.text.formats import FORMATS, format_by_suffix
from sentiscale.text.formats.base import FileStart

STDIN = "/dev/stdin"
MB = 2**20
START_BYTES = 2**20
"""Number of bytes from which a file's format is recognised."""
BOM = b"\xef\xbb\xbf"
MAGIC_BYTES = 8
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
COMPRESSION_SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
TESTERS = {"gzip": "gzip -t", "bz2": "bzip2 -t", "xz": "xz -t", "zstd": "zstd -t"}


def find_files(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Resolve files, globs, folders and URLs to files, in the given order and without duplicates.

    Files of a glob or folder are sorted. Named pipes are kept, and `-` is standard input.

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
            local = "file" in ([names] if isinstance(names := filesystem.protocol, str) else names)
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


def is_local(path: str) -> bool:
    """Whether the path is a file path rather than a URL."""
    return "://" not in path


def compression_of(path: str) -> str | None:
    """Detect gzip, bz2, xz or zstd from the first bytes; None for plain files.

    Raises: DataError when the file is empty, cannot be read, or is not compressed although its suffix
        indicates compression.
    """
    try:
        with fsspec.open(path, "rb") as file:
            return _compression(path, file.read(MAGIC_BYTES))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Check its permissions."
        ) from error


def _compression(path: str, head: bytes) -> str | None:
    if not head:
        raise DataError(f"{path} is empty (0 bytes). Download or write it again, or leave it out.")
    found = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    suffix = Path(path).suffix
    if suffix.lower() in COMPRESSION_SUFFIXES and not found:
        raise DataError(f"{path} has the suffix {suffix} but is not compressed. Rename it or get it again.")
    return found


class Stream:
    """A file opened for sequential, decompressed reading; a context manager."""

    def __init__(self, path: str, compression: str | None) -> None:
        """Raises: DataError when the file cannot be opened."""
        self.path = path
        self.compression = compression
        self._peeked = b""
        with self._explained():
            self._open(fsspec.open(path, "rb").open())

    @classmethod
    def of_pipe(cls, path: str) -> "Stream":
        """Open a named pipe and detect its compression. A pipe can be opened only once.

        Raises: DataError when the pipe is empty or cannot be opened.
        """
        stream = cls.__new__(cls)
        stream.path, stream.compression, stream._peeked = path, None, b""
        with stream._explained():
            pipe = _Pipe(path)
            stream.compression = _compression(path, pipe.head)
            stream._open(pipe)
        return stream

    def _open(self, file: Any) -> None:
        self._file = self._bytes = file
        if self.compression == "xz":
            self._bytes = lzma.LZMAFile(file)  # noqa: SIM115 - closed by `__exit__`
        elif self.compression is not None:
            self._bytes = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), self.compression)

    def start(self) -> FileStart:
        """Return the beginning of the file; `read` returns these bytes again."""
        self._peeked = data = self.read(START_BYTES)
        whole = len(data) < START_BYTES
        return FileStart(
            self.path,
            bare_name(self.path),
            data.removeprefix(BOM),
            whole,
            self.compression,
            is_pipe(self.path),
        )

    def read(self, size: int) -> bytes:
        """Read `size` bytes, or fewer at the end of the file.

        Raises: DataError when the file is truncated or damaged.
        """
        peeked, self._peeked = self._peeked[:size], self._peeked[size:]
        with self._explained():
            parts = [peeked] if peeked else [self._bytes.read(size)]
            while (missing := size - sum(map(len, parts))) and parts[-1]:
                parts.append(self._bytes.read(missing))
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
        except (OSError, EOFError, lzma.LZMAError, pa.ArrowInvalid) as error:
            if self.compression is None:
                raise DataError(f"reading {self.path} failed: {error}.") from error
            raise DataError(
                f"{self.path} is cut short or damaged: {error}. Download or compress it again; "
                f"`{TESTERS[self.compression]} {Path(self.path).name}` checks it."
            ) from error


class _Pipe(io.RawIOBase):
    """A pipe whose first bytes can be inspected before reading, and which supports `tell`.

    A buffered reader is not enough: its `peek` may return fewer bytes than a signature needs, and its `tell`
    fails for pipes.
    """

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", buffering=MB)  # noqa: SIM115 - closed by `close`
        self.head = self._file.read(MAGIC_BYTES)
        self._unread = self.head
        self._place = 0

    def read(self, size: int = -1) -> bytes:
        data, self._unread = self._unread, b""
        if size < 0 or len(data) < size:
            data += self._file.read(size - len(data) if size >= 0 else -1)
        self._place += len(data)
        return data

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._file.close()
        super().close()
