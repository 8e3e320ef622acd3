"""Put a model directory to use: text in, label and probability out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch

from sentiscale.data.batches import padded_ids, sorted_order
from sentiscale.errors import UsageError
from sentiscale.metrics import probabilities
from sentiscale.modeldir import SavedModel, load_model
from sentiscale.parallel.process import flushed_denormals
from sentiscale.text.encode import Encoder
from sentiscale.text.tokens import NumberedRows

FloatArray = npt.NDArray[np.float32]

BATCH_ROWS = 128
CHUNK_ROWS = 8192
"""Rows sorted by length together when a stream is labelled: enough to pad little, few enough to flow."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one review."""

    label: Literal["negative", "positive"]
    probability: float
    """Of `label`, between 0.5 and 1."""
    positive_probability: float
    truncated: bool
    """Whether the review is longer than the network reads (its beginning and end are read)."""
    unknown_share: float
    """Share of its words that are not in the vocabulary; 1 for a text without words."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class Predictor:
    """A loaded model.

    >>> predictor = Predictor.load("run/model")  # doctest: +SKIP
    >>> predictor.predict("Great screen, but the battery died in a week.")  # doctest: +SKIP
    Prediction(label='negative', probability=0.93, ...)
    """

    def __init__(self, model: SavedModel) -> None:
        self.model = model
        self.encoder = Encoder(model.vocab, model.config.cleaning, model.config.stored_tokens)

    @classmethod
    def load(cls, path: str | Path) -> "Predictor":
        """Read a model directory.

        Raises: DataError when it is missing, damaged or of another version.
        """
        return cls(load_model(Path(path)))

    @overload
    def predict(self, texts: str) -> Prediction: ...
    @overload
    def predict(self, texts: list[str] | tuple[str, ...]) -> list[Prediction]: ...
    def predict(self, texts: str | list[str] | tuple[str, ...]) -> Prediction | list[Prediction]:
        """Label one review, or several; the answer has the form of the question."""
        if isinstance(texts, str):
            return self._predict_chunk([texts])[0]
        return list(self.stream(texts))

    def stream(self, texts: Iterable[str], chunk_rows: int = CHUNK_ROWS) -> Iterator[Prediction]:
        """Label reviews without holding them all in memory; same order, same count."""
        if chunk_rows < 1:
            raise UsageError(f"chunk_rows is {chunk_rows}; it must be at least 1.")
        waiting = iter(texts)
        while chunk := list(islice(waiting, chunk_rows)):
            yield from self._predict_chunk(chunk)

    def logits(self, rows: NumberedRows) -> FloatArray:
        """Combined logits (rows,) of encoded reviews; their sigmoid is the probability of "positive"."""
        return self.token_logits(rows.ids, rows.offsets)

    def token_logits(self, tokens: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> FloatArray:
        """The same for token ids back to back, row i being tokens[offsets[i]:offsets[i + 1]]."""
        model = self.model
        wide_logits = model.wide.logits(tokens, offsets) if model.wide else None
        return model.combination.logits(self._network_logits(tokens, offsets), wide_logits)

    @torch.inference_mode()
    def _network_logits(self, tokens: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> FloatArray:
        longest = self.model.config.max_tokens
        logits = np.zeros(len(offsets) - 1, np.float32)
        with flushed_denormals():
            for rows in sorted_order(np.clip(np.diff(offsets), 1, longest), BATCH_ROWS):
                ids_BT, lengths_B = padded_ids(tokens, offsets, rows, longest)
                logits[rows] = self.model.net(torch.from_numpy(ids_BT), torch.from_numpy(lengths_B)).numpy()
        return logits

    def _predict_chunk(self, texts: Sequence[str]) -> list[Prediction]:
        rows = self.encoder.encode(texts)
        positive = probabilities(self.logits(rows))
        kept = np.diff(rows.offsets)
        unknown = np.where(kept > 0, rows.unknown / np.maximum(kept, 1), 1.0)
        truncated = rows.lengths > self.model.config.max_tokens
        return [
            Prediction("positive" if p > 0.5 else "negative", max(p, 1 - p), p, t, u)
            for p, t, u in zip(positive.tolist(), truncated.tolist(), unknown.tolist(), strict=True)
        ]
