"""How many independent rows the scores of a recording are worth, for a rate of false alarms.

Scores that follow each other are alike, and alarms come in runs. The count of n scores over a level u varies as that of

    n_eff = n / (1 + 2 sum_h r_u(h)),    r_u(h) = corr(1{S_t > u}, 1{S_(t+h) > u})

independent ones (the variance of a mean of a stationary series). For a rate of 0.001 there are few scores over u to
tell r_u from, so it is computed as for a Gaussian series with the same autocorrelation of ranks: with the normal scores
of the ranks, rho(h) of them, and the level u of a standard normal,

    cov(1{Z_t > u}, 1{Z_(t+h) > u}) = 1/(2 pi) int_0^asin(rho) exp(-u^2 / (1 + sin a)) da

(bivariate normal orthants: Owen 1956). At the level of a tenth there are scores enough to compare: where they come in
longer runs there than a Gaussian series would, as overlapping windows after one spike do, all levels are corrected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .distributions import normal_quantile, ranks

Floats = NDArray[np.float64]

_COMPARED = 0.1
"""Share of the scores that lies over the level at which runs are compared."""


@dataclass(frozen=True)
class Worth:
    """Independent rows that n scores are worth for one rate; `rows` is the estimate."""

    rows: float
    error: float
    """Relative standard error of the memory of the series, n / rows."""

    def less(self, errors: float) -> float:
        """Rows if the memory is longer than estimated by so many standard errors."""
        return max(self.rows / (1 + errors * self.error), 1.0)

    def more(self, errors: float) -> float:
        """Rows if the memory is shorter by so many standard errors."""
        return self.rows * (1 + errors * self.error)


@dataclass(frozen=True)
class Memory:
    """What is known of the dependence of n scores."""

    n: int
    correlation: Floats
    """Of the normal scores of the ranks, by lag from 1; empty for independent rows."""
    error: float
    runs: float = 1.0
    """How much longer the runs over a high level are than those of a Gaussian series."""

    @classmethod
    def none(cls, n: int) -> Memory:
        """Of rows that do not depend on each other."""
        return cls(n, np.empty(0), 0.0)

    @classmethod
    def of(cls, in_order: Floats, least_lags: int) -> Memory:
        """Of scores in time order; the runs are looked for over `least_lags` rows at least.

        The autocorrelation is summed as far as pairs of neighbouring lags are positive, and made to fall (initial
        monotone sequence: Geyer 1992). That the mean is taken from the same scores makes it too small, by
        (1 - rho) memory / n; this is added again. The standard error of the memory is sqrt(2 (2 M + 1) / n), M lags in
        the sum (Sokal 1997).
        """
        n, ranked = in_order.size, ranks(in_order)
        raw = _autocorrelation(normal_quantile(ranked / (n + 1)))
        if raw is None:  # all scores are equal: nothing tells them apart, so each stretch counts once
            return cls(n, np.ones(min(least_lags, n - 1)), 0.0)
        lags, memory = 1, 1.0
        rho = raw
        for _ in range(4):
            shift = min(memory / n, 0.5)
            rho = shift + (1 - shift) * raw
            lags, memory = _initial_sequence(rho)
        correlation = np.clip(rho[1 : lags + 1], 0, 1)
        known = cls(n, correlation, math.sqrt(2 * (2 * lags + 1) / n))
        over = _autocorrelation((ranked > (1 - _COMPARED) * (n + 1)).astype(np.float64))
        if over is None:
            return known
        found = 1 + 2 * float(over[1 : max(lags, least_lags) + 1].sum())
        return cls(n, correlation, known.error, max(1.0, found / known._memory(_COMPARED)))

    def worth(self, far: float) -> Worth:
        """For alarms at the rate `far`, in (0, 0.5)."""
        return Worth(self.n / min(self._memory(far) * self.runs, self.n), self.error)

    def _memory(self, far: float) -> float:
        """1 + 2 sum r_u(h), rows."""
        level = -float(normal_quantile(far))
        angle = np.linspace(0, math.pi / 2, 1001)
        density = np.exp(-(level**2) / (1 + np.sin(angle))) / (2 * math.pi)
        covariance = np.append(0, np.cumsum((density[1:] + density[:-1]) / 2 * angle[1]))
        together = np.interp(np.arcsin(self.correlation), angle, covariance)
        return float(1 + 2 * together.sum() / (far * (1 - far)))


def _autocorrelation(series: Floats) -> Floats | None:
    """By lag from 0 to n/2, each over the pairs that there are; None of a constant series."""
    n = series.size
    centred = series - series.mean()
    if n < 4 or not np.any(centred):
        return None
    spectrum = np.fft.rfft(centred, 2 * n)
    sums = np.fft.irfft(spectrum * np.conj(spectrum))[: n // 2]
    return np.asarray(sums / sums[0] * n / (n - np.arange(n // 2)), np.float64)


def _initial_sequence(rho: Floats) -> tuple[int, float]:
    """Lags up to which pairs of neighbouring lags are positive, and the memory 1 + 2 sum rho, pairs made to fall."""
    pairs = rho[: rho.size // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    count = int(negative[0]) if negative.size else pairs.size
    falling = np.minimum.accumulate(pairs[:count])
    return max(2 * count - 1, 1), max(-1 + 2 * float(falling.sum()), 1.0)
