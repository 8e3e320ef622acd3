"""Write files and directories that are whole or absent: temporary name, fsync, rename."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentiscale.errors import OutputExistsError, SentiscaleError, UsageError


def write_file(path: Path, content: bytes | str) -> None:
    """Replace `path` with `content` in one step; a crash leaves the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error
    sync_directory(path.parent)


@contextmanager
def whole_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty working directory beside `path`; on success it becomes `path`, else it is removed.

    Raises:
        OutputExistsError: `path` exists and `replace` is false.
        UsageError: the parent directory cannot be written.
        SentiscaleError: the disk is full or fails while writing.
    """
    check_output(path, replace=replace)
    working = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        working.mkdir()
        yield working
        publish_directory(working, path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def check_output(path: Path, *, replace: bool = False) -> None:
    """Fail before any work is done when `path` is taken or cannot be written."""
    if path.exists() and not replace:
        raise OutputExistsError(f"{path} exists already. Choose another --out, or add --force to replace it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {path.parent}: {error.strerror}. Choose another --out.") from error
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path.parent} is not writable. Choose another --out.")


def publish_directory(working: Path, path: Path) -> None:
    """Give a finished working directory its final name, replacing what stood there."""
    for file in working.rglob("*"):
        if file.is_file():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
    if path.exists():
        retired = working.with_name(f"{working.name}.old")
        os.replace(path, retired)
        os.replace(working, path)
        shutil.rmtree(retired, ignore_errors=True)
    else:
        os.replace(working, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(path: Path, error: OSError) -> SentiscaleError:
    """Turn an operating-system error while writing `path` into one that says what to do."""
    reason = error.strerror or str(error)
    return SentiscaleError(
        f"writing {path} failed: {reason}. Nothing was left behind; free some space or choose another --out."
    )
