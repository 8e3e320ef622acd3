"""Open files by path or URL, and look up their size and version."""

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import fsspec


class StoredFile(NamedTuple):
    """What a file system knows of a file without reading it."""

    size: int
    """Size in bytes; 0 if it is unknown."""
    version: str
    """Modification time, or ETag where a store has no times."""


def is_local(path: str) -> bool:
    """Whether a path is that of a local file: an existing file is one whatever its name."""
    return "://" not in path or os.path.exists(path)


def open_file(path: str) -> BinaryIO:
    """Open a file for reading. In local names, the characters of URLs and globs have no meaning."""
    if is_local(path):
        return open(path, "rb")
    return cast(BinaryIO, fsspec.open(path, "rb", expand=False).open())


def stored_file(path: str) -> StoredFile:
    if is_local(path):
        found = os.stat(path)
        return StoredFile(found.st_size, str(found.st_mtime))
    filesystem, root = fsspec.core.url_to_fs(path)
    info = filesystem.info(root)
    version = info.get("mtime") or info.get("LastModified") or info.get("ETag") or ""
    return StoredFile(int(info.get("size") or 0), str(version))


def printable(path: str | Path) -> str:
    """Return a path as valid Unicode: bytes of the name that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")
