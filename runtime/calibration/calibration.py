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

from ..bundle import Bundle, Calibration, is_ordered
from ..errors import InputError
from .dependence import Memory, Worth
from .distributions import beta_quantile, box_cox

Floats = NDArray[np.float64]

USUAL_RATE = 0.01
"""The false-alarm rate of a detector for which nobody asked for one, where its rows support it."""

EVENT_ROWS = 10
"""In ordered data, false alarms fewer than this many rows apart (or a window, if longer) are one event."""

_MIN_TAIL_ROWS, _MIN_EXCEEDANCES = 300, 30  # the tail is the top tenth; fewer points do not carry two parameters
_BEYOND = 10  # how far past the data the tail is trusted: alpha >= 1/(10 (n+1))
_REFUSAL_ERRORS = 2.5
"""A rate is refused unless the rows support it with a memory so many standard errors longer than estimated: of the
recordings whose memory shows too little by chance, hardly one is then taken."""

_TAIL_ERRORS = 4.0
"""The same where the rate would be extrapolated, which multiplies errors."""

_THRESHOLD_ERRORS = 0.5
"""The threshold is set for a memory so much longer than estimated, or the rate were too high on average: a memory that
is too short by chance costs more than one that is too long saves."""

_REFITS = 200
_SHARES = tuple(0.85**step for step in range(24))  # of the rate, down to a fortieth

_RATES = tuple(float(f"{tenths}e{power}") for power in range(-7, -2) for tenths in range(10, 100)) + tuple(
    hundredths / 100 for hundredths in range(10, 50)
)
"""Rates of two digits that may be proposed, the smallest first."""

_TOP_RANKS, _BODY_KNOTS = 8, 48  # with 3 at the threshold and at most 8 in the tail: below 64
_LARGEST = 1e30  # leaves float32 room for the tail, which reaches a few thousand times the largest score
_SMALLEST_GAP = 2 * float(np.finfo(np.float32).tiny)  # a subnormal gap would be 0/0 where subnormals are flushed


def dependence_rows(window: int, *, ordered: bool) -> int:
    """For `calibrate`: over how many rows at least high scores may be one event; 0 for rows without an order."""
    return max(window, EVENT_ROWS) if ordered else 0


def event_rows(bundle: Bundle) -> int:
    """`dependence_rows` of the inputs of a detector."""
    return dependence_rows(bundle.window, ordered=is_ordered(bundle.kind, bundle.data))


def min_calibration_rows(far: float) -> int:
    """Fewest independent scores with which `calibrate` accepts `far`, so that a caller can refuse before it trains."""
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
    dependence_rows : 0 for exchangeable rows. For a series or overlapping windows, rows over which high scores may be
        one event; the n scores then count as the fewer independent ones that they are worth at this rate
        (`dependence.Memory`), in the threshold, its range and the p-values. The series must be stationary

    Raises
    ------
    InputError : no scores, scores that are not finite, or too few of them for `far`, or worth too little

    >>> fitted = calibrate(np.arange(99.0), far=0.05)
    >>> fitted.threshold, fitted.method
    (94.0, 'conformal')
    """
    needed = min_calibration_rows(far)
    in_order = _checked(scores)
    memory = _memory_of(in_order, dependence_rows)
    if in_order.size < needed or not _supports(memory, far):
        raise InputError(_refusal(memory, far, needed))
    ascending, n = np.sort(in_order), in_order.size
    worth = memory.worth(far)
    tail = _fit_tail(ascending)
    method: Literal["conformal", "extrapolated"] = "conformal" if _conformal(worth, far) else "extrapolated"
    if method == "conformal":
        # k of s_(k), counted from above, for as many rows as the scores are worth; round-off must not lose a rank
        rows = worth.less(_THRESHOLD_ERRORS)
        above = math.floor(((rows + 1) * far - 1) * n / rows * (1 + 1e-12) + 1e-9)
        threshold = float(ascending[n - 1 - above])
        low, high = _range(above / n, worth)
    else:
        if tail is None:
            raise InputError(f"too many of {n} scores are equal to extrapolate a rate below {1 / (n + 1):.2g}")
        threshold, low, high = _extrapolated(tail, far, worth, float(ascending[-1]))
    knots, log10_p = (tuple(values.tolist()) for values in _knots(ascending, far, threshold, tail, worth.rows))
    resolution = 1 / (worth.rows + 1)
    return Calibration(far, threshold, n, float(worth.rows), low, high, method, resolution, knots, log10_p)


def supports(scores: ArrayLike, *, far: float, dependence_rows: int = 0) -> bool:
    """Whether so many scores, worth what they are, support the rate; `calibrate` says what they support instead."""
    memory = _memory_of(_checked(scores), dependence_rows)
    return memory.n >= min_calibration_rows(far) and _supports(memory, far)


class NoRateError(InputError):
    """Scores that support no false-alarm rate at all."""


def supported_rate(scores: ArrayLike, *, dependence_rows: int = 0) -> float:
    """`USUAL_RATE`, or the smallest larger rate of two digits for which `calibrate` takes these scores.

    Raises InputError as `calibrate` does, and NoRateError where not even 0.49 is supported.
    """
    memory = _memory_of(_checked(scores), dependence_rows)
    for rate in _RATES:
        if rate >= USUAL_RATE and memory.n >= min_calibration_rows(rate) and _supports(memory, rate):
            return rate
    raise NoRateError(
        f"{memory.n} held-out normal scores are too few or too much alike to promise any false-alarm rate: record more"
    )


def realised_range(share: float, effective_n: float) -> tuple[float, float]:
    """5 % and 95 % quantile of the realised false-alarm rate of a conformal threshold.

    Given the calibration set it follows Beta(n+1-k, k) (Bates et al. 2023); here with the same mean (n+1-k)/(n+1),
    which is `share`, and the spread of `effective_n` rows. So many rows show no rate below 1 / (effective_n + 1): for a
    smaller share the upper end stays where it is for that.
    """
    a = (effective_n + 1) * share
    low = beta_quantile(a, effective_n + 1 - a, 0.05)
    a = max(a, 1.0)
    return low, beta_quantile(a, max(effective_n + 1 - a, 1e-9), 0.95)


def _memory_of(in_order: Floats, dependence_rows: int) -> Memory:
    if dependence_rows < 0:
        raise InputError(f"dependence_rows must be 0 or more, got {dependence_rows}")
    return Memory.of(in_order, dependence_rows) if dependence_rows else Memory.none(in_order.size)


def _conformal(worth: Worth, far: float) -> bool:
    """Whether so many rows have a rank for this rate, also if they are worth less than estimated."""
    return (worth.less(_REFUSAL_ERRORS) + 1) * far >= 1 - 1e-9


def _supports(memory: Memory, far: float) -> bool:
    worth = memory.worth(far)
    rows = worth.less(_TAIL_ERRORS)
    return _conformal(worth, far) or (rows >= _MIN_TAIL_ROWS and (rows + 1) * far * _BEYOND >= 1 - 1e-9)


def _refusal(memory: Memory, far: float, needed: int) -> str:
    """What these scores are worth, what that supports, and how much more recording would do."""
    n, worth = memory.n, memory.worth(far)
    rows = worth.less(_REFUSAL_ERRORS)
    supported = next((rate for rate in _RATES if _supports(memory, rate)), None)
    remedy = "record more" if supported is None else f"they support {supported:g} or more"
    if not memory.correlation.size:
        return f"a false-alarm rate of {far:.3g} needs {needed} normal rows for calibration, got {n}: {remedy}"
    return (
        f"a false-alarm rate of {far:.3g} needs {needed} independent normal rows for calibration. The {n} rows "
        f"depend on their neighbours and are worth about {worth.rows:.0f}, {rows:.0f} with a margin for error: "
        f"{remedy}, and a recording about {math.ceil(10 * needed / rows) / 10:g} times as long would support {far:.3g}"
    )


def _range(above: float, worth: Worth) -> tuple[float, float]:
    """Realised rates of a threshold with the share `above` of the scores over it, for what the rows may be worth.

    Where rows depend, those above come in runs: one independent row fewer may be there for the lower end.
    """
    if not worth.error:
        return _range_of(above, worth.rows)
    fewer, more = worth.less(1), worth.more(1.5)
    return _range_of(max(above - 1 / worth.rows, 0), more)[0], _range_of(above, fewer)[1]


def _range_of(above: float, rows: float) -> tuple[float, float]:
    return realised_range((above * rows + 1) / (rows + 1), rows)


def _knots(
    ascending: Floats, far: float, threshold: float, tail: "_Tail | None", worth: float
) -> tuple[Floats, Floats]:
    """Knots and log10 p, with (threshold, alpha) among them and p < alpha exactly where score > threshold.

    The exact p-value is a step function and alpha lies inside one step. So the neighbours of the threshold in float32
    are knots too: below it the exact p-value, above it the first float32 under log10 alpha.
    """
    (body, body_p), (beyond, beyond_p) = _body(ascending, worth), _beyond(ascending, tail, worth)
    scores, log10_p = np.append(body, beyond), _up32(np.log10(np.append(body_p, beyond_p)))
    before, after = _beside(threshold, -1), _beside(threshold, +1)
    at = float(_up32(np.log10(far)))
    x, y = [threshold, after], [at, float(np.nextafter(np.float32(at), np.float32(-np.inf)))]
    if threshold <= ascending[-1]:  # else the way to the threshold is extrapolated and has no step
        # Never under alpha: the threshold may be stricter than its rank, for an error of what the rows are worth.
        step = max(at, float(_up32(np.log10(_conformal_p(before, ascending, worth)))))
        x, y = [before, *x], [step, *y]
    lower, upper = (scores < before) & (log10_p >= at), scores > after
    knots = np.concatenate([scores[lower], x, scores[upper]])
    values = np.minimum.accumulate(np.concatenate([log10_p[lower], y, log10_p[upper]]))
    distinct = np.insert(np.diff(knots) > 0, 0, True)  # a bounded tail bunches up at its end
    return knots[distinct], values[distinct]


def _conformal_p(score: float | Floats, ascending: Floats, worth: float) -> Floats:
    """(1 + w #{s_i >= score} / n) / (w + 1), the p-value at and just below a score (Vovk et al. 2005, where w = n).

    w is how many independent rows the scores are worth.
    """
    n = ascending.size
    count = n - np.searchsorted(ascending, score, side="left")
    return np.where(count == n, 1.0, (1 + count * (worth / n)) / (worth + 1))  # 1 whatever the rounding


def _body(ascending: Floats, worth: float) -> tuple[Floats, Floats]:
    """Order statistics at ranks that thin out from the top, with the exact p: 1 at the minimum, 2/(n+1) at the top.

    Linear between them, log10 p is never below the exact value when all ranks are knots (n <= 48); else never below
    it by more than the ratio of neighbouring ranks, whatever the scores (1.2 at n = 10 000).
    """
    n = ascending.size
    ranks = np.arange(1.0, n + 1)
    if n > _BODY_KNOTS:
        ranks = np.append(ranks[:_TOP_RANKS], np.rint(np.geomspace(_TOP_RANKS, n, _BODY_KNOTS - _TOP_RANKS)))
    scores = np.unique(ascending[n - ranks.astype(np.intp)])
    return scores, _conformal_p(scores, ascending, worth)


def _beyond(ascending: Floats, tail: "_Tail | None", worth: float) -> tuple[Floats, Floats]:
    """Knots above the largest score: p = 1/(w+1), then by decades to 1e-9 along the tail where there is one.

    w is what the scores are worth. If the largest score lies beyond the 1/(w+1) quantile of the tail, the tail is
    shifted to it: an outlier among the normal scores then makes p-values larger, and no cliff follows it.
    """
    top = float(ascending[-1])
    if tail is None:
        room = max(top - float(np.median(ascending)), 1e-3 * abs(top), 2 * _SMALLEST_GAP)
        return _up32([top + room]), np.array([1 / (worth + 1)])
    decades = 10.0 ** -np.arange(1, 10)
    p = np.append(1 / (worth + 1), decades[decades < 1 / (worth + 1)])
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
        return np.asarray(self.start + self.scale * box_cox(self.rate / p, self.shape), np.float64)

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


def _extrapolated(tail: _Tail, far: float, worth: Worth, largest: float) -> tuple[float, float, float]:
    """Threshold, and 5 % and 95 % quantiles of the realised rate, by parametric bootstrap: draw and fit again.

    A threshold read off a fit is too low on average: errors of the fit that lower it raise the rate more than others
    sink it. So it is the quantile of the lower rate that makes the mean of the bootstrap `far` (calibrated prediction:
    Beran 1990), never below a score that normal data has shown already. The range knows the noise of the fit, not the
    error of believing in a generalised Pareto tail.
    """
    generator, rows = np.random.default_rng(0), worth.less(1)
    refits = []
    for count in np.maximum(generator.binomial(round(rows), tail.rate, size=_REFITS), 2):
        excess = np.sort(tail.scale * box_cox(1 / (1 - generator.random(count)), tail.shape))
        refits.append((_pareto(excess, tail.start, count / rows), tail.start + float(excess[-1])))

    def realised(asked: float) -> Floats:
        return tail.rate_above(np.array([max(float(fit.quantile(asked)), top) for fit, top in refits]))

    asked = next((far * share for share in _SHARES if realised(far * share).mean() <= far), far * _SHARES[-1])
    low, high = np.quantile(realised(asked), (0.02, 0.95))
    return max(float(_up32(tail.quantile(asked))), largest), float(low), float(high)


def _checked(scores: ArrayLike) -> Floats:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"calibration needs a list of held-out normal scores, got shape {values.shape}")
    n, unusable = values.size, int(np.count_nonzero(~(np.abs(values) < _LARGEST)))
    if unusable:
        raise InputError(f"{unusable} of {n} calibration scores are not finite (or beyond {_LARGEST:g})")
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
