"""Choose the fragments of every review with index arithmetic over the compiled grammar.

Row i of a seed depends only on (seed, i). A review has a *surface* in addition to its label: in most reviews,
the polar words agree with the label; in the others, they contradict it and the sentences negate them. A model
that only counts words is therefore correct for a share of about `SURFACE_AGREES`, however long the reviews,
while a model that considers word order can be correct for all reviews except those with label noise.
"""

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sentiscale.datasets.grammar import MISSPELLINGS, SURFACES, Grammar, compile_grammar

Keys = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: moves consecutive counters far apart
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)


def mix(keys: Keys) -> Keys:
    """Scramble 64-bit integers in place with the finaliser of splitmix64, and return `keys`."""
    keys ^= keys >> np.uint64(30)
    keys *= _MULTIPLY_1
    keys ^= keys >> np.uint64(27)
    keys *= _MULTIPLY_2
    keys ^= keys >> np.uint64(31)
    return keys


def derive(keys: Keys, counters: NDArray[np.integer] | int) -> Keys:
    """Derive an independent key for each pair of key and counter; the arguments are broadcast."""
    offsets = np.asarray(counters, dtype=np.uint64) * _STEP
    return mix(keys + offsets)


def seed_key(seed: int) -> Keys:
    """Return the key, of shape (1,), from which all keys of a seed are derived; a seed is any integer."""
    return mix(np.array([seed & 0xFFFF_FFFF_FFFF_FFFF], dtype=np.uint64) + _STEP)


def below(keys: Keys, sizes: NDArray[np.uint64] | int) -> Keys:
    """Map each key to 0 … size - 1 by its upper 32 bits; sizes must be below 2^32."""
    return ((keys >> np.uint64(32)) * np.asarray(sizes, dtype=np.uint64)) >> np.uint64(32)


def happens(keys: Keys, share: float) -> NDArray[np.bool_]:
    """Return true for about `share` of the keys, using their lower 20 bits, which `below` does not use."""
    return (keys & np.uint64(0xFFFFF)) < np.uint64(round(share * 0x100000))


Ints = NDArray[np.int64]

LABEL_NOISE = 0.02
"""Share of reviews whose label is the opposite of their sentiment."""
SURFACE_AGREES = 0.87
"""Share of reviews whose polar words agree with their sentiment."""
SURFACE_MIX = {True: (0.62, 0.10, 0.28), False: (0.10, 0.62, 0.28)}
"""Shares of plain, turned and mixed evidence, by whether the surface agrees with the sentiment."""
EVIDENCE = 0.45
"""Share of sentences with an opinion about the product; every review has at least one such sentence."""
DECOY = 0.06
"""Share of the other sentences with an opinion about something else."""
NEUTRAL_TITLE = 0.4
MISSPELT = 0.015
"""Share of fragments, which are two to three words long, that are misspelt."""

MEDIAN_WORDS = 55
LOG_SPREAD = 1.0  # log-normal: 90th percentile 3.6 times the median, 99th 10.2 times
MAX_WORDS = 1500
TITLE_WORDS, SENTENCE_WORDS = 3.6, 10.7
"""Mean number of words per title and per sentence of this grammar."""

# counters of a row's random draws, followed by those of its sentences
_PAIR, _NOISE, _SURFACE, _LENGTH, _CATEGORY, _STARS, _TITLE, _FORCED, _ROUNDING, _SENTENCES = range(10)

# counters of a sentence's random draws; fragments derive their keys separately
_IS_EVIDENCE, _IS_DECOY, _SURFACE_MIX, _MEMBER = range(1, 5)


@dataclass(frozen=True)
class ReviewPlan:
    """Properties of each review; all arrays have shape (rows,)."""

    keys: Keys
    positive: NDArray[np.bool_]
    """Whether the sentiment of the text is positive."""
    labels: Ints
    """0 for negative and 1 for positive; differs from `positive` in rows with label noise."""
    agrees: NDArray[np.bool_]
    """Whether the polar words agree with the sentiment of the text."""
    stars: Ints
    category: Ints
    sentences: Ints
    """Number of sentences after the title, at least 1."""


def plan_rows(seed: int, start: int, rows: int) -> ReviewPlan:
    """Draw the labels, surfaces, lengths and categories of rows start … start + rows - 1."""
    numbers = np.arange(start, start + rows, dtype=np.uint64)
    base = seed_key(seed)
    keys = derive(base, numbers + np.uint64(1))
    # rows form pairs with opposite sentiment, which keeps the classes balanced in every file
    coin = derive(derive(base, (numbers >> np.uint64(1)) + np.uint64(1)), _PAIR) & np.uint64(1)
    positive = (coin ^ (numbers & np.uint64(1))).astype(bool)
    labels = positive ^ happens(derive(keys, _NOISE), LABEL_NOISE)
    strong = happens(derive(keys, _STARS), 0.6)
    stars = np.where(labels, np.where(strong, 5, 4), np.where(strong, 1, 2))
    return ReviewPlan(
        keys=keys,
        positive=positive,
        labels=labels.astype(np.int64),
        agrees=happens(derive(keys, _SURFACE), SURFACE_AGREES),
        stars=stars,
        category=below(derive(keys, _CATEGORY), len(compile_grammar().categories)).astype(np.int64),
        sentences=_sentence_counts(keys),
    )


def _sentence_counts(keys: Keys) -> Ints:
    """Draw numbers of sentences such that review lengths are distributed like those of real reviews."""
    quantiles = _length_quantiles()
    targets = quantiles[below(derive(keys, _LENGTH), len(quantiles)).astype(np.int64)]
    sentence = round(256 * SENTENCE_WORDS)
    # random rounding preserves the mean and, unlike plain rounding, leaves no gaps between lengths
    chance = below(derive(keys, _ROUNDING), sentence).astype(np.int64)
    counts: Ints = np.maximum((targets * 256 - round(256 * TITLE_WORDS) + chance) // sentence, 1)
    return counts


@cache
def _length_quantiles() -> Ints:
    """Return the number of words of a review at 4096 evenly spaced quantiles."""
    normal = NormalDist()
    quantiles = (normal.inv_cdf((k + 0.5) / 4096) for k in range(4096))
    return np.array([min(round(MEDIAN_WORDS * math.exp(LOG_SPREAD * z)), MAX_WORDS) for z in quantiles])


def _members(grammar: Grammar, group: str) -> Ints:
    number = grammar.groups[group]
    first = grammar.group_start[number]
    return grammar.members[first : first + int(grammar.group_size[number])]


@dataclass(frozen=True)
class TemplatePlan:
    """Templates of a block in text order; all arrays have shape (templates,)."""

    templates: Ints
    keys: Keys
    category: Ints


def plan_sentences(rows: ReviewPlan) -> TemplatePlan:
    """Choose the templates of every row: start, title, middle, sentences, end."""
    grammar = compile_grammar()
    counts = rows.sentences + 4
    firsts = np.cumsum(counts) - counts
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(row)) - np.repeat(firsts, counts)  # 0 start, 1 title, 2 middle, 3 … sentences
    keys = derive(rows.keys[row], place + _SENTENCES)
    group = _body_groups(grammar, rows, row, place - 3, keys)
    group[firsts + 1] = _title_groups(grammar, rows, keys[firsts + 1])
    member = below(derive(keys, _MEMBER), grammar.group_size[group]).astype(np.int64)
    chosen = grammar.members[grammar.group_start[group] + member]
    chosen += place > 3  # the next template is the same sentence preceded by a space
    frame = {name: _members(grammar, name) for name in ("start", "middle", "end")}
    chosen[firsts] = frame["start"][rows.stars - 1]
    chosen[firsts + 2] = frame["middle"][0]
    chosen[firsts + counts - 1] = frame["end"][0]
    return TemplatePlan(chosen, keys, rows.category[row])


def _body_groups(grammar: Grammar, rows: ReviewPlan, row: Ints, sentence: Ints, keys: Keys) -> Ints:
    """Choose the group of every sentence: evidence with some surface, decoy, or padding."""
    forced = below(derive(rows.keys, _FORCED), rows.sentences.astype(np.uint64)).astype(np.int64)
    evidence = happens(derive(keys, _IS_EVIDENCE), EVIDENCE) | (sentence == forced[row])
    decoy = happens(derive(keys, _IS_DECOY), DECOY)
    other = np.where(decoy, grammar.groups["decoys"], grammar.groups["padding"])
    return np.where(evidence, _polar_groups(grammar, "evidence", rows, row, keys), other)


def _title_groups(grammar: Grammar, rows: ReviewPlan, keys: Keys) -> Ints:
    polar = _polar_groups(grammar, "title", rows, np.arange(len(keys)), keys)
    return np.where(happens(derive(rows.keys, _TITLE), NEUTRAL_TITLE), grammar.groups["title/neutral"], polar)


def _polar_groups(grammar: Grammar, prefix: str, rows: ReviewPlan, row: Ints, keys: Keys) -> Ints:
    """Choose groups by a randomly drawn surface and by the row's polarity and agreement."""
    numbers = np.array([[grammar.groups[f"{prefix}/{surface}/{p}"] for p in "-+"] for surface in SURFACES])
    uniform = below(derive(keys, _SURFACE_MIX), 1000)
    limits = np.array([np.cumsum(SURFACE_MIX[agrees])[:2] for agrees in (False, True)])
    limits_of_row = np.round(limits * 1000).astype(np.uint64)[rows.agrees[row].astype(np.int64)]
    surface = (uniform >= limits_of_row[:, 0]).astype(np.int64) + (uniform >= limits_of_row[:, 1])
    groups: Ints = numbers[surface, rows.positive[row].astype(np.int64)]
    return groups


def choose_fragments(plan: TemplatePlan) -> Ints:
    """Draw a fragment for every position of every template, in text order."""
    grammar = compile_grammar()
    lengths = grammar.template_length[plan.templates]
    firsts = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum()))
    offsets = grammar.template_start[plan.templates] + plan.category * grammar.parts_per_category
    lists = grammar.parts[np.repeat(offsets - firsts, lengths) + places]
    keys = mix(np.repeat(plan.keys - firsts.astype(np.uint64), lengths) + places.astype(np.uint64))
    chosen = below(keys, grammar.list_size[lists]).astype(np.int64)
    octaves = grammar.octaves[lists]
    tail = np.flatnonzero(octaves)
    chosen[tail] = _zipf(keys[tail], octaves[tail])
    fragments: Ints = grammar.choices[grammar.list_start[lists] + chosen]
    slips = np.flatnonzero(happens(keys, MISSPELT))
    slips = slips[grammar.misspelt[fragments[slips]] >= 0]
    variant = (keys[slips] >> np.uint64(24)) % np.uint64(MISSPELLINGS)
    fragments[slips] = grammar.misspelt[fragments[slips]] + variant.astype(np.int64)
    return fragments


def _zipf(keys: Keys, octaves: NDArray[np.uint64]) -> Ints:
    """Draw ranks 0 … 2**octaves - 1 with probabilities of roughly 1 / rank.

    An octave is drawn uniformly, and then a rank within it.
    """
    octave = below(keys, octaves)
    place = mix(keys.copy()) & ((np.uint64(1) << octave) - np.uint64(1))
    return ((np.uint64(1) << octave) + place - np.uint64(1)).astype(np.int64)
