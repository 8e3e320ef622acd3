"""Count labelled rows by length, unknown words, rare words, category and confidence, block by block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sentiscale.model.metrics import CALIBRATION_BINS, confusion, loss_sum, probabilities
from sentiscale.records import CalibrationBin
from sentiscale.text.classes import Classes
from sentiscale.util.proportions import wilson

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FEW_ROWS = 100
"""Minimum size of a group; smaller groups are shown in grey and never mentioned in a finding."""
BANDS = 8
"""Number of groups of roughly equal size into which rows are divided by length and by rare words."""
UNKNOWN_ENDS = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Upper limits of the groups by share of unknown words."""
SHARE_STEPS = 1000
"""Number of steps between 0 and 1 in which shares are counted."""
MOST_CATEGORIES = 10_000
"""Maximum number of distinct categories; a column with more values probably contains something else."""
SHOWN_CATEGORIES = 20
OTHERS = "others"


@dataclass(frozen=True)
class ScoredBlock:
    """Consecutive labelled rows with the model's logits; arrays without a shape have shape (rows,)."""

    logits: NDArray[np.float32]
    """(rows,) for two classes, else (rows, K)."""
    labels: NDArray[np.uint8]
    """Position of each row's label in the classes."""
    lengths: IntArray
    """Number of tokens that preparation keeps of each review."""
    unknown: FloatArray
    """Share of each row's tokens that are not in the model's vocabulary."""
    rare: FloatArray
    """Share of each row's tokens that are rare or unknown."""
    categories: Sequence[str] | None = None
    decided: IntArray | None = None
    """Position of the label that the model gives, K for unsure; None for the most probable class."""

    @cached_property
    def chances(self) -> FloatArray:
        """Probability of each class, (rows, K)."""
        return probabilities(self.logits)

    @cached_property
    def predicted(self) -> IntArray:
        """Position of the label that the model gives; K for unsure."""
        codes: IntArray = self.chances.argmax(axis=1) if self.decided is None else self.decided
        return codes

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the prediction equals the label."""
        correct: NDArray[np.bool_] = self.predicted == self.labels
        return correct

    @cached_property
    def contradiction(self) -> FloatArray:
        """How clearly the model contradicts each label; above 0, another class is more probable.

        With two classes, the log-odds of the other one. In general, log((1 + m) / (1 - m)) of the normalised
        margin m, which still ranks rows whose margins round to 1.
        """
        if self.logits.ndim == 1:
            signed: FloatArray = np.where(self.labels == 1, -1.0, 1.0) * self.logits
            return signed
        rows = np.arange(len(self.labels))
        own, others = self.chances[rows, self.labels], self.chances.copy()
        others[rows, self.labels] = 0.0
        most = others.max(axis=1)
        below = 2 * own + (others.sum(axis=1) - most)  # 1 - m without cancellation
        contradiction: FloatArray = np.log1p(most - own) - np.log(np.maximum(below, 1e-300))
        return contradiction

    @property
    def confidence(self) -> FloatArray:
        """Probability of the label that the model gives; of the most probable class if it is unsure."""
        codes = np.minimum(self.predicted, self.chances.shape[1] - 1)
        is_sure = self.predicted < self.chances.shape[1]
        confidence: FloatArray = np.where(
            is_sure, self.chances[np.arange(len(codes)), codes], self.chances.max(axis=1)
        )
        return confidence

    def answered(self) -> "ScoredBlock":
        """Return the rows that are not labelled unsure."""
        sure = self.predicted < self.chances.shape[1]
        if sure.all():
            return self
        categories = None
        if self.categories is not None:
            categories = [name for name, kept in zip(self.categories, sure, strict=True) if kept]
        return ScoredBlock(
            self.logits[sure],
            self.labels[sure],
            self.lengths[sure],
            self.unknown[sure],
            self.rare[sure],
            categories,
            self.predicted[sure],
        )


@dataclass(frozen=True)
class ReviewGroup:
    """Counts of a group of rows."""

    name: str
    rows: int
    correct: int
    positive: int
    """Number of rows labelled with the second class, which is "positive" of two."""
    confidence: float
    """Mean probability of the predicted class."""

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.rows, 1)

    @property
    def mistakes(self) -> int:
        return self.rows - self.correct

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy (Wilson, 1927)."""
        return wilson(self.correct, self.rows)

    @property
    def is_small(self) -> bool:
        """Whether the group has too few rows for conclusions."""
        return self.rows < FEW_ROWS

    @property
    def gap(self) -> float | None:
        """Mean confidence minus accuracy, above 0 if the model is overconfident; None for small groups."""
        return None if self.is_small else self.confidence - self.accuracy

    @property
    def is_off(self) -> bool:
        """Whether the mean confidence lies outside the confidence interval of the accuracy."""
        low, high = self.interval
        return not self.is_small and not low <= self.confidence <= high


@dataclass(frozen=True)
class Division:
    """A partition of the rows into groups."""

    key: str
    """Name of the division: label, length, unknown, rare or category."""
    title: str
    note: str
    """Explanation of how the groups are formed."""
    groups: list[ReviewGroup]


class Tally:
    """Counts of all, correct and second-class rows, and sums of their confidence, by an integer key."""

    def __init__(self, size: int) -> None:
        self.sums = np.zeros((4, size))

    def add(self, keys: IntArray, block: ScoredBlock) -> None:
        """Count a block whose row i has key `keys[i]`; the tally grows as needed."""
        width = max(self.sums.shape[1], int(keys.max(initial=0)) + 1)
        self.sums = np.pad(self.sums, ((0, 0), (0, width - self.sums.shape[1])))
        for place, weights in enumerate((None, block.correct, block.labels == 1, block.confidence)):
            self.sums[place] += np.bincount(keys, weights, minlength=width)

    @property
    def rows(self) -> IntArray:
        rows: IntArray = self.sums[0].astype(np.int64)
        return rows

    def group(self, name: str, numbers: slice | Sequence[int]) -> ReviewGroup:
        """Combine the rows with these keys into one group."""
        rows, correct, positive, confidence = self.sums[:, numbers].sum(axis=1).tolist()
        return ReviewGroup(name, int(rows), int(correct), int(positive), confidence / max(rows, 1))

    def bands(self, parts: int) -> list[tuple[int, int]]:
        """Return at most `parts` ranges (first, end) of keys, with roughly equal numbers of rows."""
        reached = np.cumsum(self.rows)
        if not len(reached) or reached[-1] == 0:
            return []
        quantiles = np.searchsorted(reached, reached[-1] * np.arange(1, parts + 1) / parts)
        ends = np.unique(quantiles + 1).tolist()
        first = int(np.flatnonzero(self.rows)[0])
        return list(zip([first, *ends[:-1]], ends, strict=True))


class CategoryTally:
    """Counts of rows by category name; the first 10,000 names are counted separately, all others together."""

    def __init__(self) -> None:
        self.numbers: dict[str | None, int] = {None: 0}
        """Key of each name in the tally; None stands for all names that are not counted separately."""
        self.tally = Tally(1)

    @property
    def is_full(self) -> bool:
        return len(self.numbers) > MOST_CATEGORIES

    def add(self, names: Sequence[str], block: ScoredBlock) -> None:
        """Count a block whose row i has the category `names[i]`."""
        for name in dict.fromkeys(names):
            if not self.is_full:
                self.numbers.setdefault(name, len(self.numbers))
        self.tally.add(np.array([self.numbers.get(name, 0) for name in names], np.int64), block)

    def groups(self, most: int) -> list[ReviewGroup]:
        """Return the `most` categories with the most rows, followed by all others as one group."""
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
    """Counts of all rows read so far; memory use does not grow with the number of rows."""

    def __init__(self, classes: Classes, *, frequent_words: int, kept_tokens: int, by_category: bool) -> None:
        """Create empty counts.

        Args:
            classes: the classes of the labels.
            frequent_words: number of words in the model's vocabulary that are not rare.
            kept_tokens: maximum number of tokens kept of a review.
            by_category: whether blocks have categories.
        """
        self.classes, self.frequent_words, self.kept_tokens = classes, frequent_words, kept_tokens
        self.confusion = np.zeros((len(classes), len(classes) + 1), np.int64)
        """Rows by label and prediction; the last column is unsure."""
        self.loss_sum = 0.0
        self.by_confidence, self.by_length = Tally(CALIBRATION_BINS), Tally(1)
        self.by_label = Tally(len(classes))
        self.by_unknown, self.by_rare = Tally(len(UNKNOWN_ENDS) + 1), Tally(SHARE_STEPS + 1)
        self.categories = CategoryTally() if by_category else None

    def add(self, block: ScoredBlock) -> None:
        self.confusion += confusion(block.labels, block.predicted, len(self.classes))
        self.loss_sum += loss_sum(block.logits, block.labels)
        most_probable = replace(block, decided=None)
        bins = (most_probable.confidence * CALIBRATION_BINS).astype(np.int64)
        self.by_confidence.add(np.minimum(bins, CALIBRATION_BINS - 1), most_probable)
        block = block.answered()
        self.by_label.add(block.labels.astype(np.int64), block)
        self.by_length.add(block.lengths, block)
        self.by_unknown.add(np.searchsorted(UNKNOWN_ENDS, block.unknown), block)
        self.by_rare.add(np.ceil(block.rare * SHARE_STEPS - 1e-9).astype(np.int64), block)
        if self.categories is not None and block.categories is not None:
            self.categories.add(block.categories, block)

    def everything(self) -> ReviewGroup:
        """Combine all rows into one group, without those that are labelled unsure."""
        return self.by_length.group("all rows", slice(None))

    def calibration(self) -> list[CalibrationBin]:
        """Return the bins of a reliability diagram, as `metrics.calibration_bins` does."""
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
        """Divide the rows that have a prediction by length, unknown words, rare words and other properties.

        Args:
            category_column: name of the column of categories, if any.
        """
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
            *self._by_label(),
            Division(
                "length",
                "length in tokens",
                f"Groups of roughly equal size. The model keeps at most {kept:,} tokens of a review.",
                lengths,
            ),
            Division(
                "unknown",
                "unknown words",
                "Share of a review's words that are not in the model's vocabulary.",
                [group for group in unknown if group.rows],
            ),
            Division(
                "rare",
                "rare words",
                f"Share of a review's words that are not among the {self.frequent_words:,} most frequent of "
                "the model's vocabulary, including unknown words. Groups of roughly equal size.",
                rare,
            ),
        ]
        if self.categories is not None and category_column is not None:
            note = f"The {SHOWN_CATEGORIES} categories with the most rows, and all others together."
            if self.categories.is_full:
                note += f" The column has more than {MOST_CATEGORIES:,} values: does it contain categories?"
            groups = self.categories.groups(SHOWN_CATEGORIES)
            found.append(Division("category", f"category ({category_column})", note, groups))
        return found

    def _by_label(self) -> Iterator[Division]:
        """Yield the division by label, for which two classes are too few."""
        if len(self.classes) > 2:
            groups = [self.by_label.group(name, [code]) for code, name in enumerate(self.classes.names)]
            yield Division("label", "label", "", [group for group in groups if group.rows])


def _span(first: int, last: int, kept: int) -> str:
    """Format a range of lengths, as in `17 to 31`; a review with `kept` tokens may have been truncated."""
    if last == kept:
        return f"{first:,} and more"
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _shares(first: int, last: int) -> str:
    """Format a range of steps, each of which was rounded up, as shares: `2.3 to 4.1 %`."""
    return "none" if last == 0 else _range(max(first - 1, 0) / SHARE_STEPS, last / SHARE_STEPS)


def _range(low: float, high: float) -> str:
    """Format the range of shares above `low` and up to `high`."""
    return f"up to {100 * high:g} %" if low == 0 else f"{100 * low:g} to {100 * high:g} %"
