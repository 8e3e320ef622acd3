"""First word vectors: what they put together, and that they depend on nothing but words and seed."""

import numpy as np
import pytest

from sentiscale.config import VectorSettings
from sentiscale.model.word_vectors import (
    DRAWS,
    STD,
    count_words,
    keep_probabilities,
    learn_vectors,
    negative_table,
    rows_to_read,
)
from sentiscale.text.vocab import PAD, UNK

VOCAB = 42
TOPICS = np.arange(2, 22), np.arange(22, 42)
"""Two groups of words; a row has words of one group only."""


def corpus(rows: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    tokens = np.concatenate([generator.choice(TOPICS[row % 2], 10) for row in range(rows)]).astype(np.uint16)
    return tokens, np.arange(0, 10 * rows + 1, 10)


def learn(
    tokens: np.ndarray, offsets: np.ndarray, shape: tuple[int, int] = (VOCAB, 15), **kwargs
) -> np.ndarray:
    return learn_vectors(tokens, offsets, shape, VectorSettings(rate=0.2), **{"seed": 1, **kwargs})


def test_words_are_counted_in_parts(monkeypatch):
    tokens = corpus()[0]
    monkeypatch.setattr("sentiscale.model.word_vectors.TOKENS_AT_ONCE", 1000)
    assert np.array_equal(count_words(tokens, VOCAB + 3), np.bincount(tokens, minlength=VOCAB + 3))
    assert count_words(tokens[:0], VOCAB).tolist() == [0] * VOCAB
    with pytest.raises(ValueError, match="from 0 to 39; got 41"):
        count_words(tokens, VOCAB - 2)


def test_words_with_the_same_neighbours_get_similar_vectors():
    vectors = learn(*corpus())
    unit = vectors[2:] / np.linalg.norm(vectors[2:], axis=1, keepdims=True)
    likeness = unit @ unit.T
    within = (likeness[:20, :20].mean() + likeness[20:, 20:].mean()) / 2
    assert within > 0.5 > 0 > likeness[:20, 20:].mean()


def test_the_same_seed_gives_the_same_vectors_on_any_number_of_threads_and_another_gives_others():
    one, three, again = (learn(*corpus(200), threads=threads) for threads in (1, 3, 1))
    assert np.array_equal(one, three)
    assert np.array_equal(one, again)
    assert not np.allclose(one, learn(*corpus(200), seed=2))


def test_they_have_the_spread_of_random_ones_and_padding_is_zero():
    vectors = learn(*corpus(500), shape=(100, 15))
    assert vectors.shape == (100, 15)
    assert vectors.dtype == np.float32
    assert not vectors[PAD].any()
    assert vectors[2:VOCAB].std() == pytest.approx(STD, rel=0.05)
    assert vectors[VOCAB:].std() == pytest.approx(STD, rel=0.1)  # words that do not occur


@pytest.mark.parametrize("rows", [[], [[]], [[UNK, UNK]], [[5]], [[], [3, 4], []]])
@pytest.mark.parametrize("width", [1, 2])
def test_next_to_no_words_are_no_special_case(rows, width):
    tokens = np.array([token for row in rows for token in row], np.uint16)
    offsets = np.cumsum([0, *map(len, rows)])
    assert np.isfinite(learn(tokens, offsets, shape=(VOCAB, width))).all()


def test_progress_adds_up_to_the_rows_of_all_passes():
    tokens, offsets = corpus(500)
    told = []
    learn(tokens, offsets, keep_going=lambda rows: told.append(rows) is None)
    assert sum(told) == rows_to_read(500, len(tokens), VectorSettings()) == 1000


def test_large_collections_are_not_gone_through_twice():
    assert rows_to_read(1_000_000, 90_000_000, VectorSettings(most_tokens=45_000_000)) == 500_000


def test_frequent_words_are_thinned_out_and_unknown_ones_left_out():
    shares = keep_probabilities(np.array([0, 0, 1_000_000, 10]))
    assert shares[:2].tolist() == [0, 0]
    assert shares[2] < 0.02
    assert shares[3] == 1


def test_random_words_are_drawn_by_the_root_of_their_count():
    table = negative_table(np.array([0, 0, 100, 400, 0, 900]))
    assert (np.bincount(table, minlength=6) / DRAWS).tolist() == pytest.approx(
        [0, 0, 1 / 6, 2 / 6, 0, 3 / 6], abs=1e-5
    )


def test_learning_ends_early_when_told_to():
    tokens, offsets = corpus(5000)
    told: list[float] = []
    vectors = learn(tokens, offsets, keep_going=lambda rows: told.append(rows) is not None)
    assert sum(told) == 4096  # a report of each half
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("seed", range(4))
def test_rows_between_two_reports_do_not_change_the_vectors(seed, monkeypatch):
    whole = learn(*corpus(200), seed=seed)
    monkeypatch.setattr("sentiscale.model.word_vectors.ROWS_AT_ONCE", 16)
    assert np.array_equal(whole, learn(*corpus(200), seed=seed))
