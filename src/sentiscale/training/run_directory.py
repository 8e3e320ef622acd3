"""The run directory, which holds all files of one run, and the training log in it."""

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from sentiscale.errors import DataError, OutputExistsError
from sentiscale.records import EpochMetrics, RunRecord, append_jsonl, load_record, reason_of
from sentiscale.util.atomic import check_output, write_file
from sentiscale.util.files import open_regular

logger = logging.getLogger("sentiscale.train")


class RunDir:
    """Paths of a run directory, and access to its small files: record, metrics and log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model"
        self.checkpoints = path / "checkpoints"
        self.wide = self.checkpoints / "wide.safetensors"
        self.plots = path / "plots"
        self.record = path / "record.json"
        self.metrics = path / "metrics.jsonl"
        self.log = path / "train.log"

    def check(self, *, resume: bool, force: bool) -> None:
        """Fail before any work is done if `create` would fail.

        Raises: OutputExistsError when the directory exists and neither `resume` nor `force` is set.
        """
        path = self.path
        if path.exists() and not (resume or force):
            raise OutputExistsError(
                f"{path} exists already. Add --resume to resume that run, --force to replace it, "
                "or choose another --out."
            )
        check_output(path, replace=True)
        if force and not resume and not self.record.exists() and (self.has_begun or path.is_file()):
            raise OutputExistsError(f"{path} is not a run directory; --force does not delete it.")

    def create(self, *, resume: bool, force: bool) -> None:
        """Create the directory, or open it to resume. Raises the same errors as `check`."""
        self.check(resume=resume, force=force)
        if force and not resume and self.path.exists():
            shutil.rmtree(self.path)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for file in (self.log, self.metrics):
            with suppress(FileNotFoundError):
                open_regular(file).close()  # a FIFO would block the first line
        for unfinished in self.checkpoints.glob(".step-*.tmp"):  # left by ranks that were killed while saving
            shutil.rmtree(unfinished, ignore_errors=True)

    @property
    def has_begun(self) -> bool:
        """Whether the directory has more than the files of a run that ended before its first step."""
        early = {self.checkpoints, self.log, self.wide}
        return any(
            file not in early and not file.name.startswith(f".{self.wide.name}.")  # an incomplete write
            for folder in (self.path, self.checkpoints)
            if folder.is_dir()
            for file in folder.iterdir()
        )

    def stored_settings(self) -> dict[str, Any]:
        """Settings of the run in this directory.

        Raises: DataError when there is no readable record.
        """
        return self.read_record().settings

    def read_record(self) -> RunRecord:
        """Read the record of the run in this directory.

        Raises: DataError when there is no readable record.
        """
        try:
            return load_record(self.record, RunRecord)
        except (OSError, DataError) as error:
            raise DataError(
                f"{self.path} cannot be resumed: {self.record.name} is missing or damaged "
                f"({reason_of(error)}). Train again with --force."
            ) from error

    def write_record(self, record: RunRecord) -> None:
        write_file(self.record, record.model_dump_json(indent=2))

    def rewrite_metrics(self, metrics: list[EpochMetrics]) -> None:
        """Replace metrics.jsonl by a checkpoint's metrics: later lines belong to steps that are repeated."""
        write_file(self.metrics, "".join(line.model_dump_json() + "\n" for line in metrics))

    def append_metrics(self, metrics: EpochMetrics) -> None:
        append_jsonl(self.metrics, metrics)

    def in_use(self) -> bool:
        """Whether a process on this machine is currently training here."""
        try:
            with open_regular(self.log) as log:
                return not _lock(log)
        except (OSError, DataError):
            return False

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Write the training log to train.log inside the block, and lock it so that `in_use` returns True."""
        handler = logging.FileHandler(self.log, encoding="utf-8")
        assert handler.stream is not None  # opened at once
        _lock(handler.stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            handler.close()


def _lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed or its process ends; False if another process holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems do not support locks
        return True
    return True
