"""Score a model directory on labelled reviews: a split of prepared data, or raw files."""

from pathlib import Path

import numpy as np

from sentiscale.config import PrepareSettings
from sentiscale.data.corpus import Corpus
from sentiscale.data.prepared import MANIFEST, PreparedDataset
from sentiscale.errors import DataError
from sentiscale.metrics import Scores, score
from sentiscale.predictor import Predictor
from sentiscale.progress import Progress
from sentiscale.text.vocab import UNK


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
        return _score_split(predictor, PreparedDataset.open(data), split)
    return _score_files(predictor, str(data), settings or PrepareSettings(), progress)


def _score_split(predictor: Predictor, dataset: PreparedDataset, name: str) -> Scores:
    wanted = predictor.model.config.cleaning
    if dataset.manifest.cleaning != wanted:
        raise DataError(
            f"{dataset.path} was cleaned with '{dataset.manifest.cleaning}', the model reads '{wanted}'. "
            f"Prepare it again with --clean {wanted}, or evaluate on the raw file."
        )
    split = dataset.split(name)
    tokens = np.asarray(split.tokens)
    if dataset.vocab != predictor.model.vocab:
        known = [predictor.model.vocab.id_of(word) for word in dataset.vocab.words]
        known[:2] = [0, UNK]
        tokens = np.array(known, np.int32)[tokens]
    return score(predictor.token_logits(tokens, np.asarray(split.offsets)), np.asarray(split.labels))


def _score_files(predictor: Predictor, data: str, settings: PrepareSettings, progress: Progress) -> Scores:
    corpus = Corpus.find([data], settings)
    logits, labels = [], []
    with progress.task("evaluate", None, "rows") as advance:
        for block in corpus.blocks():
            logits.append(predictor.logits(predictor.encoder.encode(block.text)))
            labels.append(block.labels)
            advance(len(block.labels), "")
    if not labels or sum(map(len, labels)) == 0:
        raise DataError(f"{data} holds no labelled review. Name it with --label-column or --stars-column.")
    return score(np.concatenate(logits), np.concatenate(labels))
