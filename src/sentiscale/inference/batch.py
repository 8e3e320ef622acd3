"""One batch job: a model, inputs, one output file; it can be interrupted and gone on with."""

import fcntl
import hashlib
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread
from types import TracebackType
from typing import Any, BinaryIO

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sentiscale.data.blocks import RawBlock
from sentiscale.data.corpus import Source
from sentiscale.data.engine import open_engine
from sentiscale.data.inputs import BLOCK_BYTES, MB, Chunk, InputReader, Inputs, Reject, read_chunk
from sentiscale.data.sources import compression_of
from sentiscale.data.workspace import Workspace, workspace
from sentiscale.errors import DataError, Interrupted, UsageError
from sentiscale.inference.outputs import (
    SUFFIXES,
    TOLD,
    Added,
    Rejects,
    Sink,
    beside,
    check_file,
    fitted,
    opened_table,
)
from sentiscale.inference.predictor import Predictions, Predictor
from sentiscale.records import Record, package_versions
from sentiscale.text.formats import format_of
from sentiscale.text.formats.base import TableFormat
from sentiscale.text.labels import ONE, TWO
from sentiscale.util.atomic import check_output, disk_error, whole_file, write_file
from sentiscale.util.memory import reused_memory
from sentiscale.util.progress import Advance, Progress

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


COUNTS = b"sentiscale.counts"
"""Key of the file's metadata under which its counts stand."""
LOADING = Lock()


@dataclass(frozen=True)
class Piece:
    """A block of one file's records, and the copy of it that a worker can read."""

    source: Source
    """The file."""
    copy: str
    """Path of the block's bytes."""
    first_line: int
    """Line of the file on which it begins, from 1."""
    kinds: frozenset[int] | None
    """Label codes that occur in the input; None when it is not labelled."""
    too_long: bool
    """Whether it is the beginning of one record beyond the size limit."""


@dataclass(frozen=True)
class PartTask:
    """What a worker is told; small, for it travels."""

    model: str
    """Path of the model directory."""
    digest: str
    """What must be in that directory."""
    precision: str
    """Arithmetic of the network."""
    pieces: tuple[Piece, ...]
    """Blocks, in order."""
    kept: pa.Schema | None
    """Columns of all tables together."""
    added: Added
    """Columns that are added."""
    part: str
    """Where the part goes."""


@dataclass(frozen=True)
class PartCounts:
    """What is in a part."""

    rows: int
    """Rows that have a prediction."""
    positive: int
    """Those called positive."""
    right: int
    """Rows labelled as the input has them."""
    rejects: tuple[Reject, ...]
    """Rows that could not be read."""
    not_utf8: int = 0
    """Rows whose review holds U+FFFD, the sign that stands for bytes that are no UTF-8."""


def label_part(task: PartTask) -> PartCounts:
    """Label some blocks and write the part, whole or not at all."""
    predictor = _predictor(task.model, task.digest, task.precision)
    schema = pa.schema([*(task.kept or ()), *task.added.schema])
    tables: list[pa.Table] = []
    rejects: list[Reject] = []
    positive = right = not_utf8 = 0
    for piece in task.pieces:
        data = Path(piece.copy).read_bytes()
        kinds = set(piece.kinds) if piece.kinds is not None else None
        chunk, _ = read_chunk(data, piece.source, piece.first_line, kinds, too_long=piece.too_long)
        predictions = predictor.predict_columns(chunk.texts)
        added = task.added.table(chunk, predictions)
        tables.append(fitted(added if chunk.extra is None else beside(chunk.extra, added), schema))
        rejects += chunk.rejects
        not_utf8 += chunk.not_utf8
        positive += int(predictions.is_positive.sum())
        if chunk.labels is not None:
            right += int(np.sum(chunk.labels == predictions.is_positive))
    table = pa.concat_tables(tables)
    counts = PartCounts(table.num_rows, positive, right, tuple(rejects), not_utf8)
    table = table.replace_schema_metadata({COUNTS: json.dumps(asdict(counts))})
    with whole_file(Path(task.part)) as file:
        pq.write_table(table, file)
    return counts


def finished_counts(part: Path) -> PartCounts | None:
    """The counts of a part that is there; None when it is not, or not readable."""
    try:
        found = json.loads((pq.read_schema(part).metadata or {})[COUNTS])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    return PartCounts(**{**found, "rejects": tuple(Reject(**reject) for reject in found["rejects"])})


def _predictor(model: str, digest: str, precision: str) -> Predictor:
    with LOADING:  # threads of a worker share one
        return _loaded(model, digest, precision)


@lru_cache(maxsize=1)
def _loaded(model: str, digest: str, precision: str) -> Predictor:
    """The model, read once a process; the digest keeps the one of an earlier job apart."""
    del digest
    torch.set_num_threads(1)  # in all of the worker: it has a task for each of its threads
    return Predictor.load(model, precision=precision)


IN_MEMORY = 3
"""Chunks."""

Item = tuple[Chunk, "Future[Predictions] | Predictions"] | BaseException | None


class LabelSummary(Record):
    """What was labelled."""

    rows: int
    """Rows that have a prediction."""
    positive: int
    """Those called positive."""
    negative: int
    """Those called negative."""
    rejected: int
    """Rows of a table that could not be read and have no prediction."""
    not_utf8: int
    """Rows whose review holds U+FFFD, the sign that stands for bytes that are no UTF-8."""
    accuracy: float | None
    """Share of right labels where the input has labels, else None."""
    seconds: float
    """From the first row read to the last one handed on."""
    rows_per_s: float
    """`rows` over `seconds`."""


@dataclass
class _Counts:
    rows: int = 0
    positive: int = 0
    right: int = 0
    rejected: int = 0
    not_utf8: int = 0

    def take(self, chunk: Chunk, predictions: Predictions) -> None:
        """Count a chunk."""
        positive = predictions.is_positive
        self.rows += len(chunk)
        self.positive += int(positive.sum())
        self.rejected += len(chunk.rejects)
        self.not_utf8 += chunk.not_utf8
        if chunk.labels is not None:
            self.right += int(np.sum(chunk.labels == positive))

    def summary(self, seconds: float, *, labelled: bool) -> LabelSummary:
        """All counts, with what follows from them."""
        return LabelSummary(
            rows=self.rows,
            positive=self.positive,
            negative=self.rows - self.positive,
            rejected=self.rejected,
            not_utf8=self.not_utf8,
            accuracy=self.right / self.rows if labelled and self.rows else None,
            seconds=round(seconds, 3),
            rows_per_s=self.rows / max(seconds, 1e-9),
        )


def label(
    predictor: Predictor,
    inputs: InputReader,
    sink: Sink,
    *,
    workers: int,
    journal: Journal | None = None,
    reject: Callable[[tuple[Reject, ...]], None] = lambda rejects: None,
    progress: Progress | None = None,
) -> LabelSummary:
    """Label all reviews of the inputs, handing each chunk to `sink`; memory does not grow with their number.

    Args:
        predictor: the model.
        inputs: files or standard input.
        sink: takes each chunk with its predictions, in input order.
        workers: cores to use.
        journal: keeps what is done, and has what was done before.
        reject: takes rows that could not be read.
        progress: who is told how it goes.

    Raises: DataError when an input is missing or damaged, or, if labelled, has a row without a label.
    """
    started_at, counts = time.perf_counter(), _Counts()
    size = inputs.inputs.size
    total, unit = (None, "rows") if size is None else (size / MB, "MB")
    with (progress or Progress()).task("predict", total, unit) as advance:
        for chunk, predictions in labelled_chunks(predictor, inputs.chunks(), workers, journal):
            sink(chunk, predictions)
            reject(chunk.rejects)
            counts.take(chunk, predictions)
            _tell(advance, chunk, counts.rows, time.perf_counter() - started_at, by_bytes=size is not None)
    return counts.summary(time.perf_counter() - started_at, labelled=inputs.inputs.labelled)


def _tell(advance: Advance, chunk: Chunk, rows: int, seconds: float, *, by_bytes: bool) -> None:
    if by_bytes:
        advance(chunk.consumed / MB, f"{rows:,} rows, {rows / seconds:,.0f} rows/s")
    else:
        advance(len(chunk), "")


def labelled_chunks(
    predictor: Predictor, chunks: Iterator[Chunk], workers: int, journal: Journal | None = None
) -> Iterator[tuple[Chunk, Predictions]]:
    """Chunks with their predictions, in order; what the journal has is not computed again.

    Raises: DataError when the journal is of other reviews.
    """
    with predictor.crew(workers) as crew:
        reader = _Reader(chunks, crew.submit, journal.finished() if journal else iter(()))
        Thread(target=reader.run, name="reader", daemon=True).start()
        try:
            while (item := reader.read.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                chunk, known = item
                predictions = known.result() if isinstance(known, Future) else known
                if len(predictions) != len(chunk):
                    raise DataError(f"{chunk.file} was changed after the job was begun. Leave --resume out.")
                if journal is not None and isinstance(known, Future):
                    journal.add(predictions)
                yield chunk, predictions
                del item, chunk, known, predictions
                reader.room.release()
        finally:
            reader.stop()


class _Reader:
    """Reads ahead in a thread of its own, so that results need not wait for input that comes slowly."""

    def __init__(
        self,
        chunks: Iterator[Chunk],
        submit: Callable[[pa.Array], "Future[Predictions]"],
        finished: Iterator[Predictions],
    ) -> None:
        self.read: SimpleQueue[Item] = SimpleQueue()
        """Chunks in order; at the end None, or what was raised."""
        self.room = Semaphore(IN_MEMORY)
        self._chunks, self._submit, self._finished = chunks, submit, finished
        self._stopped = False

    def run(self) -> None:
        """Read to the end, or until stopped."""
        try:
            while self.room.acquire() and not self._stopped:
                chunk = next(self._chunks, None)
                if chunk is None:
                    self.read.put(None)
                    return
                known = next(self._finished, None)
                self.read.put((chunk, known if known is not None else self._submit(chunk.texts)))
                del chunk
        except BaseException as error:  # raised again in the thread that takes the chunks
            self.read.put(error)

    def stop(self) -> None:
        """Read nothing more."""
        self._stopped = True
        self.room.release()


Explain = Callable[[Chunk], pa.Table]
"""Gives the columns of EXPLAINED for a chunk."""


@dataclass(frozen=True)
class FileJob:
    """What is to be written where."""

    predictor: Predictor
    """The model."""
    model: Path
    """Its directory."""
    inputs: InputReader
    """What is read, and kept of it."""
    out: Path
    """The file."""
    added: Added
    """Columns that are added."""
    explain: Explain | None = None
    """What words contributed to each row of a chunk; None where nobody asked."""

    def check(self) -> None:
        """Fail before any work.

        Raises: UsageError when the output cannot be written, or its columns have the names of others.
        """
        check_file(self.out, self.inputs, self.added)
        self.added.check(self.inputs)

    def run(
        self, *, workers: int, resume: bool = False, progress: Progress | None = None
    ) -> tuple[LabelSummary, list[Reject]]:
        """Label the inputs into the file, which appears when it is complete.

        Returns the counts and the first rows that could not be read.

        Raises:
            Interrupted: stopped by a signal; `resume` goes on.
            DataError: an input is damaged.
            UsageError: `resume` with an input that cannot be read again.
        """
        again = self.inputs.inputs.rereadable
        if resume and not again:
            raise UsageError("--resume reads the input again, which a pipe does not allow. Give a file.")
        try:
            with ExitStack() as stack:
                stack.enter_context(reused_memory())
                plan = self.plan() if again else {}
                journal = stack.enter_context(Journal(self.out, plan, resume=resume)) if again else None
                rejects = stack.enter_context(Rejects(self.out))
                writer = stack.enter_context(opened_table(self.out, self.inputs, self.added))

                def write(chunk: Chunk, predictions: Predictions) -> None:
                    explained = self.explain(chunk) if self.explain else None
                    writer.write(chunk, self.added.table(chunk, predictions, explained))

                summary = label(
                    self.predictor,
                    self.inputs,
                    write,
                    workers=workers,
                    journal=journal,
                    reject=rejects.add,
                    progress=progress,
                )
                return summary, rejects.first
        except KeyboardInterrupt as error:
            if not again:
                raise
            raise Interrupted(
                "interrupted; what was done is kept. Run the same command with --resume to go on."
            ) from error

    def plan(self) -> dict[str, Any]:
        """All that the predictions depend on."""
        return plan(self.model, self.inputs.inputs, self.predictor.precision.name)


def plan(model: Path, inputs: Inputs, precision: str) -> dict[str, Any]:
    """What must be the same for a job to be gone on with: reviews, how they are read, model and release."""
    return {
        "inputs": [[path, *_state(path)] for path in inputs.paths],
        "settings": inputs.settings.model_dump(mode="json"),
        "labelled": inputs.labelled,
        "model": model_digest(model),
        "precision": precision,
        "release": package_versions("sentiscale", "torch"),
    }


def model_digest(model: Path) -> str:
    """A digest of what a model directory computes with."""
    digest = hashlib.sha256()
    for name in ("config.toml", "vocab.txt", "weights.safetensors"):
        with open(model / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _state(path: str) -> tuple[int, str]:
    """Size and time of change of a file, or what its store tells instead of it."""
    filesystem, root = fsspec.core.url_to_fs(path)
    info = filesystem.info(root)
    changed = info.get("mtime") or info.get("LastModified") or info.get("ETag") or ""
    return int(info.get("size") or 0), str(changed)


SUMMARY, REJECTS = "_summary.json", "_rejects.jsonl"
"""Beside the parts; readers of such folders pass over names that begin so."""


@dataclass
class _Part:
    """A part under way."""

    pieces: tuple[Piece, ...]
    consumed: int
    counts: PartCounts | None = None


@dataclass(frozen=True)
class ClusterJob:
    """What is to be labelled, and into which folder; the cluster's workers must see it."""

    predictor: Predictor
    """The model."""
    model: Path
    """Its directory, which all workers see."""
    inputs: Inputs
    """What is read."""
    out: Path
    """The folder of parts."""
    added: Added
    """Columns that are added."""
    parts: list[_Part] = field(default_factory=list)
    """Those under way and done, in input order."""

    def run(
        self, scheduler: str, *, resume: bool = False, force: bool = False, progress: Progress | None = None
    ) -> tuple[LabelSummary, list[Reject]]:
        """Label everything; the folder appears when it is complete.

        Args:
            scheduler: address of a running Dask scheduler.
            resume: keep the parts that an interrupted job of the same inputs and model has made.
            force: replace the folder.
            progress: who is told how it goes.

        Raises:
            UsageError: the output cannot be written, or the cluster cannot do this.
            ClusterError: the workers or their scheduler are gone for good; `resume` goes on.
            Interrupted: stopped by a signal; `resume` goes on.
            DataError: an input is damaged.
        """
        started_at, progress = time.perf_counter(), progress or Progress()
        out = self.out.absolute()
        kept = self._checked(out, force=force)
        digest = model_digest(self.model)
        steps = plan(self.model, self.inputs, self.predictor.precision.name) | {"added": asdict(self.added)}
        with workspace(out, steps, resume=resume) as work:
            model = work.root / "model"
            if not model.exists():  # a copy, which all workers see and nobody trains over
                shutil.copytree(self.model, model)
            with open_engine(1, scheduler, folder=work.scratch, say=progress.say) as engine:
                total = self.inputs.size
                with progress.task("predict", total and total / MB, "MB") as advance:
                    tasks = self._tasks(kept, work, (str(model), digest), advance)
                    for number, counts in engine.map(label_part, tasks, describe=self._describe):
                        self._take(work, self.parts[number], counts)
                        advance(self.parts[number].consumed / MB, f"{self._summary(1.0).rows:,} rows")
            self._publish(work)
            summary = self._summary(time.perf_counter() - started_at)
            write_file(work.result / SUMMARY, summary.model_dump_json(indent=2))
        return summary, self._rejects()[:TOLD]

    def _checked(self, out: Path, *, force: bool) -> InputReader:
        if out.suffix in SUFFIXES and out.suffix != ".parquet":
            raise UsageError(f"with --scheduler the output is a folder of Parquet parts; --out is {out}.")
        if self.added.explained:
            raise UsageError("--explain works on this machine only. Leave --scheduler out.")
        if not self.inputs.rereadable:
            raise UsageError("a pipe cannot be spread over a cluster. Give files.")
        check_output(out, replace=force, marker=SUMMARY)
        kept = self.inputs.with_columns(whole_records=False)
        self.added.check(kept)
        return kept

    def _tasks(
        self, kept: InputReader, work: Workspace, model: tuple[str, str], advance: Advance
    ) -> Iterator[tuple[int, PartTask]]:
        """Yield a task for every part that is not there; enters all parts in the list."""
        for number, (blocks, consumed) in enumerate(_grouped(_blocks(kept))):
            part = work.part(number)
            counts = finished_counts(part)
            if counts is not None:
                self.parts.append(_Part((), consumed, counts))
                advance(consumed / MB, "done before")
                continue
            pieces = tuple(piece.copied(work, f"{number:08d}-{place}") for place, piece in enumerate(blocks))
            self.parts.append(_Part(pieces, consumed))
            precision = self.predictor.precision.name
            yield number, PartTask(*model, precision, pieces, kept.schema, self.added, str(part))

    def _take(self, work: Workspace, part: _Part, counts: PartCounts) -> None:
        part.counts = counts
        for piece in part.pieces:
            work.unspool(piece.copy)  # only now: a worker that dies has its task done again

    def _describe(self, number: int) -> str:
        piece = self.parts[number].pieces[0]
        return f"part {number} ({piece.source.path}, from line {piece.first_line} on)"

    def _publish(self, work: Workspace) -> None:
        shutil.rmtree(work.result / "reports")
        for number in range(len(self.parts)):
            os.replace(work.part(number), work.result / f"part-{number:08d}.parquet")
        rejects = self._rejects()
        if rejects:
            lines = "".join(json.dumps(asdict(reject)) + "\n" for reject in rejects)
            write_file(work.result / REJECTS, lines)

    def _rejects(self) -> list[Reject]:
        return [reject for part in self.parts if part.counts for reject in part.counts.rejects]

    def _summary(self, seconds: float) -> LabelSummary:
        counts = [part.counts for part in self.parts if part.counts is not None]
        rows = sum(each.rows for each in counts)
        positive = sum(each.positive for each in counts)
        right = sum(each.right for each in counts)
        return LabelSummary(
            rows=rows,
            positive=positive,
            negative=rows - positive,
            rejected=sum(len(each.rejects) for each in counts),
            not_utf8=sum(each.not_utf8 for each in counts),
            accuracy=right / rows if self.inputs.labelled and rows else None,
            seconds=round(seconds, 3),
            rows_per_s=rows / max(seconds, 1e-9),
        )


@dataclass(frozen=True)
class _Block:
    """A raw block and what is known of it."""

    raw: RawBlock
    source: Source
    first_line: int
    kinds: frozenset[int] | None

    def copied(self, work: Workspace, name: str) -> Piece:
        """The piece for a worker, its bytes in the folder that all share."""
        copy = str(work.spool(name, self.raw.data))
        return Piece(self.source, copy, self.first_line, self.kinds, self.raw.too_long)


def _blocks(kept: InputReader) -> Iterator[_Block]:
    """All blocks of all files in order, read by this process."""
    inputs = kept.inputs
    table_kinds = frozenset(inputs.tables.label_kinds()) if inputs.labelled and kept.sources else None
    for path in inputs.paths:
        source = kept.sources.get(path) or _line_source(path, labelled=inputs.labelled)
        kinds = table_kinds if path in kept.sources else frozenset((ONE, TWO)) if inputs.labelled else None
        line = 1
        for raw in source.blocks(BLOCK_BYTES):
            line += raw.lines_before
            yield _Block(raw, source, line, kinds)
            line += 1 if raw.too_long else format_of(source.table).count_lines(raw.data, source.table)


def _line_source(path: str, *, labelled: bool) -> Source:
    table = TableFormat("fasttext", label="label" if labelled else None)
    return Source(path, compression_of(path), table, 0)


def _grouped(blocks: Iterator[_Block]) -> Iterator[tuple[list[_Block], int]]:
    """Blocks put together to parts, and the stored bytes of each part: many small files make one part."""
    group: list[_Block] = []
    size = 0
    for block in blocks:
        if group and size + block.raw.size > BLOCK_BYTES * MOST:
            yield group, sum(each.raw.consumed for each in group)
            group, size = [], 0
        group.append(block)
        size += block.raw.size
    if group:
        yield group, sum(each.raw.consumed for each in group)


MOST = 1.1
"""A part takes a further block up to this times a block's bytes."""
