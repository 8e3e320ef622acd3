"""Keep the few rows that will be shown: those with the largest keys, and some drawn by lot."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LONGEST_TEXT = 32_768
"""Characters of a review that are kept: more than a model reads of any that people wrote."""


@dataclass(frozen=True)
class KeptRow:
    """A row whose label the model does not give."""

    file: str
    """Where it stands; the split's name for prepared data."""
    number: int
    """Its line in the file, from 1; its row in the split, from 0."""
    label: int
    """0 negative, 1 positive."""
    logit: float
    tokens: int
    text: str
    """Empty until it is read, for prepared data."""
    category: str | None = None

    @property
    def margin(self) -> float:
        """Normalised margin: probability of the other class less that of the label, 0 to 1."""
        return float(np.tanh(abs(self.logit) / 2))

    @property
    def probability(self) -> float:
        """Of the class that the model gives, 0.5 to 1."""
        return (1 + self.margin) / 2


class Best:
    """The rows with the largest keys among those offered, largest first; of equal keys the earlier one."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: list[tuple[float, KeptRow]] = []

    def offer(self, keys: FloatArray, make: Callable[[int], KeptRow]) -> None:
        """Offer a block of rows.

        Args:
            keys: one a row (rows,); rows with keys of 0 or less are out of question.
            make: gives the row of a number; called for few of them.
        """
        floor = max(self._kept[-1][0], 0.0) if len(self._kept) == self.most else 0.0
        chosen = np.flatnonzero(keys > floor)
        chosen = chosen[np.argsort(-keys[chosen], kind="stable")[: self.most]]
        new = [(float(keys[number]), make(number)) for number in chosen.tolist()]
        self._kept = sorted([*self._kept, *new], key=itemgetter(0), reverse=True)[: self.most]

    @property
    def rows(self) -> list[KeptRow]:
        """The rows kept."""
        return [row for _, row in self._kept]


def lots(first: int, rows: int) -> FloatArray:
    """A number in (0, 1] for each of the rows `first`, `first` + 1, …; the same ones whenever it is asked.

    The mixing function of SplitMix64 (Steele, Lea & Flood, 2014) on the row's number.
    """
    mixed = np.arange(first + 1, first + rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    drawn: FloatArray = ((mixed >> np.uint64(11)).astype(np.float64) + 1) / 2.0**53
    return drawn
