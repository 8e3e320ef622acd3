"""Open files by path or URL, plain or inside archives, and decompress them.

`ARCHIVE/MEMBER`, such as `reviews.zip/train.csv`, is the path of a file in a zip or tar archive. Members are
read in place, as streams: nothing is unpacked to disk.
"""

import bz2
import io
import lzma
import os
import posixpath
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from sentiscale.errors import DataError

MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""Follows 0x50 to 0x5F at the start of a zstd frame without data, as parallel compressors write them."""
DECODERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "bz2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}
COMPRESSED_BYTES = 2**16
ZIP, TAR = (b"PK\x03\x04", b"PK\x05\x06"), b"ustar"
TAR_PLACE, TAR_BLOCK = 257, 512
IN_REMOTE_ARCHIVE = re.compile(r"(.+?\.(?:zip|tgz|tbz2|txz|tar(?:\.\w+)?))(?:/(.+))?", re.IGNORECASE)
OFFICE = ("xl/", "word/", "ppt/", "mimetype")
"""Members of documents, which are zip archives but are not treated as such."""


DAMAGED = (
    OSError,
    EOFError,
    lzma.LZMAError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    pa.ArrowInvalid,
)
"""Errors of reading and decompressing."""


class StoredFile(NamedTuple):
    """What a file system knows of a file without reading it."""

    size: int
    """Size in bytes; 0 if it is unknown."""
    version: str
    """Modification time, or ETag where a store has no times."""


class Member(NamedTuple):
    """A file in a folder or archive."""

    name: str
    """Path relative to the folder or archive."""
    open: Callable[[], Any]
    """Opens the file for reading; of a tar archive, only until the next member is requested."""


def is_local(path: str) -> bool:
    """Whether a path is that of a local file: an existing file is one whatever its name."""
    return "://" not in path or os.path.exists(path)


def file_system(path: str) -> tuple[Any, str]:
    """Return the fsspec file system of a path or URL, and the path in it."""
    if is_local(path):
        return LocalFileSystem(), os.path.abspath(path)
    filesystem, root = fsspec.core.url_to_fs(path)
    return filesystem, root


def open_file(path: str) -> BinaryIO:
    """Open a file for reading. In local names, the characters of URLs and globs have no meaning.

    Raises: OSError when it cannot be opened; DataError when it is in an archive that cannot be read.
    """
    if (inside := split_member(path)) is not None:
        archive, name = inside
        with explained_archive(archive):
            found = members(archive)
            return cast(
                BinaryIO, _MemberFile(found, next(each for each in found if each.name == name).open())
            )
    if is_local(path):
        return open(path, "rb")
    return cast(BinaryIO, fsspec.open(path, "rb", expand=False).open())


def stored_file(path: str) -> StoredFile:
    """Return size and version of a file, or of a whole folder or archive if the path ends in a slash."""
    if path.endswith("/"):
        return _stored_folder(path.rstrip("/"))
    if (inside := split_member(path)) is not None:
        version = stored_file(inside[0]).version
        return StoredFile(archive_sizes(inside[0], version)[inside[1]], version)
    if is_local(path):
        found = os.stat(path)
        return StoredFile(found.st_size, str(found.st_mtime))
    filesystem, root = file_system(path)
    info = filesystem.info(root)
    version = info.get("mtime") or info.get("LastModified") or info.get("ETag") or ""
    return StoredFile(int(info.get("size") or 0), str(version))


def _stored_folder(path: str) -> StoredFile:
    inside = split_member(path)
    if inside is not None or is_archive(path):
        archive, folder = inside or (path, "")
        version = stored_file(archive).version
        sizes = archive_sizes(archive, version)
        return StoredFile(sum(size for name, size in sizes.items() if name.startswith(folder)), version)
    files = [stored_file(f"{path}/{name}") for name in names_in(path)]
    return StoredFile(sum(file.size for file in files), max((file.version for file in files), default=""))


def printable(path: str | Path) -> str:
    """Return a path as valid Unicode: bytes of the name that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


# Compression


def compression_of(head: bytes) -> str | None:
    """Detect gzip, bz2, xz or zstd from the first bytes of a file; None for plain files."""
    if head[1:4] == ZSTD_SKIPPABLE and 0x50 <= head[0] <= 0x5F:
        return "zstd"
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


def decompressed(file: Any, compression: str | None) -> Any:
    """Return an object whose `read` decompresses `file`."""
    if compression == "zstd":  # Arrow skips skippable frames
        return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
    return _Decompressed(file, DECODERS[compression]) if compression is not None else file


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


# Archives


def split_member(path: str) -> tuple[str, str] | None:
    """Split `ARCHIVE/MEMBER` into its two parts; None for other paths."""
    if not is_local(path):
        found = IN_REMOTE_ARCHIVE.fullmatch(path)
        return (found[1], found[2]) if found is not None and found[2] else None
    archive = path
    while not os.path.exists(path) and (archive := os.path.dirname(archive)) not in ("", "/"):
        if os.path.isfile(archive):
            return (archive, path[len(archive) :].strip("/")) if is_archive(archive) else None
    return None


def is_archive(path: str) -> bool:
    """Whether a local file is a zip or tar archive by content, or a remote one by name."""
    if not is_local(path):
        found = IN_REMOTE_ARCHIVE.fullmatch(path)
        return found is not None and not found[2]
    if not os.path.isfile(path):
        return False
    return _archive_kind(path) is not None


def _archive_kind(path: str) -> str | None:
    with open_file(path) as file:
        head = file.read(TAR_BLOCK)
        if head.startswith(ZIP):
            names = zipfile.ZipFile(file).namelist() if zipfile.is_zipfile(file) else []
            return None if any(name.startswith(OFFICE) for name in names) else "zip"
        if (compression := compression_of(head)) is not None:
            file.seek(0)
            try:
                head = decompressed(file, compression).read(TAR_BLOCK)
            except DAMAGED:
                return None
        return "tar" if head[TAR_PLACE:].startswith(TAR) else None


def names_in(path: str) -> list[str]:
    """Return the sorted paths of the files in a folder or archive, or in a folder of an archive."""
    inside = split_member(path)
    if inside is None and not is_archive(path):
        filesystem, root = file_system(path)
        return sorted(found[len(root) :].strip("/") for found in filesystem.find(root))
    archive, folder = inside or (path, "")
    names = archive_sizes(archive, stored_file(archive).version)
    prefix = folder and folder + "/"
    return sorted(name[len(prefix) :] for name in names if name.startswith(prefix))


def contents(path: str) -> Iterator[Member]:
    """Yield the files of a folder, sorted, or those of an archive or of a folder in it, in stored order."""
    inside = split_member(path)
    if inside is None and not is_archive(path):
        for name in names_in(path):
            yield Member(name, partial(open_file, f"{path}/{name}"))
        return
    archive, folder = inside or (path, "")
    prefix = folder and folder + "/"
    for member in members(archive):
        if member.name.startswith(prefix):
            yield Member(member.name[len(prefix) :], member.open)


def members(archive: str) -> Generator[Member, None, None]:
    """Yield the files of a zip or tar archive in stored order.

    Raises: DataError when the archive is damaged, encrypted or compressed in an unknown way.
    """
    with open_file(archive) as file, explained_archive(archive):
        head = file.read(TAR_BLOCK)
        file.seek(0)
        if head.startswith(ZIP):
            with zipfile.ZipFile(file) as zipped:
                for info in zipped.infolist():
                    if not info.is_dir():
                        yield Member(_tidy(info.filename), partial(zipped.open, info))
            return
        with tarfile.open(fileobj=decompressed(file, compression_of(head)), mode="r|") as tar:
            for entry in tar:
                if entry.isfile():
                    yield Member(_tidy(entry.name), partial(tar.extractfile, entry))


@lru_cache(maxsize=8)
def archive_sizes(archive: str, version: str) -> dict[str, int]:
    """Return names and sizes of the files of an archive; `version` changes when the archive changes."""
    sizes: dict[str, int] = {}
    for member in members(archive):
        assert isinstance(member.open, partial)
        info = member.open.args[0]
        if member.name in sizes:
            raise DataError(f"{archive} contains {member.name} twice. Unpack it and name the file to read.")
        sizes[member.name] = info.file_size if isinstance(info, zipfile.ZipInfo) else info.size
    return sizes


@contextmanager
def explained_archive(archive: str) -> Iterator[None]:
    """Convert the errors of damaged or unsupported archives to DataError."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or compressed in another way
        raise DataError(f"{archive} cannot be read in place: {error}. Unpack it: 7z x.") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{archive} is cut short or damaged: {error}. Get it again.") from error


def _tidy(name: str) -> str:
    """Return a member's name with forward slashes and without `./`."""
    return posixpath.normpath(name.replace("\\", "/"))


class _MemberFile(io.RawIOBase):
    """A member of an archive; closing it closes the archive."""

    def __init__(self, found: Generator[Member, None, None], file: Any) -> None:
        self._found, self._file = found, file

    def read(self, size: int = -1) -> bytes:
        return cast(bytes, self._file.read(size))

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._found.close()
        super().close()
