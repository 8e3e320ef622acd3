"""Read files that others wrote: regular files only, of bounded size and nesting, without ever waiting.

Every function raises DataError for a file that cannot be used, and FileNotFoundError or NotADirectoryError
for one that does not exist, because only the caller knows what that means.
"""

import json
import os
import stat
import tomllib
from io import BufferedReader
from pathlib import Path
from typing import Any

from sentiscale.errors import DataError

MAX_TOML_BYTES = 64 * 2**10
MAX_JSON_BYTES = 16 * 2**20
MAX_DEPTH = 32
"""Levels of tables, objects and arrays in a TOML or JSON file."""
MAX_DOTS = 100
"""Dots in a line of TOML: parsing a dotted key takes time quadratic in its parts."""

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Path, max_bytes: int | None = None) -> BufferedReader:
    """Open a regular file, or a link to one, for reading; its size is at most `max_bytes`.

    Map or read the returned file instead of opening the path again: the path may change, the open file not.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer. It has no effect on regular files.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a file")
            raise DataError(f"{path} is {kind}; only a regular file is allowed.")
        if max_bytes is not None and status.st_size > max_bytes:
            raise DataError(f"{path} has {status.st_size:,} bytes; at most {max_bytes:,} are allowed.")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a whole regular file of at most `max_bytes`."""
    with open_regular(path, max_bytes) as file:
        try:
            content = file.read(max_bytes + 1)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > max_bytes:  # files under /proc have size 0, and a file may grow
        raise DataError(f"{path} has more than {max_bytes:,} bytes, the largest size allowed.")
    return content


def read_toml(path: Path, max_bytes: int = MAX_TOML_BYTES) -> dict[str, Any]:
    """Read a TOML file, with or without a byte-order mark, as Windows editors write it."""
    return parse_toml(path, read_bytes(path, max_bytes))


def parse_toml(path: Path, content: bytes) -> dict[str, Any]:
    """Parse the content of a TOML file; `path` is for messages."""
    try:
        text = content.decode("utf-8-sig")
        for number, line in enumerate(text.split("\n"), 1):
            if line.partition("#")[0].count(".") > MAX_DOTS:
                raise DataError(f"{path}:{number} has more than {MAX_DOTS} dots, the most allowed in a line.")
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for an integer of 5,000 digits
        raise DataError(f"{path} is not valid TOML: {_reason(error)}.") from error
    _check_depth(path, values)
    return values


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file."""
    content = read_bytes(path, max_bytes)
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {_reason(error)}.") from error
    _check_depth(path, values)
    return values


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def _check_depth(path: Path, values: Any) -> None:
    """Limit the nesting, because what handles the values later is recursive: validation, messages, copies."""
    level = [values]
    for _ in range(MAX_DEPTH + 1):
        containers = [value for value in level if isinstance(value, dict | list)]
        if not containers:
            return
        level = [
            inner for outer in containers for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    raise DataError(f"{path} is nested too deep; at most {MAX_DEPTH} levels are allowed.")
