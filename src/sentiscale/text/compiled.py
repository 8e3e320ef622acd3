"""Compile byte loops with numba: no GIL, kept on disk between runs where a cache can be written."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


def kernel(function: FunctionT) -> FunctionT:
    """Compile on first call; wrapping integer arithmetic and no bounds checks, so check arguments before."""
    return _compiled(function)


def inlined(function: FunctionT) -> FunctionT:
    """A part of kernels that runs for every token: always inlined, and without the counting of references
    that numba does around every call, which made it 4 times slower. It must not make or slice arrays.
    """
    return _compiled(function, forceinline=True, _nrt=False)


def _compiled(function: FunctionT, **options: Any) -> FunctionT:
    compiled: Any
    try:
        compiled = numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        compiled = numba.njit(nogil=True, **options)(function)
    return cast(FunctionT, compiled)


def frozen(data: Any, dtype: type[np.generic] = np.uint8) -> NDArray[Any]:
    """View a buffer as a read-only array: one array type, so that each kernel is compiled once only."""
    array = np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)
    array.flags.writeable = False
    return array
