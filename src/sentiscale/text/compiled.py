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


def kernel(function: FunctionT) -> FunctionT:
    """Compile a function on its first call.

    Integers wrap around on overflow. Array bounds are not checked, so callers must ensure them.
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
    compiled: Any
    try:
        compiled = numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache is writable
        compiled = numba.njit(nogil=True, **options)(function)
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


def frozen(data: Any, dtype: type[np.generic] = np.uint8) -> NDArray[Any]:
    """View a buffer as a read-only array, so that kernels see a single array type and compile only once."""
    array = np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)
    array.flags.writeable = False
    return array
