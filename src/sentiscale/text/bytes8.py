"""Examine eight bytes of text at once (SIMD within a register), compiled.

A loop over single bytes needs a branch per character. A 64-bit integer holds eight characters, and a few
additions test or case-fold all of them. The three intrinsics expose machine instructions for which numba has
no function.
"""

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sentiscale.text.compiled import Bytes, inlined

WIDTH = 8
CHECKED = bool(numba.config.BOUNDSCHECK)  # type: ignore[attr-defined]
"""Whether numba checks array bounds; a load through a pointer is checked here."""


def _each(byte: int) -> np.uint64:
    """Repeat a byte eight times in a 64-bit integer."""
    return np.uint64(byte * 0x0101010101010101)


HIGH_BITS, LOW_BITS, CASE_BITS = _each(0x80), _each(0x7F), _each(0x20)  # 0x20 is also the first printable
# Added to a byte below 0x80, these set its high bit if the byte is at least "a", above "z", at least "0" or
# above "9", respectively. The sum stays below 0x100, so nothing carries over into the next byte.
FROM_A, PAST_Z = _each(0x80 - ord("a")), _each(0x80 - ord("z") - 1)
FROM_0, PAST_9 = _each(0x80 - ord("0")), _each(0x80 - ord("9") - 1)
ONES = _each(1)
TO_CASE_BIT = np.uint64(2)
TO_BYTES = np.uint64(3)


def _load(typing: Any, data: Any, i: Any) -> Any:
    """Load data[i:i + 8] as a little-endian integer."""
    del typing

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, i), generate


def _reverse(typing: Any, value: Any) -> Any:
    """Reverse the order of the eight bytes."""
    del typing
    return types.uint64(value), lambda _context, builder, _signature, arguments: builder.bswap(arguments[0])


def _zeros(typing: Any, value: Any) -> Any:
    """Count the zero bits below the lowest set bit; the value must not be 0."""
    del typing

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(value), generate


_load_unchecked = cast("Callable[[Bytes, int], np.uint64]", intrinsic(_load))
reversed_bytes = cast("Callable[[np.uint64], np.uint64]", intrinsic(_reverse))
zeros_below = cast("Callable[[np.uint64], np.uint64]", intrinsic(_zeros))


@inlined
def load_eight(data: Bytes, i: int) -> np.uint64:
    """Load data[i:i + 8] as a little-endian integer; the caller must ensure that these bytes exist."""
    if CHECKED and not 0 <= i <= len(data) - WIDTH:
        raise IndexError("index is out of bounds")
    return _load_unchecked(data, i)


@inlined
def fold_eight(eight: np.uint64, letters_only: bool) -> tuple[np.uint64, int]:
    """Lower-case the ASCII letters among eight bytes, and count the leading word characters.

    Word characters are ASCII letters and, unless `letters_only`, digits.
    """
    low = eight & LOW_BITS
    folded = low | CASE_BITS
    letters = (folded + FROM_A) & ~(folded + PAST_Z) & ~eight & HIGH_BITS
    good = letters
    if not letters_only:
        good |= (low + FROM_0) & ~(low + PAST_9) & ~eight & HIGH_BITS
    others = good ^ HIGH_BITS  # little-endian: the lowest set bit is in the first byte
    count = int(np.int64(zeros_below(others) >> TO_BYTES)) if others else WIDTH
    return eight | (letters >> TO_CASE_BIT), count  # 0x80 >> 2 is the bit that makes a letter lower-case


@inlined
def plain_ascii(eight: np.uint64) -> bool:
    """Return whether all eight bytes are ASCII and none is NUL."""
    return not (eight | (eight - ONES)) & HIGH_BITS


@inlined
def has_byte(eight: np.uint64, eightfold: np.uint64) -> bool:
    """Return whether one of eight ASCII bytes equals the byte that `eightfold` repeats."""
    return bool((((eight ^ eightfold) - ONES) & HIGH_BITS) != 0)


@inlined
def has_control(eight: np.uint64) -> bool:
    """Return whether one of eight ASCII bytes is a control character, such as a tab or a line break."""
    return bool((((eight - CASE_BITS) | (eight + ONES)) & HIGH_BITS) != 0)


def eight_times(character: str) -> np.uint64:
    """Repeat an ASCII character in each of eight bytes."""
    return _each(ord(character))
