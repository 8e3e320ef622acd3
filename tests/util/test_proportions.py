"""Wilson's interval against scipy's, at the ends, and by how often it holds the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sentiscale.util.proportions import wilson


@given(trials=st.integers(1, 10**6), share=st.floats(0, 1))
def test_it_is_the_interval_that_scipy_gives(trials, share):
    successes = round(share * trials)
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_none_and_all_and_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(0, 20)
    assert low == 0.0
    assert 0.1 < high < 0.2
    assert wilson(20, 20) == pytest.approx((1 - high, 1.0))


@pytest.mark.parametrize("truth", [0.5, 0.94])
def test_it_holds_the_truth_about_as_often_as_it_says(truth):
    hits = np.random.default_rng(1).binomial(200, truth, 2000)
    held = [low <= truth <= high for low, high in (wilson(int(found), 200) for found in hits)]
    assert 0.93 < np.mean(held) < 0.97
