"""Learn initial word vectors from the text of the reviews, without their labels.

The method is continuous bag of words with negative sampling (Mikolov et al., 2013, "Distributed
representations of words and phrases and their compositionality"): the mean vector of a word's neighbours is
trained to distinguish the word from random words. A network initialised with these vectors reaches a higher
accuracy in one pass than one with random initial vectors.

The two halves of the vector dimensions are learnt independently, each from all rows. Two threads can
therefore share the work without synchronisation, and the result for a seed does not depend on the number of
threads.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from sentiscale.config import VectorSettings
from sentiscale.text.compiled import check_array, check_offsets
from sentiscale.text.vocab import PAD, UNK

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

FREQUENT = 1e-4
"""Share of all tokens above which a word is subsampled: frequent words such as "the" carry little
information about their neighbours."""

DRAWS = 2**20
"""Size of the table from which negative samples are drawn."""

STD = 0.1
"""Standard deviation of the result, equal to that of random initial vectors."""

ROWS_AT_ONCE = 4096
"""Number of rows between two progress reports."""

TOKENS_AT_ONCE = 2**20
"""Number of tokens counted together; it bounds the memory use of `count_words`."""


def learn_vectors(
    tokens: npt.NDArray[Any],
    offsets: IntArray,
    shape: tuple[int, int],
    settings: VectorSettings,
    *,
    seed: int,
    threads: int = 1,
    keep_going: Callable[[float], bool] = lambda rows: True,
) -> FloatArray:
    """Learn vectors of all words, with shape (vocabulary, width); words that do not occur get random vectors.

    Shapes: tokens (all,), offsets (rows + 1,). `keep_going` receives the number of rows read since its last
    call, of `rows_to_read` in total, and returns whether to continue.
    """
    vocab_size, width = shape
    offsets = np.ascontiguousarray(offsets, np.int64)
    check_array("tokens", tokens, np.integer, (-1,))
    check_offsets(offsets, len(tokens))
    counts = count_words(tokens, vocab_size)
    counts[: UNK + 1] = 0
    corpus = tokens, offsets, keep_probabilities(counts), negative_table(counts)
    halves = [half for half in (width - width // 2, width // 2) if half]
    with ThreadPoolExecutor(min(threads, len(halves))) as pool:
        parts = pool.map(
            lambda part: _learn_half(corpus, halves[part], settings, [seed, part], keep_going),
            range(len(halves)),
        )
        vectors = np.hstack(list(parts))
    unseen = counts == 0
    vectors[unseen] = np.random.default_rng(seed).normal(scale=STD, size=(int(unseen.sum()), width))
    vectors[PAD] = 0
    return vectors


def count_words(tokens: npt.NDArray[Any], vocab_size: int) -> IntArray:
    """Count the occurrences of each word, (vocab_size,). Raises: ValueError for a token outside it."""
    counts = np.zeros(vocab_size, np.int64)
    # In parts, because bincount copies its argument to 64-bit integers.
    for first in range(0, len(tokens), TOKENS_AT_ONCE):
        part = np.bincount(tokens[first : first + TOKENS_AT_ONCE], minlength=vocab_size)
        if len(part) > vocab_size:
            raise ValueError(f"tokens must be from 0 to {vocab_size - 1}; got {len(part) - 1}")
        counts += part
    return counts


def rows_to_read(rows: int, tokens: int, settings: VectorSettings) -> int:
    """Total number of rows read in all passes; long corpora get fewer passes."""
    return int(rows * min(settings.passes, settings.most_tokens / max(1, tokens)))


def keep_probabilities(counts: IntArray) -> FloatArray:
    """Return the share of each word's tokens that is used: 1 for rare words, less for frequent ones."""
    frequency = counts / max(1, counts.sum())
    rarity = np.divide(FREQUENT, frequency, out=np.zeros(len(counts)), where=counts > 0)
    shares: FloatArray = np.minimum(1, np.sqrt(rarity) + rarity).astype(np.float32)
    return shares


def negative_table(counts: IntArray) -> npt.NDArray[np.int32]:
    """Return a table in which each word occurs in proportion to the square root of its count."""
    edges = np.cumsum(np.sqrt(counts))
    table: npt.NDArray[np.int32] = np.searchsorted(
        edges, (np.arange(DRAWS) + 0.5) / DRAWS * edges[-1]
    ).astype(np.int32)
    return table


def _learn_half(
    corpus: tuple[Any, ...],
    width: int,
    settings: VectorSettings,
    seed: list[int],
    keep_going: Callable[[float], bool],
) -> FloatArray:
    tokens, offsets, shares, _ = corpus
    numbers = settings.window, settings.negatives, settings.rate
    generator = np.random.default_rng(seed)
    vectors = generator.uniform(-1 / width, 1 / width, (len(shares), width)).astype(np.float32)
    outputs = np.zeros_like(vectors)
    state = np.uint64(generator.integers(1, 2**63))
    total = rows_to_read(len(offsets) - 1, len(tokens), settings)
    for first in range(0, total, ROWS_AT_ONCE):
        last = min(total, first + ROWS_AT_ONCE)
        span = (first, last, total)
        # numba returns a Python int, which the next call would treat as signed
        state = np.uint64(_learn_rows(corpus, (vectors, outputs), numbers, span, state))
        if not keep_going((last - first) / 2):
            break
    seen = shares > 0
    if seen.any():
        vectors -= vectors[seen].mean(axis=0)
        vectors *= STD / max(float(vectors[seen].std()), 1e-12)
    return vectors


@numba.njit(inline="always")
def _next(state: np.uint64) -> np.uint64:
    """Return the next number of a xorshift generator (Marsaglia, 2003)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    return state ^ (state << np.uint64(17))


@numba.njit(inline="always")
def _subsample(tokens, start, end, shares, words, state):  # type: ignore[no-untyped-def]
    """Write the tokens that subsampling keeps into `words`; return their number and the generator's state."""
    size = 0
    for position in range(start, end):
        state = _next(state)
        if np.float32(state >> np.uint64(40)) < shares[tokens[position]] * np.float32(2**24):
            words[size] = tokens[position]
            size += 1
    return size, state


@numba.njit(inline="always")
def _mean_of_others(words, first, last, place, vectors, context):  # type: ignore[no-untyped-def]
    """Write the mean vector of words `first` to `last` - 1, except `place`, into `context`."""
    context[:] = 0
    for near in range(first, last):
        if near != place:
            for unit in range(len(context)):
                context[unit] += vectors[words[near], unit]
    for unit in range(len(context)):
        context[unit] /= np.float32(last - first - 1)


@numba.njit(inline="always")
def _add_to_others(words, first, last, place, vectors, change):  # type: ignore[no-untyped-def]
    """Add `change` to the vectors of words `first` to `last` - 1, except `place`."""
    for near in range(first, last):
        if near != place:
            for unit in range(len(change)):
                vectors[words[near], unit] += change[unit]


@numba.njit(inline="always")
def _descend(word, truth, step, context, outputs, change):  # type: ignore[no-untyped-def]
    """Make one gradient step on a word's output vector and add the context's gradient step to `change`."""
    score = np.float32(0)
    for unit in range(len(context)):
        score += context[unit] * outputs[word, unit]
    force = step * (truth - np.float32(1.0) / (np.float32(1.0) + np.exp(-score)))
    for unit in range(len(context)):
        change[unit] += force * outputs[word, unit]
    for unit in range(len(context)):
        outputs[word, unit] += force * context[unit]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _learn_rows(corpus, tables, settings, span, state):  # type: ignore[no-untyped-def]
    """Learn from rows `first` to `last` - 1, where `span` is (first, last, total).

    Returns the generator's next state.
    """
    tokens, offsets, shares, draws = corpus
    vectors, outputs = tables
    window, negatives, rate = settings
    first_row, last_row, total = span
    longest = 0
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    words = np.empty(longest, np.uintp)
    context = np.empty(vectors.shape[1], np.float32)
    change = np.empty(vectors.shape[1], np.float32)
    for reading in range(first_row, last_row):
        row = reading % (len(offsets) - 1)
        step = np.float32(rate * (1.0 - reading / total))
        size, state = _subsample(tokens, offsets[row], offsets[row + 1], shares, words, state)
        for place in range(size):
            state = _next(state)
            reach = 1 + np.int64((state >> np.uint64(33)) % np.uint64(window))
            first, last = max(0, place - reach), min(size, place + reach + 1)
            if last - first < 2:
                continue
            _mean_of_others(words, first, last, place, vectors, context)
            change[:] = 0
            _descend(words[place], np.float32(1), step, context, outputs, change)
            for _ in range(negatives):
                state = _next(state)
                word = np.uintp(draws[state >> np.uint64(44)])
                if word != words[place]:
                    _descend(word, np.float32(0), step, context, outputs, change)
            _add_to_others(words, first, last, place, vectors, change)
    return state
