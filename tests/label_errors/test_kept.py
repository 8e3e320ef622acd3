"""The rows that are kept are the best of all, however they come; lots are fair and always the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.label_errors.facts import Mistake, TopMistakes, random_keys
from tests.label_errors.made_rows import mistake

KEYS = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 0.5, 1.0, 2.0, 3.5, float("1e-300")]), max_size=60)


def row(number: int) -> Mistake:
    return mistake(number=number)


@given(KEYS, st.integers(1, 10), st.integers(1, 7))
def test_the_largest_keys_are_kept_and_of_equals_the_first(keys, most, at_once):
    best = TopMistakes(most)
    made = []
    for first in range(0, len(keys), at_once):

        def make(place: int, first: int = first) -> Mistake:
            made.append(first + place)
            return row(first + place)

        best.offer(np.array(keys[first : first + at_once]), make)
    expected = sorted((n for n, key in enumerate(keys) if key > 0), key=lambda n: (-keys[n], n))[:most]
    assert [kept.number for kept in best.rows] == expected
    assert len(made) == len(set(made)), "a row is made once at most"


def test_few_rows_are_made_of_many():
    """Texts are copied for what may be kept only: of rows in random order, few of each block."""
    best, made = TopMistakes(10), []
    keys = np.random.default_rng(0).random(100_000)
    for first in range(0, len(keys), 1000):
        best.offer(keys[first : first + 1000], lambda place: made.append(place) or row(place))
    assert len(made) < 500


@given(st.integers(0, 10**9), st.integers(0, 50), st.integers(0, 50))
def test_lots_belong_to_rows(first, before, rows):
    all_at_once = random_keys(first, before + rows)
    assert np.array_equal(all_at_once[before:], random_keys(first + before, rows))
    assert ((all_at_once > 0) & (all_at_once <= 1)).all()


def test_lots_are_fair():
    """Mean and tenths of 100,000 lots are those of equal chances, within five standard errors."""
    drawn = random_keys(0, 100_000)
    assert abs(drawn.mean() - 0.5) < 5 * np.sqrt(1 / 12 / len(drawn))
    tenths = np.histogram(drawn, 10, (0, 1))[0]
    assert np.abs(tenths - 10_000).max() < 5 * np.sqrt(9_000)


def test_margin_and_probability():
    """Log-odds of ln 3 are a probability of 3/4, and 3/4 less 1/4 is a half."""
    kept = mistake([float(np.log(3))], label=0)
    assert np.isclose(kept.probability, 0.75)
    assert np.isclose(kept.margin, 0.5)
    of_three = mistake(np.log([0.1, 0.3, 0.6]).tolist(), label=2)
    assert (of_three.other, of_three.predicted) == (1, 2)
    assert np.isclose(of_three.probability, 0.3)
    assert np.isclose(of_three.margin, -0.3)
