"""Prepared datasets for the tests of `eda`, written file by file: as `prepare` writes them, but at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentiscale.config import CLEANING_VERSIONS
from sentiscale.data.prepared import (
    SPLITS,
    Manifest,
    PreparedDataset,
    content_digest,
    split_file,
    token_dtype,
    write_manifest,
)
from sentiscale.text.classes import BINARY, Classes
from sentiscale.text.vocab import SPECIAL, UNK, Vocab
from sentiscale.util.digests import file_digest

Rows = Sequence[tuple[int, str]]
"""Label and cleaned text."""


def write_dataset(
    folder: Path,
    rows: Mapping[str, Rows],
    *,
    classes: tuple[str, ...] = BINARY,
    vocab_size: int = 1000,
    **fields: Any,
) -> PreparedDataset:
    """Write rows by split as a prepared dataset; `fields` go into the manifest."""
    folder.mkdir()
    kind = fields.get("settings", {}).get("classes", "binary")
    use = Counter(word for _, text in rows["train"] for word in text.split())
    ranked = sorted(use, key=lambda word: (-use[word], word))[: vocab_size - len(SPECIAL)]
    vocab = Vocab([*SPECIAL, *ranked])
    vocab.write(folder / "vocab.txt")
    tokens = {split: _write_split(folder, split, rows.get(split, []), vocab) for split in SPLITS}
    names = [split_file(split, part) for split in SPLITS for part in ("tokens", "offsets", "labels")]
    files = {name: file_digest(folder / name) for name in (*names, "vocab.txt")}
    labels = {split: Counter(label for label, _ in rows.get(split, [])) for split in SPLITS}
    values: dict[str, Any] = {
        "rows": {split: len(rows.get(split, [])) for split in SPLITS},
        "classes": classes,
        "labels": _named(sum(labels.values(), Counter()), classes),
        "labels_per_split": {split: _named(counts, classes) for split, counts in labels.items()},
        "rejected": {"total": 0, "by_reason": {}},
        "duplicates": 0,
        "conflicts": 0,
        "tokens": sum(map(len, tokens.values())),
        "unknown": {split: int((ids == UNK).sum()) for split, ids in tokens.items()},
        "cut": 0,
        "vocab_size": len(vocab),
        "cleaning": "words",
        "cleaning_version": CLEANING_VERSIONS["words"],
        "max_tokens": 512,
        "length_histogram": {},
        "settings": {"vocab_size": vocab_size, "min_count": 1, "dedupe": True},
        "inputs": ["/some/where/reviews.csv"],
        "versions": {"sentiscale": "0"},
        "bytes_in": 12_345,
        "seconds": 1.5,
        "mb_per_s": 0.01,
        "peak_memory_mb": 100,
        "workers": 1,
        "files": files,
        "digest": content_digest(files, "words", CLEANING_VERSIONS["words"], Classes(classes, kind)),
    }
    write_manifest(folder, Manifest.model_validate(values | fields))
    return PreparedDataset.open(folder)


def _write_split(folder: Path, split: str, rows: Rows, vocab: Vocab) -> np.ndarray:
    ids = [[vocab.id_of(word) for word in text.split()] for _, text in rows]
    tokens = np.array([word for row in ids for word in row], token_dtype(len(vocab)))
    (folder / split).mkdir()
    tokens.tofile(folder / split_file(split, "tokens"))
    np.cumsum([0, *map(len, ids)]).astype(np.int64).tofile(folder / split_file(split, "offsets"))
    np.array([label for label, _ in rows], np.uint8).tofile(folder / split_file(split, "labels"))
    return tokens


def _named(counts: Counter[int], classes: tuple[str, ...]) -> dict[str, int]:
    return {name: counts[code] for code, name in enumerate(classes)}
