"""Write files and directories atomically, with temporary names, fsync and rename."""

import errno
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sentiscale.errors import OutputExistsError, SentiscaleError, UsageError

DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}


def write_file(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` atomically; after a crash, `path` is either the old file or the new one."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file open for writing; it becomes `path` if the block succeeds and is removed otherwise.

    Raises: SentiscaleError when the disk is full or fails while writing.
    """
    temporary = _temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if not _is_about_writing(error, temporary):
            raise
        raise disk_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextmanager
def whole_directory(path: Path, *, replace: bool = False, marker: str | None = None) -> Iterator[Path]:
    """Yield an empty working directory that becomes `path` if the block succeeds and is removed otherwise.

    Args:
        path: the directory to write.
        replace: replace an existing directory.
        marker: with `replace`, replace the directory only if it is empty or contains a file of this name.

    Raises:
        OutputExistsError: `path` exists and `replace` is false.
        UsageError: the parent directory cannot be written, or `path` lacks `marker`.
        SentiscaleError: the disk is full or fails while writing.
    """
    check_output(path, replace=replace, marker=marker)
    remove_abandoned(path)
    working = _temporary_name(path)
    try:
        working.mkdir()
        yield working
        publish_directory(working, path)
    except OSError as error:
        if not _is_about_writing(error, working):
            raise
        raise disk_error(path, error) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def check_output(path: Path, *, replace: bool = False, marker: str | None = None) -> None:
    """Check that `path` can be written, before any work is done.

    Raises:
        OutputExistsError: `path` exists and `replace` is false.
        UsageError: `path` cannot be written, or it is not empty and lacks `marker` (see `whole_directory`).
    """
    if path.exists() and not replace:
        raise OutputExistsError(f"{path} exists already. Choose another --out, or add --force to replace it.")
    if path.exists() and marker is not None and not _is_replaceable(path, marker):
        raise UsageError(
            f"{path} has no {marker}, so sentiscale did not write it and --force does not replace it. "
            "Choose another --out, or remove it yourself."
        )
    if path.name in ("", ".."):
        raise UsageError(f"{path} has no name of its own. Choose another --out, such as {path / 'data'}.")
    if str(path) != str(path).encode("utf-8", "replace").decode():
        raise UsageError(f"the name of {path} is not valid UTF-8, which Arrow needs. Choose another --out.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {path.parent}: {error.strerror}. Choose another --out.") from error
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path.parent} is not writable. Choose another --out.")


def publish_directory(working: Path, path: Path) -> None:
    """Rename a finished working directory to `path`, replacing an existing directory."""
    for file in working.rglob("*"):
        if file.is_file():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
    sync_directory(working)
    if path.exists():
        retired = working.with_name(f"{working.name.removesuffix('.tmp')}.old")
        os.replace(path, retired)
        try:
            os.replace(working, path)
        except OSError:
            os.replace(retired, path)
            raise
        shutil.rmtree(retired, ignore_errors=True)
    else:
        os.replace(working, path)
    sync_directory(path.parent)


def remove_abandoned(path: Path) -> None:
    """Remove temporary files that killed processes of this machine left next to `path`.

    If a process was killed between its two renames, also restore `path` from its temporary name.
    """
    pattern = re.compile(re.escape(f".{path.name}.{platform.node()}.") + r"(\d+)\.[0-9a-f]{8}\.(tmp|old)")
    for found in list(path.parent.iterdir()):
        match = pattern.fullmatch(found.name)
        if match is None or _is_running(int(match[1])):
            continue
        if match[2] == "old" and not path.exists():
            os.replace(found, path)
        elif found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Create a directory and its parents if they do not exist.

    Raises: UsageError when `path` is a file; SentiscaleError when the disk fails.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{path} is a file. Choose another --out.") from error
    except OSError as error:
        raise disk_error(path, error) from error


def sync_directory(path: Path) -> None:
    """Flush renames inside `path` to disk, so that they survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(path: Path, error: OSError) -> SentiscaleError:
    """Convert an operating-system error while writing `path` to one that suggests a remedy."""
    reason = (error.strerror or str(error)).rstrip(".")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "Free some space, or choose a place on another disk." if full else "Choose another place."
    return SentiscaleError(f"writing {path} failed: {reason}. Nothing half-written was left behind. {remedy}")


def _temporary_name(path: Path) -> Path:
    """Return a hidden name next to `path` that contains the name of this machine and the process id."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")


def _is_about_writing(error: OSError, working: Path) -> bool:
    """Distinguish a failing disk from other errors inside the block, such as an unreadable input."""
    inside = isinstance(error.filename, str | os.PathLike) and Path(error.filename).is_relative_to(working)
    # NumPy's errors for incomplete writes have no errno.
    return inside or error.errno is None or error.errno in DISK_FAULTS


def _is_replaceable(path: Path, marker: str) -> bool:
    return path.is_dir() and ((path / marker).exists() or not any(path.iterdir()))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs as another user
        return True
    return True
