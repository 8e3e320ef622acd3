"""Predict with a model directory: text in, label and probability out."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
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
"""Largest number of rows in a batch."""
BATCH_TOKENS = 8192
"""Largest number of padded tokens in a batch: bounds the memory of a forward pass. Twice as many are no
faster (docs/decisions/0008)."""
CHUNK_ROWS = 8192
"""Rows of a stream that are sorted by length together: enough to pad little, few enough to answer soon."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Prediction:
    """Label and probability of one review."""

    label: Literal["negative", "positive"]
    """The more probable class."""
    probability: float
    """Probability of `label`, between 0.5 and 1."""
    positive_probability: float
    """Probability of "positive", between 0 and 1."""
    truncated: bool
    """Whether the review is longer than the network reads; it reads the beginning and the end."""
    unknown_share: float
    """Share of words that are not in the vocabulary; 1 for a text without words."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Predictions:
    """Predictions of many reviews in columns (rows,), which costs no object per row."""

    positive_probability: npt.NDArray[np.float64]
    truncated: npt.NDArray[np.bool_]
    unknown_share: npt.NDArray[np.float64]

    @classmethod
    def concatenate(cls, parts: list["Predictions"]) -> "Predictions":
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def __len__(self) -> int:
        return len(self.positive_probability)

    @property
    def is_positive(self) -> npt.NDArray[np.bool_]:
        return self.positive_probability > 0.5

    @property
    def probability(self) -> npt.NDArray[np.float64]:
        """Probability of the label, between 0.5 and 1."""
        return np.maximum(self.positive_probability, 1 - self.positive_probability)

    def rows(self) -> Iterator[Prediction]:
        columns = (self.positive_probability, self.probability, self.truncated, self.unknown_share)
        for positive, of_label, truncated, unknown in zip(*(c.tolist() for c in columns), strict=True):
            label: Literal["negative", "positive"] = "positive" if positive > 0.5 else "negative"
            yield Prediction(label, of_label, positive, truncated, unknown)


class Predictor:
    """A loaded model.

    >>> predictor = Predictor.load("run/model")  # doctest: +SKIP
    >>> predictor.predict("Great screen, but the battery died in a week.")  # doctest: +SKIP
    Prediction(label='negative', probability=0.93, ...)

    Many texts are predicted on as many cores as torch may use (`torch.set_num_threads`).
    """

    def __init__(self, model: SavedModel, precision: Precision | None = None) -> None:
        self.model = model
        self.encoder = Encoder(model.vocab, model.config.cleaning, model.config.stored_tokens)
        self.precision = precision or Precision("fp32")

    @classmethod
    def load(cls, path: str | Path, *, precision: str = "fp32") -> Self:
        """Load a model directory.

        Args:
            path: what `train` wrote as RUN/model.
            precision: arithmetic of the network: fp32; bf16 is faster where the processor supports it and
                changes probabilities in the third digit; auto selects it where it is faster.

        Raises:
            DataError: the directory is missing, damaged or of another version.
            UsageError: this machine does not support the precision.
        """
        return cls(load_model(Path(path)), Precision.choose(precision, CPU))

    @overload
    def predict(self, texts: str) -> Prediction: ...  # type: ignore[overload-overlap] # str comes first
    @overload
    def predict(self, texts: Texts) -> list[Prediction]: ...
    def predict(self, texts: str | Texts) -> Prediction | list[Prediction]:
        """Predict one review, or several; one text returns one prediction, a column returns a list.

        Args:
            texts: a string, or a list, tuple, numpy array, pandas or Polars series or Arrow array of them.
                A null is an empty review, as in files: its `unknown_share` is 1.

        Raises: DataError for values that are not text, naming the first one.
        """
        rows = list(self.predict_columns([texts] if isinstance(texts, str) else texts).rows())
        return rows[0] if isinstance(texts, str) else rows

    def predict_proba(self, texts: str | Texts) -> npt.NDArray[np.float64]:
        """Probabilities (rows, 2) of "negative" and "positive", as in scikit-learn."""
        positive = self.predict_columns([texts] if isinstance(texts, str) else texts).positive_probability
        return np.column_stack([1 - positive, positive])

    def predict_columns(self, texts: Texts) -> Predictions:
        """Predict as `predict` does, but return columns."""
        array, parts = as_array(texts), []
        for start in range(0, max(len(array), 1), CHUNK_ROWS):
            rows = self.encoder.encode(array.slice(start, CHUNK_ROWS))
            parts.append(self.predictions(rows, self.logits(rows)))
        return parts[0] if len(parts) == 1 else Predictions.concatenate(parts)

    def stream(self, texts: Iterable[str], chunk_rows: int = CHUNK_ROWS) -> Iterator[Prediction]:
        """Predict reviews without holding all of them in memory; same order, same count."""
        if chunk_rows < 1:
            raise UsageError(f"chunk_rows is {chunk_rows}; it must be at least 1.")
        remaining = iter(texts)
        while chunk := list(islice(remaining, chunk_rows)):
            yield from self.predict_columns(chunk).rows()

    def pool(self, threads: int) -> "PredictionPool":
        """A pool for streams of chunks; a context manager."""
        return PredictionPool(self, threads)

    def logits(self, rows: NumberedRows) -> FloatArray:
        """Combined logits (rows,) of encoded reviews; their sigmoid is the probability of "positive"."""
        return self.token_logits(rows.ids, rows.offsets)

    def token_logits(self, tokens: npt.NDArray[Any], offsets: IntArray) -> FloatArray:
        """Logits of concatenated token ids; row i is tokens[offsets[i]:offsets[i + 1]]."""
        logits = np.zeros(len(offsets) - 1, np.float32)
        batches = self.batches(offsets)

        def fill(rows: IntArray) -> None:
            logits[rows] = self.batch_logits(tokens, offsets, rows)

        threads = min(torch.get_num_threads(), len(batches))
        if threads <= 1:  # a single batch uses torch's own threads
            for rows in batches:
                fill(rows)
        else:
            with SingleThreads(threads) as pool:
                list(pool.map(fill, batches))
        return logits

    def batches(self, offsets: IntArray) -> list[IntArray]:
        """Rows of each batch: similar in length, the longest first."""
        return length_batches(np.clip(np.diff(offsets), 1, self.model.config.max_tokens))

    def batch_logits(self, tokens: npt.NDArray[Any], offsets: IntArray, rows: IntArray) -> FloatArray:
        """Combined logits (len(rows),) of some rows, as one batch."""
        model = self.model
        wide_logits = model.wide.logits(tokens, offsets, rows) if model.wide else None
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
        kept = np.diff(rows.offsets)
        return Predictions(
            positive_probability=probabilities(logits),
            truncated=rows.lengths > self.model.config.max_tokens,
            unknown_share=np.where(kept > 0, rows.unknown / np.maximum(kept, 1), 1.0),
        )


def length_batches(lengths: IntArray) -> list[IntArray]:
    """Sort rows (of at least one token each) by falling length and cut them into bounded batches."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = padded_width(lengths[order[start : start + 1]])
        end = start + max(1, min(BATCH_ROWS, BATCH_TOKENS // width))
        batches.append(order[start:end])
        start = end
    return batches


class SingleThreads:
    """A pool of threads in each of which torch works alone.

    `torch.set_num_threads` applies to the calling thread and to threads that use torch for the first time
    later. The calling thread keeps its number, and later threads get that number again afterwards.
    """

    def __init__(self, threads: int) -> None:
        self.before = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(threads, "predict", torch.set_num_threads, (1,))

    def __enter__(self) -> ThreadPoolExecutor:
        return self.pool

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self.before)


class PredictionPool:
    """Threads that predict several chunks at once, one batch each; a thread keeps one core busy.

    Each thread takes a whole batch. Torch's own threads inside a batch would wait for each other at every
    step of the LSTM (docs/decisions/0008). Results are bit-identical for any number of threads.
    """

    def __init__(self, predictor: Predictor, threads: int) -> None:
        self.predictor = predictor
        self._threads = SingleThreads(threads)

    def __enter__(self) -> "PredictionPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.__exit__()

    def submit(self, texts: Texts) -> "Future[Predictions]":
        """Predict a chunk after those submitted before."""
        result: Future[Predictions] = Future()
        self._threads.pool.submit(self._encode, texts, result)
        return result

    def _encode(self, texts: Texts, result: "Future[Predictions]") -> None:
        """Encode a chunk and submit its batches; the thread that computes the last one sets the result."""
        try:
            predictor = self.predictor
            rows = predictor.encoder.encode(texts)
            batches = predictor.batches(rows.offsets)
            logits = np.zeros(len(rows.offsets) - 1, np.float32)
            if not batches:
                result.set_result(predictor.predictions(rows, logits))
            remaining, lock = len(batches), Lock()

            def compute(batch: IntArray) -> None:
                nonlocal remaining
                try:
                    logits[batch] = predictor.batch_logits(rows.ids, rows.offsets, batch)
                    with lock:
                        remaining -= 1
                        is_last = remaining == 0
                    if is_last:
                        result.set_result(predictor.predictions(rows, logits))
                except BaseException as error:  # raised again by result.result()
                    with lock:
                        if not result.done():
                            result.set_exception(error)

            for batch in batches:
                self._threads.pool.submit(compute, batch)
        except BaseException as error:
            result.set_exception(error)
