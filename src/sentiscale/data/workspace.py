"""Hidden working directories of jobs: locked for one process, and kept only for `--resume`."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentiscale.errors import ClusterError, DataError, Interrupted, UsageError
from sentiscale.util.atomic import disk_error, publish_directory, write_file
from sentiscale.util.files import read_json

PLAN = "plan.json"
MAX_PLAN_BYTES = 2**30
"""It lists all input files."""


class Workspace:
    """Folders of one job; `result` becomes the output."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.result = root / "result"
        self.scratch = root / "dask"
        self.overflow = root / "overflow"
        """Folder for data that does not fit into memory."""
        self._shards = root / "shards"
        self._spool = root / "spool"
        self._notes = root / "notes"

    def prepare_folders(self) -> None:
        """Create the folders, keeping only the shards of an earlier run."""
        for folder in (self.result, self.scratch, self.overflow, self._spool, self._notes):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        self._shards.mkdir(exist_ok=True)

    def shard(self, number: int) -> Path:
        return self._shards / f"{number:08d}.safetensors"

    def notes(self, number: int) -> Path:
        return self._notes / f"{number:08d}.arrow"

    def spool(self, name: str, data: bytes) -> Path:
        """Write raw bytes to a file for a worker to read."""
        path = self._spool / name
        path.write_bytes(data)
        return path

    def unspool(self, path: str) -> None:
        """Remove a file that `spool` wrote; ignore other files."""
        if Path(path).parent == self._spool:
            Path(path).unlink(missing_ok=True)


@contextmanager
def workspace(out: Path, plan: dict[str, Any], *, resume: bool) -> Iterator[Workspace]:
    """Yield the workspace of a preparation; on success its result becomes `out`.

    Raises: the errors of `working_directory`; SentiscaleError when writing fails, for example on a full disk.
    """
    with working_directory(out, plan, resume=resume) as root:
        try:
            work = Workspace(root)
            work.prepare_folders()
            yield work
            publish_directory(work.result, out)
        except OSError as error:
            raise disk_error(out, error) from error


@contextmanager
def working_directory(
    out: Path, plan: dict[str, Any], *, resume: bool, keep_on_failure: bool = False
) -> Iterator[Path]:
    """Yield a hidden directory next to `out` for the finished parts of a job; it is removed on success.

    After an interruption or a cluster failure, the directory is kept, and `resume` reuses it if the plan is
    the same. After other failures it is removed.

    Args:
        out: output path of the job.
        plan: everything that the finished parts depend on.
        resume: reuse the finished parts of an interrupted job.
        keep_on_failure: keep the directory after any failure except a DataError, which would occur again.

    Raises:
        Interrupted: the user or a signal stopped the job.
        ClusterError: the workers were lost.
        UsageError: another process is writing the same output.
        SentiscaleError: the directory cannot be created.
    """
    root = out.with_name(f".{out.name}.partial")
    try:
        root.mkdir(exist_ok=True)
    except OSError as error:
        raise disk_error(out, error) from error
    with _locked(root, out):
        resumed = resume and _plan_of(root) == plan
        try:
            if not resumed:
                _clear(root)
                write_file(root / PLAN, json.dumps(plan))
            yield root
        except KeyboardInterrupt as error:
            raise Interrupted(f"interrupted; finished work is {_kept(root)}") from error
        except ClusterError as error:
            raise ClusterError(f"{error} Finished work is {_kept(root)}") from error
        except UsageError:
            if not resumed:  # a mistyped flag must not delete the work of an earlier run
                shutil.rmtree(root, ignore_errors=True)
            raise
        except BaseException as error:
            if not keep_on_failure or isinstance(error, DataError):
                shutil.rmtree(root, ignore_errors=True)
            raise
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _locked(root: Path, out: Path) -> Iterator[None]:
    """Lock the working directory; the lock is released even if the process is killed."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process is writing {out} now. Wait for it or choose another --out."
            ) from error
        yield
    finally:
        os.close(descriptor)


def _kept(root: Path) -> str:
    return f"kept in {root}. Run the same command with --resume to continue."


def _plan_of(root: Path) -> Any:
    try:
        return read_json(root / PLAN, MAX_PLAN_BYTES)
    except (OSError, DataError):
        return None


def _clear(root: Path) -> None:
    for entry in root.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
