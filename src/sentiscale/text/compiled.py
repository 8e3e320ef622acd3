"""Compile byte loops with numba: no GIL, kept on disk between runs where a cache can be written."""

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


@contextmanager
def told_of_compilation(say: Callable[[str], None]) -> Iterator[None]:
    """Say it, once, when something is compiled in the block: nothing else moves for ten seconds or more."""
    with event.install_listener("numba:compile", _FirstCompilation(say)):
        yield


class _FirstCompilation(event.Listener):
    def __init__(self, say: Callable[[str], None]) -> None:
        self.say: Callable[[str], None] | None = say

    def on_start(self, event: event.Event) -> None:
        say, self.say = self.say, None
        if say is not None:
            say("compiling what reads the text, for this and all later calls: 10 to 60 seconds")

    def on_end(self, event: event.Event) -> None:
        pass


def frozen(data: Any, dtype: type[np.generic] = np.uint8) -> NDArray[Any]:
    """View a buffer as a read-only array: one array type, so that each kernel is compiled once only."""
    array = np.frombuffer(data, dtype) if len(data) else np.empty(0, dtype)
    array.flags.writeable = False
    return array
