"""Put a model directory to use: text in, label and probability out."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Self, overload

import numpy as np
import numpy.typing as npt
import torch

from sentiscale.data.batches import padded_ids, padded_width
from sentiscale.errors import UsageError
from sentiscale.model.directory import SavedModel, load_model
from sentiscale.model.metrics import probabilities
from sentiscale.parallel.cpu import flushed_denormals
from sentiscale.parallel.precision import Precision
from sentiscale.text.column import Texts, as_array
from sentiscale.text.encode import Encoder
from sentiscale.text.tokens import NumberedRows

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

BATCH_ROWS = 256
"""Rows of a batch at most."""
BATCH_TOKENS = 8192
"""Padded tokens of a batch at most: bounds the memory of a forward pass."""
CHUNK_ROWS = 8192
"""Rows sorted by length together when a stream is labelled: enough to pad little, few enough to flow."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Prediction:
    """What the model says of one review."""

    label: Literal["negative", "positive"]
    """The class that is the more probable one."""
    probability: float
    """Of `label`, between 0.5 and 1."""
    positive_probability: float
    """Of "positive", between 0 and 1."""
    truncated: bool
    """Whether the review is longer than the network reads (its beginning and end are read)."""
    unknown_share: float
    """Share of its words that are not in the vocabulary; 1 for a text without words."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Predictions:
    """What the model says of many reviews, in columns (rows,): no object a row."""

    positive_probability: npt.NDArray[np.float64]
    """Of "positive", between 0 and 1."""
    truncated: npt.NDArray[np.bool_]
    """Whether the review is longer than the network reads."""
    unknown_share: npt.NDArray[np.float64]
    """Share of its words that are not in the vocabulary."""

    def __len__(self) -> int:
        return len(self.positive_probability)

    @property
    def is_positive(self) -> npt.NDArray[np.bool_]:
        """Whether the label is "positive"."""
        return self.positive_probability > 0.5

    @property
    def probability(self) -> npt.NDArray[np.float64]:
        """Of the label, between 0.5 and 1."""
        return np.maximum(self.positive_probability, 1 - self.positive_probability)

    def rows(self) -> Iterator[Prediction]:
        """One object a row."""
        columns = (self.positive_probability, self.probability, self.truncated, self.unknown_share)
        for p, of_label, t, u in zip(*(column.tolist() for column in columns), strict=True):
            yield Prediction("positive" if p > 0.5 else "negative", of_label, p, t, u)


class Predictor:
    """A loaded model.

    >>> predictor = Predictor.load("run/model")  # doctest: +SKIP
    >>> predictor.predict("Great screen, but the battery died in a week.")  # doctest: +SKIP
    Prediction(label='negative', probability=0.93, ...)

    Many texts are labelled on as many cores as torch may use (`torch.set_num_threads`).
    """

    def __init__(self, model: SavedModel, precision: Precision | None = None) -> None:
        self.model = model
        self.encoder = Encoder(model.vocab, model.config.cleaning, model.config.stored_tokens)
        self.precision = precision or Precision("fp32")

    @classmethod
    def load(cls, path: str | Path, *, precision: str = "fp32") -> Self:
        """Read a model directory.

        Args:
            path: what `train` wrote as RUN/model.
            precision: arithmetic of the network: fp32; bf16 is faster where the processor has it and
                changes probabilities in the third digit; auto takes it where it is faster.

        Raises:
            DataError: the directory is missing, damaged or of another version.
            UsageError: a precision that this machine does not have.
        """
        return cls(load_model(Path(path)), Precision.choose(precision, CPU))

    @overload
    def predict(self, texts: str) -> Prediction: ...  # type: ignore[overload-overlap] # a str is asked first
    @overload
    def predict(self, texts: Texts) -> list[Prediction]: ...
    def predict(self, texts: str | Texts) -> Prediction | list[Prediction]:
        """Label one review, or several; the answer has the form of the question.

        Args:
            texts: a string, or a list, tuple, numpy array, pandas or Polars series or Arrow array of them.
                A null is an empty review, as it is in files: its `unknown_share` is 1.

        Raises: DataError for values that are no text, naming the first one.
        """
        rows = list(self.predict_columns([texts] if isinstance(texts, str) else texts).rows())
        return rows[0] if isinstance(texts, str) else rows

    def predict_proba(self, texts: str | Texts) -> npt.NDArray[np.float64]:
        """Probabilities (rows, 2) of "negative" and "positive", as scikit-learn has them."""
        positive = self.predict_columns([texts] if isinstance(texts, str) else texts).positive_probability
        return np.column_stack([1 - positive, positive])

    def predict_columns(self, texts: Texts) -> Predictions:
        """The same as `predict` in columns, without an object a row."""
        array = as_array(texts)
        parts = [
            self._predictions(self.encoder.encode(array.slice(start, CHUNK_ROWS)))
            for start in range(0, max(len(array), 1), CHUNK_ROWS)
        ]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def stream(self, texts: Iterable[str], chunk_rows: int = CHUNK_ROWS) -> Iterator[Prediction]:
        """Label reviews without holding them all in memory; same order, same count."""
        if chunk_rows < 1:
            raise UsageError(f"chunk_rows is {chunk_rows}; it must be at least 1.")
        waiting = iter(texts)
        while chunk := list(islice(waiting, chunk_rows)):
            yield from self.predict_columns(chunk).rows()

    def crew(self, threads: int) -> "Crew":
        """Threads that label chunk after chunk; a context manager."""
        return Crew(self, threads)

    def logits(self, rows: NumberedRows) -> FloatArray:
        """Combined logits (rows,) of encoded reviews; their sigmoid is the probability of "positive"."""
        return self.token_logits(rows.ids, rows.offsets)

    def token_logits(self, tokens: npt.NDArray[Any], offsets: IntArray) -> FloatArray:
        """The same for token ids back to back, row i being tokens[offsets[i]:offsets[i + 1]]."""
        logits = np.zeros(len(offsets) - 1, np.float32)
        batches = self.batches(offsets)

        def fill(rows: IntArray) -> None:
            logits[rows] = self.batch_logits(tokens, offsets, rows)

        threads = min(torch.get_num_threads(), len(batches))
        if threads <= 1:  # one batch takes the threads that torch has by itself
            for rows in batches:
                fill(rows)
        else:
            with SingleThreads(threads) as pool:
                list(pool.map(fill, batches))
        return logits

    def batches(self, offsets: IntArray) -> list[IntArray]:
        """Rows that go through the network together: alike in length, the longest first."""
        return length_batches(np.clip(np.diff(offsets), 1, self.model.config.max_tokens))

    def batch_logits(self, tokens: npt.NDArray[Any], offsets: IntArray, rows: IntArray) -> FloatArray:
        """Combined logits (len(rows),) of some rows, as one batch."""
        model = self.model
        wide_logits = model.wide.row_logits(tokens, offsets, rows) if model.wide else None
        ids_BT, lengths_B = padded_ids(tokens, offsets, rows, model.config.max_tokens)
        return model.combination.logits(self.network_logits(ids_BT, lengths_B), wide_logits)

    @torch.inference_mode()
    def network_logits(self, ids_BT: IntArray, lengths_B: IntArray) -> FloatArray:
        """Logits (B,) of the network alone for padded ids (B, T) and lengths (B,)."""
        with flushed_denormals(), self.precision.autocast(CPU):
            logits_B = self.model.net(torch.from_numpy(ids_BT), torch.from_numpy(lengths_B))
            logits: FloatArray = logits_B.float().numpy()
        return logits

    def predictions(self, rows: NumberedRows, logits: FloatArray) -> Predictions:
        """What is said of encoded reviews with these logits."""
        kept = np.diff(rows.offsets)
        return Predictions(
            positive_probability=probabilities(logits),
            truncated=rows.lengths > self.model.config.max_tokens,
            unknown_share=np.where(kept > 0, rows.unknown / np.maximum(kept, 1), 1.0),
        )

    def _predictions(self, rows: NumberedRows) -> Predictions:
        return self.predictions(rows, self.logits(rows))


def length_batches(lengths: IntArray) -> list[IntArray]:
    """Cut rows (each of 1 token or more), sorted by falling length, into batches that are not too large."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = padded_width(lengths[order[start : start + 1]])
        end = start + max(1, min(BATCH_ROWS, BATCH_TOKENS // width))
        batches.append(order[start:end])
        start = end
    return batches


def _joined(parts: list[Predictions]) -> Predictions:
    names = ("positive_probability", "truncated", "unknown_share")
    return Predictions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


class SingleThreads:
    """A pool of threads in each of which torch works alone.

    `torch.set_num_threads` holds for the calling thread and for threads that use torch for the first time
    later; the calling thread keeps its number, and later threads have it again afterwards.
    """

    def __init__(self, threads: int) -> None:
        self.before = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(threads, "predict", torch.set_num_threads, (1,))

    def __enter__(self) -> ThreadPoolExecutor:
        return self.pool

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self.before)


class Crew:
    """Threads that work on chunks together, a batch each; every thread is one core.

    The answers do not depend on the number of threads, to the last bit.
    """

    def __init__(self, predictor: Predictor, threads: int) -> None:
        self.predictor = predictor
        self._threads = SingleThreads(threads)
        self._pool = self._threads.pool

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.__exit__()

    def submit(self, texts: Texts) -> "Future[Predictions]":
        """Have a chunk labelled, after those that were submitted before."""
        chunk: Future[Predictions] = Future()
        self._pool.submit(self._begin, texts, chunk)
        return chunk

    def _begin(self, texts: Texts, chunk: "Future[Predictions]") -> None:
        try:
            rows = self.predictor.encoder.encode(texts)
            work = _Chunk(self.predictor, rows, chunk)
            for batch in work.batches:
                self._pool.submit(work.do, batch)
            work.finish_if_done(0)
        except BaseException as error:
            chunk.set_exception(error)


class _Chunk:
    """A chunk whose batches are under way."""

    def __init__(self, predictor: Predictor, rows: NumberedRows, future: "Future[Predictions]") -> None:
        self.predictor, self.rows, self.future = predictor, rows, future
        self.batches = predictor.batches(rows.offsets)
        self.logits = np.zeros(len(rows.offsets) - 1, np.float32)
        self._left = len(self.batches)
        self._lock = Lock()

    def do(self, batch: IntArray) -> None:
        """Compute one batch; the thread that does the last one gives the result."""
        try:
            self.logits[batch] = self.predictor.batch_logits(self.rows.ids, self.rows.offsets, batch)
            self.finish_if_done(1)
        except BaseException as error:  # raised again where the future is asked for its result
            with self._lock:
                if not self.future.done():
                    self.future.set_exception(error)

    def finish_if_done(self, done: int) -> None:
        """Count batches that are done; with the last one the future gets its result."""
        with self._lock:
            self._left -= done
            if self._left == 0 and not self.future.done():
                self.future.set_result(self.predictor.predictions(self.rows, self.logits))
