"""Count labelled rows by length, unknown words, rare words, category and confidence, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sentiscale.model.metrics import CALIBRATION_BINS, CalibrationBin, count, probabilities
from sentiscale.records import EvalCounts
from sentiscale.study.analysis.intervals import wilson

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FEW_ROWS = 100
"""Groups with fewer rows are shown in grey and never named in a finding."""
BANDS = 8
"""Parts of about equal size that rows are divided into by length and by rare words."""
UNKNOWN_ENDS = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Ends of the groups by share of unknown words."""
SHARE_STEPS = 1000
"""Shares are counted in steps of one in so many."""
MOST_CATEGORIES = 10_000
"""Different ones that are counted; a column with more holds something else."""
SHOWN_CATEGORIES = 20
OTHERS = "others"


@dataclass(frozen=True)
class ScoredBlock:
    """Consecutive labelled rows and the model's answers; all arrays (rows,)."""

    logits: NDArray[np.float32]
    labels: NDArray[np.uint8]
    """0 negative, 1 positive."""
    lengths: IntArray
    """Tokens, as many as preparation keeps of a review."""
    unknown: FloatArray
    """Share of a row's tokens that the model's vocabulary does not have."""
    rare: FloatArray
    """Share of its tokens that are rare or unknown."""
    categories: Sequence[str] | None = None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the model predicts the label."""
        right: NDArray[np.bool_] = (self.logits > 0) == (self.labels == 1)
        return right

    @property
    def against(self) -> FloatArray:
        """Log-odds of the other class than the label; above 0 the model contradicts the label."""
        against: FloatArray = np.where(self.labels == 1, -1.0, 1.0) * self.logits
        return against

    @property
    def other(self) -> FloatArray:
        """Probability of the other class than the label."""
        chances = probabilities(self.logits)
        return np.where(self.labels == 1, 1 - chances, chances)

    @property
    def confidence(self) -> FloatArray:
        """Probability of the predicted class, 0.5 or more."""
        chances = probabilities(self.logits)
        confidence: FloatArray = np.maximum(chances, 1 - chances)
        return confidence


@dataclass(frozen=True)
class ReviewGroup:
    """Rows that have something in common."""

    name: str
    rows: int
    right: int
    positive: int
    """Rows labelled positive."""
    confidence: float
    """Mean probability of the predicted classes."""

    @property
    def accuracy(self) -> float:
        return self.right / max(self.rows, 1)

    @property
    def mistakes(self) -> int:
        return self.rows - self.right

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % interval (Wilson, 1927)."""
        return wilson(self.right, self.rows)

    @property
    def is_small(self) -> bool:
        """Whether it has too few rows to conclude anything."""
        return self.rows < FEW_ROWS

    @property
    def gap(self) -> float | None:
        """Mean confidence less accuracy, above 0 where the model is too sure; None for small groups."""
        return None if self.is_small else self.confidence - self.accuracy

    @property
    def is_off(self) -> bool:
        """Whether the mean confidence lies outside of the accuracy's interval."""
        low, high = self.interval
        return not self.is_small and not low <= self.confidence <= high


@dataclass(frozen=True)
class Division:
    """One way to divide the rows; every row is in one group."""

    key: str
    """length, unknown, rare or category."""
    title: str
    note: str
    """How the groups are formed."""
    groups: list[ReviewGroup]


class Tally:
    """Rows counted by a whole number: how many, right ones, positive ones, and their confidence."""

    def __init__(self, size: int) -> None:
        self.sums = np.zeros((4, size))

    def add(self, keys: IntArray, block: ScoredBlock) -> None:
        """Count a block whose row i belongs to `keys[i]`; the tally grows as needed."""
        width = max(self.sums.shape[1], int(keys.max(initial=0)) + 1)
        self.sums = np.pad(self.sums, ((0, 0), (0, width - self.sums.shape[1])))
        for place, weights in enumerate((None, block.right, block.labels, block.confidence)):
            self.sums[place] += np.bincount(keys, weights, minlength=width)

    @property
    def rows(self) -> IntArray:
        rows: IntArray = self.sums[0].astype(np.int64)
        return rows

    def group(self, name: str, numbers: slice | Sequence[int]) -> ReviewGroup:
        """All rows with these numbers."""
        rows, right, positive, confidence = self.sums[:, numbers].sum(axis=1).tolist()
        return ReviewGroup(name, int(rows), int(right), int(positive), confidence / max(rows, 1))

    def bands(self, parts: int) -> list[tuple[int, int]]:
        """Ranges (first, end) of numbers with about equally many rows; fewer where many rows are alike."""
        reached = np.cumsum(self.rows)
        if not len(reached) or reached[-1] == 0:
            return []
        quantiles = np.searchsorted(reached, reached[-1] * np.arange(1, parts + 1) / parts)
        ends = np.unique(quantiles + 1).tolist()
        first = int(np.flatnonzero(self.rows)[0])
        return list(zip([first, *ends[:-1]], ends, strict=True))


class CategoryTally:
    """Rows counted by name; names beyond the ten-thousandth are counted together."""

    def __init__(self) -> None:
        self.numbers: dict[str | None, int] = {None: 0}
        """Place of each name in the tally; None stands for all names that are not counted."""
        self.tally = Tally(1)

    @property
    def is_full(self) -> bool:
        return len(self.numbers) > MOST_CATEGORIES

    def add(self, names: Sequence[str], block: ScoredBlock) -> None:
        """Count a block whose row i belongs to `names[i]`."""
        for name in dict.fromkeys(names):
            if not self.is_full:
                self.numbers.setdefault(name, len(self.numbers))
        self.tally.add(np.array([self.numbers.get(name, 0) for name in names], np.int64), block)

    def groups(self, most: int) -> list[ReviewGroup]:
        """The categories with most rows, then all others together."""
        rows = self.tally.rows
        named = [(name, number) for name, number in self.numbers.items() if name is not None]
        ranked = sorted(named, key=lambda item: (-rows[item[1]], item[0]))
        rest = [number for _, number in ranked[most:]]
        others = self.tally.group(OTHERS if rows[0] else f"{len(rest)} {OTHERS}", [0, *rest])
        return [
            *(self.tally.group(name, [number]) for name, number in ranked[:most]),
            *[others] * bool(others.rows),
        ]


class ReviewCounts:
    """Counts of all rows that were read; their memory does not grow with the rows."""

    def __init__(self, *, frequent_words: int, kept_tokens: int, by_category: bool) -> None:
        """Begin.

        Args:
            frequent_words: words of the model's vocabulary that are not rare.
            kept_tokens: tokens kept of a review.
            by_category: whether blocks have categories.
        """
        self.frequent_words, self.kept_tokens = frequent_words, kept_tokens
        self.counts = EvalCounts()
        self.by_length, self.by_confidence = Tally(1), Tally(CALIBRATION_BINS)
        self.by_unknown, self.by_rare = Tally(len(UNKNOWN_ENDS) + 1), Tally(SHARE_STEPS + 1)
        self.categories = CategoryTally() if by_category else None

    def add(self, block: ScoredBlock) -> None:
        """Count a block."""
        self.counts += count(block.logits, block.labels)
        self.by_length.add(block.lengths, block)
        self.by_unknown.add(np.searchsorted(UNKNOWN_ENDS, block.unknown), block)
        self.by_rare.add(np.ceil(block.rare * SHARE_STEPS - 1e-9).astype(np.int64), block)
        bins = (block.confidence * CALIBRATION_BINS).astype(np.int64)
        self.by_confidence.add(np.minimum(bins, CALIBRATION_BINS - 1), block)
        if self.categories is not None and block.categories is not None:
            self.categories.add(block.categories, block)

    def everything(self) -> ReviewGroup:
        """All rows as one group."""
        return self.by_confidence.group("all rows", slice(None))

    def calibration(self) -> list[CalibrationBin]:
        """The bins of a reliability diagram, like those of `metrics.calibration_bins`."""
        bins = [self.by_confidence.group("", [place]) for place in range(CALIBRATION_BINS)]
        return [
            CalibrationBin(
                low=place / CALIBRATION_BINS,
                high=(place + 1) / CALIBRATION_BINS,
                rows=group.rows,
                confidence=group.confidence,
                accuracy=group.accuracy,
            )
            for place, group in enumerate(bins)
            if group.rows
        ]

    def divisions(self, category_column: str | None) -> list[Division]:
        """The rows by length, by unknown words, by rare words and, with a column, by category."""
        kept = self.kept_tokens
        lengths = [
            self.by_length.group(_span(first, end - 1, kept), slice(first, end))
            for first, end in self.by_length.bands(BANDS)
        ]
        ends = [_range(low, high) for low, high in pairwise(UNKNOWN_ENDS)]
        names = ["none", *ends, f"more than {100 * UNKNOWN_ENDS[-1]:g} %"]
        unknown = [self.by_unknown.group(name, [place]) for place, name in enumerate(names)]
        rare = [
            self.by_rare.group(_shares(first, end - 1), slice(first, end))
            for first, end in self.by_rare.bands(BANDS)
        ]
        found = [
            Division(
                "length",
                "length in tokens",
                f"Bands of about equally many rows. The model keeps {kept:,} tokens of a review.",
                lengths,
            ),
            Division(
                "unknown",
                "unknown words",
                "Share of a review's words that the model's vocabulary does not have.",
                [group for group in unknown if group.rows],
            ),
            Division(
                "rare",
                "rare words",
                f"Share of a review's words that are not among the {self.frequent_words:,} most frequent of "
                "the model's vocabulary, unknown ones included. Bands of about equally many rows.",
                rare,
            ),
        ]
        if self.categories is not None and category_column is not None:
            note = f"The {SHOWN_CATEGORIES} with most rows; the others together."
            if self.categories.is_full:
                note += f" The column has more than {MOST_CATEGORIES:,} values: is it one of categories?"
            groups = self.categories.groups(SHOWN_CATEGORIES)
            found.append(Division("category", f"category ({category_column})", note, groups))
        return found


def _span(first: int, last: int, kept: int) -> str:
    """`17 to 31`; a review of all tokens that are kept may have been longer."""
    if last == kept:
        return f"{first:,} and more"
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _shares(first: int, last: int) -> str:
    """Shares in steps, each rounded up: `2.3 to 4.1 %`."""
    return "none" if last == 0 else _range(max(first - 1, 0) / SHARE_STEPS, last / SHARE_STEPS)


def _range(low: float, high: float) -> str:
    """Shares above `low` up to `high`."""
    return f"up to {100 * high:g} %" if low == 0 else f"{100 * low:g} to {100 * high:g} %"
