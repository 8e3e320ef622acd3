"""The peers themselves: real libraries on small data."""

import numpy as np
import pytest

from sentiscale.study.compare.contestants import CONTESTANTS, FASTTEXT
from sentiscale.study.compare.peers import linear
from sentiscale.study.compare.peers.fasttext import logits_of
from sentiscale.study.compare.peers.torch_lstm import left_padded, time_classic, train_packed

TINY = {"embedding_dim": 8, "hidden_dim": 8, "batch_size": 64, "max_tokens": 24, "lr": 0.01, "epochs": 1}


@pytest.fixture
def fasttext():
    pytest.importorskip("fasttext", reason="needs fastText, the extra `compare`")
    from sentiscale.study.compare.peers import fasttext

    return fasttext


def assert_learned(outcome, rows):
    assert outcome.test["rows"] == rows["test"]
    assert outcome.valid["rows"] == rows["valid"]
    assert min(outcome.test["accuracy"], outcome.valid["accuracy"]) > 0.6
    assert outcome.train_seconds > 0
    assert outcome.cpu_seconds > 0


def test_tfidf_learns_and_repeats_itself(train, dataset):
    recipe = dict(CONTESTANTS["tfidf-lr"].recipe)
    first, again = train(linear.train, recipe), train(linear.train, recipe)
    assert_learned(first, dataset.manifest.rows)
    assert first.test == again.test


def test_fasttext_learns(train, dataset, fasttext):
    outcome = train(fasttext.train, {**FASTTEXT, "wordNgrams": 2, "bucket": 10_000, "epoch": 25})
    assert_learned(outcome, dataset.manifest.rows)
    assert outcome.rows_per_s > 0


def test_fasttext_starts_from_zeros_whatever_lay_in_memory(train, fasttext):
    """Its small weights are taken from freed memory; without the remedy this ends in "Encountered NaN"."""
    used = [bytearray(b"\xff") * size for size in range(10_000, 110_000, 1000)]
    del used
    outcome = train(fasttext.train, {**FASTTEXT, "wordNgrams": 1, "epoch": 5})
    assert np.isfinite(outcome.test["loss"])


def test_row_without_a_known_word_is_undecided(fasttext):
    rows = [], ["__label__2", "__label__1"], ["__label__3", "__label__1"]
    chances = fasttext.probabilities(rows, [[], [0.75, 0.25], [0.6, 0.4]], 3)
    np.testing.assert_allclose(chances, [[1 / 3] * 3, [0.25, 0.75, 0.0], [0.4, 0.0, 0.6]])


def test_packed_lstm_trains_and_is_validated_on_the_way(train, dataset):
    outcome = train(train_packed, TINY)
    halves = [point.seconds for point in outcome.curve]
    assert len(halves) >= 2
    assert halves == sorted(halves)
    assert halves[-1] == outcome.train_seconds
    assert outcome.valid["accuracy"] == outcome.curve[-1].valid_accuracy
    assert outcome.test["rows"] == dataset.manifest.rows["test"]


def test_packed_lstm_stops_at_the_time_limit(train):
    outcome = train(train_packed, {**TINY, "epochs": 10_000}, time_limit=0.05)
    assert 0.05 <= outcome.train_seconds < 2


def test_steps_are_timed_without_an_accuracy(train, dataset):
    outcome = train(train_packed, {**TINY, "epochs": 2}, steps=3)
    assert outcome.test is None
    assert outcome.train_seconds is None
    epochs_of_rows = 2 * dataset.manifest.rows["train"]
    assert outcome.projected_seconds == pytest.approx(epochs_of_rows / outcome.rows_per_s, rel=0.01, abs=0.1)


def test_classic_recipe_is_timed_and_projected_never_scored(train):
    recipe = {**TINY, "layers": 2, "warm_up": 1, "steps": 2, "epochs": 3}
    outcome = train(time_classic, recipe)
    assert outcome.test is None
    assert outcome.projected_seconds > 0


def test_left_padding_keeps_the_first_words_at_the_right_end(dataset):
    split = dataset.split("valid")
    shortest, longest = np.argmin(split.lengths), np.argmax(split.lengths)
    width = int(split.lengths[shortest]) + 2
    ids_BT = left_padded(split, np.array([shortest, longest]), width)
    for row, ids_T in zip((shortest, longest), ids_BT, strict=True):
        tokens = split.tokens[split.offsets[row] : split.offsets[row + 1]][:width]
        assert ids_T.tolist() == [0] * (width - len(tokens)) + tokens.tolist()


def test_certain_probabilities_have_finite_logits():
    logits = logits_of(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))
    assert np.isfinite(logits).all()
    assert logits[0] < logits[1] == 0 < logits[2]


def test_peers_learn_five_classes_from_stars(five_stars, train, fasttext):
    tfidf = {"ngrams": 2, "min_df": 2, "C": 0.1, "passes": 500, "tol": 1e-3}
    bigrams = {**FASTTEXT, "wordNgrams": 2, "bucket": 10_000, "epoch": 25}
    guess = max(five_stars.manifest.labels_per_split["test"].values()) / five_stars.manifest.rows["test"]
    for trainer, recipe in ((linear.train, tfidf), (fasttext.train, bigrams)):
        outcome = train(trainer, recipe, data=five_stars.path)
        assert outcome.test["accuracy"] > guess + 0.05
        assert 0 < outcome.test["mae"] < 2
    packed = train(train_packed, TINY, data=five_stars.path)
    assert np.shape(packed.test["confusion"]) == (5, 5)
