"""The most telling words and word pairs of each class: log-odds ratios with an informative prior."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiscale.report.eda_counting import CLASSES, Counts, WordUse
from sentiscale.text.vocab import SPECIAL

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
        """The terms as plain values."""
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
    """The `most` telling words of each class."""
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
