"""Names of the files of a model directory, for processes that do not load PyTorch."""

from pathlib import Path

CONFIG, VOCABULARY, WEIGHTS = FILES = ("config.toml", "vocab.txt", "weights.safetensors")
"""Files that predictions depend on."""
DIGESTS, RECORD = "digests.json", "record.json"
"""Digests of these files, which models of earlier versions do not have; and the record of the run."""


def model_path(path: str | Path) -> Path:
    """Return the model directory in a run directory, RUN/model; any other path unchanged."""
    inside = Path(path) / "model"
    return inside if (inside / CONFIG).exists() and not (Path(path) / CONFIG).exists() else Path(path)
