"""The wide part: hashed n-grams, TF-IDF, the solved linear model."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer

from sentiscale.config import WideSettings
from sentiscale.text.vocab import UNK
from sentiscale.wide import ngram_matrix, solve, weigh

SETTINGS = WideSettings(bits=12, passes=20, alpha=1e-4)


def ragged(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.array([token for row in rows for token in row], np.uint32)
    return tokens, np.cumsum([0, *map(len, rows)]).astype(np.int64)


def test_counts_are_sublinear_and_pairs_are_features_of_their_own():
    matrix = ngram_matrix(*ragged([[5, 5, 5]]), bits=20, longest=2)
    twice_the_pair, thrice_the_word = 1 + np.log(2), 1 + np.log(3)
    assert sorted(matrix.data.tolist()) == pytest.approx([twice_the_pair, thrice_the_word])


def test_pairs_do_not_cross_rows_nor_unknown_words():
    alone = ngram_matrix(*ragged([[5], [6]]), bits=20, longest=2)
    assert alone.nnz == 2
    assert ngram_matrix(*ragged([[5, UNK, 6]]), bits=20, longest=2).nnz == 2
    assert ngram_matrix(*ragged([[5, 6]]), bits=20, longest=2).nnz == 3


def test_order_makes_other_pairs():
    matrix = ngram_matrix(*ragged([[5, 6], [6, 5]]), bits=20, longest=2)
    assert (matrix[0] != matrix[1]).nnz == 2


def test_weights_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    rows = [generator.integers(2, 30, generator.integers(1, 40)).tolist() for _ in range(50)]
    tokens, offsets = ragged(rows)
    ours = ngram_matrix(tokens, offsets, bits=16, longest=2)
    raw = ours.copy()
    raw.data = np.round(np.exp(raw.data - 1)).astype(np.float64)
    expected = TfidfTransformer(sublinear_tf=True).fit_transform(raw)
    documents = np.bincount(ours.indices, minlength=2**16)
    weigh(ours, (np.log((1 + 50) / (1 + documents)) + 1).astype(np.float32))
    assert abs(ours - expected).max() < 1e-6


def test_rows_without_features_and_empty_rows_get_the_intercept():
    tokens, offsets = ragged([[2, 3], [4, 5], [2, 3], [4, 5]])
    model = solve(tokens, offsets, np.array([1, 0, 1, 0], np.uint8), SETTINGS, seed=0, threads=1)
    logits = model.logits(*ragged([[], [UNK, UNK], [2, 3]]))
    assert logits[:2].tolist() == pytest.approx([model.intercept] * 2)
    assert logits[2] > 0


def test_the_solution_does_not_depend_on_threads_nor_logits_on_their_neighbours():
    generator = np.random.default_rng(1)
    rows = [generator.integers(2, 40, 12).tolist() for _ in range(400)]
    labels = np.array([row.count(7) > 0 for row in rows], np.uint8)
    tokens, offsets = ragged(rows)
    one, three = (solve(tokens, offsets, labels, SETTINGS, seed=3, threads=n) for n in (1, 3))
    assert np.array_equal(one.weights, three.weights)
    together = one.logits(tokens, offsets)
    alone = [float(one.logits(*ragged([row]))[0]) for row in rows[:20]]
    assert together[:20].tolist() == pytest.approx(alone, abs=1e-5)
    assert np.mean((together > 0) == labels) > 0.95
