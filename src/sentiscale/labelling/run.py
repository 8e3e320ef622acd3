"""Label whole inputs: chunks are read, labelled by all cores and handed on in input order, all at once.

Three chunks are in memory: one that is handed on, one that is worked on, one that is read.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Semaphore, Thread

import numpy as np
import pyarrow as pa

from sentiscale.errors import DataError
from sentiscale.labelling.inputs import MB, Chunk, KeptInputs, Reject
from sentiscale.labelling.journal import Journal
from sentiscale.labelling.outputs import Sink
from sentiscale.predictor import Predictions, Predictor
from sentiscale.progress import Advance, Progress
from sentiscale.records import Record

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
    inputs: KeptInputs,
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
