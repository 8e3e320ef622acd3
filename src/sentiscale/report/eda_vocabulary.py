"""How well a vocabulary covers the text: the rank-frequency curve, coverage by size, unknown tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sentiscale.data.prepared import PreparedDataset
from sentiscale.report.eda_counting import Counts, WordUse, filled_splits
from sentiscale.text.vocab import SPECIAL, UNK

USUAL_SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
CURVE_POINTS = 160
FITTED_RANKS = (10, 10_000)
"""The curve bends at its head and its tail; Zipf's exponent is read off between."""


@dataclass(frozen=True)
class Coverage:
    """What a vocabulary of `size` would know."""

    size: int
    """As --vocab-size counts: padding and unknown included."""
    share: float
    """Share of the training tokens that are in it."""


@dataclass(frozen=True)
class RankedWord:
    """One point of the rank-frequency curve."""

    rank: int
    count: int
    word: str


@dataclass(frozen=True)
class Vocabulary:
    """The words of the training rows by falling frequency."""

    words: Sequence[str]
    """By rank, without the special ones."""
    counts: Counts
    """Training tokens of each, falling."""
    tokens: int
    """Training tokens that were read, unknown ones included."""
    distinct_words: int
    """Different words of the training rows, in the vocabulary or not; 0 where nobody counted them."""
    limit: int
    """--vocab-size."""
    min_count: int
    unknown: dict[str, float]
    """Share of each filled split's tokens that is not in the vocabulary."""

    @property
    def size(self) -> int:
        """Words, padding and unknown included."""
        return len(self.words) + len(SPECIAL)

    @property
    def is_full(self) -> bool:
        """Whether --vocab-size, not --min-count, ended the list."""
        return self.size >= self.limit

    @property
    def left_out(self) -> int:
        """Different words that are unknown to it; 0 where nobody counted."""
        return max(self.distinct_words - len(self.words), 0)

    @cached_property
    def _covered(self) -> NDArray[np.float64]:
        covered: NDArray[np.float64] = np.cumsum(self.counts) / max(self.tokens, 1)
        return covered

    def coverage(self, size: int) -> Coverage:
        """What the `size` - 2 most frequent words cover."""
        words = min(size - len(SPECIAL), len(self.words))
        return Coverage(size, float(self._covered[words - 1]) if words > 0 else 0.0)

    def usual_coverage(self) -> list[Coverage]:
        """Coverage by the usual sizes below this one, and by this one."""
        return [self.coverage(size) for size in (*(s for s in USUAL_SIZES if s < self.size), self.size)]

    def coverage_curve(self) -> list[Coverage]:
        """Points of the curve, evenly spaced in the logarithm of the size."""
        return [self.coverage(int(rank) + len(SPECIAL)) for rank in self._ranks()]

    def ranked(self, rank: int) -> RankedWord:
        """The word of a rank, from 1."""
        return RankedWord(rank, int(self.counts[rank - 1]), self.words[rank - 1])

    def curve(self) -> list[RankedWord]:
        """Points of the rank-frequency curve, evenly spaced in the logarithm of the rank."""
        return [self.ranked(int(rank)) for rank in self._ranks()]

    def landmarks(self) -> list[RankedWord]:
        """The words of rank 1, 10, 100, … and the last one."""
        ranks = [10**power for power in range(9) if 10**power <= len(self.words)]
        return [self.ranked(rank) for rank in ranks]

    @cached_property
    def exponent(self) -> float | None:
        """Zipf's exponent s in count ~ 1 / rank**s; None where there are too few words to tell."""
        low, high = FITTED_RANKS[0], min(FITTED_RANKS[1], len(self.words))
        points = [point for point in self.curve() if low <= point.rank <= high and point.count > 0]
        if high < 10 * low or len(points) < 10:
            return None
        ranks, counts = np.log([[p.rank for p in points], [p.count for p in points]])
        return -float(np.polyfit(ranks, counts, 1)[0])

    def _ranks(self) -> NDArray[np.int64]:
        last = max(len(self.words), 1)
        return np.unique(np.geomspace(1, last, CURVE_POINTS).round().astype(np.int64))


def describe_vocabulary(dataset: PreparedDataset, use: WordUse) -> Vocabulary:
    """Put the words of the training rows in order of frequency."""
    manifest = dataset.manifest
    counts = use.words.sum(axis=0)
    order = np.argsort(-counts[len(SPECIAL) :], kind="stable") + len(SPECIAL)
    words = dataset.vocab.words
    tokens = {split.name: len(split.tokens) for split in filled_splits(dataset)}
    unknown = {name: manifest.unknown.get(name, 0) / max(count, 1) for name, count in tokens.items()}
    return Vocabulary(
        words=[words[word] for word in order.tolist()],
        counts=counts[order],
        tokens=int(counts[UNK:].sum()),
        distinct_words=manifest.distinct_words,
        limit=int(manifest.settings.get("vocab_size", manifest.vocab_size)),
        min_count=int(manifest.settings.get("min_count", 1)),
        unknown=unknown,
    )
