"""What a person should know about the rows: above all, whether the model was trained on them."""

from pathlib import Path
from typing import Any

from sentiscale.data.prepared import Manifest, PreparedDataset
from sentiscale.errors import DataError

SEEN = (
    "The model was trained on these rows. It knows their labels, the wrong ones too, so fewer of them are "
    "doubted and the accuracy flatters it. For label errors in training rows, train on one half and look at "
    "the other."
)
PERHAPS_SEEN = (
    "The model's data were prepared from this file. Unless it was their test set, the model has seen most of "
    "these rows and their labels, which flatters it and hides wrong labels."
)
CHOSEN = (
    "On the validation rows the weights were chosen and the probabilities calibrated, which flatters the "
    "model a little."
)
OTHER_DATA = "These are other data than the model was trained on."


def of_split(record: dict[str, Any], dataset: PreparedDataset, split: str) -> list[str]:
    """What to know about a split, given the record of the run that made the model."""
    if record.get("data_digest") != dataset.manifest.digest:
        return [OTHER_DATA] if record else []
    return {"train": [SEEN], "valid": [CHOSEN]}.get(split, [])


def of_files(record: dict[str, Any], paths: list[str]) -> list[str]:
    """What to know about files: whether training reviews came from them."""
    trained_on = record.get("data") or {}
    inputs = {_absolute(path) for path in trained_on.get("inputs", [])} & {_absolute(path) for path in paths}
    if not inputs:
        return []
    held_out = _test_inputs(trained_on.get("path", ""), record.get("data_digest", ""))
    if held_out is None:
        return [PERHAPS_SEEN]
    return [SEEN] if inputs - held_out else []


def _test_inputs(path: str, digest: str) -> set[str] | None:
    """Files that were named as the test set; None where the prepared data are gone."""
    try:
        manifest: Manifest = PreparedDataset.open(path, verify=False).manifest
    except DataError:
        return None
    return {_absolute(name) for name in manifest.test_inputs} if manifest.digest == digest else None


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())
