"""How sure a share is that was counted: the interval of Wilson (1927)."""

import math

Z_95 = 1.959963984540054
"""The standard normal distribution's 97.5 % point."""


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of `successes / trials`; (0, 1) without trials.

    "Probable inference, the law of succession, and statistical inference" (JASA 22). Unlike the textbook
    interval it stays within 0 and 1 and holds for few trials and for shares near the ends.
    """
    if trials == 0:
        return 0.0, 1.0
    share, square = successes / trials, Z_95**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = Z_95 * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2)) / (1 + square / trials)
    return max(0.0, middle - half), min(1.0, middle + half)
