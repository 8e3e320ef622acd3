"""Laws fitted to data drawn from known curves, and to too little data."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiscale.study.analysis.fits import AMDAHL, USL, fit_laws, rate_at, speedup_range

CORES = (1, 2, 4, 8, 16, 32)


def costs(sigma, kappa, cores=CORES, noise=0.0, repeats=5, seed=0):
    random = np.random.default_rng(seed)
    truth = {"lambda": 10.0, "sigma": sigma, "kappa": kappa}
    return {n: list(np.exp(random.normal(0, noise, repeats)) / rate_at(truth, n)) for n in cores}


def fitted(law, data):
    return next(fit for fit in fit_laws(data) if fit.model == law)


@given(st.floats(0, 0.5), st.floats(0, 0.02))
@settings(max_examples=40, deadline=None)
def test_exact_data_give_the_parameters_back(sigma, kappa):
    fit = fitted(USL, costs(sigma, kappa))
    assert fit.parameters["lambda"] == pytest.approx(10, rel=1e-3)
    assert fit.parameters["sigma"] == pytest.approx(sigma, abs=2e-4)
    assert fit.parameters["kappa"] == pytest.approx(kappa, abs=2e-5)
    assert fit.residual < 1e-3


@pytest.mark.parametrize(("sigma", "kappa"), [(0.05, 0.002), (0.2, 0.0005), (0.02, 0.01)])
def test_noisy_data_give_them_back_within_their_intervals(sigma, kappa):
    """Each interval is to hold the truth in 95 % of all data sets; 200 of them tell 95 from 89 %."""
    held = {"sigma": 0, "kappa": 0}
    for seed in range(200):
        fit = fitted(USL, costs(sigma, kappa, noise=0.02, seed=seed))
        for name, truth in (("sigma", sigma), ("kappa", kappa)):
            low, high = fit.intervals[name]
            held[name] += low <= truth <= high
    assert min(held.values()) / 200 >= 0.89, held


def test_intervals_are_not_so_wide_that_they_say_nothing():
    fit = fitted(USL, costs(0.05, 0.002, noise=0.02))
    assert fit.intervals["sigma"][1] - fit.intervals["sigma"][0] < 0.08
    assert fit.intervals["kappa"][1] - fit.intervals["kappa"][0] < 0.002
    low, high = fit.intervals["lambda"]
    assert low < 10 < high


def test_best_number_of_cores_by_hand():
    """sqrt((1 - 0.1) / 0.001) = 30."""
    fit = fitted(USL, costs(0.1, 0.001))
    assert fit.best_workers == pytest.approx(30, rel=1e-3)
    assert fit.trusted_up_to == 64
    assert fit.caveat == ""


def test_amdahl_by_hand():
    """Rates 1 and 4/3 on one and two cores: 1 + sigma = 2 / (4/3), so sigma = 0.5."""
    (fit,) = fit_laws({1: [1.0], 2: [0.75]})
    assert (fit.model, fit.best_workers, fit.trusted_up_to) == (AMDAHL, None, 4)
    assert fit.parameters["sigma"] == pytest.approx(0.5)
    assert fit.intervals == {}, "nothing tells how large the noise is"
    assert "2 numbers of cores" in fit.caveat
    middle, ends = speedup_range(fit, 4, 1)
    assert middle == pytest.approx(4 / (1 + 0.5 * 3))
    assert ends is None


def test_repeats_give_intervals_where_points_do_not():
    (fit,) = fit_laws({1: [1.0, 1.02, 0.98], 2: [0.75, 0.76, 0.74]})
    low, high = fit.intervals["sigma"]
    assert 0.3 < low < 0.5 < high < 0.7
    middle, (least, most) = speedup_range(fit, 4, 1)
    assert least < middle < most


def test_intervals_of_two_points_hold_the_truth_as_often_as_they_say():
    held = 0
    for seed in range(200):
        low, high = fit_laws(costs(0.1, 0, cores=(1, 2), noise=0.01, seed=seed))[0].intervals["sigma"]
        held += low <= 0.1 <= high
    assert held / 200 >= 0.89


def test_too_few_points_are_not_fitted_or_carry_a_caveat():
    assert fit_laws({}) == []
    assert fit_laws({4: [1.0, 1.1]}) == []
    laws = {points: [fit.model for fit in fit_laws(costs(0.1, 0.01, CORES[:points]))] for points in (2, 3, 5)}
    assert laws == {2: [AMDAHL], 3: [AMDAHL, USL], 5: [AMDAHL, USL]}
    assert "at least 5 are needed" in fitted(USL, costs(0.1, 0.01, CORES[:4])).caveat
    assert "passes through every point" in fitted(USL, costs(0.1, 0.01, CORES[:3])).caveat
    assert fitted(USL, costs(0.1, 0.01, CORES[:5])).caveat == ""


def test_more_than_ideal_speedup_leaves_the_shares_at_zero():
    fit = fitted(AMDAHL, {1: [1.0, 1.01], 2: [0.45, 0.46], 4: [0.2, 0.21]})
    assert fit.parameters["sigma"] == 0
    assert fit.intervals["sigma"][0] == 0
    assert math.isfinite(fit.intervals["lambda"][1])


def test_data_that_follow_no_law_are_said_not_to():
    fit = fitted(USL, {1: [1.0], 2: [0.9], 4: [0.2], 8: [0.9], 16: [0.1]})
    assert fit.residual > 0.1
    assert "do not follow it" in fit.caveat


def test_base_above_one_core_makes_the_rate_of_one_a_guess():
    assert "nothing below 8 cores" in fitted(USL, costs(0.1, 0.001, cores=(8, 12, 16, 20, 24))).caveat


@given(st.permutations(CORES), st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_fit_knows_neither_order_nor_unit(order, unit):
    data = costs(0.05, 0.002, noise=0.02)
    expected = fitted(USL, data)
    fit = fitted(USL, {n: [value * unit for value in data[n]] for n in order})
    assert fit.best_workers == pytest.approx(expected.best_workers, rel=1e-4)
    assert fit.parameters["lambda"] == pytest.approx(expected.parameters["lambda"] / unit, rel=1e-4)
