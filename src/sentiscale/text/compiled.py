"""Compile byte loops with numba; they run without the GIL and are cached on disk if a cache is writable."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import event
from numpy.typing import NDArray

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]

ZERO = cast(int, np.int64(0))
"""For arguments of kernels within kernels: numba compiles the called one once more for the literal 0."""


def kernel(function: FunctionT) -> FunctionT:
    """Compile a function on its first call.

    Most of a compilation is numba's own work in Python, so it takes as long as the code is, numba's included:
    assigning a slice (2 s, mostly for its error message), `np.sort` (1 s) and `np.searchsorted` (1 s) are
    not worth it.

    Integers wrap around on overflow. Array bounds are not checked, and an index beyond them reads or writes
    foreign memory. Next to each kernel is a plain function that checks every argument and then calls it;
    other modules call this function. `make boundscheck` runs the tests with bounds checks in the kernels.
    """
    return _compiled(function)


def inlined(function: FunctionT) -> FunctionT:
    """Compile a helper that kernels call for every token: always inlined, without reference counting.

    At each call that is not inlined, numba updates the reference count of every array atomically. An 8 MB
    block took 191 ms with separate functions and 26 ms with inlined ones. The function must not create or
    slice arrays.
    """
    return _compiled(function, forceinline=True, _nrt=False)


def _compiled(function: FunctionT, **options: Any) -> FunctionT:
    options |= {"nogil": True, "no_cfunc_wrapper": True}
    compiled: Any
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache is writable
        compiled = numba.njit(**options)(function)
    return cast(FunctionT, compiled)


@contextmanager
def announced_compilation(say: Callable[[str], None]) -> Iterator[None]:
    """Report the first compilation in the block, which can take ten seconds or more without other output."""
    with event.install_listener("numba:compile", _FirstCompilation(say)):
        yield


class _FirstCompilation(event.Listener):
    def __init__(self, say: Callable[[str], None]) -> None:
        self.say: Callable[[str], None] | None = say

    def on_start(self, event: event.Event) -> None:
        say, self.say = self.say, None
        if say is not None:
            say("compiling the text kernels; this takes 10 to 60 seconds, and later calls reuse the result")

    def on_end(self, event: event.Event) -> None:
        pass


def check_array(name: str, array: NDArray[Any], kind: type[Any], shape: tuple[int, ...]) -> None:
    """Check an array before compiled code reads it; -1 in `shape` allows any size.

    Raises: ValueError when the array is not contiguous or has another type or shape.
    """
    right_type = array.dtype.kind in "iu" if kind is np.integer else array.dtype == kind
    right_shape = array.ndim == len(shape)
    for size, wanted in zip(array.shape, shape, strict=False):
        right_shape &= wanted in (-1, size)
    if not (right_type and right_shape and array.flags.c_contiguous):
        raise ValueError(
            f"{name} must be a contiguous array of {kind.__name__} with shape {shape}, where -1 is any size; "
            f"got {array.dtype} with shape {array.shape} and strides {array.strides}"
        )


def check_indices(name: str, values: NDArray[Any], size: int) -> None:
    """Raise ValueError unless all values are integers from 0 to `size` - 1."""
    check_array(name, values, np.integer, (-1,))
    if len(values):
        least, most = 0 if values.dtype.kind == "u" else values.min(), values.max()
        if least < 0 or most >= size:
            raise ValueError(f"{name} must be from 0 to {size - 1}; got {least} to {most}")


def check_spans(starts: Offsets, ends: Offsets, size: int) -> None:
    """Raise ValueError unless each span from starts[i] to ends[i] is within 0 to `size`."""
    check_array("starts", starts, np.int64, (-1,))
    check_array("ends", ends, np.int64, starts.shape)
    row = _first_outside(starts, ends, size)
    if row >= 0:
        raise ValueError(
            f"span {row} is from {starts[row]} to {ends[row]}; spans must be within 0 to {size} and must not "
            "end before they start"
        )


@inlined
def first_not_below(values: NDArray[Any], value: Any) -> int:
    """Return the first place in sorted values of one that is not below `value`, as `np.searchsorted`."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def copy_bytes(data: Bytes, i: int, end: int, out: Bytes, pos: int) -> int:
    """Copy data[i:end] to `out` from `pos` on; return the position after it."""
    for k in range(end - i):
        out[pos + k] = data[i + k]
    return pos + end - i


@kernel
def _first_outside(starts: Offsets, ends: Offsets, size: int) -> int:
    for row in range(len(starts)):
        if not 0 <= starts[row] <= ends[row] <= size:
            return row
    return -1


def check_offsets(offsets: Offsets, size: int) -> None:
    """Raise ValueError unless the offsets (rows + 1,) are within 0 to `size` and do not decrease."""
    if not len(offsets):
        raise ValueError("offsets must have one number more than there are rows; got none")
    check_spans(offsets[:-1], offsets[1:], size)
    if not 0 <= offsets[0] <= size:
        raise ValueError(f"offsets must be within 0 to {size}; got {offsets[0]}")


def frozen(data: Any, dtype: type[np.generic] = np.uint8) -> NDArray[Any]:
    """View a buffer as a read-only array, so that kernels see a single array type and compile only once."""
    array = np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)
    array.flags.writeable = False
    return array
