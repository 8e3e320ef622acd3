"""Check the texts and labels of the scikit-learn estimator and write them as a prepared dataset.

The dataset is the same as `prepare` writes for the same rows, with two differences. Duplicates are kept,
because callers expect every row to count. Validation rows, selected by the hash of the text, have the exact
share in each class, so that few rows suffice.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length, column_or_1d

from sentiscale.config import CLEANING_VERSIONS, PrepareSettings
from sentiscale.data.placement import LENGTH_POWERS, count_ids, gather_tokens
from sentiscale.data.prepared import (
    SPLITS,
    VOCABULARY,
    Manifest,
    PreparedDataset,
    content_digest,
    split_file,
    token_dtype,
    write_manifest,
)
from sentiscale.data.wordcount import WordCounter, WordCounts
from sentiscale.errors import DataError
from sentiscale.records import package_versions
from sentiscale.text.classes import MAX_CLASSES, Classes, check_names
from sentiscale.text.clean import raw_rows
from sentiscale.text.column import as_array
from sentiscale.text.lines import binary_array
from sentiscale.text.tokens import number_new, rule_for
from sentiscale.text.vocab import SPECIAL, UNK, read_table, write_words
from sentiscale.text.word_table import WordTable, look_up
from sentiscale.util.digests import file_digests

MB = 10**6
MIN_CLASS_TEXTS = 2
"""Each class needs one text to train on and one to validate on."""
MIN_VALIDATION_TEXTS = 16
"""Smallest number of validation texts per class, if that is at most a third of the class. With fewer, the
weights of network and n-gram model are fitted to noise (tried on 45 to 450 real reviews)."""
UNBOUNDED = 2**40
"""Memory limit in bytes for counting words; never reached, because the texts are in memory anyway."""


# The prepared dataset


@dataclass(frozen=True)
class TrainingRows:
    """Nonempty texts, encoded as indices into the table of their own words."""

    ids: NDArray[np.int32]
    """Indices into `words`, concatenated over all rows."""
    kept: NDArray[np.int64]
    """Number of words of each row in `ids`."""
    lengths: NDArray[np.int64]
    """Number of words of each row before truncation."""
    labels: NDArray[np.uint8]
    """Position of each row's class."""
    weights: NDArray[np.float32] | None
    """Weight of each row in the loss; None if all are 1."""
    held_out: NDArray[np.bool_]
    """Whether each row is held out for validation."""
    words: WordTable
    """All distinct words."""


def prepare_texts(
    texts: pa.Array,
    labels: NDArray[np.uint8],
    out: Path,
    settings: PrepareSettings,
    valid_share: float,
    classes: Classes,
    weights: NDArray[np.float32] | None = None,
) -> PreparedDataset:
    """Write texts, labels and weights, each (rows,), as a prepared dataset with the splits train and valid.

    Texts without words are left out, because nothing can be learnt from them.

    Args:
        texts: strings or binaries, without nulls.
        labels: position of each text's class in `classes`.
        out: an empty directory.
        settings: settings for cleaning, vocabulary and stored tokens; the others are ignored.
        valid_share: share of each class to validate on, between 0 and 1; raised if that is too few texts.

    Raises: DataError when a class has fewer than two texts with words, or no word is frequent enough.
    """
    started_at = time.monotonic()
    data, offsets = raw_rows(texts)
    version = CLEANING_VERSIONS[settings.clean]
    numbered, words = number_new(
        data, offsets, rule_for(settings.clean, settings.max_tokens, version=version)
    )
    nonempty = numbered.lengths > 0
    usable = labels[nonempty]
    _check_smallest(usable, len(classes))
    rows = TrainingRows(
        ids=numbered.ids,
        kept=np.diff(numbered.offsets)[nonempty],
        lengths=numbered.lengths[nonempty],
        labels=usable,
        weights=None if weights is None else weights[nonempty],
        held_out=held_out(numbered.hashes[nonempty], usable, valid_share),
        words=words,
    )
    distinct = _write_vocabulary(out, rows, settings)
    unknown, vocab_size = _write_splits(out, rows)
    names = [VOCABULARY, *(str(path.relative_to(out)) for path in out.glob("*/*.bin"))]
    files = dict(zip(names, file_digests(out / name for name in names), strict=True))
    empty, bytes_in = int((~nonempty).sum()), int(offsets[-1] - offsets[0])
    seconds = time.monotonic() - started_at
    manifest = Manifest(
        **_row_counts(rows, settings.max_tokens, classes.names),
        classes=classes.names,
        duplicates=0,
        conflicts=0,
        rejected={"total": empty, "by_reason": {"empty_after_cleaning": empty} if empty else {}},
        unknown=dict(zip(SPLITS, unknown, strict=True)),
        distinct_words=distinct,
        vocab_size=vocab_size,
        cleaning=settings.clean,
        cleaning_version=version,
        max_tokens=settings.max_tokens,
        settings=settings.model_dump(mode="json") | {"classes": classes.kind},
        inputs=[],
        versions=package_versions("sentiscale", "numpy", "pyarrow", "numba"),
        bytes_in=bytes_in,
        seconds=round(seconds, 3),
        mb_per_s=round(bytes_in / MB / max(seconds, 1e-9), 2),
        peak_memory_mb=0.0,  # unknown, since the process also holds the caller's texts
        workers=1,
        files=files,
        digest=content_digest(files, settings.clean, version, classes),
    )
    write_manifest(out, manifest)
    return PreparedDataset(out, manifest)


def _check_smallest(labels: NDArray[np.uint8], classes: int) -> None:
    smallest = int(np.bincount(labels, minlength=classes).min())
    if smallest < MIN_CLASS_TEXTS:
        raise DataError(
            f"of {len(labels)} texts with words the smallest class has {smallest}; each class needs at least "
            f"{MIN_CLASS_TEXTS}, one to train on and one to validate on. Pass more texts."
        )


def _row_counts(rows: TrainingRows, max_tokens: int, names: tuple[str, ...]) -> dict[str, Any]:
    def by_class(labels: NDArray[np.uint8]) -> dict[str, int]:
        return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))

    train, valid = rows.labels[~rows.held_out], rows.labels[rows.held_out]
    splits = dict(zip(SPLITS, (train, valid, rows.labels[:0]), strict=True))
    truncated = np.maximum(rows.lengths - max_tokens, 0)
    powers = np.bincount(np.ceil(np.log2(rows.lengths)).astype(np.int64), minlength=LENGTH_POWERS)
    return {
        "rows": {split: len(labels) for split, labels in splits.items()},
        "labels": by_class(rows.labels),
        "labels_per_split": {split: by_class(labels) for split, labels in splits.items()},
        "tokens": int(rows.kept.sum()),
        "cut": int((truncated > 0).sum()),
        "tokens_cut": int(truncated.sum()),
        "length_histogram": {str(2**power): int(count) for power, count in enumerate(powers) if count},
    }


def held_out(hashes: NDArray[np.uint64], labels: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Select the rows (rows,) to validate on: in each class, those with the largest hashes.

    Equal texts stay together, unless no validation text would be left, as in a class with one repeated text.
    """
    chosen = np.zeros(len(labels), bool)
    places = hashes & np.uint64(2**32 - 1)  # the bits by which `prepare` splits
    for label in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == label)
        ordered = rows[np.argsort(places[rows], kind="stable")]
        least = max(1, min(MIN_VALIDATION_TEXTS, len(rows) // 3))
        count = min(max(least, round(share * len(rows))), len(rows) - 1)
        beyond = rows[places[rows] > places[ordered[-count - 1]]]
        chosen[beyond if len(beyond) else ordered[-count:]] = True
    return chosen


def _write_vocabulary(out: Path, rows: TrainingRows, settings: PrepareSettings) -> int:
    """Write the vocabulary of the training rows; returns the number of their distinct words."""
    words = rows.words
    counts = count_ids(rows.ids, rows.kept, ~rows.held_out, len(words.offsets) - 1)
    counter = WordCounter(out, UNBOUNDED)
    counter.add(WordCounts(words.data, words.offsets, counts))
    chosen = counter.vocabulary(settings.vocab_size - len(SPECIAL), settings.min_count)
    if not len(chosen):
        raise DataError(
            f"no word occurs {settings.min_count} times in the {int((~rows.held_out).sum())} texts to train "
            "on. Pass more texts or lower min_count."
        )
    write_words(out / VOCABULARY, chosen)
    return int((counts > 0).sum())


def _write_splits(out: Path, rows: TrainingRows) -> tuple[list[int], int]:
    """Write the arrays of each split; returns the unknown tokens per split and the vocabulary size."""
    table = read_table(out / VOCABULARY)
    vocab_size = len(table.offsets) - 1
    numbers = look_up(rows.words.data, rows.words.offsets, table, UNK).astype(token_dtype(vocab_size))
    unknown = []
    none = np.zeros(len(rows.labels), bool)
    for split, chosen in zip(SPLITS, (~rows.held_out, rows.held_out, none), strict=True):
        kept = rows.kept[chosen]
        common = np.zeros(len(rows.kept), np.int64)
        tokens, count = gather_tokens(rows.ids, rows.kept, chosen, numbers, common)
        unknown.append(count)
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        (out / split).mkdir()
        parts = {"tokens": tokens, "offsets": offsets, "labels": rows.labels[chosen]}
        if rows.weights is not None:
            parts["weights"] = rows.weights[chosen]
        for part, array in parts.items():
            (out / split_file(split, part)).write_bytes(np.ascontiguousarray(array).data)
    return unknown, vocab_size


# Checks of the caller's texts and labels


def as_texts(X: Any) -> pa.Array:
    """Convert a one-dimensional collection of str to an Arrow array without nulls.

    Raises: ValueError, or TypeError when `X` has no length, with scikit-learn's messages.
    """
    if isinstance(X, str | bytes):
        raise ValueError("Iterable over raw text documents expected, string object received.")
    if not hasattr(X, "__len__"):
        raise TypeError(f"Expected sequence or array-like of texts, got {type(X)}.")
    shape = getattr(X, "shape", (len(X),))
    if len(shape) != 1:
        raise ValueError(
            f"Expected 1D array of texts, got {len(shape)}D array instead (shape={tuple(shape)}). "
            "Pass one column, as in X[:, 0] or frame['text']."
        )
    if not len(X):
        raise ValueError("Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is required.")
    try:
        texts = as_array(X)
        if not texts.null_count:
            return texts.cast(pa.large_binary())
    except (DataError, pa.ArrowException, TypeError, ValueError):
        pass  # the loop below finds the row for the message
    for row, value in enumerate(_as_list(X)):
        if not isinstance(value, str | bytes):
            raise ValueError(
                f"X[{row}] is {value!r} ({type(value).__name__}); texts must be str and not missing."
            )
    raise ValueError(f"X is a {type(X).__name__} whose values cannot be read as texts.")


def _as_list(X: Any) -> list[Any]:
    for method in ("to_pylist", "tolist", "to_list"):  # Arrow; numpy and pandas; Polars
        if hasattr(X, method):
            values: list[Any] = getattr(X, method)()
            return values
    return list(X)


def copied_slice(texts: pa.Array, begin: int, end: int) -> pa.Array:
    """Copy a slice; a view would refer to the bytes of all texts, and encoding allocates memory for them."""
    data, offsets = raw_rows(texts.slice(begin, end - begin))
    return binary_array(data[offsets[0] : offsets[-1]], offsets - offsets[0])


def class_codes(y: Any, texts: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return the labels that occur in `y`, sorted, and the position of each row's label among them, (texts,).

    Raises: ValueError, with scikit-learn's messages, when `y` does not have one label per text or has fewer
        than 2 or more than 100 different ones.
    """
    if y is None:
        raise ValueError("SentimentClassifier requires y to be passed, but the target y is None.")
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_consistent_length(range(texts), y)
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            "SentimentClassifier needs samples of 2 classes in the data, but the data contains only one "
            f"class: {classes[0]!r}"
        )
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"y has {len(classes)} different labels; at most {MAX_CLASSES} classes are allowed.")
    return classes, codes.astype(np.uint8)


def named_classes(labels: NDArray[Any], *, ordinal: bool) -> Classes:
    """Return the classes of a saved model: negative and positive, or more with their labels as names.

    Labels that cannot name a class, such as an empty string, are numbered.

    Raises: ValueError when `ordinal` is set and the labels are not numbers in ascending order.
    """
    if len(labels) == 2:
        return Classes()
    names = tuple(map(str, labels.tolist()))
    if ordinal:
        try:
            rising = bool((np.diff(np.array(names, float)) > 0).all())
        except ValueError:
            rising = False
        if not rising:
            raise ValueError(f"ordinal=True needs numbers as labels; they are {', '.join(names)[:100]}.")
        return Classes(names, "stars")
    try:
        check_names(names)
    except ValueError:
        names = tuple(f"class {code}" for code in range(len(names)))
    return Classes(names, "labels")
