"""Predict labels and probabilities of texts with a model directory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Self, overload

import numpy as np
import numpy.typing as npt
import torch

from sentiscale.data.batches import padded_ids, padded_width
from sentiscale.errors import UsageError
from sentiscale.model.cascade import Cascade
from sentiscale.model.decision import Decision
from sentiscale.model.directory import SavedModel, load_model
from sentiscale.model.metrics import probabilities
from sentiscale.model.network import logits_shape
from sentiscale.parallel.cpu import flushed_denormals
from sentiscale.parallel.precision import Precision
from sentiscale.text.classes import UNSURE, Classes
from sentiscale.text.column import Texts, as_array
from sentiscale.text.encode import Encoder
from sentiscale.text.tokens import NumberedRows

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

BATCH_ROWS = 256
"""Largest number of rows in a batch."""
BATCH_TOKENS = 8192
"""Largest number of padded tokens in a batch, which bounds the memory of a forward pass. Twice as many are
not faster (docs/decisions/0008)."""
CHUNK_ROWS = 8192
"""Number of rows of a stream that are sorted by length together. More rows reduce padding but delay the first
predictions."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Prediction:
    """Label and probabilities of one review."""

    label: str
    """The most probable class, or the one that the model's decision chooses; "unsure" if it abstains."""
    probability: float
    """Probability of `label`; of the most probable class if the label is "unsure"."""
    positive_probability: float | None
    """Probability of the second of two classes, between 0 and 1; None for more classes."""
    truncated: bool
    """Whether the network reads only the beginning and the end of the review because of its length."""
    unknown_share: float
    """Share of the review's words that are not in the vocabulary; 1 for a text without words."""
    probabilities: dict[str, float]
    """Probability of each class; they add up to 1."""
    expected_star: float | None = None
    """Mean number of stars under these probabilities; None if the classes are not stars."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Predictions:
    """Predictions of many reviews as columns, without an object per row."""

    probabilities: npt.NDArray[np.float64]
    """Probability of each class, (rows, K)."""
    codes: npt.NDArray[np.int64]
    """Position of each row's label in `classes`, (rows,); K means unsure."""
    truncated: npt.NDArray[np.bool_]
    """See `Prediction`, (rows,)."""
    unknown_share: npt.NDArray[np.float64]
    """See `Prediction`, (rows,)."""
    classes: Classes

    COLUMNS: ClassVar = ("probabilities", "codes", "truncated", "unknown_share")

    @classmethod
    def concatenate(cls, parts: list["Predictions"]) -> "Predictions":
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in cls.COLUMNS}
        return cls(**joined, classes=parts[0].classes)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice) -> "Predictions":
        """Return the predictions of some rows."""
        return replace(self, **{name: getattr(self, name)[rows] for name in self.COLUMNS})

    @property
    def labels(self) -> npt.NDArray[np.object_]:
        """Label of each row, (rows,)."""
        return np.array([*self.classes.names, UNSURE], object)[self.codes]

    @property
    def probability(self) -> npt.NDArray[np.float64]:
        """Probability of each row's label, (rows,); of the most probable class where it is unsure."""
        codes, count = self.codes, len(self.classes)
        if (codes == count).any():
            codes = np.where(codes == count, self.probabilities.argmax(axis=1), codes)
        return self.probabilities.ravel().take(np.arange(len(self)) * count + codes)

    @property
    def positive_probability(self) -> npt.NDArray[np.float64] | None:
        """Probability of the second of two classes, (rows,); None for more classes."""
        return self.probabilities[:, 1] if len(self.classes) == 2 else None

    @property
    def expected_star(self) -> npt.NDArray[np.float64] | None:
        """Mean number of stars under the probabilities, (rows,); None if the classes are not stars."""
        return self.probabilities @ np.array(self.classes.stars) if self.classes.stars else None

    def rows(self) -> Iterator[Prediction]:
        names, none = self.classes.names, [None] * len(self)
        by_class = (dict(zip(names, row, strict=True)) for row in self.probabilities.tolist())
        second, stars = self.positive_probability, self.expected_star
        yield from map(
            Prediction,  # its fields in order
            self.labels.tolist(),
            self.probability.tolist(),
            none if second is None else second.tolist(),
            self.truncated.tolist(),
            self.unknown_share.tolist(),
            by_class,
            none if stars is None else stars.tolist(),
        )


class Predictor:
    """Predictor for a loaded model.

    >>> predictor = Predictor.load("run/model")  # doctest: +SKIP
    >>> predictor.predict("Great screen, but the battery died in a week.")  # doctest: +SKIP
    Prediction(label='negative', probability=0.93, ...)

    Predicting many texts uses as many cores as PyTorch may use (`torch.set_num_threads`).
    """

    def __init__(
        self,
        model: SavedModel,
        precision: Precision | None = None,
        *,
        thresholds: bool = True,
        full: bool = False,
    ) -> None:
        self.model = model
        self.full = full
        self.classes = model.classes
        self.thresholds = thresholds
        self.decision = model.config.decision if thresholds else Decision(model.classes.names)
        self.precision = precision or Precision("fp32")

    @property
    def cascade(self) -> Cascade | None:
        """The rule by which rows skip the network; None if it reads all rows."""
        return None if self.full else self.model.cascade

    @cached_property
    def encoder(self) -> Encoder:
        """Encoder of texts. It is created for the first texts, after `SavedModel.verify`.

        Raises: DataError when `verify` refuses the model.
        """
        config, vocab = self.model.config, self.model.vocab
        self.model.verify()
        return Encoder(vocab, config.cleaning, config.stored_tokens, config.cleaning_version)

    @classmethod
    def load(
        cls, path: str | Path, *, precision: str = "fp32", thresholds: bool = True, full: bool = False
    ) -> Self:
        """Load a model directory.

        Args:
            path: model directory, written by `train` as RUN/model, or the run directory, RUN.
            precision: arithmetic of the network: "fp32", "bf16" or "auto". bf16 is faster on processors that
                support it and changes probabilities in the third decimal; auto selects it if it is faster.
            thresholds: apply the class weights and thresholds of the model, if any; otherwise, the label is
                always the most probable class.
            full: read every text with the network; otherwise, the n-gram model alone answers those of which
                it is sure, if the model has a cascade.

        Raises:
            DataError: the directory is missing or damaged, or was written by an incompatible version.
            UsageError: this machine does not support the precision.
        """
        model = load_model(Path(path))
        return cls(model, Precision.choose(precision, CPU), thresholds=thresholds, full=full)

    @overload
    def predict(self, texts: str) -> Prediction: ...  # type: ignore[overload-overlap] # str comes first
    @overload
    def predict(self, texts: Texts) -> list[Prediction]: ...
    def predict(self, texts: str | Texts) -> Prediction | list[Prediction]:
        """Predict one or more reviews; returns one prediction for a string and a list for a collection.

        Args:
            texts: a string, or a list, tuple, NumPy array, pandas or Polars series or Arrow array of strings.
                As in files, a null is treated as an empty review, whose `unknown_share` is 1.

        Raises: DataError when a value is not text; the message contains the first such value.
        """
        rows = list(self.predict_columns([texts] if isinstance(texts, str) else texts).rows())
        return rows[0] if isinstance(texts, str) else rows

    def predict_proba(self, texts: str | Texts) -> npt.NDArray[np.float64]:
        """Probabilities (rows, K) of the classes, as in scikit-learn."""
        return self.predict_columns([texts] if isinstance(texts, str) else texts).probabilities

    def predict_columns(self, texts: Texts) -> Predictions:
        """Predict reviews and return the results as columns."""
        array, parts = as_array(texts), []
        for start in range(0, max(len(array), 1), CHUNK_ROWS):
            rows = self.encoder.encode(array.slice(start, CHUNK_ROWS))
            parts.append(self.predictions(rows, self.logits(rows)))
        return parts[0] if len(parts) == 1 else Predictions.concatenate(parts)

    def stream(self, texts: Iterable[str], chunk_rows: int = CHUNK_ROWS) -> Iterator[Prediction]:
        """Yield one prediction per review, in order, without holding all reviews in memory."""
        if chunk_rows < 1:
            raise UsageError(f"chunk_rows is {chunk_rows}; it must be at least 1.")
        remaining = iter(texts)
        while chunk := list(islice(remaining, chunk_rows)):
            yield from self.predict_columns(chunk).rows()

    def pool(self, threads: int) -> "PredictionPool":
        """Create a pool that predicts a stream of chunks; use it as a context manager."""
        return PredictionPool(self, threads)

    def logits(self, rows: NumberedRows) -> FloatArray:
        """Combined logits of encoded reviews, (rows,) or (rows, K); see `metrics.probabilities`."""
        return self.token_logits(rows.ids, rows.offsets)

    def token_logits(self, tokens: npt.NDArray[Any], offsets: IntArray) -> FloatArray:
        """Logits of concatenated token ids; row i is tokens[offsets[i]:offsets[i + 1]]."""
        return self.routed_logits(tokens, offsets).logits

    def routed_logits(self, tokens: npt.NDArray[Any], offsets: IntArray) -> "ChunkLogits":
        """`token_logits`, and which rows the n-gram model answered alone."""
        chunk = ChunkLogits(self, tokens, offsets)
        _over_threads(chunk.read_ngrams, chunk.ngram_batches())
        _over_threads(chunk.read_network, chunk.network_batches())
        return chunk

    @torch.inference_mode()
    def network_logits(self, ids_BT: IntArray, lengths_B: IntArray) -> FloatArray:
        """Logits of the network alone, (B,) or (B, K), for padded ids (B, T) and lengths (B,)."""
        with flushed_denormals(), self.precision.autocast(CPU):
            computed = self.model.net(torch.from_numpy(ids_BT), torch.from_numpy(lengths_B))
            logits: FloatArray = computed.float().numpy()
        return logits

    def predictions(self, rows: NumberedRows, logits: FloatArray) -> Predictions:
        kept, chances = np.diff(rows.offsets), probabilities(logits)
        return Predictions(
            probabilities=chances,
            codes=self.decision.codes(chances),
            truncated=rows.lengths > self.model.config.max_tokens,
            unknown_share=np.where(kept > 0, rows.unknown / np.maximum(kept, 1), 1.0),
            classes=self.classes,
        )


class ChunkLogits:
    """Combined logits of a chunk in two steps: the n-gram model reads all rows, the network the unsettled.

    Batches of a step may be computed in any order and concurrently; the second step follows the first.
    """

    def __init__(self, predictor: Predictor, tokens: npt.NDArray[Any], offsets: IntArray) -> None:
        self.predictor, self.tokens, self.offsets = predictor, tokens, offsets
        rows = len(offsets) - 1
        self.logits = np.zeros(logits_shape(rows, predictor.classes.outputs), np.float32)
        """Calibrated logits of settled rows, combined logits of the others: (rows,) or (rows, K)."""
        self.settled = np.zeros(rows, np.bool_)
        """Whether the n-gram model alone answers a row, (rows,)."""
        self._wide_logits = np.zeros_like(self.logits)

    def ngram_batches(self) -> list[IntArray]:
        rows = np.arange(len(self.settled)) if self.predictor.model.wide else np.arange(0)
        return [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]

    def read_ngrams(self, rows: IntArray) -> None:
        wide, cascade = self.predictor.model.wide, self.predictor.cascade
        assert wide is not None
        self._wide_logits[rows] = found = wide.logits(self.tokens, self.offsets, rows)
        if cascade is not None:
            self.logits[rows], self.settled[rows] = cascade.logits(found)

    def network_batches(self) -> list[IntArray]:
        """Divide unsettled rows into batches of similar length, longest rows first."""
        rows = np.flatnonzero(~self.settled)
        lengths = np.clip(np.diff(self.offsets)[rows], 1, self.predictor.model.config.max_tokens)
        return [rows[batch] for batch in length_batches(lengths)]

    def read_network(self, rows: IntArray) -> None:
        model = self.predictor.model
        ids_BT, lengths_B = padded_ids(self.tokens, self.offsets, rows, model.config.max_tokens)
        wide_logits = self._wide_logits[rows] if model.wide else None
        network_logits = self.predictor.network_logits(ids_BT, lengths_B)
        self.logits[rows] = model.combination.logits(network_logits, wide_logits)


def _over_threads(work: Callable[[IntArray], None], batches: list[IntArray]) -> None:
    threads = min(torch.get_num_threads(), len(batches))
    if threads <= 1:  # a single batch uses torch's own threads
        for rows in batches:
            work(rows)
    else:
        with SingleThreads(threads) as pool:
            list(pool.map(work, batches))


def length_batches(lengths: IntArray) -> list[IntArray]:
    """Sort nonempty rows by decreasing length and divide them into batches of bounded size."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = padded_width(lengths[order[start : start + 1]])
        end = start + max(1, min(BATCH_ROWS, BATCH_TOKENS // width))
        batches.append(order[start:end])
        start = end
    return batches


class SingleThreads:
    """Pool of threads in which PyTorch uses one thread each.

    `torch.set_num_threads` applies to the calling thread and to threads that first use PyTorch after the
    call. The number of the calling thread is unchanged, and it is restored for later threads on exit.
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
    """Pool of threads that predict several chunks concurrently.

    Each thread computes one batch at a time on one core. PyTorch's own threads would wait for each other at
    every step of the LSTM (docs/decisions/0008). Results are bit-identical for any number of threads.
    """

    def __init__(self, predictor: Predictor, threads: int) -> None:
        self.predictor = predictor
        self._threads = SingleThreads(threads)

    def __enter__(self) -> "PredictionPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.__exit__()

    def submit(self, texts: Texts) -> "Future[Predictions]":
        """Schedule a chunk for prediction, after the chunks submitted before it."""
        result: Future[Predictions] = Future()
        self._threads.pool.submit(self._encode, texts, result)
        return result

    def _encode(self, texts: Texts, result: "Future[Predictions]") -> None:
        """Encode a chunk and submit its batches; the thread that finishes the last batch sets the result."""
        try:
            rows = self.predictor.encoder.encode(texts)
            chunk = ChunkLogits(self.predictor, rows.ids, rows.offsets)

            def read_network() -> None:
                self._each(chunk.network_batches(), chunk.read_network, finish, result)

            def finish() -> None:
                result.set_result(self.predictor.predictions(rows, chunk.logits))

            self._each(chunk.ngram_batches(), chunk.read_ngrams, read_network, result)
        except BaseException as error:  # raised again by result.result()
            result.set_exception(error)

    def _each(
        self,
        batches: list[IntArray],
        work: Callable[[IntArray], None],
        then: Callable[[], None],
        result: "Future[Predictions]",
    ) -> None:
        """Submit `work` on each batch; the thread that finishes last runs `then`. `result` gets an error."""
        if not batches:
            then()
        remaining, lock = len(batches), Lock()

        def run(batch: IntArray) -> None:
            nonlocal remaining
            try:
                work(batch)
                with lock:
                    remaining -= 1
                    is_last = remaining == 0
                if is_last:
                    then()
            except BaseException as error:
                with lock:
                    if not result.done():
                        result.set_exception(error)

        for batch in batches:
            self._threads.pool.submit(run, batch)
