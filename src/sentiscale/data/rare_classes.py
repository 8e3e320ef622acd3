"""Divide the texts of rare classes among the splits by rank, so that no split lacks a class.

The split of a text follows from its hash, so a class with few texts may miss a split by chance. Its texts
are therefore ordered by the same hash, and each split takes its share of this order, at least one text. All
texts of a class are compared, so the result depends neither on partitions nor on their order.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_MEAN_ROWS = 10
"""Classes of which a split would get fewer texts on average are rare. With more, a split lacks a class with a
probability below e^-10."""
MOST_TEXTS = 10_000
"""Largest number of texts of a rare class, to bound memory."""


class RareClasses:
    """Collects the hashes of the texts of classes that have few."""

    def __init__(self, classes: int, shares: Sequence[float]) -> None:
        """Prepare for `classes` classes and splits with these shares."""
        self.shares = shares
        smallest = min(share for share in shares if share > 0)
        self.limit = min(MOST_TEXTS, math.ceil(LEAST_MEAN_ROWS / smallest))
        self._counts = np.zeros(classes, np.int64)
        self._hashes: list[list[NDArray[np.uint64]]] = [[] for _ in range(classes)]

    def add(self, hashes: NDArray[np.uint64], labels: NDArray[np.uint8]) -> None:
        """Add distinct texts with the label of each."""
        self._counts += np.bincount(labels, minlength=len(self._counts))
        for label, count in enumerate(self._counts.tolist()):
            if count >= self.limit:
                self._hashes[label] = []
            elif len(own := hashes[labels == label]):
                self._hashes[label].append(own)

    def splits(self) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Return the hashes of all texts of rare classes, ascending, and the split of each."""
        codes = np.arange(len(self.shares), dtype=np.uint8)
        hashes, splits = [np.empty(0, np.uint64)], [codes[:0]]
        for parts in filter(None, self._hashes):
            own = np.concatenate(parts)
            hashes.append(own[np.lexsort((own, own & np.uint64(2**32 - 1)))])
            splits.append(np.repeat(codes, divided(len(own), self.shares)))
        order = np.argsort(np.concatenate(hashes))
        return np.concatenate(hashes)[order], np.concatenate(splits)[order]


def divided(rows: int, shares: Sequence[float]) -> list[int]:
    """Return the rows of each split: its share, at least one row while there are enough.

    The first split has a row before the others, and takes what rounding leaves.
    """
    filled = [split for split, share in enumerate(shares) if share > 0]
    counts, left = [0] * len(shares), rows - 1
    for split in filled[1:]:
        counts[split] = min(left, max(1, round(rows * shares[split])))
        left -= counts[split]
    counts[filled[0]] = left + 1
    return counts
