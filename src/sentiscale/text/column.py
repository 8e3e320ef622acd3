"""A column of texts, whoever made it, as one Arrow array."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiscale.errors import DataError


def whole(text: str) -> str:
    """The text with `?` in place of halves of surrogate pairs, so that UTF-8 can hold it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


TEXT_TYPES = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_null,
)


class ArrowColumn(Protocol):
    """A column of another library that hands itself over as Arrow does: pandas, Polars and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the column as a PyCapsule."""


Texts: TypeAlias = Iterable[str] | ArrowColumn | npt.NDArray[Any] | pa.Array | pa.ChunkedArray
"""What is taken as texts; nulls are empty texts."""


def as_array(texts: Texts) -> pa.Array:
    """One Arrow array of strings or binaries; nulls stay nulls.

    Raises: DataError for anything but a column of texts, naming the first value that is none.
    """
    if isinstance(texts, str | bytes):
        raise DataError("the texts are a single one; put it into a list.")
    if isinstance(texts, pa.Array | pa.ChunkedArray) or hasattr(texts, "__arrow_c_stream__"):
        array = _from_arrow(texts)
    else:
        array = _from_values(texts if hasattr(texts, "__len__") else list(texts))
    kind = array.type
    decoded = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(is_text(decoded) for is_text in TEXT_TYPES):
        raise DataError(f"the texts are of type {kind}; strings are needed.")
    if decoded is not kind:
        values = array.dictionary.cast(pa.large_string())
        return pa.DictionaryArray.from_arrays(array.indices, values).dictionary_decode()
    return array.cast(pa.large_string()) if pa.types.is_null(kind) else array


def _from_arrow(texts: Any) -> pa.Array:
    if isinstance(texts, pa.Array):
        return texts
    chunks = texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array(texts)
    return chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()


def _from_values(texts: Any) -> pa.Array:
    """Strings in a list, a numpy array or the like; also with lone surrogates, as JSON escapes make them."""
    if isinstance(texts, np.ndarray) and texts.ndim != 1:
        raise DataError(f"the texts have shape {texts.shape}; one column (rows,) is needed.")
    kind = pa.large_string() if isinstance(texts, Sequence) else None
    try:
        return pa.array(texts, kind, from_pandas=True)
    except UnicodeEncodeError:
        return _from_values([whole(text) if isinstance(text, str) else text for text in texts])
    except (pa.ArrowException, TypeError) as error:
        raise DataError(_first_other(texts) or f"the texts are no column of strings: {error}.") from error


def _first_other(texts: Iterable[Any]) -> str | None:
    """What is wrong with the first value that is no text."""
    for row, text in enumerate(texts):
        if not isinstance(text, str | bytes | None):
            return f"text {row} (counted from 0) is of type {type(text).__name__}; strings are needed."
    return None
