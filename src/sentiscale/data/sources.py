"""Find review files from paths, globs, folders and fsspec URLs, and read them decompressed and as UTF-8."""

import io
import os
import re
import select
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from sentiscale.errors import DataError, did_you_mean
from sentiscale.text.encodings import encoding_for, no_mark, to_utf8
from sentiscale.text.formats import FASTTEXT, FORMATS, format_by_suffix
from sentiscale.text.formats.base import FileStart, InputFormat
from sentiscale.text.formats.files import CLASS_FOLDERS, NEGATIVE_FOLDERS, POSITIVE_FOLDERS
from sentiscale.util.storage import (
    DAMAGED,
    compression_of,
    decompressed,
    file_system,
    is_archive,
    is_local,
    names_in,
    open_file,
    split_member,
)

STDIN = "/dev/stdin"
MB = 2**20
START_BYTES = 2**20
"""Number of bytes from which a file's format is recognised."""
BOM = b"\xef\xbb\xbf"
MAGIC_BYTES = 8
COMPRESSION_SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
ABOUT = re.compile(r"(readme|licen[cs]es?|copying|notice|changelog|citation)\b", re.IGNORECASE)
"""Names of text files about a folder or archive, which are not reviews."""
TESTERS = {"gzip": "gzip -t", "bz2": "bzip2 -t", "xz": "xz -t", "zstd": "zstd -t"}
PAUSE_SECONDS = 0.05
"""When a pipe delivers nothing for this long, `Stream.read_some` returns the bytes received so far."""


def find_files(inputs: str | Path | Sequence[str | Path], *, one_per_review: bool = False) -> list[str]:
    """Resolve files, globs, folders, archives and URLs to files, in the given order and without duplicates.

    Files of a glob, folder or archive are sorted. Named pipes are kept, and `-` is standard input. A local
    file or folder that exists is taken as it is, even if its name looks like a URL or a glob. A folder with
    one review per file is returned as one path that ends in a slash.

    Args:
        inputs: the items to resolve.
        one_per_review: whether every folder and archive has one review per file; otherwise, only those with
            folders of positive and negative reviews.

    Raises: DataError when an item matches no file.
    """
    items = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not items:
        raise DataError("no input was given. Name at least one file, glob, folder or URL.")
    return list(dict.fromkeys(path for item in items for path in _resolve(str(item), one_per_review)))


def _resolve(item: str, one_per_review: bool) -> list[str]:
    if item == "-":
        item = STDIN
    if is_pipe(item):
        return [item]
    try:
        found = _find(item, one_per_review)
    except DataError:
        raise
    except Exception as error:  # each fsspec file system has its own error classes
        raise DataError(f"{item} cannot be reached: {error}. Check the address.") from error
    if found is not None:
        return found
    folder = Path(item).parent
    hint = did_you_mean(Path(item).name, os.listdir(folder)) if folder.is_dir() else ""
    raise DataError(f"{item} does not exist.{hint} Check the path.")


def _find(item: str, one_per_review: bool) -> list[str] | None:
    """Return the files that a path, glob or URL stands for; None if there is nothing there."""
    filesystem, root = file_system(item)
    inside = split_member(item)
    if inside is not None or is_archive(item):
        names = names_in(item)
        if inside is not None and not names:
            return [item] if inside[1] in names_in(inside[0]) else None
        return _files_of(item, names, one_per_review)
    if filesystem.isfile(root):
        return [item]
    if filesystem.isdir(root):
        return _files_of(root if is_local(item) else item, names_in(item), one_per_review)
    if not any(sign in item for sign in "*?["):
        return None
    hidden = Path(root).name.startswith(".")
    found = [path for path in sorted(filesystem.glob(root)) if filesystem.isfile(path)]
    found = [path for path in found if hidden or not Path(path).name.startswith(".")]
    if not found:
        raise DataError(f"no file matches {item}. Quote the pattern or check its folder.")
    if not is_local(item):
        found = [str(filesystem.unstrip_protocol(path)) for path in found]
    expanded = [_find(path, one_per_review) if is_archive(path) else [path] for path in found]
    return [path for paths in expanded for path in paths or []]


def _files_of(folder: str, names: list[str], one_per_review: bool) -> list[str]:
    """Return the review files of a folder or archive, or the folder if it has one review per file."""
    datasets = tuple(name.removesuffix("manifest.json") for name in names if name.endswith("/manifest.json"))
    names = [name for name in names if not _is_hidden(name) and not name.startswith(datasets or ("/",))]
    if one_per_review or has_class_folders(folder, names):
        return [f"{folder.rstrip('/')}/"]
    formats = {name: found for name in names if (found := format_by_suffix(bare_name(name))) is not None}
    chosen = [name for name in formats if formats[name].has_columns or not ABOUT.match(bare_name(name))]
    if not os.path.isdir(folder) and len(names) == 1:
        chosen = names
    if not chosen:
        suffixes = ", ".join(suffix for each in FORMATS.values() for suffix in each.suffixes)
        held = f" It contains: {', '.join(names[:5])}." if names else ""
        raise DataError(f"{folder} contains no review files.{held} Looked for {suffixes}, also compressed.")
    return [f"{folder.rstrip('/')}/{name}" for name in chosen]


def has_class_folders(folder: str, names: list[str]) -> bool:
    """Whether text files are in folders of positive and negative reviews, and contain no labels."""
    texts = [name for name in names if name.lower().endswith(".txt")]
    parents = {PurePosixPath(name).parent.name.lower() for name in texts}
    tables = (format_by_suffix(bare_name(name)) for name in names)
    if not parents & POSITIVE_FOLDERS or not parents & NEGATIVE_FOLDERS or any(map(_has_columns, tables)):
        return False
    first = next(name for name in texts if PurePosixPath(name).parent.name.lower() in CLASS_FOLDERS)
    with open_file(f"{folder.rstrip('/')}/{first}") as file:
        return not FASTTEXT.recognises(file.read(START_BYTES))


def _has_columns(file_format: InputFormat | None) -> bool:
    return file_format is not None and file_format.has_columns


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))


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
            encoding: encoding that the user named, or None; `start` determines that of the file.

        Raises: DataError when the file cannot be opened.
        """
        stream = cls.__new__(cls)
        stream.path, stream.compression = path, None
        with stream._explained():
            file = _Begun(_open_pipe(path) if path == "-" or is_pipe(path) else open_file(path))
            stream.compression = compression_of(file.head)
            stream._open(file, None)
        stream._named = encoding
        return stream

    def _open(self, file: Any, encoding: str | None) -> None:
        self._file, self._bytes = file, decompressed(file, self.compression)
        self._named: str | None = None
        self._ahead = b""
        """Bytes to return before reading on."""
        self._filters: list[Callable[[bytes, bool], bytes]] = []
        self.encoding = encoding
        if encoding is not None:
            self.add_filter(to_utf8(encoding))

    def add_filter(self, convert: Callable[[bytes, bool], bytes]) -> None:
        """Convert everything that is read from now on; the second argument is whether the file has ended."""
        self._ahead = convert(self._ahead, False)
        self._filters.append(convert)

    def start(self, *, wait: bool = True) -> FileStart:
        """Return the beginning of the file; reading returns these bytes again.

        Determines the encoding, and converts what is read from now on. Without `wait`, the beginning of a
        pipe is what it has received so far.

        Raises: DataError when the encoding that was named needs a byte-order mark, and there is none.
        """
        data = self.read(START_BYTES) if wait else self.read_some(START_BYTES)
        whole = wait and len(data) < START_BYTES
        self._ahead = data
        self.encoding = encoding_for(data, self._named)
        if self.encoding is not None:
            with self._explained():
                self.add_filter(to_utf8(self.encoding))
        data = self._ahead
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
                data = self._ahead = self._bytes.read(size)
                for convert in self._filters:
                    self._ahead = convert(self._ahead, not data)
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
        except UnicodeError as error:
            raise DataError(no_mark(self.path, self.encoding or "")) from error
        except DAMAGED as error:
            if self.compression is None:
                raise DataError(f"reading {self.path} failed: {error}.") from error
            raise DataError(
                f"{self.path} is cut short or damaged: {error}. Download or compress it again; "
                f"`{TESTERS[self.compression]} {Path(self.path).name}` checks it."
            ) from error


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
