"""How long reviews are, and what a cut-off costs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sentiscale.config import TrainSettings
from sentiscale.report.eda_counting import Counts

USUAL_CUTS = (50, 100, 128, 200, 256, 400, 512)
TRAINING_CUT: int = TrainSettings().max_tokens
"""Tokens a training run reads of a review unless it is told otherwise."""
MOST_BINS = 52


@dataclass(frozen=True)
class Cut:
    """What is left when reviews are cut to `max_tokens`."""

    max_tokens: int
    tokens_kept: float
    """Share of all tokens."""
    rows_whole: float
    """Share of the rows that lose nothing."""


@dataclass(frozen=True)
class Histogram:
    """Rows by length in bins of equal width."""

    edges: NDArray[np.int64]
    """(bins + 1): bin i holds lengths from edges[i] + 1 to edges[i + 1]."""
    rows: Counts
    """(2, bins) by class."""


@dataclass(frozen=True)
class Lengths:
    """Lengths of all stored rows."""

    counts: Counts
    """(2, longest + 1): rows by class and stored length."""
    max_tokens: int
    """Preparation's cut-off."""
    cut_rows: int
    """Rows that were longer than that."""
    cut_tokens: int
    """Their tokens beyond it, which are not stored; 0 also where preparation did not count them."""

    @cached_property
    def _per_length(self) -> Counts:
        total: Counts = self.counts.sum(axis=0)
        return total

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return int(self._per_length.sum())

    @property
    def stored_tokens(self) -> int:
        """Tokens of all splits."""
        return int(self._per_length @ np.arange(len(self._per_length)))

    @property
    def all_tokens(self) -> int:
        """Tokens before the cut, as far as they are known."""
        return self.stored_tokens + self.cut_tokens

    @property
    def mean(self) -> float:
        """Stored tokens a row."""
        return self.stored_tokens / max(self.rows, 1)

    def quantile(self, share: float, label: int | None = None) -> int:
        """The length that this share of the rows (of one class) does not exceed; 0 without rows."""
        counts = self._per_length if label is None else self.counts[label]
        return int(np.searchsorted(np.cumsum(counts), share * counts.sum()))

    def cut(self, max_tokens: int) -> Cut:
        """What a cut at `max_tokens` leaves; it cannot be larger than preparation's."""
        lengths = np.arange(len(self._per_length))
        kept = int(self._per_length @ np.minimum(lengths, max_tokens))
        whole = int(self._per_length[: max_tokens + 1].sum())
        if max_tokens >= self.max_tokens:
            whole -= self.cut_rows
        return Cut(max_tokens, kept / max(self.all_tokens, 1), whole / max(self.rows, 1))

    def usual_cuts(self) -> list[Cut]:
        """The cuts people choose from, as far as the stored rows can tell."""
        longest = min(self.max_tokens, len(self._per_length) - 1)
        chosen = {length for length in (*USUAL_CUTS, TRAINING_CUT) if length < longest}
        return [self.cut(length) for length in sorted(chosen | {self.max_tokens})]

    def histogram(self) -> Histogram:
        """Rows by length up to the longest stored one; the bins' width is a round number."""
        longest = max(len(self._per_length) - 1, 1)
        width = round_width(longest / MOST_BINS)
        edges = np.arange(0, longest + width, width)
        padded = np.pad(self.counts[:, 1:], ((0, 0), (0, int(edges[-1]) - longest)))
        return Histogram(edges, padded.reshape(len(padded), -1, width).sum(axis=2))


def round_width(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, … that is not below `least`."""
    width = 1
    while width < least:
        width = width * 5 // 2 if str(width).startswith("2") else width * 2
    return width
