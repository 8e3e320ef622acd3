"""Folders and archives with one review per file; the class of a review is the name of its folder."""

import codecs
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import PurePosixPath
from shlex import quote

import numpy as np
import pyarrow as pa

from sentiscale.config import PrepareSettings
from sentiscale.errors import DataError, UsageError
from sentiscale.text.compiled import Bytes
from sentiscale.text.encodings import encoding_for, no_mark, to_utf8
from sentiscale.text.formats import base
from sentiscale.text.formats.base import Columns, FileStart, LabelMode, TableFormat
from sentiscale.text.formats.foreign import refuse_foreign
from sentiscale.text.formats.parquet import Parquet, read_stream
from sentiscale.text.labels import Reason
from sentiscale.util.storage import DAMAGED, contents, printable

POSITIVE_FOLDERS, NEGATIVE_FOLDERS = {"pos", "positive"}, {"neg", "negative"}
CLASS_FOLDERS = POSITIVE_FOLDERS | NEGATIVE_FOLDERS
UNLABELLED_FOLDER = "unsup"
SAMPLE_FILES = 50
SCHEMA = pa.schema(
    {"path": pa.string(), "text": pa.large_binary(), "label": pa.string(), "problem": pa.large_binary()}
)


class Files(Parquet):
    """Reads text files as a table with the columns path, text and label.

    The path of a source ends in a slash. Unless the format was named, only folders with the usual names of
    the two classes are read.
    """

    name = "files"
    title = "one review per file"
    suffixes = ()

    def recognises(self, start: bytes) -> bool:
        return False

    def describe(self, start: FileStart, settings: PrepareSettings, mode: LabelMode) -> TableFormat:
        if not start.path.endswith("/"):
            raise UsageError(f"--format files reads folders and archives, and {start.path} is a file.")
        folders = CLASS_FOLDERS if mode == "required" else CLASS_FOLDERS | {UNLABELLED_FOLDER}
        chosen = base.choose_columns(self.name, start.path, ["path", "text", "label"], settings, mode)
        table = replace(
            chosen,
            label_from="folder name",
            columns=("path",),
            encoding=settings.codec,
            folders=() if settings.format == self.name else tuple(sorted(folders)),
        )
        if settings.format != self.name:
            _check_lines(start.path, table)
        return table

    def schema(self, path: str, table: TableFormat | None = None) -> pa.Schema:
        return pa.schema({"path": pa.string()})

    def batches(self, path: str, table: TableFormat, block_bytes: int) -> Iterator[tuple[bytes, int]]:
        rows: list[dict[str, object]] = []
        size = 0
        for name, data in read_files(path, table):
            rows.append(
                {"path": printable(name), "label": _folder(name), **_content(path + name, data, table)}
            )
            size += len(data)
            if size >= block_bytes:
                yield _stream_of(rows), size
                rows, size = [], 0
        if rows:
            yield _stream_of(rows), size

    def parse(self, data: Bytes, table: TableFormat) -> Columns:
        problems = read_stream(data)["problem"].combine_chunks()
        faults = np.where(problems.is_valid(), Reason.MALFORMED, Reason.NONE).astype(np.uint8)
        return replace(super().parse(data, table), faults=faults, problems=problems)


def read_files(path: str, table: TableFormat) -> Iterator[tuple[str, bytes]]:
    """Yield the names of the review files and their bytes, at most one more than a record may have.

    Raises: DataError when a file or the archive cannot be read.
    """
    try:
        for name, open_member in contents(path.rstrip("/")):
            if is_review(name, table):
                with open_member() as file:
                    yield name, file.read(base.MAX_RECORD_BYTES + 1)
    except DAMAGED as error:
        raise DataError(f"reading {path} failed: {error}.") from error


def is_review(name: str, table: TableFormat) -> bool:
    """Whether a file of the folder is read as a review."""
    hidden = any(part.startswith((".", "_")) for part in name.split("/"))
    chosen = not table.folders or _folder(name).lower() in table.folders
    return name.lower().endswith(".txt") and chosen and not hidden


def _check_lines(path: str, table: TableFormat) -> None:
    """Raise DataError when there are few files with many lines: each line may be a review."""
    sample = list(islice(read_files(path, table), SAMPLE_FILES))
    lines = sum(data.strip().count(b"\n") + 1 for _, data in sample) / max(1, len(sample))
    if len(sample) < SAMPLE_FILES and lines > len(sample):
        name = sample[0][0]
        kind = "positive" if _folder(name).lower() in POSITIVE_FOLDERS else "negative"
        raise DataError(
            f"{path} has {len(sample)} text files of about {lines:.0f} lines. If each file is one review, "
            f"add --format files; if each line is one, label the lines of each folder with its class: "
            f"sed 's/^/__label__{kind} /' {quote(path + name)} >> reviews.ft.txt"
        )


def _folder(name: str) -> str:
    return PurePosixPath(name).parent.name


def _content(path: str, data: bytes, table: TableFormat) -> dict[str, object]:
    """Return the text of a file as UTF-8, or the problem for which the file alone would be refused."""
    encoding = encoding_for(data, table.encoding)
    try:
        text = to_utf8(encoding)(data, True) if encoding else data.removeprefix(codecs.BOM_UTF8)
        if not text.strip():
            raise DataError(f"{path} is empty.")
        refuse_foreign(FileStart(path, path, text, whole=True), named=not table.folders)
    except UnicodeError:
        return {"text": b"", "problem": no_mark(path, encoding or "").encode("utf-8", "replace")}
    except DataError as error:
        return {"text": b"", "problem": str(error).encode("utf-8", "replace")}
    return {"text": text}


def _stream_of(rows: list[dict[str, object]]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return bytes(sink.getvalue().to_pybytes())
