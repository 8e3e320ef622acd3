"""Parse labels and stars, and define the reasons for which a row is rejected.

Whether "1" is the negative class of 1/2 or the positive class of 0/1 depends on the other labels in the data.
It therefore has its own code (`ONE`) until all rows have been read; `resolve_labels` then decides.
"""

from collections.abc import Callable
from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sentiscale.errors import DataError

NEGATIVE, POSITIVE = 0, 1
ZERO, ONE, TWO, MINUS_ONE = 10, 11, 12, 13
NO_LABEL, UNKNOWN, MIDDLE = 255, 254, 253

NAMES = {
    "negative": NEGATIVE,
    "neg": NEGATIVE,
    "false": NEGATIVE,
    "positive": POSITIVE,
    "pos": POSITIVE,
    "true": POSITIVE,
    "neutral": MIDDLE,
    "0": ZERO,
    "-0": ZERO,
    "1": ONE,
    "2": TWO,
    "-1": MINUS_ONE,
}
LABEL_PREFIX = "__label__"
ALLOWED = "negative/positive, 0/1, 1/2 or -1/1"
"""Allowed label values, for messages."""


class Reason(IntEnum):
    """Why a row is rejected; rejects.parquet stores the names in lower case."""

    NONE = 0
    MALFORMED = 1
    TOO_LONG = 2
    INVALID_UTF8 = 3
    NUL_BYTE = 4
    NO_LABEL = 5
    UNKNOWN_LABEL = 6
    NEUTRAL = 7
    NO_TEXT = 8
    EMPTY_AFTER_CLEANING = 9
    BLANK_LINE = 10


def label_codes(values: pa.Array) -> NDArray[np.uint8]:
    """Return the codes of labels: strings (with or without `__label__`), binaries, numbers or booleans."""
    return _code_distinct(values, _label_code)


def star_codes(values: pa.Array) -> NDArray[np.uint8]:
    """Return NEGATIVE below three stars, MIDDLE for three, POSITIVE above, and UNKNOWN outside 1 to 5."""
    return _code_distinct(values, _star_code)


def resolve_labels(codes: NDArray[np.uint8], kinds: set[int]) -> NDArray[np.uint8]:
    """Replace ZERO, ONE, TWO and MINUS_ONE with classes, given the set of codes in the whole input.

    Raises: DataError when 1/2 labels are mixed with 0/1 or -1/1 labels.
    """
    if TWO in kinds and kinds & {ZERO, MINUS_ONE}:
        raise DataError(
            "the labels mix 1/2 with 0/1, so it is unclear whether 1 is positive. "
            "Prepare such files one by one, or write the labels as negative and positive."
        )
    table = np.arange(256, dtype=np.uint8)
    table[[ZERO, MINUS_ONE]] = NEGATIVE
    table[TWO] = POSITIVE
    table[ONE] = POSITIVE if kinds & {ZERO, MINUS_ONE} else NEGATIVE  # 1 alone belongs to 1/2
    resolved: NDArray[np.uint8] = table[codes]
    return resolved


def _code_distinct(values: pa.Array, code: Callable[[str], int]) -> NDArray[np.uint8]:
    """Compute the code of each distinct value once, in Python, and assign the codes to the rows."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not (pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)):
        values = pc.cast(values, pa.large_string())
    encoded = values.cast(pa.large_binary()).dictionary_encode()
    table = np.array(
        [code(_normalised(value)) for value in encoded.dictionary.to_pylist()] + [NO_LABEL], np.uint8
    )
    numbers = encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    codes: NDArray[np.uint8] = table[numbers]
    return codes


def _normalised(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip().lower().removeprefix(LABEL_PREFIX).removesuffix(".0")


def _label_code(value: str) -> int:
    return NAMES.get(value, UNKNOWN) if value else NO_LABEL


def _star_code(value: str) -> int:
    if not value:
        return NO_LABEL
    try:
        stars = float(value)
    except ValueError:
        return UNKNOWN
    if not 1 <= stars <= 5:
        return UNKNOWN
    return MIDDLE if stars == 3 else POSITIVE if stars > 3 else NEGATIVE
