"""Laws of scaling fitted to measured rates: Amdahl's (1967) and Gunther's universal scalability law (1993).

Both are ``X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))``: the rate of N cores, from the rate
`lambda` of one, the share `sigma` of work that queues up for something shared, and the cost `kappa` of every
core coming to terms with every other. Amdahl's law has no kappa and therefore no maximum.

The fit takes the logarithm of the median rate at each number of cores, so that a deviation of 5 % counts the
same everywhere, and keeps sigma and kappa at 0 or above. Its 95 % intervals are those of linearised least
squares with Student's t; the noise of a median is judged by how far the medians lie from the law where there
are more counts than parameters (this includes that the law may be wrong), and else by the spread of repeats.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from sentiscale.study.analysis.study import Fit, Interval

AMDAHL, USL = "amdahl", "usl"
LAW_NAMES = {AMDAHL: "Fit of Amdahl's law", USL: "Fit of the universal scalability law"}
ENOUGH_POINTS = {AMDAHL: 3, USL: 5}
"""Numbers of cores below which a fit carries a caveat; USL: Gunther's own advice."""
LARGE_RESIDUAL = 0.1
STRETCH = 2
"""A law is not to be trusted beyond so many times the largest number of cores measured."""

LARGEST_EXPONENT = 700.0

Floats = NDArray[np.float64]


def fit_laws(costs: Mapping[int, Sequence[float]]) -> list[Fit]:
    """Fit what can be fitted: Amdahl's law from two numbers of cores on, the USL from three.

    Args:
        costs: by number of cores, seconds (of the whole, or of a row) of each repeat.
    """
    laws = [AMDAHL] * (len(costs) >= 2) + [USL] * (len(costs) >= 3)
    return [_fit(law, costs) for law in laws]


def rate_at(parameters: Mapping[str, float], cores: float) -> float:
    """The rate that a law gives for so many cores; parameters as in `Fit`."""
    sigma, kappa = parameters["sigma"], parameters.get("kappa", 0.0)
    return parameters["lambda"] * cores / (1 + sigma * (cores - 1) + kappa * cores * (cores - 1))


def speedup_range(fit: Fit, cores: int, base: int) -> tuple[float, Interval | None]:
    """Speedup of `cores` over `base` cores by the law, and its range over the intervals of the parameters."""
    names = [name for name in ("sigma", "kappa") if name in fit.parameters]
    middle = _speedup({name: fit.parameters[name] for name in names}, cores, base)
    if not fit.intervals:
        return middle, None
    ends = [_speedup({name: fit.intervals[name][end] for name in names}, cores, base) for end in (1, 0)]
    return middle, (min(ends), max(ends))


def _speedup(shares: Mapping[str, float], cores: int, base: int) -> float:
    return rate_at({"lambda": 1.0, **shares}, cores) / rate_at({"lambda": 1.0, **shares}, base)


def _fit(law: str, costs: Mapping[int, Sequence[float]]) -> Fit:
    from scipy.optimize import least_squares

    counts = sorted(costs)
    cores = np.array(counts, dtype=np.float64)
    logs = -np.log([median(costs[count]) for count in counts])
    shares = 1 if law == AMDAHL else 2

    def difference(values: Floats) -> Floats:
        return _log_rate(values, cores) - logs

    start = np.array([logs[0] - math.log(cores[0]), *[0.01] * shares])
    lowest, highest = [-np.inf, *[0.0] * shares], [np.inf, *[1.0] * shares]
    found = least_squares(
        difference, start, bounds=(lowest, highest), method="dogbox", xtol=1e-12, ftol=1e-12
    )
    values: Floats = found.x
    names = ["lambda", "sigma", "kappa"][: shares + 1]
    parameters = dict(zip(names, [math.exp(values[0]), *map(float, values[1:])], strict=True))
    return Fit(
        model=law,
        parameters=parameters,
        intervals=_intervals(names, values, difference(values), costs),
        residual=float(np.sqrt(np.mean(np.expm1(difference(values)) ** 2))),
        points=len(counts),
        best_workers=_maximum(parameters),
        trusted_up_to=STRETCH * counts[-1],
        caveat=_caveat(law, counts, parameters, difference(values)),
    )


def _log_rate(values: Floats, cores: Floats) -> Floats:
    kappa = values[2] if len(values) > 2 else 0.0
    result: Floats = (
        values[0] + np.log(cores) - np.log1p(values[1] * (cores - 1) + kappa * cores * (cores - 1))
    )
    return result


def _intervals(
    names: Sequence[str], values: Floats, differences: Floats, costs: Mapping[int, Sequence[float]]
) -> dict[str, Interval]:
    """Of every parameter; none where nothing tells how large the noise is."""
    from scipy.stats import t

    noise = _noise(len(names), differences, costs)
    if noise is None:
        return {}
    variance, freedom = noise
    cores = np.array(sorted(costs), dtype=np.float64)
    slopes = np.stack([np.ones_like(cores), cores - 1, cores * (cores - 1)])[: len(names)]
    slopes[1:] /= np.exp(np.log(cores) + values[0] - _log_rate(values, cores))
    errors = np.sqrt(np.diag(np.linalg.pinv(slopes @ slopes.T)) * variance) * t.ppf(0.975, freedom)
    low, high = values - errors, values + errors
    ends = {"lambda": (float(np.exp(low[0])), float(np.exp(min(high[0], LARGEST_EXPONENT))))}
    for name, least, most in zip(names[1:], low[1:], high[1:], strict=True):
        ends[name] = (max(0.0, float(least)), float(most))
    return ends


def _noise(
    parameters: int, differences: Floats, costs: Mapping[int, Sequence[float]]
) -> tuple[float, int] | None:
    """Variance of the logarithm of a median, and its degrees of freedom."""
    if len(costs) > parameters:
        freedom = len(costs) - parameters
        return float(differences @ differences) / freedom, freedom
    freedom = sum(len(values) - 1 for values in costs.values())
    if min(map(len, costs.values())) < 2:
        return None
    within = sum(float(np.var(np.log(values)) * len(values)) for values in costs.values()) / freedom
    fewest = min(map(len, costs.values()))
    return math.pi / 2 * within / fewest, freedom  # of a median it is pi/2 of that of a mean


def _maximum(parameters: Mapping[str, float]) -> float | None:
    """Where the rate is highest: sqrt((1 - sigma) / kappa)."""
    sigma, kappa = parameters["sigma"], parameters.get("kappa", 0.0)
    return math.sqrt((1 - sigma) / kappa) if kappa > 0 and sigma < 1 else None


def _caveat(law: str, counts: Sequence[int], parameters: Mapping[str, float], differences: Floats) -> str:
    reasons = []
    residual = float(np.sqrt(np.mean(np.expm1(differences) ** 2)))
    if len(counts) < ENOUGH_POINTS[law]:
        reasons.append(
            f"it rests on {len(counts)} numbers of cores, and at least {ENOUGH_POINTS[law]} are needed"
        )
    if len(counts) == len(parameters) and residual <= LARGE_RESIDUAL:
        reasons.append("it passes through every point by construction, so nothing tests it")
    if counts[0] > 1:
        reasons.append(f"nothing below {counts[0]} cores was measured, so its rate of one core is a guess")
    if residual > LARGE_RESIDUAL:
        reasons.append("the measurements do not follow it")
    best = _maximum(parameters)
    if best is not None and best > STRETCH * counts[-1]:
        reasons.append("its maximum lies beyond what it can be trusted for")
    return "; ".join(reasons)
