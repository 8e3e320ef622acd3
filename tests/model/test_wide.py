"""The wide part: hashed n-grams, their scales, the solved linear model."""

import numpy as np
import pytest

from sentiscale.config import WideSettings
from sentiscale.model import ngrams
from sentiscale.model.ngrams import Ngrams, count_by_class, scale
from sentiscale.model.wide import LEAST_SCALE, class_ratios, fit_wide
from sentiscale.text.vocab import UNK

SETTINGS = WideSettings(bits=12, passes=20, alpha=1e-4)


def ragged(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.array([token for row in rows for token in row], np.uint32)
    return tokens, np.cumsum([0, *map(len, rows)]).astype(np.int64)


def ngram_matrix(rows: list[list[int]], bits: int = 20, longest: int = 2, gaps: int = 0):
    return Ngrams(bits, longest, gaps).matrix(*ragged(rows), np.arange(len(rows)))


def test_repeated_ngrams_count_once_and_pairs_are_features_of_their_own():
    matrix = ngram_matrix([[5, 5, 5]])
    assert matrix.data.tolist() == [1, 1]


def test_pairs_do_not_cross_rows_nor_unknown_words():
    alone = ngram_matrix([[5], [6]])
    assert alone.nnz == 2
    assert ngram_matrix([[5, UNK, 6]]).nnz == 2
    assert ngram_matrix([[5, 6]]).nnz == 3


def test_order_makes_other_pairs():
    matrix = ngram_matrix([[5, 6], [6, 5]])
    assert (matrix[0] != matrix[1]).nnz == 2


def test_pairs_with_words_between_are_features_that_know_their_order_but_not_their_distance():
    assert ngram_matrix([[5, 6, 7]], longest=1, gaps=1).nnz == 4
    assert ngram_matrix([[5, 6, 7, 8]], longest=1, gaps=2).nnz == 4 + 3
    near, far = (ngram_matrix([row], longest=1, gaps=2) for row in ([5, UNK, 7], [5, UNK, UNK, 7]))
    assert (near != far).nnz == 0
    assert (near != ngram_matrix([[7, UNK, 5]], longest=1, gaps=2)).nnz == 2
    assert near.nnz == ngram_matrix([[5, 7]], longest=2).nnz == 3
    assert (near != ngram_matrix([[5, 7]], longest=2)).nnz == 2


def test_scales_are_naive_bayes_log_count_ratios_and_rows_have_length_1():
    """Three buckets by hand: word 5 in both negative rows, 6 in one row of each class, 7 in both positive."""
    rows, labels = [[5, 6], [5], [7, 6], [7]], np.array([0, 0, 1, 1], np.uint8)
    matrix = ngram_matrix(rows, bits=8, longest=1)
    rows_with = np.ones((2, 256))
    count_by_class(matrix, labels, rows_with)
    scales = class_ratios(rows_with)
    bucket_of = {word: ngram_matrix([[word]], bits=8, longest=1).indices[0] for word in (5, 6, 7)}
    assert len(set(bucket_of.values())) == 3
    in_class = 256 + 3  # one is added to every bucket
    of_five = np.log((3 / in_class) / (1 / in_class)) + LEAST_SCALE
    assert scales[bucket_of[5]] == pytest.approx(of_five)
    assert scales[bucket_of[7]] == pytest.approx(of_five)
    assert scales[bucket_of[6]] == pytest.approx(LEAST_SCALE)
    scale(matrix, scales)
    length = np.hypot(of_five, LEAST_SCALE)
    assert matrix[0, bucket_of[5]] == pytest.approx(of_five / length)
    assert matrix[0, bucket_of[6]] == pytest.approx(LEAST_SCALE / length)
    assert matrix[1, bucket_of[5]] == 1


def test_rows_without_features_and_empty_rows_get_the_intercept():
    tokens, offsets = ragged([[2, 3], [4, 5], [2, 3], [4, 5]])
    model = fit_wide(tokens, offsets, np.array([1, 0, 1, 0], np.uint8), SETTINGS, seed=0, threads=1)
    logits = model.logits(*ragged([[], [UNK, UNK], [2, 3]]))
    assert logits[:2].tolist() == pytest.approx([model.intercept] * 2)
    assert logits[2] > 0


def test_the_solution_does_not_depend_on_threads_nor_logits_on_their_neighbours():
    generator = np.random.default_rng(1)
    rows = [generator.integers(2, 40, 12).tolist() for _ in range(400)]
    labels = np.array([row.count(7) > 0 for row in rows], np.uint8)
    tokens, offsets = ragged(rows)
    one, three = (fit_wide(tokens, offsets, labels, SETTINGS, seed=3, threads=n) for n in (1, 3))
    assert np.array_equal(one.weights, three.weights)
    together = one.logits(tokens, offsets)
    alone = [float(one.logits(*ragged([row]))[0]) for row in rows[:20]]
    assert together[:20].tolist() == pytest.approx(alone, abs=1e-5)
    assert np.mean((together > 0) == labels) > 0.95


def test_features_that_do_not_fit_into_memory_give_the_same_solution(monkeypatch):
    generator = np.random.default_rng(1)
    rows = [generator.integers(2, 40, 12).tolist() for _ in range(400)]
    labels = np.array([row.count(7) > 0 for row in rows], np.uint8)
    settings = SETTINGS.model_copy(update={"passes": 1})
    monkeypatch.setattr("sentiscale.model.wide.CHUNK_ROWS", 64)
    kept = fit_wide(*ragged(rows), labels, settings, seed=3, threads=2)
    monkeypatch.setattr(ngrams, "MOST_CACHED", 1000)
    made_again = fit_wide(*ragged(rows), labels, SETTINGS, seed=3, threads=2)
    assert np.array_equal(kept.weights, made_again.weights)


def test_rows_sorted_by_class_are_no_special_case():
    generator = np.random.default_rng(1)
    rows = [generator.integers(2, 40, 12).tolist() for _ in range(400)]
    labels = np.array([row.count(7) > 0 for row in rows], np.uint8)
    order = np.argsort(labels, kind="stable")
    tokens, offsets = ragged([rows[row] for row in order])
    model = fit_wide(tokens, offsets, labels[order], SETTINGS, seed=3, threads=2)
    assert np.mean((model.logits(tokens, offsets) > 0) == labels[order]) > 0.95
