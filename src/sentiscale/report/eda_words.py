"""Compute the coverage of a vocabulary, and the words and word pairs that distinguish the classes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiscale.data.prepared import PreparedDataset
from sentiscale.report.eda_counts import Counts, WordUse, filled_splits
from sentiscale.text.classes import BINARY
from sentiscale.text.vocab import SPECIAL, UNK

USUAL_SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)
CURVE_POINTS = 160
FITTED_RANKS = (10, 10_000)
"""Ranks between which Zipf's exponent is fitted; the curve bends at both ends."""


@dataclass(frozen=True)
class Coverage:
    """Coverage of the training text by a vocabulary of a given size."""

    size: int
    """Vocabulary size including padding and unknown, as in --vocab-size."""
    share: float
    """Share of training tokens that are in the vocabulary."""


@dataclass(frozen=True)
class RankedWord:
    rank: int
    count: int
    word: str


@dataclass(frozen=True)
class Vocabulary:
    """The vocabulary by decreasing frequency in the training rows."""

    words: Sequence[str]
    """Words by rank, without the special ones."""
    counts: Counts
    """Number of occurrences of each word in training, in decreasing order."""
    tokens: int
    """Number of training tokens that were read, including unknown ones."""
    distinct_words: int
    """Number of distinct words in the training rows, in the vocabulary or not; 0 if they were not counted."""
    limit: int
    """Value of --vocab-size."""
    min_count: int
    unknown: dict[str, float]
    """Share of unknown tokens in each nonempty split."""

    @property
    def size(self) -> int:
        """Number of words, including padding and unknown."""
        return len(self.words) + len(SPECIAL)

    @property
    def is_full(self) -> bool:
        """Whether --vocab-size, rather than --min-count, limits the vocabulary."""
        return self.size >= self.limit

    @property
    def left_out(self) -> int:
        """Number of distinct training words that are not in the vocabulary; 0 if they were not counted."""
        return max(self.distinct_words - len(self.words), 0)

    @cached_property
    def _covered(self) -> NDArray[np.float64]:
        covered: NDArray[np.float64] = np.cumsum(self.counts) / max(self.tokens, 1)
        return covered

    def coverage(self, size: int) -> Coverage:
        """Coverage of the `size` - 2 most frequent words."""
        words = min(size - len(SPECIAL), len(self.words))
        return Coverage(size, float(self._covered[words - 1]) if words > 0 else 0.0)

    def usual_coverage(self) -> list[Coverage]:
        """Coverage of the usual sizes below this vocabulary's size, and of this vocabulary."""
        return [self.coverage(size) for size in (*(s for s in USUAL_SIZES if s < self.size), self.size)]

    def coverage_curve(self) -> list[Coverage]:
        """Points of the coverage curve, evenly spaced in the logarithm of the size."""
        return [self.coverage(int(rank) + len(SPECIAL)) for rank in self._ranks()]

    def ranked(self, rank: int) -> RankedWord:
        return RankedWord(rank, int(self.counts[rank - 1]), self.words[rank - 1])

    def curve(self) -> list[RankedWord]:
        """Points of the rank-frequency curve, evenly spaced in the logarithm of the rank."""
        return [self.ranked(int(rank)) for rank in self._ranks()]

    def landmarks(self) -> list[RankedWord]:
        """The words of rank 1, 10, 100, …"""
        ranks = [10**power for power in range(9) if 10**power <= len(self.words)]
        return [self.ranked(rank) for rank in ranks]

    @cached_property
    def exponent(self) -> float | None:
        """Zipf's exponent s in count ~ 1 / rank**s; None if there are too few words to fit it."""
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


PRIOR_SIZE = 2.0
"""Strength of the prior: number of pseudo-words, as a multiple of the mean number of words of a class. They
are distributed as in the whole corpus. For two classes, there are as many as words in the corpus."""
SIGNIFICANT = 1.96
"""Smallest difference in standard errors to report; chance alone reaches it for one of twenty words."""
FEWEST_PAIRS = 5


@dataclass(frozen=True)
class Term:
    """A word or a word pair that indicates a class, with its frequencies in this class and in all others."""

    text: str
    z: float
    """Difference between the class and the others in standard errors, above 0."""
    own: int
    """Number of occurrences in reviews of the class."""
    others: int
    """Number of occurrences in reviews of other classes."""
    times: float
    """Ratio of the term's rate in the class to its rate in the others."""


Telling = dict[str, list[Term]]
"""The terms that best distinguish each class from the others, by class, strongest first."""


def telling_summary(telling: Telling) -> dict[str, list[dict[str, Any]]]:
    """Return the terms as plain values for JSON.

    For the classes negative and positive, they also have the occurrences by name, and negative terms have a
    negative z.
    """
    found = {}
    for label, terms in telling.items():
        found[label] = [asdict(term) | {"z": round(term.z, 2)} for term in terms]
        if tuple(telling) == BINARY:
            order = BINARY if label == BINARY[0] else BINARY[::-1]
            for term in found[label]:
                term |= dict(zip(order, (term["own"], term["others"]), strict=True))
                term["z"] *= -1 if label == BINARY[0] else 1
    return found


def z_scores(counts: Counts, totals: Counts, prior_share: float) -> NDArray[np.float64]:
    """Difference of each term's log-odds between two sets of texts in standard errors; above 0: the second.

    Monroe, Colaresi and Quinn, "Fightin' Words", Political Analysis 16 (2008), equations 16, 20 and 22:
    with counts y of term w in set k, totals n and a Dirichlet prior a (sum a_0), the log-odds in set k are
    log((y_kw + a_w) / (n_k + a_0 - y_kw - a_w)), the variance of a difference of two is about
    1 / (y_1w + a_w) + 1 / (y_0w + a_w), and z is the difference divided by its standard deviation. The prior
    is the corpus itself times `prior_share`, so words that both use equally often have z near 0, however rare
    or common they are.

    Args:
        counts: (2, terms) occurrences by set; every term occurs at least once.
        totals: (2,) occurrences of all terms, including those that are not in `counts`.
        prior_share: size of the prior relative to the corpus, above 0.
    """
    uses = counts.astype(np.float64)
    prior = uses.sum(axis=0) * prior_share
    others = totals.sum() * prior_share - prior
    log_odds = [
        np.log(uses[k] + prior) - np.log(np.maximum(totals[k] - uses[k] + others, 1e-9)) for k in (0, 1)
    ]
    variance = 1 / (uses[0] + prior) + 1 / (uses[1] + prior)
    z: NDArray[np.float64] = (log_odds[1] - log_odds[0]) / np.sqrt(variance)
    return z


class Contrast(NamedTuple):
    """How the terms of one class compare with those of all others; all arrays have shape (terms,)."""

    own: Counts
    others: Counts
    z: NDArray[np.float64]
    """See `z_scores`; 0 for terms without occurrences."""
    times: NDArray[np.float64]
    """Rate in the class divided by the rate in the others."""


@dataclass(frozen=True)
class TermCounts:
    """Occurrences of words or pairs by class."""

    counts: Counts
    """(K, terms)"""
    totals: Counts
    """(K,) occurrences of all terms, including those that are not in `counts`."""

    @cached_property
    def all(self) -> Counts:
        """Occurrences in all classes, (terms,)."""
        counts: Counts = self.counts.sum(axis=0)
        return counts

    def contrast(self, code: int) -> Contrast:
        """Compare a class with all others."""
        own, others = self.counts[code], self.all - self.counts[code]
        if len(self.counts) == 2 and code == 0:  # the mirror image of class 1, to the last bit
            of_other = self.contrast(1)
            return Contrast(own, others, -of_other.z, 1 / of_other.times)
        counts = np.stack([others, own])
        totals = np.array([self.totals.sum() - self.totals[code], self.totals[code]])
        seen, z = np.flatnonzero(self.all), np.zeros(len(own))
        z[seen] = z_scores(counts[:, seen], totals, PRIOR_SIZE / len(self.counts))
        # Half an occurrence is added to keep the ratio finite.
        rates = (counts + 0.5) / np.maximum(totals, 1)[:, None]
        return Contrast(own, others, z, rates[1] / rates[0])


def word_counts(use: WordUse) -> TermCounts:
    """Occurrences by word id; padding and the unknown word count in the totals only."""
    counts = use.words.copy()
    counts[:, : len(SPECIAL)] = 0
    return TermCounts(counts, use.words.sum(axis=1))


def telling_words(counts: TermCounts, words: Sequence[str], classes: Sequence[str], most: int) -> Telling:
    """Select the `most` strongest words of each class."""
    return _choose(counts, lambda word: words[word], classes, most)


def telling_pairs(use: WordUse, words: Sequence[str], classes: Sequence[str], most: int) -> Telling:
    """Select the `most` strongest pairs of each class among the most frequent words."""
    ids, counts = use.pairs(FEWEST_PAIRS)
    pairs = TermCounts(counts, use.pair_totals)
    return _choose(pairs, lambda pair: " ".join(words[word] for word in ids[pair]), classes, most)


def _choose(counts: TermCounts, name: Callable[[int], str], classes: Sequence[str], most: int) -> Telling:
    telling = {}
    for code, label in enumerate(classes):
        own, others, z, times = counts.contrast(code)
        telling[label] = [
            Term(name(i), float(z[i]), int(own[i]), int(others[i]), float(times[i]))
            for i in np.argsort(-z, kind="stable")[:most].tolist()
            if z[i] >= SIGNIFICANT
        ]
    return telling
