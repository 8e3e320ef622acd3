"""How sure a median, or a ratio of two medians, is: 95 % intervals from a handful of repeats.

The bootstrap of Efron (1979): repeats are drawn again with replacement, and the middle 95 % of the medians
so found make the interval. It asks for no normal distribution, which times of runs do not have, and it works
for ratios as well. For the median alone of 5 repeats it is the range from the fastest to the slowest, the
same as the interval from order statistics that Hoefler & Belli (2015, "Scientific benchmarking of parallel
computing systems", rule 7) ask for; n repeats enclose the true median with probability 1 - 2^(1-n): 94 % for
5, 88 % for 4, 75 % for 3, 50 % for 2. So with fewer than 5 an interval is the range of what was seen and no
more (`coverage`); with one repeat there is none.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sentiscale.analysis.study import Interval

RESAMPLES = 4000
SEED = 20150615
"""Fixed, so that the same records always make the same report."""
ENOUGH_REPEATS = 5
TAILS = (0.025, 0.975)


def median_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % interval of the median of `values`; None for fewer than two."""
    if len(values) < 2:
        return None
    return _middle(_medians(values, np.random.default_rng(SEED)))


def ratio_interval(above: Sequence[float], below: Sequence[float]) -> Interval | None:
    """The 95 % interval of median(above) / median(below); None where one of them has a single value.

    Both are drawn independently of each other: runs of one round share the mood of the machine, and
    neglecting this makes intervals wider, never narrower.
    """
    if min(len(above), len(below)) < 2:
        return None
    random = np.random.default_rng(SEED)
    return _middle(_medians(above, random) / _medians(below, random))


def coverage(repeats: int) -> float:
    """How probable it is that the range of so many runs encloses the true median."""
    return 1.0 - 2.0 ** (1 - repeats)


def _medians(values: Sequence[float], random: np.random.Generator) -> NDArray[np.float64]:
    """Medians of samples drawn from `values`; sorted first, so that the order of runs does not matter."""
    sample = np.sort(np.asarray(values, dtype=np.float64))
    drawn = random.integers(0, len(sample), (RESAMPLES, len(sample)))
    medians: NDArray[np.float64] = np.median(sample[drawn], axis=1)
    return medians


def _middle(found: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(found, TAILS, method="inverted_cdf")  # a value that occurred, none between
    return float(low), float(high)
