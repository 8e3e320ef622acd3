"""Fit scaling laws to measured rates: Amdahl's (1967) and Gunther's universal scalability law (USL, 1993).

Both have the form ``X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))``. X(N) is the rate of N cores
and `lambda` the rate of one core. `sigma` is the share of the work that waits for a shared resource
(contention), and `kappa` is the cost of keeping each pair of cores consistent (coherence). Amdahl's law is
the special case kappa = 0, which has no maximum.

The fit minimizes the squared differences between the logarithms of the law and of the median rates, so that a
relative deviation counts the same at every number of cores; sigma and kappa are at least 0. The 95 %
intervals are those of linearized least squares with Student's t. With more numbers of cores than parameters,
the noise of a median is estimated from the residuals, which include the misfit of the law; otherwise from the
spread of the repeats.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from sentiscale.study.analysis.study import Fit, Interval

AMDAHL, USL = "amdahl", "usl"
ENOUGH_POINTS = {AMDAHL: 3, USL: 5}
"""Smallest number of different core counts for a fit without a caveat; for the USL, as Gunther recommends."""
LARGE_RESIDUAL = 0.1
STRETCH = 2
"""A law is trusted up to this multiple of the largest measured number of cores."""
LARGEST_EXPONENT = 700.0

Floats = NDArray[np.float64]


def fit_laws(costs: Mapping[int, Sequence[float]]) -> list[Fit]:
    """Fit Amdahl's law if there are at least two numbers of cores, and the USL if there are at least three.

    Args:
        costs: maps a number of cores to the cost of each repeat, in seconds per run or seconds per row.
    """
    laws = [AMDAHL] * (len(costs) >= 2) + [USL] * (len(costs) >= 3)
    return [_fit(law, costs) for law in laws]


def rate_at(parameters: Mapping[str, float], cores: float) -> float:
    """Rate that a law predicts for a number of cores; `parameters` as in `Fit`."""
    sigma, kappa = parameters["sigma"], parameters.get("kappa", 0.0)
    return parameters["lambda"] * cores / (1 + sigma * (cores - 1) + kappa * cores * (cores - 1))


def speedup_range(fit: Fit, cores: int, base: int) -> tuple[float, Interval | None]:
    """Predicted speedup of `cores` over `base` cores, and its range over the intervals of the parameters."""

    def speedup(shares: Mapping[str, float]) -> float:
        return rate_at({**shares, "lambda": 1.0}, cores) / rate_at({**shares, "lambda": 1.0}, base)

    if not fit.intervals:
        return speedup(fit.parameters), None
    ends = [speedup({name: interval[end] for name, interval in fit.intervals.items()}) for end in (1, 0)]
    return speedup(fit.parameters), (min(ends), max(ends))


def _fit(law: str, costs: Mapping[int, Sequence[float]]) -> Fit:
    from scipy.optimize import least_squares

    counts = sorted(costs)
    cores = np.array(counts, dtype=np.float64)
    logs = -np.log([median(costs[count]) for count in counts])
    names = ["lambda", "sigma", "kappa"] if law == USL else ["lambda", "sigma"]
    shares = len(names) - 1
    start = [logs[0] - math.log(cores[0]), *[0.01] * shares]
    bounds = ([-np.inf, *[0.0] * shares], [np.inf, *[1.0] * shares])

    def difference(values: Floats) -> Floats:
        return _log_rate(cores, *values) - logs

    # Not curve_fit: it raises an error when dogbox reaches its limit of steps, which happens with kappa at 0.
    # Not trf: it never reaches 0 exactly, and with a kappa of 1e-20 the law would have a maximum.
    found = least_squares(difference, start, bounds=bounds, method="dogbox", xtol=1e-12, ftol=1e-12)
    values, differences = found.x, difference(found.x)
    residual = float(np.sqrt(np.mean(np.expm1(differences) ** 2)))
    parameters = dict(zip(names, [math.exp(values[0]), *map(float, values[1:])], strict=True))
    best = _maximum(parameters)
    return Fit(
        model=law,
        parameters=parameters,
        intervals=_intervals(names, values, differences, costs),
        residual=residual,
        points=len(counts),
        best_workers=best,
        trusted_up_to=STRETCH * counts[-1],
        caveat=_caveat(law, counts, len(names), residual, best),
    )


def _log_rate(cores: Floats, log_lambda: float, sigma: float, kappa: float = 0.0) -> Floats:
    rate: Floats = log_lambda + np.log(cores) - np.log1p(sigma * (cores - 1) + kappa * cores * (cores - 1))
    return rate


def _intervals(
    names: Sequence[str], values: Floats, differences: Floats, costs: Mapping[int, Sequence[float]]
) -> dict[str, Interval]:
    """95 % intervals of all parameters; empty if the noise cannot be estimated."""
    from scipy.stats import t

    noise = _noise(len(names), differences, costs)
    if noise is None:
        return {}
    variance, freedom = noise
    cores = np.array(sorted(costs), dtype=np.float64)
    # Derivatives of the log rate with respect to each parameter (parameters, counts); signs do not matter.
    slopes = np.stack([np.ones_like(cores), cores - 1, cores * (cores - 1)])[: len(names)]
    slopes[1:] /= np.exp(np.log(cores) + values[0] - _log_rate(cores, *values))
    errors = np.sqrt(np.diag(np.linalg.pinv(slopes @ slopes.T)) * variance) * t.ppf(0.975, freedom)
    low, high = values - errors, values + errors
    ends = {"lambda": (float(np.exp(low[0])), float(np.exp(min(high[0], LARGEST_EXPONENT))))}
    for name, least, most in zip(names[1:], low[1:], high[1:], strict=True):
        ends[name] = (max(0.0, float(least)), float(most))
    return ends


def _noise(
    parameters: int, differences: Floats, costs: Mapping[int, Sequence[float]]
) -> tuple[float, int] | None:
    """Variance of the logarithm of a median, and its degrees of freedom; None if neither can be estimated."""
    if len(costs) > parameters:
        freedom = len(costs) - parameters
        return float(differences @ differences) / freedom, freedom
    fewest = min(map(len, costs.values()))
    if fewest < 2:
        return None
    freedom = sum(len(values) - 1 for values in costs.values())
    within = sum(float(np.var(np.log(values)) * len(values)) for values in costs.values()) / freedom
    return math.pi / 2 * within / fewest, freedom  # the variance of a median is pi/2 times that of a mean


def _maximum(parameters: Mapping[str, float]) -> float | None:
    """Number of cores with the highest rate, sqrt((1 - sigma) / kappa); None if the rate has no maximum."""
    sigma, kappa = parameters["sigma"], parameters.get("kappa", 0.0)
    return math.sqrt((1 - sigma) / kappa) if kappa > 0 and sigma < 1 else None


def _caveat(law: str, counts: Sequence[int], parameters: int, residual: float, best: float | None) -> str:
    reasons = []
    if len(counts) < ENOUGH_POINTS[law]:
        reasons.append(
            f"it rests on {len(counts)} numbers of cores, and at least {ENOUGH_POINTS[law]} are needed"
        )
    if len(counts) == parameters and residual <= LARGE_RESIDUAL:
        reasons.append("it passes through every point by construction, so nothing tests it")
    if counts[0] > 1:
        reasons.append(f"nothing below {counts[0]} cores was measured, so its rate of one core is a guess")
    if residual > LARGE_RESIDUAL:
        reasons.append("the measurements do not follow it")
    if best is not None and best > STRETCH * counts[-1]:
        reasons.append("its maximum lies beyond what it can be trusted for")
    return "; ".join(reasons)
