"""Texts and labels that somebody gives in memory, checked; complaints are in scikit-learn's words."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import assert_all_finite, check_consistent_length, column_or_1d

from sentiscale.errors import DataError
from sentiscale.text.clean import raw_rows
from sentiscale.text.column import as_array
from sentiscale.text.records import binary_array


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
