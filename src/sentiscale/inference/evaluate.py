"""Score a model on labelled reviews: a split of prepared data, or raw files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.prepared import MANIFEST, PreparedDataset
from sentiscale.errors import DataError
from sentiscale.inference.predictor import Predictor
from sentiscale.model.metrics import score
from sentiscale.records import Scores
from sentiscale.text.classes import listed
from sentiscale.text.rejects import Reject, RejectCounts
from sentiscale.text.vocab import PAD, UNK
from sentiscale.util.progress import Progress


@dataclass(frozen=True)
class ScoredRows:
    """Labelled rows with the model's logits; arrays without a shape have shape (rows,)."""

    logits: npt.NDArray[np.float32]
    """(rows,) for two classes, else (rows, K)."""
    labels: npt.NDArray[np.uint8]
    """Position of each row's class in the model's classes."""
    lengths: npt.NDArray[np.int64]
    """Number of tokens of each review that preparation keeps."""
    unknown: npt.NDArray[np.float64]
    """Share of each row's tokens that are not in the model's vocabulary; 1 for a row without tokens."""
    lines: npt.NDArray[np.int64] | None = None
    """Line number of each row in its file; None for prepared data."""
    hashes: npt.NDArray[np.uint64] | None = None
    """Hash of each row's cleaned text; None for prepared data."""
    settled: npt.NDArray[np.bool_] | None = None
    """Whether the n-gram model alone answered each row."""
    left_out: RejectCounts = field(default_factory=RejectCounts)
    """Rows of files that cannot be scored."""
    label_values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What became of each distinct label of files; see `label_reading.label_values`."""


class EvaluationResult(Scores):
    """Scores, and the rows of raw files that could not be scored."""

    left_out: dict[str, int] = Field(default_factory=dict)
    """Number of rows without a usable label or text, by reason; empty for prepared data."""
    left_out_examples: dict[str, Reject] = Field(default_factory=dict)
    """The first of these rows for each reason: file, line, text and label."""
    label_values: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """The most frequent labels of raw files as written, each with its rows, its class or a reason."""


def evaluate(
    model: str | Path | Predictor,
    data: str | Path,
    *,
    split: str = "test",
    thresholds: bool = True,
    full: bool = False,
    settings: PrepareSettings | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Score a model on all labelled rows.

    Args:
        model: model directory, run directory, or loaded model.
        data: prepared data, or a raw file or folder in any input format.
        split: split to evaluate, if `data` is prepared data.
        thresholds: apply the class weights and thresholds of the model, if any; a loaded model has its own.
        full: read every row with the network, also if the model has a cascade; a loaded model has its own.
        settings: how to read raw files (format, columns).
        progress: receives progress updates.

    Raises: DataError when the model or the data cannot be used, or when there is no labelled row.
    """
    predictor = (
        model if isinstance(model, Predictor) else Predictor.load(model, thresholds=thresholds, full=full)
    )
    if (Path(data) / MANIFEST).exists():
        rows = rows_of_split(predictor, PreparedDataset.open(data), split)
    else:
        rows = rows_of_files(predictor, str(data), settings or PrepareSettings(), progress or Progress())
    settled = rows.settled if predictor.cascade else None
    scores = score(
        rows.logits, rows.labels, predictor.classes, predictor.decision, settled=settled, intervals=True
    )
    return EvaluationResult(
        **dict(scores),
        left_out=rows.left_out.by_reason,
        left_out_examples=rows.left_out.examples,
        label_values=rows.label_values,
    )


def rows_of_split(predictor: Predictor, dataset: PreparedDataset, name: str) -> ScoredRows:
    """Score every row of a split.

    Raises: DataError when the data were cleaned with a different rule than the model's or have a class that
        the model does not have, or the split is empty.
    """
    labels = mapped_labels(predictor, dataset, name)
    tokens = mapped_tokens(predictor, dataset, name)
    offsets = np.asarray(dataset.split(name).offsets)
    chunk = predictor.routed_logits(tokens, offsets)
    unknown = unknown_shares(tokens, offsets)
    return ScoredRows(chunk.logits, labels, np.diff(offsets), unknown, settled=chunk.settled)


def mapped_labels(predictor: Predictor, dataset: PreparedDataset, name: str) -> npt.NDArray[np.uint8]:
    """Return the position of each row's class in the model's classes.

    Raises: DataError when a class of the data is not a class of the model.
    """
    positions = model_positions(predictor, dataset.manifest.classes, dataset.path)
    return positions[np.asarray(dataset.split(name).labels)]


def model_positions(predictor: Predictor, names: Sequence[str], data: str | Path) -> npt.NDArray[np.uint8]:
    """Return the position in the model's classes of each class of `data`.

    Raises: DataError when a class of the data is not a class of the model.
    """
    positions = {name: position for position, name in enumerate(predictor.classes.names)}
    if not positions.keys() >= {*names}:
        raise DataError(
            f"{data} has the classes {listed(names)}; those of the model are {listed(positions)}. "
            "Give the rows classes of the model, with --label-map VALUE=CLASS when they are read or prepared."
        )
    return np.array([positions[name] for name in names], np.uint8)


def mapped_tokens(predictor: Predictor, dataset: PreparedDataset, name: str) -> npt.NDArray[Any]:
    """Map the tokens of a split to ids of the model's vocabulary.

    Raises: DataError when the data were cleaned with a different rule than the model's.
    """
    mapping = vocabulary_mapping(predictor, dataset)
    tokens = np.asarray(dataset.split(name).tokens)
    return tokens if mapping is None else mapping[tokens]


def vocabulary_mapping(predictor: Predictor, dataset: PreparedDataset) -> npt.NDArray[np.int32] | None:
    """Return the model's id for each word in the data's vocabulary, or None if the vocabularies are equal.

    Raises: DataError when the data were cleaned with a different rule than the model's.
    """
    config, manifest = predictor.model.config, dataset.manifest
    if manifest.cleaning != config.cleaning:
        raise DataError(
            f"{dataset.path} was cleaned with '{manifest.cleaning}', the model reads '{config.cleaning}'. "
            f"Prepare it again with --clean {config.cleaning}, or pass the raw labelled file instead."
        )
    if manifest.cleaning_version != config.cleaning_version:
        raise DataError(
            f"{dataset.path} was cleaned with version {manifest.cleaning_version} of '{config.cleaning}', "
            f"the model reads version {config.cleaning_version}. Pass the raw labelled file instead."
        )
    vocab = predictor.encoder.vocab  # its words are checked
    if dataset.vocab == vocab:
        return None
    ids = [vocab.id_of(word) for word in dataset.vocab.words]
    ids[:2] = [PAD, UNK]
    return np.array(ids, np.int32)


def rows_of_files(
    predictor: Predictor, data: str, settings: PrepareSettings, progress: Progress
) -> ScoredRows:
    """Score every usable row of raw files.

    Raises: DataError when the files contain no labelled review.
    """
    parts: list[ScoredRows] = []
    left_out = RejectCounts()
    corpus = Corpus.find([data], settings, known=predictor.model.config.label_reading).decided()
    for note in corpus.notes:
        progress.say(f"note: {note}")
    with progress.task("evaluate", None, "rows") as advance:
        positions = model_positions(predictor, corpus.classes.names, data)
        for block in corpus.blocks():
            rows = predictor.encoder.encode(block.text)
            unknown = unknown_shares(rows.ids, rows.offsets)
            lengths = np.diff(rows.offsets)
            chunk, labels = predictor.routed_logits(rows.ids, rows.offsets), positions[block.labels]
            parts.append(
                ScoredRows(chunk.logits, labels, lengths, unknown, block.line, rows.hashes, chunk.settled)
            )
            left_out.add(block.rejects)
            advance(len(block.labels), "")
    if not any(len(part.labels) for part in parts):
        raise DataError("\n".join([f"{data} contains no labelled review; left out:", *left_out.lines()]))
    names = ("logits", "labels", "lengths", "unknown", "lines", "hashes", "settled")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return ScoredRows(**columns, left_out=left_out, label_values=corpus.label_values)


def unknown_shares(
    tokens: npt.NDArray[np.generic], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Share of unknown tokens in each row (rows,); 1 for a row without tokens."""
    counted = np.concatenate([[0], np.cumsum(tokens == UNK)])
    lengths = np.diff(offsets)
    unknown = np.diff(counted[offsets])
    shares: npt.NDArray[np.float64] = np.where(lengths > 0, unknown / np.maximum(lengths, 1), 1.0)
    return shares
