"""Give the rows of a prepared dataset other classes, for tests of everything that follows preparation."""

import shutil
from pathlib import Path

import numpy as np

from sentiscale.config import ClassKind
from sentiscale.data.prepared import SPLITS, PreparedDataset, content_digest, split_file, write_manifest
from sentiscale.text.classes import Classes
from sentiscale.util.digests import file_digest


def relabelled(source: Path, out: Path, names: tuple[str, ...], kind: ClassKind) -> PreparedDataset:
    """Copy a dataset of two classes; a row's new class depends on its old one and on its length.

    So the first half of the classes is learnable from the words of the old negative class, and the class
    within a half from the length.
    """
    shutil.copytree(source, out)
    dataset = PreparedDataset.open(out)
    manifest = dataset.manifest
    counts, half = {}, len(names) / 2
    for split in SPLITS:
        counts[split] = dict.fromkeys(names, 0)
        if manifest.rows[split]:
            rows = dataset.split(split)
            rank = np.argsort(np.argsort(rows.lengths, kind="stable")) / len(rows)
            labels = np.minimum((rows.labels + rank) * half, len(names) - 1).astype(np.uint8)
            labels.tofile(out / split_file(split, "labels"))
            counts[split] = dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))
    files = {name: file_digest(out / name) for name in manifest.files}
    changed = {
        "classes": names,
        "labels": {name: sum(counts[split][name] for split in SPLITS) for name in names},
        "labels_per_split": counts,
        "settings": manifest.settings | {"classes": kind},
        "files": files,
        "digest": content_digest(files, manifest.cleaning, manifest.cleaning_version, Classes(names, kind)),
        "label_reading": None,
    }
    write_manifest(out, manifest.model_copy(update=changed))
    return PreparedDataset.open(out)


STARS = Classes(("1", "2", "3", "4", "5"), "stars")
TERNARY = Classes(("negative", "neutral", "positive"), "ternary")
