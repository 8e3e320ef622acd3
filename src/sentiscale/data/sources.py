"""Open review files wherever they lie (fsspec), decompressed; find them from paths, globs, folders, URLs."""

import io
import lzma
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa

from sentiscale.errors import DataError, did_you_mean

STDIN = "/dev/stdin"
MB = 2**20
MAGIC_BYTES = 8
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
TESTERS = {"gzip": "gzip -t", "bz2": "bzip2 -t", "xz": "xz -t", "zstd": "zstd -t"}
DATA_SUFFIXES = (".txt", ".ft", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""What counts as a review file in a folder, with or without a compression suffix."""


def find_files(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Resolve files, globs, folders and URLs to files: in the order given, sorted within, each once.

    A named pipe stands for itself, and `-` for standard input.

    Raises: DataError when one of them leads to no file.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not given:
        raise DataError("no input was given. Name at least one file, glob, folder or URL.")
    return list(dict.fromkeys(path for item in given for path in _resolve(str(item))))


def _resolve(item: str) -> list[str]:
    if item == "-":
        item = STDIN
    if is_pipe(item):
        return [item]
    try:
        filesystem, root = fsspec.core.url_to_fs(item)
        if filesystem.isfile(root):
            return [item]
        if filesystem.isdir(root):
            found = _review_files(sorted(filesystem.find(root)), root)
            if not found:
                raise DataError(
                    f"folder {item} holds no review files. Looked for {', '.join(DATA_SUFFIXES)}, "
                    f"also compressed."
                )
            return [_unstrip(filesystem, path) for path in found]
        if any(sign in item for sign in "*?["):
            hidden = Path(root).name.startswith(".")
            found = [path for path in sorted(filesystem.glob(root)) if filesystem.isfile(path)]
            found = [path for path in found if hidden or not Path(path).name.startswith(".")]
            if found:
                return [_unstrip(filesystem, path) for path in found]
            raise DataError(f"no file matches {item}. Quote the pattern or check its folder.")
    except DataError:
        raise
    except Exception as error:  # each file system of fsspec has errors of its own
        raise DataError(f"{item} cannot be reached: {error}. Check the address.") from error
    raise DataError(f"{item} does not exist.{_neighbours(item)} Check the path.")


def _review_files(paths: list[str], root: str) -> list[str]:
    """The files of a folder that can be reviews; prepared datasets in it are none."""
    datasets = tuple(path.removesuffix("manifest.json") for path in paths if path.endswith("/manifest.json"))
    return [path for path in paths if _is_review_file(path[len(root) :]) and not path.startswith(datasets)]


def _is_review_file(relative: str) -> bool:
    parts = relative.strip("/").split("/")
    name = parts[-1].lower()
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name.endswith(DATA_SUFFIXES) and not any(part.startswith((".", "_")) for part in parts)


def _unstrip(filesystem: Any, path: str) -> str:
    local = "file" in (
        filesystem.protocol if not isinstance(filesystem.protocol, str) else [filesystem.protocol]
    )
    return path if local else str(filesystem.unstrip_protocol(path))


def _neighbours(item: str) -> str:
    folder = Path(item).parent
    return did_you_mean(Path(item).name, os.listdir(folder)) if folder.is_dir() else ""


def is_pipe(path: str) -> bool:
    """Whether the path is a named pipe, or standard input where that is a pipe."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def is_local(path: str) -> bool:
    """Whether workers on this machine can open the path by themselves."""
    return "://" not in path


def compression_of(path: str) -> str | None:
    """gzip, bz2, xz or zstd by the first bytes, else by the name; None for plain files.

    Raises: DataError when the file is empty or cannot be read.
    """
    try:
        with fsspec.open(path, "rb") as file:
            head = file.read(MAGIC_BYTES)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Check its permissions."
        ) from error
    return _compression(path, head)


def _compression(path: str, head: bytes) -> str | None:
    if not head:
        raise DataError(f"{path} is empty (0 bytes). Download or write it again, or leave it out.")
    found = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    named = SUFFIXES.get(Path(path).suffix.lower())
    if named and not found:
        raise DataError(
            f"{path} is named {Path(path).suffix} but is not compressed so. Rename it or get it again."
        )
    return found


class Stream:
    """A file opened for reading in order, decompressed; a context manager."""

    def __init__(self, path: str, compression: str | None) -> None:
        """Open the file.

        Raises: DataError when it cannot be opened.
        """
        self.path = path
        self.compression = compression
        self._kept = b""
        with self._explained():
            self._file: Any = fsspec.open(path, "rb").open()
            self._bytes = _decompressed(self._file, compression)

    @classmethod
    def of_pipe(cls, path: str) -> "Stream":
        """Open a named pipe, which can be done once only, and find out how it is compressed.

        Raises: DataError when it is empty or cannot be opened.
        """
        stream = cls.__new__(cls)
        stream.path, stream.compression, stream._kept = path, None, b""
        with stream._explained():
            stream._file = _Pipe(path)
            stream.compression = _compression(path, stream._file.head)
            stream._bytes = _decompressed(stream._file, stream.compression)
        return stream

    def peek(self, size: int) -> bytes:
        """The next bytes, which will be read again."""
        self._kept = self.read(size)
        return self._kept

    def read(self, size: int) -> bytes:
        """The next bytes, fewer than `size` only at the end of the file.

        Raises: DataError when the file is cut short or damaged.
        """
        kept, self._kept = self._kept[:size], self._kept[size:]
        with self._explained():
            parts = [kept] if kept else [self._bytes.read(size)]
            while (missing := size - sum(map(len, parts))) and parts[-1]:
                parts.append(self._bytes.read(missing))
            return b"".join(parts)

    def read_at(self, offset: int, size: int) -> bytes:
        """`size` bytes of a plain file from `offset` on."""
        self.seek(offset)
        return self.read(size)

    def seek(self, offset: int) -> None:
        """Go on reading a plain file at `offset`."""
        self._bytes.seek(offset)

    def consumed(self) -> int:
        """Bytes of the stored (compressed) file that were read so far."""
        return int(self._file.tell())

    @property
    def closed(self) -> bool:
        """Whether nothing can be read any more."""
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
            raise DataError(_damaged(self.path, self.compression, error)) from error


class _Pipe(io.RawIOBase):
    """A pipe whose first bytes were looked at; knows how much was read."""

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


def _decompressed(file: BinaryIO, compression: str | None) -> Any:
    if compression is None:
        return file
    if compression == "xz":
        return lzma.open(file, "rb")
    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), compression)


def _damaged(path: str, compression: str | None, error: Exception) -> str:
    if compression is None:
        return f"reading {path} failed: {error}."
    return (
        f"{path} is cut short or damaged: {error}. Download or compress it again; "
        f"`{TESTERS[compression]} {Path(path).name}` checks it."
    )
