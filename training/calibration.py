"""From held-out normal scores to a threshold with a promised false-alarm rate, and to a table of p-values.

Scores are higher for worse. With n scores of held-out normal rows, `score > s_(k)`, k = ceil((n+1)(1-alpha)), raises at
most a share alpha of false alarms (split conformal prediction: Vovk et al. 2005; Lei et al. 2018). That is the mean
over calibration sets; with one set the realised rate varies, and `far_low`..`far_high` says by how much. A rate below
1/(n+1) was never seen in the data: it is extrapolated by peaks over threshold, and marked, or refused.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, boxcox

from ..runtime.bundle import Calibration
from ..runtime.errors import InputError

Floats = NDArray[np.float64]

EVENT_ROWS = 10
"""In ordered data, false alarms fewer than this many rows apart (or a window, if longer) are one event."""

_MIN_TAIL_ROWS, _MIN_EXCEEDANCES = 300, 30  # the tail is the top tenth; fewer points do not carry two parameters
_BEYOND = 10  # how far past the data the tail is trusted: alpha >= 1/(10 (n+1))
_TOP_RANKS, _BODY_KNOTS = 8, 48  # with 3 at the threshold and at most 8 in the tail: below 64
_LARGEST = 1e30  # leaves float32 room for the tail, which reaches a few thousand times the largest score
_SMALLEST_GAP = 2 * float(np.finfo(np.float32).tiny)  # a subnormal gap would be 0/0 where subnormals are flushed


def dependence_rows(window: int, *, ordered: bool) -> int:
    """For `calibrate`: within how many rows high scores are one event; 0 for rows without an order."""
    return max(window, EVENT_ROWS) if ordered else 0


def min_calibration_rows(far: float) -> int:
    """Fewest scores with which `calibrate` accepts `far`, so that a caller can refuse before it trains."""
    if not 0 < far < 0.5:
        raise InputError(f"false-alarm rate must be between 0 and 0.5, got {far}")
    conformal, extrapolated = (math.ceil((1 - 1e-12) / (beyond * far)) - 1 for beyond in (1, _BEYOND))
    return min(conformal, max(_MIN_TAIL_ROWS, extrapolated))


def calibrate(scores: ArrayLike, *, far: float, dependence_rows: int = 0) -> Calibration:
    """The threshold for false-alarm rate `far`, its range, and the p-value table.

    Parameters
    ----------
    scores : shape (n,), of normal rows that took no part in training; in time order if dependence_rows > 0
    far : alpha, the share of normal rows that may raise an alarm, in (0, 0.5)
    dependence_rows : 0 for exchangeable rows; for a series or overlapping windows, high scores at most so many rows
        apart are one event. The promise on the mean then holds only nearly (the series must be stationary and long
        against its memory), and the range is an approximation: the Beta law of `_effective_rows` independent rows,
        too wide when dependence_rows is much larger than the real memory.

    Raises
    ------
    InputError : no scores, scores that are not finite, or too few of them for `far`

    >>> fitted = calibrate(np.arange(99.0), far=0.05)
    >>> fitted.threshold, fitted.method
    (94.0, 'conformal')
    """
    in_order = _checked(scores, min_calibration_rows(far))
    if dependence_rows < 0:
        raise InputError(f"dependence_rows must be 0 or more, got {dependence_rows}")
    ascending, n = np.sort(in_order), in_order.size
    effective_n = _effective_rows(in_order, far, dependence_rows) if dependence_rows else float(n)
    tail = _fit_tail(ascending)
    allowed = math.floor((n + 1) * far * (1 + 1e-12))  # n + 1 - k; 1000 * 0.029 falls just short of the 29 meant
    if allowed >= 1:
        threshold = float(ascending[n - allowed])  # s_(k)
        low, high = realised_range(allowed / (n + 1), effective_n)
    else:
        if tail is None:
            raise InputError(f"too many of {n} scores are equal to extrapolate a rate below {1 / (n + 1):.2g}")
        # Never below a score that normal data has shown already, whatever the fit says.
        threshold = max(float(_up32(tail.quantile(far))), float(ascending[-1]))
        low, high = _extrapolated_range(tail, far, effective_n)
    method: Literal["conformal", "extrapolated"] = "conformal" if allowed >= 1 else "extrapolated"
    knots, log10_p = (tuple(values.tolist()) for values in _knots(ascending, far, threshold, tail))
    return Calibration(far, threshold, n, effective_n, low, high, method, 1 / (n + 1), knots, log10_p)


def realised_range(share: float, effective_n: float) -> tuple[float, float]:
    """5 % and 95 % quantile of the realised false-alarm rate of a conformal threshold.

    Given the calibration set it follows Beta(n+1-k, k) (Bates et al. 2023); here with the same mean (n+1-k)/(n+1),
    which is `share`, and the spread of `effective_n` rows.
    """
    a = (effective_n + 1) * share
    low, high = (float(betaincinv(a, effective_n + 1 - a, level)) for level in (0.05, 0.95))
    return low, high


def _knots(ascending: Floats, far: float, threshold: float, tail: "_Tail | None") -> tuple[Floats, Floats]:
    """Knots and log10 p, with (threshold, alpha) among them and p < alpha exactly where score > threshold.

    The exact p-value is a step function and alpha lies inside one step. So the neighbours of the threshold in float32
    are knots too: below it the exact p-value, above it the first float32 under log10 alpha.
    """
    (body, body_p), (beyond, beyond_p) = _body(ascending), _beyond(ascending, tail)
    scores, log10_p = np.append(body, beyond), _up32(np.log10(np.append(body_p, beyond_p)))
    before, after = _beside(threshold, -1), _beside(threshold, +1)
    at = float(_up32(np.log10(far)))
    x, y = [threshold, after], [at, float(np.nextafter(np.float32(at), np.float32(-np.inf)))]
    if threshold <= ascending[-1]:  # else the way to the threshold is extrapolated and has no step
        x, y = [before, *x], [float(_up32(np.log10(_conformal_p(before, ascending)))), *y]
    lower, upper = (scores < before) & (log10_p >= at), scores > after
    knots = np.concatenate([scores[lower], x, scores[upper]])
    values = np.minimum.accumulate(np.concatenate([log10_p[lower], y, log10_p[upper]]))
    distinct = np.insert(np.diff(knots) > 0, 0, True)  # a bounded tail bunches up at its end
    return knots[distinct], values[distinct]


def _conformal_p(score: float | Floats, ascending: Floats) -> Floats:
    """(1 + #{s_i >= score}) / (n+1), the p-value at and just below a score (Vovk et al. 2005)."""
    n = ascending.size
    return np.asarray((1 + n - np.searchsorted(ascending, score, side="left")) / (n + 1), np.float64)


def _body(ascending: Floats) -> tuple[Floats, Floats]:
    """Order statistics at ranks that thin out from the top, with the exact p: 1 at the minimum, 2/(n+1) at the top.

    Linear between them, log10 p is never below the exact value when all ranks are knots (n <= 48); else never below
    it by more than the ratio of neighbouring ranks, whatever the scores (1.2 at n = 10 000).
    """
    n = ascending.size
    ranks = np.arange(1.0, n + 1)
    if n > _BODY_KNOTS:
        ranks = np.append(ranks[:_TOP_RANKS], np.rint(np.geomspace(_TOP_RANKS, n, _BODY_KNOTS - _TOP_RANKS)))
    scores = np.unique(ascending[n - ranks.astype(np.intp)])
    return scores, _conformal_p(scores, ascending)


def _beyond(ascending: Floats, tail: "_Tail | None") -> tuple[Floats, Floats]:
    """Knots above the largest score: p = 1/(n+1), then by decades to 1e-9 along the tail where there is one.

    If the largest score lies beyond the 1/(n+1) quantile of the tail, the tail is shifted to it: an outlier among the
    normal scores then makes p-values larger, and no cliff follows it.
    """
    n, top = ascending.size, float(ascending[-1])
    if tail is None:
        room = max(top - float(np.median(ascending)), 1e-3 * abs(top), 2 * _SMALLEST_GAP)
        return _up32([top + room]), np.array([1 / (n + 1)])
    decades = 10.0 ** -np.arange(1, 10)
    p = np.append(1 / (n + 1), decades[decades < 1 / (n + 1)])
    quantiles = tail.quantile(p)
    scores = _up32(quantiles + max(0.0, top - quantiles[0]))
    return scores[scores > top], p[scores > top]


@dataclass(frozen=True)
class _Tail:
    """P(S > s) = rate (1 + shape (s - start) / scale)^(-1/shape) for s >= start: generalised Pareto (Pickands 1975)."""

    start: float
    rate: float
    shape: float
    scale: float

    def quantile(self, p: float | Floats) -> Floats:
        """start + scale ((rate/p)^shape - 1) / shape, a Box-Cox transform: at shape 0 it is the logarithm."""
        return np.asarray(self.start + self.scale * boxcox(self.rate / p, self.shape), np.float64)

    def rate_above(self, scores: Floats) -> Floats:
        """P(S > score), 0 beyond the end that a negative shape gives the tail."""
        shape = self.shape or 1e-9  # the formula at 0 is its limit
        inside = np.maximum(1 + shape * (scores - self.start) / self.scale, 0)
        return np.asarray(self.rate * inside ** (-1 / shape), np.float64)


def _fit_tail(ascending: Floats) -> _Tail | None:
    """Tail over the 90 % quantile (peaks over threshold: Davison and Smith 1990), None with too few exceedances."""
    n = ascending.size
    start = float(ascending[n - n // 10 - 1])
    excess = ascending[ascending > start] - start
    enough = n >= _MIN_TAIL_ROWS and excess.size >= _MIN_EXCEEDANCES
    return _pareto(excess, start, excess.size / n) if enough else None


def _pareto(excess: Floats, start: float, rate: float) -> _Tail:
    """Fit by probability-weighted moments (Hosking and Wallis 1987): closed form, so it never fails to converge.

    a0 = E[X], a1 = E[X (1 - F(X))]: shape = 2 - a0 / (a0 - 2 a1), scale = a0 (1 - shape); `excess` ascends. The shape
    is held in [-0.5, 0.5], where the estimates have a finite variance; a heavier tail is therefore underestimated.
    """
    a0 = float(excess.mean())
    a1 = float((excess * np.linspace(1, 0, excess.size)).mean())
    shape = 2 - 1 / min(max(1 - 2 * a1 / a0, 0.4), 2 / 3)
    return _Tail(start, rate, shape, a0 * (1 - shape))


def _extrapolated_range(tail: _Tail, far: float, rows: float) -> tuple[float, float]:
    """5 % and 95 % quantiles of the realised rate, by parametric bootstrap: draw from the fit, fit again.

    It knows the noise of the fit, not the error of believing in a generalised Pareto tail.
    """
    generator = np.random.default_rng(0)
    thresholds = []
    for count in np.maximum(generator.binomial(round(rows), tail.rate, size=200), 2):
        excess = np.sort(tail.scale * boxcox(1 / (1 - generator.random(count)), tail.shape))
        refit = _pareto(excess, tail.start, count / rows)
        thresholds.append(max(float(refit.quantile(far)), tail.start + excess[-1]))
    low, high = np.quantile(tail.rate_above(np.array(thresholds)), (0.05, 0.95))
    return float(low), float(high)


def _effective_rows(in_order: Floats, far: float, run: int) -> float:
    """How many independent rows would let the realised rate vary as much: n E[K] / E[K^2].

    K is the size of a cluster of scores over a high quantile, which ends when `run` rows in a row are not over it
    (runs estimator: Smith and Weissman 1994; background in Ferro and Segers 2003). Clusters come like a Poisson
    process, so the variance of the count is E[K^2] / E[K] times the independent one. The extremal index alone, 1/E[K],
    leaves out that sizes vary: on AR(1) scores (coefficient 0.97, 5000 rows, run 20, alpha 0.05) its 90 % range held
    the realised rate in 69 % of draws, this one in 89 %.
    """
    level = np.quantile(in_order, 1 - max(far, 0.05), method="lower")
    over = np.flatnonzero(in_order > level)
    if over.size == 0:  # ties at the top hide the clusters: assume that each fills a run
        return max(1.0, in_order.size / (run + 1))
    starts = np.insert(np.flatnonzero(np.diff(over) > run) + 1, 0, 0)
    sizes = np.diff(np.append(starts, over.size))
    return float(in_order.size * sizes.mean() / np.square(sizes).mean())


def _checked(scores: ArrayLike, needed: int) -> Floats:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"calibration needs a list of held-out normal scores, got shape {values.shape}")
    n, unusable = values.size, int(np.count_nonzero(~(np.abs(values) < _LARGEST)))
    if unusable:
        raise InputError(f"{unusable} of {n} calibration scores are not finite (or beyond {_LARGEST:g})")
    if n < needed:
        smallest = 1 / (n + 1) / (_BEYOND if n >= _MIN_TAIL_ROWS else 1)
        remedy = f"{n} rows support a rate of {smallest:.2g} or more" if smallest < 0.5 else "give more rows"
        raise InputError(f"this false-alarm rate needs {needed} normal rows for calibration, got {n}: {remedy}")
    return _up32(values)


def _up32(values: ArrayLike) -> Floats:
    """The smallest float32 not below each value, as float64: upwards is the safe side for thresholds and p-values."""
    exact = np.asarray(values, np.float64)
    near = exact.astype(np.float32)
    return np.where(near < exact, np.nextafter(near, np.float32(np.inf)), near).astype(np.float64)


def _beside(score: float, direction: int) -> float:
    """The next float32 above (+1) or below (-1), at least `_SMALLEST_GAP` away."""
    near = float(np.nextafter(np.float32(score), np.float32(direction * np.inf)))
    return float(np.float32(direction * max(direction * near, direction * score + _SMALLEST_GAP)))
