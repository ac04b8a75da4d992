"""Quantiles of the normal and the beta distribution, the Box-Cox transform, and ranks.

scipy has them all; but it is 110 MB, which no box needs for four functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_EPSILON = float(np.finfo(np.float64).eps)
_SMALLEST_LOG = -745.0  # below, exp is 0
_STEPS = 200  # of a search that halves its interval at least every second step; about 8 are taken
_TERMS = 100_000  # of a continued fraction, which takes about sqrt(a + b) of them
_LEAST_STIRLING = 15.0  # from here on Stirling's series, as far as it is taken, is exact to rounding


def normal_quantile(p: ArrayLike) -> Floats:
    """Phi^-1(p) of each p in (0, 1)."""
    from statistics import NormalDist  # 3 ms to import, which not every start needs

    p = np.asarray(p, np.float64)
    quantile = NormalDist().inv_cdf
    return np.array([quantile(each) for each in p.ravel().tolist()], np.float64).reshape(p.shape)


def box_cox(x: ArrayLike, power: float) -> Floats:
    """(x^power - 1) / power of positive x, at power 0 the logarithm, which it tends to."""
    logarithm = np.log(np.asarray(x, np.float64))
    return np.asarray(np.expm1(power * logarithm) / power if power else logarithm, np.float64)


def ranks(values: NDArray[Any]) -> Floats:
    """From 1, equal values sharing the mean of theirs. None of the values is a nan."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    shared: Floats = np.cumsum(count) - (count - 1) / 2
    return shared[place]


def beta_quantile(a: float, b: float, p: float) -> float:
    """x with I_x(a, b) = p, the quantile of the Beta(a, b) distribution; 0 where it is too small for a float.

    Newton's method for log I_x = log p in u = log x, in which it is concave and for small x a line; where a step leaves
    the interval that holds the root, the interval is halved instead.
    """
    log_beta = _log_beta(a, b)
    low, high = _SMALLEST_LOG, 0.0
    u = min(max((math.log(p) + math.log(a) + log_beta) / a, low), -_EPSILON)  # as if (1 - x)^(b - 1) were 1
    for _ in range(_STEPS):
        below, slope = _log_incomplete(u, a, b, log_beta)
        excess = below - math.log(p)
        low, high = (u, high) if excess < 0 else (low, u)
        step = excess / slope if slope > 0 else math.inf
        if abs(step) <= 2 * _EPSILON * abs(u) or high - low <= 2 * _EPSILON * abs(u):
            break
        u = u - step if low < u - step < high else (low + high) / 2
    return math.exp(u) if u > _SMALLEST_LOG + 1 else 0.0


def _log_incomplete(u: float, a: float, b: float, log_beta: float) -> tuple[float, float]:
    """log I_x(a, b) at x = e^u, and its derivative by u. I_x(a, b) = x^a (1-x)^b / (a B(a, b)) times a fraction."""
    x, rest = math.exp(u), -math.expm1(u)
    log_rest = math.log1p(-x) if x < 0.5 else math.log(rest) if rest > 0 else _SMALLEST_LOG
    log_kernel = a * u + b * log_rest - log_beta
    if x < (a + 1) / (a + b + 2):
        log_value = log_kernel - math.log(a) + math.log(_fraction(x, a, b))
    else:  # I_x(a, b) = 1 - I_(1-x)(b, a), whose fraction converges here
        upper = math.exp(min(log_kernel, 700.0) - math.log(b)) * _fraction(rest, b, a)
        log_value = math.log1p(-min(upper, 1 - _EPSILON))
    # x times the density, over the value
    return log_value, math.exp(min(log_kernel - log_rest - log_value, 700.0))


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of I_x(a, b), by Lentz's method (Abramowitz and Stegun 1964, 26.5.8)."""
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    value = d
    for m in range(1, _TERMS):
        for coefficient in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + coefficient * d) or tiny)
            c = (1 + coefficient / c) or tiny
            value *= c * d
        if abs(c * d - 1) <= _EPSILON:
            break
    return value


def _log_beta(a: float, b: float) -> float:
    """log B(a, b), without the difference of large logarithms of Gamma where one argument is large."""
    small, large = min(a, b), max(a, b)
    if large < _LEAST_STIRLING:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    # log Gamma(large) - log Gamma(small + large)
    ratio = (
        -(large - 0.5) * math.log1p(small / large)
        - small * math.log(small + large)
        + small
        + _stirling(large)
        - _stirling(small + large)
    )
    return math.lgamma(small) + ratio


def _stirling(z: float) -> float:
    """log Gamma(z) - ((z - 1/2) log z - z + log(2 pi) / 2), for z that are not small."""
    w = 1 / (z * z)
    return (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * 691 / 360360))))) / z
