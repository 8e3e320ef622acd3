"""Texts in memory to a prepared dataset: the numbers that `prepare` gives the same rows, without files.

Equal texts stay, since each is a row that somebody counts on; the rows to validate on are chosen by the
hash of the text, as `prepare` chooses them, but with the exact share of each class, so that few rows do.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, check_consistent_length, column_or_1d

from sentiscale.config import PrepareSettings
from sentiscale.data.placement import LENGTH_POWERS, count_ids, gather_tokens
from sentiscale.data.prepared import (
    SPLITS,
    VOCABULARY,
    Manifest,
    PreparedDataset,
    content_digest,
    file_digests,
    split_file,
    token_dtype,
    write_manifest,
)
from sentiscale.data.wordcount import WordCounter, WordCounts
from sentiscale.errors import DataError
from sentiscale.records import package_versions
from sentiscale.text.clean import raw_rows
from sentiscale.text.column import as_array
from sentiscale.text.lines import binary_array
from sentiscale.text.tokens import number_new, rule_for
from sentiscale.text.vocab import SPECIAL, UNK, read_table, write_words
from sentiscale.text.word_table import WordTable, look_up

MB = 10**6
LEAST_OF_A_CLASS = 2
"""Texts: one to learn from, one to validate on."""
ENOUGH_OF_A_CLASS = 16
"""Texts to validate on, if that is no more than a third of the class: with fewer, what joins network and
linear part is learnt from noise (tried on 45 to 450 real reviews)."""
WORDS_BYTES = 2**40
"""Words are counted in memory, where the texts are already."""


@dataclass(frozen=True)
class Rows:
    """Usable rows as numbers of their own words."""

    ids: NDArray[np.int32]
    """Word numbers back to back, kept[r] of row r."""
    kept: NDArray[np.int64]
    """Words of each row after cutting."""
    lengths: NDArray[np.int64]
    """Words before cutting."""
    labels: NDArray[np.uint8]
    """0 negative, 1 positive."""
    held_out: NDArray[np.bool_]
    """Rows to validate on."""
    words: WordTable
    """What the numbers stand for."""


def prepare_texts(
    texts: pa.Array, labels: NDArray[np.uint8], out: Path, settings: PrepareSettings, valid_share: float
) -> PreparedDataset:
    """Write texts and labels (rows,) of 0 and 1 as a dataset with a train and a valid split.

    Texts without a word are left out: there is nothing in them to learn from.

    Args:
        texts: strings or binaries, without nulls.
        labels: 0 negative, 1 positive.
        out: an empty directory.
        settings: of which cleaning, vocabulary and stored tokens count.
        valid_share: share of each class to validate on, between 0 and 1; more where that is too few texts.

    Raises: DataError when a class has fewer than two texts with words, or no word is frequent enough.
    """
    started_at = time.monotonic()
    data, offsets = raw_rows(texts)
    numbered, words = number_new(data, offsets, rule_for(settings.clean, settings.max_tokens))
    filled = numbered.lengths > 0
    usable = labels[filled]
    _check_classes(usable)
    rows = Rows(
        ids=numbered.ids,
        kept=np.diff(numbered.offsets)[filled],
        lengths=numbered.lengths[filled],
        labels=usable,
        held_out=held_out(numbered.hashes[filled], usable, valid_share),
        words=words,
    )
    distinct = _write_vocabulary(out, rows, settings)
    unknown, table_size = _write_splits(out, rows)
    files = _digests(out)
    manifest = Manifest(
        **_counts(rows, settings),
        rejected=_rejected(int((~filled).sum())),
        unknown=dict(zip(SPLITS, unknown, strict=True)),
        distinct_words=distinct,
        vocab_size=table_size,
        settings=settings.model_dump(mode="json"),
        inputs=[],
        versions=package_versions("sentiscale", "numpy", "pyarrow", "numba"),
        bytes_in=int(offsets[-1] - offsets[0]),
        **_effort(started_at, int(offsets[-1] - offsets[0])),
        files=files,
        digest=content_digest(files, settings.clean),
    )
    write_manifest(out, manifest)
    return PreparedDataset(out, manifest)


def held_out(hashes: NDArray[np.uint64], labels: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Which rows (rows,) to validate on: the last of each class by hash, equal ones all or none.

    Only where that would leave none, as in a class of one text over and over, equal rows are divided.
    """
    chosen = np.zeros(len(labels), bool)
    places = hashes & np.uint64(2**32 - 1)  # the part that `prepare` goes by
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        ordered = rows[np.argsort(places[rows], kind="stable")]
        enough = max(1, min(ENOUGH_OF_A_CLASS, len(rows) // 3))
        count = min(max(enough, round(share * len(rows))), len(rows) - 1)
        beyond = rows[places[rows] > places[ordered[-count - 1]]]
        chosen[beyond if len(beyond) else ordered[-count:]] = True
    return chosen


def _check_classes(labels: NDArray[np.uint8]) -> None:
    least = int(np.bincount(labels, minlength=2).min())
    if least < LEAST_OF_A_CLASS:
        raise DataError(
            f"of {len(labels)} texts with words the smaller class has {least}; each class needs at least "
            f"{LEAST_OF_A_CLASS}, one to learn from and one to validate on. Give more texts."
        )


def _write_vocabulary(out: Path, rows: Rows, settings: PrepareSettings) -> int:
    """Write the words of the training rows; returns how many different ones they have."""
    words = rows.words
    counts = count_ids(rows.ids, rows.kept, ~rows.held_out, len(words.offsets) - 1)
    counter = WordCounter(out, WORDS_BYTES)
    counter.add(WordCounts(words.data, words.offsets, counts))
    chosen = counter.vocabulary(settings.vocab_size - len(SPECIAL), settings.min_count)
    if not len(chosen):
        raise DataError(
            f"no word occurs {settings.min_count} times in the {int((~rows.held_out).sum())} texts to learn "
            "from. Give more texts or a lower min_count."
        )
    write_words(out / VOCABULARY, chosen)
    return int((counts > 0).sum())


def _write_splits(out: Path, rows: Rows) -> tuple[list[int], int]:
    """Write tokens, offsets and labels of each split; returns their unknown tokens, and known words."""
    table = read_table(out / VOCABULARY)
    size = len(table.offsets) - 1
    numbers = look_up(rows.words.data, rows.words.offsets, table, UNK).astype(token_dtype(size))
    unknown = []
    nothing = np.zeros(len(rows.labels), bool)
    for split, chosen in zip(SPLITS, (~rows.held_out, rows.held_out, nothing), strict=True):
        kept = rows.kept[chosen]
        tokens = np.empty(kept.sum(), numbers.dtype)
        common = np.zeros(len(rows.kept), np.int64)
        unknown.append(int(gather_tokens(rows.ids, rows.kept, chosen, numbers, tokens, common)))
        (out / split).mkdir()
        arrays = {
            "tokens": tokens,
            "offsets": np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
            "labels": rows.labels[chosen],
        }
        for part, array in arrays.items():
            (out / split_file(split, part)).write_bytes(np.ascontiguousarray(array).data)
    return unknown, size


def _digests(out: Path) -> dict[str, str]:
    names = [split_file(split, part) for split in SPLITS for part in ("tokens", "offsets", "labels")]
    names.append(VOCABULARY)
    return dict(zip(names, file_digests(out / name for name in names), strict=True))


def _counts(rows: Rows, settings: PrepareSettings) -> dict[str, Any]:
    """The part of a manifest that says how much there is."""
    per_split = dict.fromkeys(SPLITS, np.zeros(2, np.int64))
    per_split["train"] = np.bincount(rows.labels[~rows.held_out], minlength=2)
    per_split["valid"] = np.bincount(rows.labels[rows.held_out], minlength=2)
    over = np.maximum(rows.lengths - settings.max_tokens, 0)
    powers = np.bincount(np.ceil(np.log2(rows.lengths)).astype(np.int64), minlength=LENGTH_POWERS)
    return {
        "rows": {split: int(counts.sum()) for split, counts in per_split.items()},
        "labels": _by_class(np.bincount(rows.labels, minlength=2)),
        "labels_per_split": {split: _by_class(counts) for split, counts in per_split.items()},
        "duplicates": 0,
        "conflicts": 0,
        "tokens": int(rows.kept.sum()),
        "cut": int((over > 0).sum()),
        "tokens_cut": int(over.sum()),
        "cleaning": settings.clean,
        "max_tokens": settings.max_tokens,
        "length_histogram": {str(2**p): int(count) for p, count in enumerate(powers) if count},
    }


def _effort(started_at: float, size: int) -> dict[str, Any]:
    seconds = time.monotonic() - started_at
    return {
        "seconds": round(seconds, 3),
        "mb_per_s": round(size / MB / max(seconds, 1e-9), 2),
        "peak_memory_mb": 0.0,  # the caller's texts are in it, so there is no telling
        "workers": 1,
    }


def _rejected(empty: int) -> dict[str, Any]:
    return {"total": empty, "by_reason": {"empty_after_cleaning": empty} if empty else {}}


def _by_class(counts: NDArray[np.int64]) -> dict[str, int]:
    negative, positive = counts.tolist()
    return {"negative": negative, "positive": positive}


def as_texts(X: Any) -> pa.Array:
    """A one-dimensional collection of str as an Arrow array without nulls.

    Raises: ValueError, or TypeError for what has no length, in scikit-learn's words.
    """
    if isinstance(X, str | bytes):
        raise ValueError("Iterable over raw text documents expected, string object received.")
    if not hasattr(X, "__len__"):
        raise TypeError(f"Expected sequence or array-like of texts, got {type(X)}.")
    shape = getattr(X, "shape", (len(X),))
    if len(shape) != 1:
        raise ValueError(
            f"Expected 1D array of texts, got {len(shape)}D array instead (shape={tuple(shape)}). "
            "Give one column, as in X[:, 0] or frame['text']."
        )
    if not len(X):
        raise ValueError("Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is required.")
    try:
        texts = as_array(X)
        if not texts.null_count:
            return texts.cast(pa.large_binary())
    except (DataError, pa.ArrowException, TypeError, ValueError):
        pass  # told below, by row
    for row, value in enumerate(_listed(X)):
        if not isinstance(value, str | bytes):
            raise ValueError(
                f"X[{row}] is {value!r} ({type(value).__name__}); every text must be a str, none missing."
            )
    raise ValueError(f"X is a {type(X).__name__} whose values cannot be read as texts.")


def texts_between(texts: pa.Array, begin: int, end: int) -> pa.Array:
    """Texts begin to end as an array of their own: encoding makes room for all bytes of an array."""
    data, offsets = raw_rows(texts.slice(begin, end - begin))
    return binary_array(data[offsets[0] : offsets[-1]], offsets - offsets[0])


def two_classes(y: Any, texts: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """The two labels in `y`, sorted, and for each row which of them it has, 0 or 1.

    Raises: ValueError, in scikit-learn's words, unless there is one label for each of so many texts.
    """
    if y is None:
        raise ValueError("SentimentClassifier requires y to be passed, but the target y is None.")
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_consistent_length(range(texts), y)
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind != "binary":
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            "SentimentClassifier needs samples of 2 classes in the data, but the data contains only one "
            f"class: {classes[0]!r}"
        )
    return classes, labels.astype(np.uint8)


def _listed(X: Any) -> list[Any]:
    for method in ("to_pylist", "tolist", "to_list"):  # of Arrow; numpy and pandas; Polars
        if hasattr(X, method):
            values: list[Any] = getattr(X, method)()
            return values
    return list(X)
