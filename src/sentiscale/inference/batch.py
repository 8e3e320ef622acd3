"""Resumable batch prediction from files or a pipe to one table or a folder of Parquet parts.

Inputs are read in blocks of about 10,000 reviews. A job stores the results of finished blocks as Parquet
parts in a hidden directory, from which `resume` continues. In a local job, a part holds predictions only, and
the output file is written as blocks finish; on a cluster, a part holds all columns, and the parts become the
output. docs/decisions/0014 explains the difference.
"""

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Semaphore, Thread
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import Field

from sentiscale.data.blocks import RawBlock
from sentiscale.data.corpus import Source
from sentiscale.data.engine import open_engine
from sentiscale.data.inputs import BLOCK_BYTES, MB, Chunk, InputReader, Inputs, read_chunk
from sentiscale.data.workspace import working_directory
from sentiscale.errors import DataError, UsageError
from sentiscale.inference.outputs import (
    REJECTS_SHOWN,
    SUFFIXES,
    AddedColumns,
    RejectWriter,
    aligned,
    all_columns,
    check_file,
    open_table,
    reject_lines,
)
from sentiscale.inference.predictor import Predictions, Predictor
from sentiscale.records import Record, package_versions
from sentiscale.text.classes import UNSURE, Classes
from sentiscale.text.formats import format_of
from sentiscale.text.rejects import Reject
from sentiscale.util.atomic import check_output, disk_error, publish_directory, whole_file, write_file
from sentiscale.util.memory import reused_memory
from sentiscale.util.progress import Advance, Progress
from sentiscale.util.storage import stored_file

CHUNKS_IN_MEMORY = 3
"""One chunk is read while another is predicted and a third is written."""
LARGEST_PART = 1.1
"""Largest size of a part on a cluster, as a multiple of the size of a block."""
SUMMARY_FILE, REJECTS_FILE = "_summary.json", "_rejects.jsonl"
"""Files next to the parts; readers of Parquet folders skip names that begin with an underscore."""

Sink = Callable[[Chunk, Predictions], None]


class BatchSummary(Record):
    """Counts and speed of a prediction job."""

    rows: int
    """Rows that have a prediction."""
    labels: dict[str, int]
    """Rows by label, also of classes that no row has."""
    positive: int | None
    """Rows labelled with the second of two classes; None for more classes."""
    negative: int | None
    """Rows labelled with the first of two classes; None for more classes."""
    rejected: int
    """Table rows that could not be read and have no prediction."""
    rejected_by_reason: dict[str, int] = Field(default_factory=dict)
    """These rows by reason; with labelled input, rows without a usable label belong to them."""
    not_utf8: int
    """Rows whose review contains U+FFFD, which replaces bytes that are not UTF-8."""
    accuracy: float | None
    """Share of correct labels, of those that are not unsure; None if the input has no labels."""
    seconds: float
    """Time from reading the first row to writing the last one."""
    rows_per_s: float
    """`rows` divided by `seconds`."""


class BatchResult(NamedTuple):
    """Outcome of a prediction job."""

    summary: BatchSummary
    first_rejects: list[Reject]
    """The first rejected rows, at most REJECTS_SHOWN."""
    rejects_path: Path | None
    """File with all rejected rows, written if there are any; None without an output."""
    replaced: frozenset[str] = frozenset()
    """Columns in whose copies bytes that are not UTF-8 were replaced."""


@dataclass
class PredictionTotals:
    """Running totals over the chunks of a job."""

    rows: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    """Rows by label: the classes in their order, then unsure."""
    correct: int = 0
    rejected: int = 0
    not_utf8: int = 0
    rejected_by_reason: dict[str, int] = field(default_factory=dict)

    @classmethod
    def start(cls, classes: Classes) -> "PredictionTotals":
        return cls(labels=dict.fromkeys((*classes.names, UNSURE), 0))

    def add(self, chunk: Chunk, predictions: Predictions) -> None:
        self.rows += len(chunk)
        counts = np.bincount(predictions.codes, minlength=len(self.labels)).tolist()
        _add(self.labels, dict(zip(self.labels, counts, strict=True)))
        self.rejected += len(chunk.rejects)
        self.not_utf8 += chunk.not_utf8
        _add(self.rejected_by_reason, Counter(reject.reason for reject in chunk.rejects))
        if chunk.labels is not None:
            self.correct += int(np.sum(chunk.labels == predictions.codes))

    def merge(self, other: "PredictionTotals") -> None:
        for name in ("rows", "correct", "rejected", "not_utf8"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        _add(self.labels, other.labels)
        _add(self.rejected_by_reason, other.rejected_by_reason)

    def summary(self, seconds: float, *, labelled: bool) -> BatchSummary:
        labels = {name: rows for name, rows in self.labels.items() if rows or name != UNSURE}
        classes = [name for name in self.labels if name != UNSURE]
        first, second = classes if len(classes) == 2 else (None, None)
        answered = self.rows - self.labels.get(UNSURE, 0)
        return BatchSummary(
            rows=self.rows,
            labels=labels,
            positive=None if second is None else self.labels[second],
            negative=None if first is None else self.labels[first],
            rejected=self.rejected,
            rejected_by_reason=self.rejected_by_reason,
            not_utf8=self.not_utf8,
            accuracy=self.correct / answered if labelled and answered else None,
            seconds=round(seconds, 3),
            rows_per_s=self.rows / max(seconds, 1e-9),
        )


def _add(totals: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, rows in counts.items():
        totals[name] = totals.get(name, 0) + rows


@dataclass(frozen=True)
class BatchJob:
    """A resumable prediction job; writes a file or, on a cluster, a folder of parts."""

    predictor: Predictor
    model: Path
    """The predictor's model directory."""
    inputs: Inputs
    out: Path
    added: AddedColumns

    def run(self, *, workers: int, resume: bool = False, progress: Progress | None = None) -> BatchResult:
        """Predict on this machine and write one file, which appears only when it is complete.

        Raises:
            Interrupted: a signal stopped the job; `resume` continues it.
            DataError: an input is damaged.
            UsageError: the output cannot be written, or `resume` is set and the input is a pipe.
        """
        inputs = self.inputs.with_columns(whole_records=self.out.suffix == ".jsonl")
        check_file(self.out, inputs, self.added)
        if resume and not self.inputs.rereadable:
            raise UsageError("--resume reads the input again, which is impossible for a pipe. Pass a file.")
        with (
            reused_memory(),
            self._working_directory(resume=resume) as work,
            RejectWriter(self.out) as rejects,
            open_table(self.out, inputs, self.added) as writer,
        ):
            result = predict_inputs(
                self.predictor,
                inputs,
                lambda chunk, predictions: writer.write(
                    chunk, added_table(self.predictor, self.added, chunk, predictions)
                ),
                workers=workers,
                rejects=rejects,
                parts=PredictionParts(work, self.predictor.classes) if work else None,
                progress=progress,
            )
            return result._replace(replaced=frozenset(writer.replaced))

    def run_on_cluster(
        self, scheduler: str, *, resume: bool = False, force: bool = False, progress: Progress | None = None
    ) -> BatchResult:
        """Predict on Dask workers and write a folder of parts, which appears only when it is complete.

        Args:
            scheduler: address of a running Dask scheduler whose workers can access the output folder.
            resume: reuse the finished parts of an interrupted job with the same inputs and model.
            force: replace an existing folder.
            progress: receives progress updates.

        Raises:
            UsageError: the output cannot be written, or the cluster cannot run the job.
            ClusterError: the workers or their scheduler were lost and did not return; `resume` continues the
                job.
            Interrupted: a signal stopped the job; `resume` continues it.
            DataError: an input is damaged.
        """
        started_at, progress = time.perf_counter(), progress or Progress()
        kept = self._checked_for_cluster(force=force)
        with self._working_directory(resume=resume) as work:
            assert work is not None
            model = work / "model"
            if not model.exists():  # a copy, in case training replaces the model during the job
                shutil.copytree(self.model, model)
            spool, scratch, result = (_empty_folder(work / name) for name in ("spool", "dask", "result"))
            (work / "parts").mkdir(exist_ok=True)
            parts = ClusterParts(self, kept, model, work / "parts", spool)
            with open_engine(1, scheduler, folder=scratch, say=progress.say) as engine:
                total = self.inputs.size
                with progress.task("predict", total and total / MB, "MB") as advance:
                    for number, done in engine.map(
                        predict_part, parts.tasks(advance), describe=parts.describe
                    ):
                        parts.finish(number, done, advance)
            totals, rejects = parts.publish(result)
            summary = totals.summary(time.perf_counter() - started_at, labelled=self.inputs.labelled)
            write_file(result / SUMMARY_FILE, summary.model_dump_json(indent=2))
            try:
                publish_directory(result, self.out.absolute())
            except OSError as error:
                raise disk_error(self.out, error) from error
        return BatchResult(summary, rejects[:REJECTS_SHOWN], self.out / REJECTS_FILE)

    def _checked_for_cluster(self, *, force: bool) -> InputReader:
        if self.out.suffix in SUFFIXES and self.out.suffix != ".parquet":
            raise UsageError(
                f"with --scheduler, --out must name a folder of Parquet parts; it is {self.out}."
            )
        if self.added.explained:
            raise UsageError("--explain cannot be used with --scheduler. Leave one of them out.")
        if not self.inputs.rereadable:
            raise UsageError("a pipe cannot be spread over a cluster. Pass files instead.")
        check_output(self.out.absolute(), replace=force, marker=SUMMARY_FILE)
        kept = self.inputs.with_columns(whole_records=False)
        self.added.check(kept)
        return kept

    def _working_directory(self, *, resume: bool) -> Any:
        """Context manager for the directory of finished parts; yields None if the input is a pipe."""
        if not self.inputs.rereadable:
            return nullcontext()
        # A full disk must not destroy hours of computation, and the parts take little space.
        return working_directory(self.out.absolute(), self.plan(), resume=resume, keep_on_failure=True)

    def plan(self) -> dict[str, Any]:
        """Everything that the parts depend on; `resume` reuses parts only if the plan is the same."""
        return {
            "inputs": [[path, *stored_file(path)] for path in self.inputs.paths],
            "settings": self.inputs.settings.model_dump(mode="json"),
            "labelled": self.inputs.labelled,
            "model": model_digest(self.model),
            "thresholds": self.predictor.thresholds,
            "full": self.predictor.full,
            "precision": self.predictor.precision.name,
            "added": self.added.schema.to_string(),
            "release": package_versions("sentiscale", "torch"),
        }


def model_digest(model: Path) -> str:
    """SHA-256 digest of the model files that predictions depend on."""
    digest = hashlib.sha256()
    for name in ("config.toml", "vocab.txt", "weights.safetensors"):
        with open(model / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _empty_folder(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


# On this machine


def predict_inputs(
    predictor: Predictor,
    inputs: InputReader,
    sink: Sink,
    *,
    workers: int,
    rejects: RejectWriter | None = None,
    parts: "PredictionParts | None" = None,
    progress: Progress | None = None,
) -> BatchResult:
    """Pass each chunk and its predictions to `sink`, in input order and bounded memory.

    Args:
        predictor: model to predict with.
        inputs: files or standard input.
        sink: called with each chunk and its predictions.
        workers: number of cores to use.
        rejects: receives the rows that cannot be read; by default, only the first ones are returned.
        parts: stored predictions of finished chunks; new predictions are added.
        progress: receives progress updates.

    Raises: DataError when an input is missing or damaged, or when a row of labelled input has no label.
    """
    started_at, totals = time.perf_counter(), PredictionTotals.start(predictor.classes)
    rejects = rejects or RejectWriter(None)
    size = inputs.inputs.size
    total, unit = (None, "rows") if size is None else (size / MB, "MB")
    with (progress or Progress()).task("predict", total, unit) as advance:
        for chunk, predictions in predict_chunks(predictor, inputs.chunks(), workers, parts):
            sink(chunk, predictions)
            rejects.add(chunk.rejects)
            totals.add(chunk, predictions)
            if size is None:
                advance(len(chunk), "")
            else:
                rate = totals.rows / (time.perf_counter() - started_at)
                advance(chunk.consumed / MB, f"{totals.rows:,} rows, {rate:,.0f} rows/s")
    summary = totals.summary(time.perf_counter() - started_at, labelled=inputs.inputs.labelled)
    return BatchResult(summary, rejects.first, rejects.path)


def added_table(
    predictor: Predictor, added: AddedColumns, chunk: Chunk, predictions: Predictions
) -> pa.Table:
    """Build the columns to add to a chunk, including explanations if `added.explained`."""
    if not added.explained:
        return added.table(chunk, predictions)
    from sentiscale.inference.explain import explain, explanation_table, texts_of  # loads Captum

    explanations = explanation_table(
        explain(predictor, texts_of(chunk)), pa.schema(added.explanation_columns)
    )
    return added.table(chunk, predictions, explanations)


class PredictionParts:
    """Stored predictions of finished chunks, one small Parquet file per chunk."""

    COLUMNS = ("codes", "truncated", "unknown_share")
    """Columns of `Predictions` that are stored next to the probability of each class."""

    def __init__(self, folder: Path, classes: Classes) -> None:
        self.classes = classes
        self.folder = folder / "predictions"
        self.folder.mkdir(exist_ok=True)

    def read(self, number: int) -> Predictions | None:
        """Read the predictions of a chunk; None when they are missing or damaged."""
        try:
            table = pq.read_table(self._path(number), page_checksum_verification=True)
            columns = {name: table.column(name).to_numpy() for name in self.COLUMNS}
            chances = [table.column(f"probability_{code}").to_numpy() for code in range(len(self.classes))]
            return Predictions(np.column_stack(chances), **columns, classes=self.classes)
        except (OSError, KeyError, pa.ArrowException):
            return None

    def write(self, number: int, predictions: Predictions) -> None:
        """Store the predictions of a chunk.

        Raises: SentiscaleError when the disk is full or fails.
        """
        columns = {name: getattr(predictions, name) for name in self.COLUMNS}
        columns |= {
            f"probability_{code}": chances for code, chances in enumerate(predictions.probabilities.T)
        }
        try:
            # Not flushed to disk, because flushing takes longer than writing; checksums reveal files that a
            # crash left incomplete.
            pq.write_table(pa.table(columns), self._path(number), write_page_checksum=True)
        except OSError as error:
            raise disk_error(self.folder, error) from error

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.parquet"


def predict_chunks(
    predictor: Predictor, chunks: Iterator[Chunk], workers: int, parts: PredictionParts | None = None
) -> Iterator[tuple[Chunk, Predictions]]:
    """Yield chunks with their predictions, in order; predictions stored in `parts` are reused.

    Raises: DataError when the stored predictions belong to different reviews.
    """
    ready: SimpleQueue[tuple[Chunk, Predictions | Future[Predictions]] | BaseException | None] = SimpleQueue()
    room, stopped = Semaphore(CHUNKS_IN_MEMORY), Event()

    def read_ahead() -> None:
        try:
            for number in count():
                room.acquire()
                chunk = None if stopped.is_set() else next(chunks, None)
                if chunk is None:
                    ready.put(None)
                    return
                known = parts.read(number) if parts else None
                ready.put((chunk, pool.submit(chunk.texts) if known is None else known))
                del chunk, known  # otherwise they stay in memory while this thread waits for room
        except BaseException as error:  # raised again by the consumer
            ready.put(error)

    with predictor.pool(workers) as pool:
        # A separate thread reads, so that finished predictions do not wait for a slow pipe.
        Thread(target=read_ahead, name="reader", daemon=True).start()
        try:
            for number in count():
                item = ready.get()
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                chunk, known = item
                predictions = known.result() if isinstance(known, Future) else known
                if len(predictions) != len(chunk):
                    raise DataError(
                        f"{chunk.file} has changed since the job started. Run again without --resume."
                    )
                if parts and isinstance(known, Future):
                    parts.write(number, predictions)
                yield chunk, predictions
                del item, chunk, known, predictions
                room.release()
        finally:
            stopped.set()
            room.release()


# On a cluster


@dataclass(frozen=True)
class SpooledBlock:
    """Consecutive records of one file, copied to a place that workers can read."""

    source: Source
    first_line: int
    """Line number, from 1, on which the block begins in the file."""
    labelled: bool
    """Whether to read labels."""
    too_long: bool
    """Whether the block is the beginning of a record that exceeds the size limit."""
    copy: str = ""


@dataclass(frozen=True)
class PartTask:
    """Task for a worker; small, because it is sent through the scheduler."""

    model: str
    digest: str
    """Digest of the model directory."""
    precision: str
    thresholds: bool
    full: bool
    blocks: tuple[SpooledBlock, ...]
    kept: pa.Schema | None
    """Union of the columns of all input tables."""
    added: AddedColumns
    part: str
    """Path of the part to write."""


@dataclass(frozen=True)
class PartResult:
    """Totals and rejects of a part; also stored in the part's metadata."""

    totals: PredictionTotals
    rejects: tuple[Reject, ...]

    METADATA_KEY = b"sentiscale.counts"

    def metadata(self) -> dict[bytes, str]:
        return {self.METADATA_KEY: json.dumps(asdict(self))}

    @classmethod
    def read(cls, part: Path) -> "PartResult | None":
        """Read the metadata of a finished part; None when it is missing or damaged."""
        try:
            stored = json.loads((pq.read_schema(part).metadata or {})[cls.METADATA_KEY])
            totals = PredictionTotals(**stored["totals"])
            return cls(totals, tuple(Reject(**reject) for reject in stored["rejects"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, pa.ArrowException):
            return None


def predict_part(task: PartTask) -> PartResult:
    """Predict a task's blocks and write their part atomically."""
    with MODEL_LOADING:  # the threads of a worker share one model
        predictor = _worker_predictor(
            task.model, task.digest, task.precision, task.thresholds, full=task.full
        )
    schema = pa.schema([*(task.kept or ()), *task.added.schema])
    tables: list[pa.Table] = []
    totals = PredictionTotals.start(predictor.classes)
    rejects: list[Reject] = []
    for block in task.blocks:
        data = Path(block.copy).read_bytes()
        how = {"labelled": block.labelled, "too_long": block.too_long}
        chunk, _ = read_chunk(data, block.source, block.first_line, **how)
        predictions = predictor.predict_columns(chunk.texts)
        tables.append(aligned(all_columns(chunk, task.added.table(chunk, predictions)), schema))
        totals.add(chunk, predictions)
        rejects += chunk.rejects
    result = PartResult(totals, tuple(rejects))
    table = pa.concat_tables(tables).replace_schema_metadata(result.metadata())
    with whole_file(Path(task.part)) as file:
        pq.write_table(table, file)
    return result


MODEL_LOADING = Lock()


@lru_cache(maxsize=1)
def _worker_predictor(model: str, digest: str, precision: str, thresholds: bool, *, full: bool) -> Predictor:
    """Load the model once per process; `digest` distinguishes it from the model of an earlier job."""
    torch.set_num_threads(1)  # for the whole worker process, which runs one task per thread
    return Predictor.load(model, precision=precision, thresholds=thresholds, full=full)


class ClusterParts:
    """The parts of a job on a cluster, in input order."""

    def __init__(self, job: BatchJob, kept: InputReader, model: Path, folder: Path, spool: Path) -> None:
        self.job, self.kept, self.model, self.folder, self.spool = job, kept, model, folder, spool
        self.results: dict[int, PartResult] = {}
        self._pending: dict[int, tuple[PartTask, int]] = {}
        """Unfinished tasks with the stored size of their blocks in bytes."""
        self._rows = 0

    def tasks(self, advance: Advance) -> Iterator[tuple[int, PartTask]]:
        """Yield a task for each missing part; only the blocks of such parts are spooled, to save space."""
        predictor = self.job.predictor
        how = predictor.precision.name, predictor.thresholds, predictor.full
        same = str(self.model), model_digest(self.model), *how
        for number, group in enumerate(_grouped(_blocks(self.kept))):
            part = self._path(number)
            consumed = sum(raw.consumed for raw, _ in group)
            done = PartResult.read(part)
            if done is not None:
                self._count(number, done, consumed, advance)
                continue
            blocks = []
            for place, (raw, block) in enumerate(group):
                copy = self.spool / f"{number:08d}-{place}"
                copy.write_bytes(raw.data)
                blocks.append(replace(block, copy=str(copy)))
            added, schema = self.job.added, self.kept.schema
            task = PartTask(*same, tuple(blocks), schema, added, str(part))
            self._pending[number] = task, consumed
            yield number, task

    def finish(self, number: int, done: PartResult, advance: Advance) -> None:
        task, consumed = self._pending.pop(number)
        for block in task.blocks:
            Path(block.copy).unlink()  # not earlier: if a worker dies, its task is repeated
        self._count(number, done, consumed, advance)

    def describe(self, number: int) -> str:
        block = self._pending[number][0].blocks[0]
        return f"part {number} ({block.source.path}, from line {block.first_line} on)"

    def publish(self, result: Path) -> tuple[PredictionTotals, list[Reject]]:
        """Move the parts to `result` and write any rejects there; returns the totals and the rejects."""
        totals = PredictionTotals.start(self.job.predictor.classes)
        rejects: list[Reject] = []
        for number, done in sorted(self.results.items()):
            os.replace(self._path(number), result / f"part-{number:08d}.parquet")
            totals.merge(done.totals)
            rejects += done.rejects
        if rejects:
            write_file(result / REJECTS_FILE, reject_lines(rejects))
        return totals, rejects

    def _count(self, number: int, done: PartResult, consumed: int, advance: Advance) -> None:
        self.results[number] = done
        self._rows += done.totals.rows
        advance(consumed / MB, f"{self._rows:,} rows")

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.parquet"


def _blocks(kept: InputReader) -> Iterator[tuple[RawBlock, SpooledBlock]]:
    """Yield the blocks of all files in order, with descriptions for workers; nothing is spooled yet."""
    inputs = kept.inputs
    for path in inputs.paths:
        source = kept.sources[path]
        line = 1
        for raw in source.blocks(BLOCK_BYTES):
            line += raw.lines_before
            yield raw, SpooledBlock(source, line, inputs.labelled, raw.too_long)
            line += 1 if raw.too_long else format_of(source.table).count_lines(raw.data, source.table)


def _grouped(
    blocks: Iterator[tuple[RawBlock, SpooledBlock]],
) -> Iterator[list[tuple[RawBlock, SpooledBlock]]]:
    """Group blocks into parts, so that many small files share one part."""
    group: list[tuple[RawBlock, SpooledBlock]] = []
    size = 0
    for raw, block in blocks:
        if group and size + raw.size > BLOCK_BYTES * LARGEST_PART:
            yield group
            group, size = [], 0
        group.append((raw, block))
        size += raw.size
    if group:
        yield group
