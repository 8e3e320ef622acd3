"""Count labelled rows by length, unknown words, rare words, category and confidence, block by block."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

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
    """Consecutive labelled rows and what the model says of them; all arrays (rows,)."""

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
        """Whether the model gives the label."""
        right: NDArray[np.bool_] = (self.logits > 0) == (self.labels == 1)
        return right

    @property
    def against(self) -> FloatArray:
        """Log-odds of the class that the label is not; above 0 the model contradicts the label."""
        against: FloatArray = np.where(self.labels == 1, -1.0, 1.0) * self.logits
        return against

    @property
    def other(self) -> FloatArray:
        """Probability of the class that the label is not."""
        chances = probabilities(self.logits)
        return np.where(self.labels == 1, 1 - chances, chances)

    @property
    def confidence(self) -> FloatArray:
        """Probability of the class that the model gives, 0.5 or more."""
        chances = probabilities(self.logits)
        confidence: FloatArray = np.maximum(chances, 1 - chances)
        return confidence


@dataclass(frozen=True)
class Group:
    """Rows that have something in common."""

    name: str
    rows: int
    right: int
    positive: int
    """Rows labelled positive."""
    confidence: float
    """Mean probability of the classes given."""

    @property
    def accuracy(self) -> float:
        """Share of right rows."""
        return self.right / max(self.rows, 1)

    @property
    def mistakes(self) -> int:
        """Rows whose label the model does not give."""
        return self.rows - self.right

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % interval (Wilson, 1927)."""
        return wilson(self.right, self.rows)

    @property
    def is_small(self) -> bool:
        """Whether it has too few rows to say much."""
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
    """How the groups came about."""
    groups: list[Group]


class Tally:
    """Rows counted by a whole number: how many, right ones, positive ones, and their confidence."""

    def __init__(self, size: int) -> None:
        self.sums = np.zeros((4, size))

    def add(self, keys: IntArray, block: ScoredBlock) -> None:
        """Count a block whose row i belongs to `keys[i]`; the tally grows as needed."""
        if not len(keys):
            return
        more = int(keys.max()) + 1 - self.sums.shape[1]
        if more > 0:
            self.sums = np.pad(self.sums, ((0, 0), (0, more)))
        for place, weights in enumerate((None, block.right, block.labels, block.confidence)):
            self.sums[place] += np.bincount(keys, weights, minlength=self.sums.shape[1])

    @property
    def rows(self) -> IntArray:
        """Rows of each number."""
        rows: IntArray = self.sums[0].astype(np.int64)
        return rows

    def group(self, name: str, first: int, end: int) -> Group:
        """All rows with numbers from `first` to `end - 1`."""
        rows, right, positive, confidence = self.sums[:, first:end].sum(axis=1).tolist()
        return Group(name, int(rows), int(right), int(positive), confidence / max(rows, 1))

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
        self.is_full = False

    def add(self, names: Sequence[str], block: ScoredBlock) -> None:
        """Count a block whose row i belongs to `names[i]`."""
        for name in dict.fromkeys(names):
            if name not in self.numbers:
                if len(self.numbers) > MOST_CATEGORIES:
                    self.is_full = True
                    break
                self.numbers[name] = len(self.numbers)
        self.tally.add(np.array([self.numbers.get(name, 0) for name in names], np.int64), block)

    def groups(self, most: int) -> list[Group]:
        """The categories with most rows, then all others together."""
        rows = self.tally.rows
        named = [(name, number) for name, number in self.numbers.items() if name is not None]
        ranked = sorted(named, key=lambda item: (-rows[item[1]], item[0]))
        groups = [self.tally.group(name, number, number + 1) for name, number in ranked[:most]]
        rest = [number for _, number in ranked[most:]]
        left = self.tally.sums[:, [0, *rest]].sum(axis=1).tolist()
        if left[0]:
            name = OTHERS if self.is_full else f"{len(rest)} {OTHERS}"
            groups.append(Group(name, int(left[0]), int(left[1]), int(left[2]), left[3] / left[0]))
        return groups


class Counting:
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

    def everything(self) -> Group:
        """All rows as one group."""
        return self.by_confidence.group("all rows", 0, CALIBRATION_BINS)

    def calibration(self) -> list[CalibrationBin]:
        """The bins of a reliability diagram, as `metrics.calibration_bins` gives them."""
        bins = [self.by_confidence.group("", place, place + 1) for place in range(CALIBRATION_BINS)]
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
        """The rows by length, by unknown words, by rare words and, where there are any, by category."""
        found = [self._lengths(), self._unknown(), self._rare()]
        if self.categories is not None and category_column is not None:
            note = f"The {SHOWN_CATEGORIES} with most rows; the others together."
            if self.categories.is_full:
                note += f" The column has more than {MOST_CATEGORIES:,} values: is it one of categories?"
            groups = self.categories.groups(SHOWN_CATEGORIES)
            found.append(Division("category", f"category ({category_column})", note, groups))
        return found

    def _lengths(self) -> Division:
        groups = [
            self.by_length.group(_span(first, end - 1, self.kept_tokens), first, end)
            for first, end in self.by_length.bands(BANDS)
        ]
        note = f"Bands of about equally many rows. The model keeps {self.kept_tokens:,} tokens of a review."
        return Division("length", "length in tokens", note, groups)

    def _unknown(self) -> Division:
        names = ["none", *(_range(low, high) for low, high in pairwise(UNKNOWN_ENDS))]
        names.append(f"more than {100 * UNKNOWN_ENDS[-1]:g} %")
        groups = [self.by_unknown.group(name, place, place + 1) for place, name in enumerate(names)]
        note = "Share of a review's words that the model's vocabulary does not have."
        return Division("unknown", "unknown words", note, [group for group in groups if group.rows])

    def _rare(self) -> Division:
        groups = [
            self.by_rare.group(_shares(first, end - 1), first, end)
            for first, end in self.by_rare.bands(BANDS)
        ]
        note = (
            f"Share of a review's words that are not among the {self.frequent_words:,} most frequent of the "
            f"model's vocabulary, unknown ones included. Bands of about equally many rows."
        )
        return Division("rare", "rare words", note, groups)


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
