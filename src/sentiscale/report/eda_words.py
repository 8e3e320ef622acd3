"""How well a vocabulary covers the text, and which words and word pairs tell the classes apart."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiscale.data.prepared import PreparedDataset
from sentiscale.report.eda_counts import CLASSES, Counts, WordUse, filled_splits
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


PRIOR_SHARE = 1.0
"""Strength of the prior: as many imagined words a class, spread as in the whole corpus, as the corpus has."""
SIGNIFICANT = 1.96
"""A difference of fewer standard errors is left out: chance gives it in one of twenty words."""
FEWEST_PAIRS = 5


@dataclass(frozen=True)
class Term:
    """A word or a pair of words, and how unevenly the classes use it."""

    text: str
    z: float
    """Standard errors between the classes; below 0 it speaks for negative, above for positive."""
    negative: int
    """Times it occurs in negative reviews."""
    positive: int
    times: float
    """How many times as often the class it speaks for uses it, at equal length of text."""


@dataclass(frozen=True)
class Telling:
    """The terms that tell the classes apart best, strongest first."""

    negative: list[Term]
    positive: list[Term]

    def of(self, label: str) -> list[Term]:
        """The terms that speak for "negative" or "positive"."""
        return self.negative if label == CLASSES[0] else self.positive

    def summary(self) -> dict[str, list[dict[str, Any]]]:
        return {
            label: [asdict(term) | {"z": round(term.z, 2)} for term in self.of(label)] for label in CLASSES
        }


def z_scores(counts: Counts, totals: Counts, prior_share: float = PRIOR_SHARE) -> NDArray[np.float64]:
    """How far the classes' odds of each term lie apart, in standard errors; positive: class 1 uses it more.

    Monroe, Colaresi and Quinn, "Fightin' Words", Political Analysis 16 (2008), equations 16, 20 and 22:
    with counts y of term w in class k, totals n and a Dirichlet prior a (sum a_0), the log-odds of class k
    are log((y_kw + a_w) / (n_k + a_0 - y_kw - a_w)), the variance of a difference of two is about
    1 / (y_1w + a_w) + 1 / (y_0w + a_w), and z is their quotient. The prior is the corpus itself times
    `prior_share`: a word that both classes use alike stays where it is, however rare or common.

    Args:
        counts: (2, terms) occurrences by class; every term occurs at least once.
        totals: (2,) occurrences of all terms, those that are not among `counts` included.
        prior_share: above 0; words of the prior to words of the corpus.
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


def times_as_often(counts: Counts, totals: Counts) -> NDArray[np.float64]:
    """Ratio of the classes' rates, class 1 over class 0; half an occurrence is added so that it is finite."""
    rates = (counts + 0.5) / np.maximum(totals, 1)[:, None]
    ratio: NDArray[np.float64] = rates[1] / rates[0]
    return ratio


@dataclass(frozen=True)
class WordScores:
    """How unevenly the classes use each word of the vocabulary; arrays by word id."""

    counts: Counts
    """(2, vocabulary) by class."""
    z: NDArray[np.float64]
    """0 for padding, the unknown word and words that were not read."""
    ratio: NDArray[np.float64]
    """Rate of class 1 over rate of class 0."""


def score_words(use: WordUse) -> WordScores:
    """Score every word; padding and the unknown word are none."""
    totals = use.words.sum(axis=1)
    seen = np.flatnonzero(use.words.sum(axis=0))
    seen = seen[seen >= len(SPECIAL)]
    z = np.zeros(use.words.shape[1])
    z[seen] = z_scores(use.words[:, seen], totals)
    return WordScores(use.words, z, times_as_often(use.words, totals))


def telling_words(scores: WordScores, words: Sequence[str], most: int) -> Telling:
    return _choose(scores, lambda word: words[word], most)


def telling_pairs(use: WordUse, words: Sequence[str], most: int) -> Telling:
    """The `most` telling pairs of neighbours of each class, of the most frequent words (`PAIR_WORDS`)."""
    ids, counts = use.pairs(FEWEST_PAIRS)
    totals = use.pair_totals
    scores = WordScores(counts, z_scores(counts, totals), times_as_often(counts, totals))
    return _choose(scores, lambda pair: " ".join(words[word] for word in ids[pair]), most)


def _choose(scores: WordScores, name: Callable[[int], str], most: int) -> Telling:
    counts, z, ratio = scores.counts, scores.z, scores.ratio

    def terms(sign: int) -> list[Term]:
        return [
            Term(name(i), float(z[i]), int(counts[0, i]), int(counts[1, i]), float(ratio[i] ** sign))
            for i in np.argsort(-sign * z, kind="stable")[:most].tolist()
            if sign * z[i] >= SIGNIFICANT
        ]

    return Telling(negative=terms(-1), positive=terms(1))
