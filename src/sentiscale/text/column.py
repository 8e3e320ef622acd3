"""Texts in memory, from any library, as one Arrow array."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentiscale.errors import DataError


class ArrowColumn(Protocol):
    """A column that exports itself through Arrow's C stream interface: pandas, Polars and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Texts: TypeAlias = Iterable[str] | ArrowColumn | npt.NDArray[Any] | pa.Array | pa.ChunkedArray
"""What is accepted as texts; nulls are empty texts."""


def replace_surrogates(text: str) -> str:
    """The text with `?` for halves of surrogate pairs, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def as_array(texts: Texts) -> pa.Array:
    """One Arrow array of strings or binaries; nulls stay nulls.

    Raises: DataError for anything but a column of texts, naming the first other value.
    """
    if isinstance(texts, str | bytes):
        raise DataError("the texts are a single one; put it into a list.")
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
    """Strings in a list, a numpy array or the like; also with lone surrogates, as JSON escapes make them."""
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
