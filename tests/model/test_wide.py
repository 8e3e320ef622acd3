"""The n-gram model: hashed n-grams, their scales, the fitted model, its combination with the network."""

from functools import partial

import numpy as np
import psutil
import pytest
import scipy.sparse

from sentiscale.config import WideSettings
from sentiscale.errors import SentiscaleError
from sentiscale.model import ngrams
from sentiscale.model.metrics import calibration_bins, expected_calibration_error, loss_sum, probabilities
from sentiscale.model.ngrams import Ngrams, count_by_class, scale
from sentiscale.model.softmax_regression import INITIAL_SQUARES, LEARNING_RATE, SoftmaxRegression
from sentiscale.model.wide import LEAST_SCALE, Combination, check_wide_memory, class_ratios, fit_wide
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


@pytest.mark.parametrize("bits", [1, 4, 9, 20])
def test_features_of_a_row_are_its_buckets_sorted_once_each(bits):
    """However few buckets there are: then many n-grams share one, and bucket 0 is among them."""
    random, ngrams = np.random.default_rng(0), Ngrams(bits, 3, 2)
    tokens, offsets = ragged([random.integers(0, 60, size).tolist() for size in (0, 1, 2, 7, 90, 400)])
    matrix = ngrams.matrix(tokens, offsets, np.arange(len(offsets) - 1))
    for row in range(len(offsets) - 1):
        buckets, _ = ngrams.occurrences(tokens[offsets[row] : offsets[row + 1]])
        assert np.array_equal(matrix[row].indices, np.unique(buckets))


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
    scales = class_ratios(rows_with, np.full(2, 0.5))
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


def labelled_rows(classes: int, size: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random rows; a row's label is the last word from 7 to 5 + classes in it, counted from 6; else 0."""
    generator = np.random.default_rng(1)
    rows = [generator.integers(2, 40, 12).tolist() for _ in range(size)]
    labels = [max([word - 6 for word in row if 6 < word < 6 + classes], default=0) for row in rows]
    return *ragged(rows), np.array(labels, np.uint8)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_solution_does_not_depend_on_threads_nor_logits_on_their_neighbours(classes):
    tokens, offsets, labels = labelled_rows(classes)
    one, three = (
        fit_wide(tokens, offsets, labels, SETTINGS, classes=classes, seed=3, threads=n) for n in (1, 3)
    )
    assert np.array_equal(one.weights, three.weights)
    assert one.intercept == three.intercept
    together = one.logits(tokens, offsets)
    assert together.dtype == np.float32
    assert together.shape == ((400,) if classes == 2 else (400, classes))
    for row in range(20):
        alone = one.logits(tokens[offsets[row] : offsets[row + 1]], offsets[row : row + 2] - offsets[row])
        assert np.array_equal(alone[0], together[row])
    assert np.mean(probabilities(together).argmax(axis=1) == labels) > 0.95


@pytest.mark.parametrize("classes", [2, 3])
def test_features_that_do_not_fit_into_memory_give_the_same_solution(monkeypatch, classes):
    rows = labelled_rows(classes)
    settings = SETTINGS.model_copy(update={"passes": 1})
    monkeypatch.setattr("sentiscale.model.wide.CHUNK_ROWS", 64)
    kept = fit_wide(*rows, settings, classes=classes, seed=3, threads=2)
    monkeypatch.setattr(ngrams, "MOST_CACHED", 1000)
    made_again = fit_wide(*rows, SETTINGS, classes=classes, seed=3, threads=2)
    assert np.array_equal(kept.weights, made_again.weights)


@pytest.mark.parametrize("classes", [2, 3])
def test_rows_sorted_by_class_are_no_special_case(classes):
    tokens, offsets, labels = labelled_rows(classes)
    order = np.argsort(labels, kind="stable")
    tokens, offsets = ragged([tokens[offsets[row] : offsets[row + 1]].tolist() for row in order])
    model = fit_wide(tokens, offsets, labels[order], SETTINGS, classes=classes, seed=3, threads=2)
    assert np.mean(probabilities(model.logits(tokens, offsets)).argmax(axis=1) == labels[order]) > 0.95


@pytest.mark.parametrize("classes", [2, 3])
def test_rows_count_by_their_weight(classes):
    """Words say nothing about the labels here, so the logits show the weighted shares of the classes."""
    generator = np.random.default_rng(1)
    labels = (np.arange(3000) % classes).astype(np.uint8)
    tokens, offsets = ragged([generator.integers(2, 4, 2).tolist() for _ in labels])
    settings = SETTINGS.model_copy(update={"alpha": 1e-3, "passes": 5})
    fit = partial(fit_wide, tokens, offsets, labels, settings, classes=classes, seed=3, threads=1)
    weights = np.where(labels == 1, 4.0, 1.0).astype(np.float32)
    plain, ones, weighted = (
        probabilities(fit(row_weights=given).logits(tokens, offsets)).mean(axis=0)
        for given in (None, np.ones(len(labels), np.float32), weights / weights.mean())
    )
    assert np.array_equal(plain, ones)
    assert plain[1] == pytest.approx(1 / classes, abs=0.08)
    assert weighted[1] == pytest.approx(4 / (3 + classes), abs=0.08)


def test_scales_of_more_classes_are_averages_of_each_class_against_the_rest():
    rows_with = np.array([[8, 1], [1, 4], [1, 5]], np.int32)
    shares = np.array([0.5, 0.3, 0.2])
    ratios = [(8 / 9) / (2 / 11), (1 / 5) / (9 / 15), (1 / 6) / (9 / 14)]
    expected = shares @ np.abs(np.log(ratios)) + LEAST_SCALE
    assert class_ratios(rows_with, shares)[0] == pytest.approx(expected)
    # Two classes as if they were of more: the ratio of each against the rest is the same.
    two = np.array([[3.0, 1.0], [1.0, 5.0]])
    assert class_ratios(two, np.full(2, 0.5)) == pytest.approx(
        class_ratios(np.vstack([two, np.full((1, 2), 1e-12)]), np.array([0.5, 0.5, 0]))
    )


def test_steps_of_softmax_regression_are_those_of_adagrad():
    features = np.array([[0.6, 0.8, 0], [0, 0, 1.0], [0.8, 0, 0.6]], np.float32)
    labels, row_weights = np.array([2, 0, 1], np.uint8), np.array([1, 0.5, 1.5], np.float32)
    model = SoftmaxRegression(3, 3, alpha=0.01)
    model.partial_fit(scipy.sparse.csr_matrix(features), labels, row_weights)
    weights, intercept, squares = np.zeros((3, 3)), np.zeros(3), np.full(4, INITIAL_SQUARES)
    for row, label, row_weight in zip(features, labels, row_weights, strict=True):
        errors = row_weight * (probabilities((row @ weights + intercept)[None])[0] - np.eye(3)[label])
        squares += np.append(row, 1) ** 2 * (errors @ errors)
        rates = LEARNING_RATE / np.sqrt(squares)
        weights -= rates[:3, None] * (np.outer(row, errors) + 0.01 * weights * (row > 0)[:, None])
        intercept -= rates[3] * errors
    assert model.weights == pytest.approx(weights, abs=1e-6)
    assert model.intercept == pytest.approx(intercept, abs=1e-6)


def test_a_penalty_of_any_size_only_shrinks_weights():
    features = scipy.sparse.csr_matrix(np.ones((50, 1), np.float32))
    model = SoftmaxRegression(1, 3, alpha=1e6)
    model.partial_fit(features, np.arange(50, dtype=np.uint8) % 3)
    assert np.abs(model.weights).max() < 2 * LEARNING_RATE / INITIAL_SQUARES**0.5


def test_products_of_a_class_are_those_of_its_weights_alone():
    generator = np.random.default_rng(0)
    tokens, offsets, _ = labelled_rows(2, 50)
    scales, weights = generator.random(256, np.float32), generator.normal(size=(256, 5)).astype(np.float32)
    features, rows = Ngrams(8, 3, 2), np.arange(50)
    together = features.products(tokens, offsets, rows, scales, weights)
    for output in range(5):
        alone = np.ascontiguousarray(weights[:, output])
        assert np.array_equal(together[:, output], features.products(tokens, offsets, rows, scales, alone))
    with pytest.raises(ValueError, match="weights must be"):
        features.products(tokens, offsets, rows, scales, weights[:-1])


def test_memory_that_is_not_there_is_said_with_the_buckets_that_fit(monkeypatch):
    assert check_wide_memory(10, 5) == 2**10 * 4 * 5
    available = psutil.virtual_memory()._replace(available=2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    assert check_wide_memory(24, 5) == 2**24 * 20
    with pytest.raises(SentiscaleError, match=r"--set wide\.bits=24"):
        check_wide_memory(25, 5)


def softmax_rows(rows: int, net: list[float], wide: list[float], bias: list[float], seed: int = 0):
    """Logits of two models, and labels drawn from their combination with known numbers."""
    generator = np.random.default_rng(seed)
    parts = generator.normal(0, 1.5, (2, rows, len(net))).astype(np.float32)
    chances = probabilities(Combination(tuple(net), tuple(wide), tuple(bias)).logits(*parts))
    labels = (generator.random((rows, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, len(net) - 1)
    return *parts, labels.astype(np.uint8)


@pytest.mark.parametrize("classes", [3, 5])
def test_the_combination_of_more_classes_recovers_known_numbers_and_is_calibrated(classes):
    net, wide = np.linspace(0.4, 1.2, classes).tolist(), np.linspace(0.9, 0.3, classes).tolist()
    bias = (np.linspace(-1, 1, classes) ** 2 - 0.5).tolist()
    rows = softmax_rows(20_000, net, wide, bias)
    fitted = Combination.fit(*rows)
    assert fitted == Combination.fit(*rows)
    assert fitted.net == pytest.approx(net, abs=0.06)
    assert fitted.wide == pytest.approx(wide, abs=0.06)
    assert np.subtract(fitted.bias, fitted.bias[0]) == pytest.approx(np.subtract(bias, bias[0]), abs=0.1)
    first, second, labels = softmax_rows(20_000, net, wide, bias, seed=1)
    for held_out in (first, 5 * first + 2):
        part = Combination.fit(5 * rows[0] + 2, rows[1], rows[2]) if held_out is not first else fitted
        bins = calibration_bins(probabilities(part.logits(held_out, second)), labels)
        assert expected_calibration_error(bins) <= 0.02


def test_few_rows_of_many_classes_do_not_overfit_the_combination():
    numbers = [1.0] * 50, [0.5] * 50, [0.0] * 50
    first, second, labels = softmax_rows(150, *numbers)
    labels[labels >= 45] = 3  # five classes do not occur
    fitted = Combination.fit(first, second, labels)
    assert np.abs(fitted.bias).max() < 3
    *held_out, truth = softmax_rows(5000, *numbers, seed=1)
    best = loss_sum(Combination(*map(tuple, numbers)).logits(*held_out), truth)
    assert loss_sum(fitted.logits(*held_out), truth) < 1.15 * best
    alone = Combination.fit(first, None, labels)
    assert alone.wide == (0.0,) * 50
    assert alone.logits(first, None).shape == (150, 50)


def test_with_one_class_only_the_network_is_used_alone():
    logits = np.zeros((4, 3), np.float32)
    fitted = Combination.fit(logits, logits, np.ones(4, np.uint8))
    assert fitted == Combination((1.0,) * 3, (0.0,) * 3, (0.0,) * 3)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_weight_in_the_combination_is_a_number_of_copies(classes):
    generator = np.random.default_rng(2)
    shape = (60,) if classes == 2 else (60, classes)
    net, wide = (generator.normal(size=shape).astype(np.float32) for _ in range(2))
    labels = generator.integers(0, classes, 60).astype(np.uint8)
    copies = generator.integers(0, 3, 60)
    weighted = Combination.fit(net, wide, labels, copies.astype(np.float32))
    repeated = Combination.fit(*(np.repeat(values, copies, axis=0) for values in (net, wide, labels)))
    plain = Combination.fit(net, wide, labels)
    for name, found in vars(weighted).items():
        expected, other = getattr(repeated, name), getattr(plain, name)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert np.abs(np.subtract(found, other)).max() > 0.01


@pytest.mark.parametrize("classes", [2, 3])
def test_a_fit_ends_early_when_its_time_is_spent(monkeypatch, classes):
    rows = labelled_rows(classes)
    monkeypatch.setattr("sentiscale.model.wide.CHUNK_ROWS", 64)
    whole = fit_wide(*rows, SETTINGS, classes=classes, seed=3, threads=2)
    assert (whole.rows, whole.passes) == (0, 0)

    def cut(*shares: float):
        left = iter(shares)
        fit = partial(fit_wide, *rows, SETTINGS, classes=classes, seed=3, threads=2)
        model = fit(spent=lambda: next(left))
        assert next(left, None) is None, "time was left"
        return model

    # Two chunks are counted; all rows of both are read once, then those of one again.
    model = cut(0.1, 0.4, 0.5, 0.9, 1.0)
    assert (model.rows, model.passes) == (128, 1.5)
    assert np.array_equal(model.weights, cut(0.2, 0.5, 0.6, 0.7, 1.2).weights)
    assert np.mean(probabilities(model.logits(*rows[:2])).argmax(axis=1) == rows[2]) > 0.5
    assert (cut(5.0, 6.0).rows, cut(5.0, 6.0).passes) == (64, 1.0)
