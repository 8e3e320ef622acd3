"""A number for each cleaned text, by which equal texts are found without comparing all with all."""

import numpy as np
from numpy.typing import NDArray

from sentiscale.text.compiled import Bytes, Offsets, kernel
from sentiscale.text.wordtable import HASH_START, absorb, finish_hash


def row_hashes(data: Bytes, offsets: Offsets) -> NDArray[np.uint64]:
    """64-bit hashes of the rows `data[offsets[i]:offsets[i + 1]]`; equal for equal rows."""
    hashes = np.empty(len(offsets) - 1, np.uint64)
    _hash_rows(data, offsets, hashes)
    return hashes


@kernel
def _hash_rows(data: Bytes, offsets: Offsets, hashes: NDArray[np.uint64]) -> None:
    for row in range(len(hashes)):
        state = HASH_START
        for i in range(offsets[row], offsets[row + 1]):
            state = absorb(state, np.uint64(data[i]))
        hashes[row] = finish_hash(state)
