"""A threshold that keeps the share of false alarms among all alarms, not that among normal rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..bundle import Calibration
from ..errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPREAD = 0.9
"""rho: what an alarm earns is spent on the rows after it, a share 1 - rho on the next and so on, about ten rows."""

_ROUNDING = 1e-6
"""Relative; p-values are float32, and the smallest one should not miss the level that it is meant for."""


class DiscoveryThreshold:
    """Of one stream: verdicts p_t <= alpha_t that keep the false discovery rate of what is remembered.

    Decaying-memory LORD (Rebjock et al. 2021, *Online false discovery rate control for anomaly detection in time
    series*, NeurIPS), with smoothing eta = 1, its base level where it settles, 1 - delta, and geometric weights gamma_s
    = (1 - rho) rho^(s-1), so that one number is all that it remembers:

        alpha_t = alpha (1 - delta + S_t),    S_t = sum over alarms at r < t of delta^(t-r) gamma_(t-r)
        S_(t+1) = delta rho S_t + delta (1 - rho) [alarm at t]

    With V false ones among R alarms, each counted delta^(T-t), whatever the data

        sum_t delta^(T-t) alpha_t  <=  alpha (R(T) + 1)

    and where p-values of normal rows are valid given the past, so that E V(T) is at most the mean of the left side,
    E V(T) <= alpha (E R(T) + 1) at every T. Rows remembered are 1 / (1 - delta) = alpha / base: without alarms rows
    alarm at the rate `base`, and among many of them in so many rows at most a share alpha is false.

    >>> threshold = DiscoveryThreshold(0.1, base=0.001)
    >>> threshold.verdicts(np.array([0.005, 0.001, 0.005, 0.02], np.float32)).tolist()
    [False, True, True, False]

    Parameters
    ----------
    fdr : alpha
    base : the level while nothing alarms, below alpha
    """

    def __init__(self, fdr: float, *, base: float) -> None:
        self._fdr, self._delta = fdr, 1 - base / fdr
        self.earned = 0.0
        """S_t, all that it remembers."""

    @classmethod
    def of(cls, calibration: Calibration, fdr: float) -> DiscoveryThreshold:
        """With the rarest level that the p-values of a model can tell, and no more than it promises.

        Raises InputError where that is no less than `fdr`.
        """
        base = min(calibration.resolution, calibration.far)
        if not base < fdr <= 0.5:
            raise InputError(
                f"--fdr is {fdr:g}, expected more than {base:.2g}, the rarest that this model's calibration can tell, "
                "and at most 0.5"
            )
        return cls(fdr, base=base)

    @property
    def level(self) -> float:
        """alpha_t of the next row."""
        return self._fdr * (1 - self._delta + self.earned)

    def verdicts(self, p_value: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of the next rows alarm, (rows,). A row that could not be scored, NaN, never does and moves nothing."""
        alarms, kept, gain = [], self._delta * SPREAD, self._delta * (1 - SPREAD)
        for p in p_value.tolist():
            alarms.append(p <= self.level * (1 + _ROUNDING))
            if not math.isnan(p):
                self.earned = kept * self.earned + gain * alarms[-1]
        return np.array(alarms, np.bool_)
