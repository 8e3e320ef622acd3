"""What a model is and how good it is: the answer of `GET /v1/model`, read from its directory."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from sentiscale.errors import DataError
from sentiscale.modeldir import SavedModel, load_model, read_record
from sentiscale.serving.watching import FILES, fingerprint

SCORES = ("accuracy", "loss", "f1", "precision", "recall", "auc", "ece", "rows", "confusion")
DIGEST_CHARACTERS = 16


def load_with_card(path: Path) -> tuple[SavedModel, dict[str, Any]]:
    """Read a model directory, and describe what was read.

    Raises: DataError when it is missing or damaged, or was replaced meanwhile.
    """
    before = fingerprint(path)
    model = in_memory(load_model(path))
    card = model_card(path, model)
    if fingerprint(path) != before:
        raise DataError(f"{path} was replaced while it was read.")
    return model, card


def in_memory(model: SavedModel) -> SavedModel:
    """The same without pages of the file, which safetensors maps: the table of words and the wide part's.

    Who copies a new model over the old file cuts it short for a moment; a process that reads a page then
    is ended by the system (SIGBUS).
    """
    words = model.net.embedding.weight
    words.data = words.data.clone()
    if model.wide is None:
        return model
    wide = replace(model.wide, scales=model.wide.scales.copy(), weights=model.wide.weights.copy())
    return replace(model, wide=wide)


def model_card(path: Path, model: SavedModel) -> dict[str, Any]:
    """The model as `GET /v1/model` shows it, without the limits of the service."""
    record = read_record(path)
    test, valid = record.get("test") or None, record.get("valid") or None
    folder = path.resolve()
    return {
        "name": folder.parent.name if folder.name == "model" else folder.name,
        "digest": digest(path),
        "cell": model.config.model.cell,
        "wide": model.wide is not None,
        "parameters": model.parameters,
        "vocab_size": len(model.vocab),
        "max_tokens": model.config.max_tokens,
        "cleaning": model.config.cleaning,
        "trained_at": record.get("finished_at") or record.get("started_at"),
        "train_seconds": record.get("train_seconds"),
        "data": _data(record, valid, test),
        "test": _scores(test),
        "valid": _scores(valid),
        "calibration": (test or {}).get("calibration") or None,
    }


def digest(path: Path) -> str:
    """A short digest of all that the answers depend on."""
    total = hashlib.sha256()
    for name in FILES:
        with open(path / name, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:DIGEST_CHARACTERS]


def _data(
    record: dict[str, Any], valid: dict[str, Any] | None, test: dict[str, Any] | None
) -> dict[str, Any] | None:
    if not record:
        return None
    rows = {"train": ((record.get("data") or {}).get("rows") or {}).get("train")}
    rows |= {name: (scores or {}).get("rows") for name, scores in (("valid", valid), ("test", test))}
    return {"digest": record.get("data_digest"), "rows": rows}


def _scores(scores: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if scores is None else {name: scores.get(name) for name in SCORES}
