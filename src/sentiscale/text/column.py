"""Convert in-memory texts from any library to an Arrow array."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiscale.errors import DataError


class ArrowColumn(Protocol):
    """A column that supports Arrow's C stream interface, as in pandas, Polars and other libraries."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Texts: TypeAlias = Iterable[str] | ArrowColumn | npt.NDArray[Any] | pa.Array | pa.ChunkedArray
"""Types accepted as texts; nulls are treated as empty texts."""


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, with `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def as_array(texts: Texts) -> pa.Array:
    """Convert texts to one Arrow array of strings or binaries; nulls remain nulls.

    Raises: DataError when `texts` is not a column of texts; the message names the first invalid value.
    """
    if isinstance(texts, str | bytes):
        raise DataError("the texts are a single text; put it into a list.")
    array: Any = texts
    if not isinstance(texts, pa.Array | pa.ChunkedArray):
        if hasattr(texts, "__arrow_c_stream__"):
            array = pa.chunked_array(texts)
        else:
            array = _from_values(texts if hasattr(texts, "__len__") else list(texts))
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    kind = array.type
    if pa.types.is_dictionary(kind) and _is_text(kind.value_type):
        values = array.dictionary.cast(pa.large_string())
        return pa.DictionaryArray.from_arrays(array.indices, values).dictionary_decode()
    if not _is_text(kind):
        raise DataError(f"the texts are of type {kind}; strings are needed.")
    return array.cast(pa.large_string()) if pa.types.is_null(kind) else array


def _is_text(kind: pa.DataType) -> bool:
    strings = pa.string(), pa.large_string(), pa.string_view()
    binaries = pa.binary(), pa.large_binary(), pa.binary_view()
    return kind in (*strings, *binaries, pa.null())


def _from_values(texts: Any) -> pa.Array:
    """Convert a sequence of strings; lone surrogates, which JSON escapes can produce, are replaced."""
    if isinstance(texts, np.ndarray) and texts.ndim != 1:
        raise DataError(f"the texts have shape {texts.shape}; one column (rows,) is needed.")
    kind = pa.large_string() if isinstance(texts, Sequence) else None
    try:
        return pa.array(texts, kind, from_pandas=True)
    except UnicodeEncodeError:
        return _from_values([replace_surrogates(text) if isinstance(text, str) else text for text in texts])
    except (pa.ArrowException, TypeError) as error:
        for row, text in enumerate(texts):
            if not isinstance(text, str | bytes | None):
                kind = type(text).__name__
                raise DataError(
                    f"text {row} (counted from 0) is of type {kind}; strings are needed."
                ) from error
        raise DataError(f"the texts are not a column of strings: {error}.") from error
