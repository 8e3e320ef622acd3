"""Intervals of proportions, such as the accuracy on some rows."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
"""Standard normal quantile of a 95 % interval."""


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of `successes / trials`; (0, 1) without trials.

    Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 22, 1927). Unlike the
    normal approximation, it stays within 0 and 1 and is valid for few trials and for proportions near 0 or 1.
    """
    if trials == 0:
        return 0.0, 1.0
    share, square = successes / trials, Z_95**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = Z_95 * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2)) / (1 + square / trials)
    # Exact ends, because rounding would leave a share of 0 or 1 outside by 1e-18.
    return 0.0 if successes == 0 else middle - half, 1.0 if successes == trials else middle + half


def wilson_lower(successes: NDArray[Any], trials: NDArray[Any], errors: float) -> NDArray[np.float64]:
    """Lower ends of the score intervals that reach `errors` standard errors; all trials are positive."""
    shares, square = successes / trials, errors**2 / trials
    half = errors * np.sqrt(shares * (1 - shares) / trials + square / trials / 4)
    lower: NDArray[np.float64] = (shares + square / 2 - half) / (1 + square)
    return lower
