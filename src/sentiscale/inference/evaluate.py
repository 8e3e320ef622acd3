"""Score a model directory on labelled reviews: a split of prepared data, or raw files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.prepared import MANIFEST, PreparedDataset
from sentiscale.errors import DataError
from sentiscale.inference.predictor import Predictor
from sentiscale.model.metrics import Scores, score
from sentiscale.text.vocab import UNK
from sentiscale.util.progress import Progress


@dataclass(frozen=True)
class ScoredRows:
    """Labelled rows and what the model says of them; all shapes (rows,)."""

    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    """0 negative, 1 positive."""
    lengths: npt.NDArray[np.int64]
    """Tokens, as many as preparation keeps of a review."""
    unknown: npt.NDArray[np.float64]
    """Share of a row's tokens that are not in the model's vocabulary; 1 without tokens."""
    lines: npt.NDArray[np.int64] | None = None
    """Line of each row in its file; None for prepared data."""


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    split: str = "test",
    settings: PrepareSettings | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score a model on every labelled row, each once.

    Args:
        model: a model directory.
        data: prepared data, or a raw file or folder in any input format.
        split: which split of prepared data.
        settings: how raw files are read (format, columns).
        progress: where to show how it goes.

    Raises: DataError when model or data cannot be used, or hold no labelled row.
    """
    predictor = Predictor.load(model)
    progress = progress or Progress()
    if (Path(data) / MANIFEST).exists():
        rows = rows_of_split(predictor, PreparedDataset.open(data), split)
    else:
        rows = rows_of_files(predictor, str(data), settings or PrepareSettings(), progress)
    return score(rows.logits, rows.labels)


def rows_of_split(predictor: Predictor, dataset: PreparedDataset, name: str) -> ScoredRows:
    """Label every row of a split.

    Raises: DataError when the data were cleaned otherwise than the model needs, or the split is empty.
    """
    numbers = model_numbers(predictor, dataset)
    split = dataset.split(name)
    tokens, offsets = np.asarray(split.tokens), np.asarray(split.offsets)
    if numbers is not None:
        tokens = numbers[tokens]
    logits = predictor.token_logits(tokens, offsets)
    return ScoredRows(logits, np.asarray(split.labels), np.diff(offsets), unknown_shares(tokens, offsets))


def model_numbers(predictor: Predictor, dataset: PreparedDataset) -> npt.NDArray[np.int32] | None:
    """The model's id of each word of the data's vocabulary; None where the two vocabularies are the same.

    Raises: DataError when the data were cleaned otherwise than the model needs.
    """
    wanted = predictor.model.config.cleaning
    if dataset.manifest.cleaning != wanted:
        raise DataError(
            f"{dataset.path} was cleaned with '{dataset.manifest.cleaning}', the model reads '{wanted}'. "
            f"Prepare it again with --clean {wanted}, or evaluate on the raw file."
        )
    if dataset.vocab == predictor.model.vocab:
        return None
    known = [predictor.model.vocab.id_of(word) for word in dataset.vocab.words]
    known[:2] = [0, UNK]
    return np.array(known, np.int32)


def rows_of_files(
    predictor: Predictor, data: str, settings: PrepareSettings, progress: Progress
) -> ScoredRows:
    """Label every usable row of raw files.

    Raises: DataError when they hold no labelled review.
    """
    corpus = Corpus.find([data], settings)
    parts: list[ScoredRows] = []
    with progress.task("evaluate", None, "rows") as advance:
        for block in corpus.blocks():
            rows = predictor.encoder.encode(block.text)
            unknown = unknown_shares(rows.ids, rows.offsets)
            parts.append(
                ScoredRows(predictor.logits(rows), block.labels, np.diff(rows.offsets), unknown, block.line)
            )
            advance(len(block.labels), "")
    if sum(len(part.labels) for part in parts) == 0:
        raise DataError(f"{data} holds no labelled review. Name it with --label-column or --stars-column.")
    return ScoredRows(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("logits", "labels", "lengths", "unknown", "lines")
        )
    )


def unknown_shares(
    tokens: npt.NDArray[np.generic], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """What part of each row's tokens is the unknown word; shape (rows,)."""
    counted = np.concatenate([[0], np.cumsum(tokens == UNK)])
    lengths = np.diff(offsets)
    shares: npt.NDArray[np.float64] = np.where(
        lengths > 0, np.diff(counted[offsets]) / np.maximum(lengths, 1), 1.0
    )
    return shares
