"""Intervals of medians and ratios: what they enclose, and when there is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiscale.study.analysis.intervals import coverage, median_interval, ratio_interval

TIMES = st.lists(st.floats(0.1, 1e4), min_size=2, max_size=9)


def test_one_repeat_has_no_interval():
    assert median_interval([3.0]) is None
    assert ratio_interval([3.0], [1.0, 2.0, 3.0]) is None
    assert ratio_interval([1.0, 2.0, 3.0], [3.0]) is None


def test_five_repeats_give_their_range():
    """The range of 5 holds the true median in 94 % of all cases, nearly the 95 % that are meant."""
    assert median_interval([5.0, 1.0, 4.0, 2.0, 3.0]) == (1.0, 5.0)


def test_extremes_are_left_out_from_nine_repeats_on():
    """One run or none of 9 below the median: 10 in 512, 2 %. Of 8: 9 in 256, 3.5 %, more than 2.5."""
    assert median_interval([float(value) for value in range(8)]) == (0.0, 7.0)
    assert median_interval([float(value) for value in range(9)]) == (1.0, 7.0)


def test_many_repeats_give_less_than_their_range():
    low, high = median_interval([float(value) for value in range(100)])
    assert 35 < low < 49.5 < high < 64


def test_range_of_few_runs_holds_the_median_less_often_than_it_looks():
    """Each run is below the median as often as above: 2 of 2^n outcomes have all on one side."""
    assert [coverage(repeats) for repeats in (2, 3, 5)] == [0.5, 0.75, 0.9375]


@pytest.mark.parametrize("repeats", [5, 7])
def test_intervals_hold_the_truth_about_as_often_as_they_say(repeats):
    random = np.random.default_rng(3)
    medians = ratios = 0
    for _ in range(200):
        above, below = np.exp(random.normal(0, 0.05, (2, repeats)))
        low, high = median_interval(above)
        medians += low <= 1 <= high
        low, high = ratio_interval(above, below)
        ratios += low <= 1 <= high
    assert medians / 200 > 0.90
    assert ratios / 200 > 0.90


@given(TIMES, TIMES, st.floats(1e-3, 1e3))
def test_ratio_knows_neither_unit_nor_order(above, below, unit):
    expected = ratio_interval(above, below)
    assert ratio_interval(above[::-1], below[::-1]) == expected
    scaled = ratio_interval([value * unit for value in above], [value * unit for value in below])
    assert scaled == pytest.approx(expected, rel=1e-9)


@given(TIMES)
def test_interval_encloses_the_median_and_stays_within_the_runs(values):
    low, high = median_interval(values)
    assert min(values) <= low <= np.median(values) <= high <= max(values)
