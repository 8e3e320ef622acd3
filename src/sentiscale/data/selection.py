"""Which split a row belongs to: by the hash of its cleaned text, so that equal rows come together."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TRAIN, VALID, TEST = range(3)
DROPPED = 255
"""Split code of a row that is kept in no split; others are places in SPLITS."""


def split_of(hashes: NDArray[np.uint64], shares: Sequence[float]) -> NDArray[np.uint8]:
    """The split of each hash: its low 32 bits, as a fraction, against the cumulated shares."""
    fraction = (hashes & np.uint64(2**32 - 1)).astype(np.float64) / 2**32
    bounds = np.cumsum(shares)[:-1]
    filled = np.flatnonzero(np.asarray(shares) > 0)[-1]  # rounding must not fill an empty last split
    splits: NDArray[np.uint8] = np.minimum(np.searchsorted(bounds, fraction, side="right"), filled).astype(
        "u1"
    )
    return splits
