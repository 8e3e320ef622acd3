"""The hidden directory in which a job works: one process at a time, kept only to be resumed."""

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

PLAN = "plan.json"


class Workspace:
    """Folders of one job; `result` becomes its output."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.result = root / "result"
        self.scratch = root / "dask"
        self.overflow = root / "overflow"
        """Files for what does not fit into memory."""
        self._shards = root / "shards"
        self._spool = root / "spool"
        self._notes = root / "notes"

    def prepare_folders(self) -> None:
        """Make the folders; of an earlier run only the shards are kept."""
        for folder in (self.result, self.scratch, self.overflow, self._spool, self._notes):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        (self.result / "reports").mkdir()
        self._shards.mkdir(exist_ok=True)

    def shard(self, number: int) -> Path:
        return self._shards / f"{number:08d}.safetensors"

    def notes(self, number: int) -> Path:
        return self._notes / f"{number:08d}.arrow"

    def spool(self, name: str, data: bytes) -> Path:
        """Write raw bytes for a worker to pick up."""
        path = self._spool / name
        path.write_bytes(data)
        return path

    def unspool(self, path: str) -> None:
        """Remove raw bytes that were spooled; other files stay."""
        if Path(path).parent == self._spool:
            Path(path).unlink(missing_ok=True)


@contextmanager
def workspace(out: Path, plan: dict[str, Any], *, resume: bool) -> Iterator[Workspace]:
    """Yield the folders of a preparation; on success its result becomes `out`.

    Raises: as `working_directory`; SentiscaleError when writing failed, for instance on a full disk.
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
    """Yield a hidden directory next to `out` for the finished parts of a job; removed when the job is done.

    After an interruption, or when the cluster fails, it stays for `resume`, which reuses it if the plan is
    the same; after any other failure it is removed.

    Args:
        out: what the job writes.
        plan: everything the finished parts depend on.
        resume: reuse what an interrupted job left.
        keep_on_failure: keep it after any failure but a DataError, which a resumed job would meet again.

    Raises:
        Interrupted: stopped by the user or a signal.
        ClusterError: the workers are gone.
        UsageError: another process is writing the same output.
        SentiscaleError: the directory cannot be made.
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
            raise Interrupted(f"interrupted; what was done is {_kept(root)}") from error
        except ClusterError as error:
            raise ClusterError(f"{error} What was done is {_kept(root)}") from error
        except UsageError:
            if not resumed:  # a mistyped flag must not cost the work of an earlier run
                shutil.rmtree(root, ignore_errors=True)
            raise
        except BaseException as error:
            if not keep_on_failure or isinstance(error, DataError):
                shutil.rmtree(root, ignore_errors=True)
            raise
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _locked(root: Path, out: Path) -> Iterator[None]:
    """Lock the working directory; the lock ends with the process, however that ends."""
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
    return f"kept in {root}. Run the same command with --resume to go on."


def _plan_of(root: Path) -> Any:
    try:
        return json.loads((root / PLAN).read_bytes())
    except (OSError, ValueError):
        return None


def _clear(root: Path) -> None:
    for entry in root.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
