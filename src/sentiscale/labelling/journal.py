"""What was computed of a long job, beside its output: the job can go on after whatever stopped it.

One file of records, one record a chunk in input order: a head (number, rows, check sum) and the columns of
`Predictions`. Reading the input again is cheap beside the network, so nothing else has to be kept.
"""

import fcntl
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sentiscale.atomic import disk_error
from sentiscale.errors import DataError, UsageError
from sentiscale.predictor import Predictions

HEAD = struct.Struct("<III")
"""Number of the chunk, its rows, CRC-32 of what follows."""
COLUMNS = {"positive_probability": np.float64, "truncated": np.bool_, "unknown_share": np.float64}
ROW_BYTES = sum(np.dtype(kind).itemsize for kind in COLUMNS.values())


class Journal:
    """The predictions of finished chunks; a context manager that keeps the file unless the job is done."""

    def __init__(self, out: Path, plan: dict[str, Any], *, resume: bool) -> None:
        """Open the journal of an output.

        Args:
            out: the file that will be written.
            plan: all that the predictions depend on.
            resume: go on with what is there, if it was made by the same plan.

        Raises:
            UsageError: another process is writing the same output.
            SentiscaleError: the disk does not take it.
        """
        self.path = out.with_name(f".{out.name}.journal")
        self.out = out
        self.number = 0
        """Chunks so far, taken or added."""
        try:
            self._file: BinaryIO = open(self.path, "a+b")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise disk_error(out, error) from error
        self._lock()
        title = json.dumps(plan, sort_keys=True).encode() + b"\n"
        self._file.seek(0)
        self.resumed = resume and self._file.readline() == title
        """Whether there is something to go on with."""
        if not self.resumed:
            self._file.truncate(0)
            self._write(title)

    def finished(self) -> Iterator[Predictions]:
        """The chunks that were finished before, in order; what is damaged or cut short is dropped."""
        while self.resumed:
            place = self._file.tell()
            found = self._read()
            if found is None:
                self._file.seek(place)
                self._file.truncate()
                return
            self.number += 1
            yield found

    def add(self, predictions: Predictions) -> None:
        """Keep one more chunk.

        Raises: SentiscaleError when the disk does not take it.
        """
        columns = [getattr(predictions, name).astype(kind).tobytes() for name, kind in COLUMNS.items()]
        content = b"".join(columns)
        self._write(HEAD.pack(self.number, len(predictions), zlib.crc32(content)) + content)
        self.number += 1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, DataError | UsageError):  # going on would end in the same error
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise UsageError(
                f"another `predict` is writing {self.out} now. Wait for it or choose another --out."
            ) from error

    def _read(self) -> Predictions | None:
        head = self._file.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        number, rows, check = HEAD.unpack(head)
        content = self._file.read(rows * ROW_BYTES)
        if number != self.number or len(content) < rows * ROW_BYTES or zlib.crc32(content) != check:
            return None
        columns: dict[str, npt.NDArray[Any]] = {}
        place = 0
        for name, kind in COLUMNS.items():
            columns[name] = np.frombuffer(content, kind, rows, place)
            place += columns[name].nbytes
        return Predictions(**columns)

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise disk_error(self.out, error) from error
