"""What the verdicts of a stream are held against: whether the promise holds, and a threshold that may follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..bundle import Bundle
from ..errors import InputError
from .adaptive import AdaptiveThreshold
from .drift import DriftMemory, DriftMonitor
from .fdr import DiscoveryThreshold
from .results import Results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WatchMemory(msgspec.Struct, frozen=True):
    """What a watch has seen."""

    drift: DriftMemory
    alpha: float | None
    """Of the threshold that follows; None without one."""
    earned: float | None = None
    """Of the one that keeps the false discovery rate; None without one."""


class Watch:
    """Of one stream. It sees only results that were accepted: a request that is refused leaves no trace.

    Inputs without a score are passed over, and the next one follows on as if they had not been.

    Parameters
    ----------
    adaptive, fdr : whether the threshold follows the stream, or which false discovery rate it keeps; one or the other
    """

    def __init__(self, bundle: Bundle, *, adaptive: bool = False, fdr: float | None = None) -> None:
        if adaptive and fdr is not None:
            raise InputError("--adaptive and --fdr each set the threshold; give one of them")
        self._shipped = bundle.calibration.threshold
        self.monitor = DriftMonitor(bundle.calibration, bundle.data.period_s)
        self._threshold: AdaptiveThreshold | DiscoveryThreshold | None = None
        if adaptive:
            self._threshold = AdaptiveThreshold(bundle.calibration.far)
        elif fdr is not None:
            self._threshold = DiscoveryThreshold.of(bundle.calibration, fdr)

    def accept(self, results: Results, over: NDArray[np.bool_] | None = None) -> Results:
        """The next results, their verdicts by the threshold that follows the stream, where there is one; `over` as in
        `see`."""
        self.see(results, over)
        if self._threshold is None:
            return results
        scores = results.scores
        verdicts = self._threshold.verdicts(scores.p_value)
        if results.limited is not None:
            verdicts |= results.limited
        return results._replace(scores=scores._replace(is_anomaly=verdicts))

    def see(self, results: Results, over: NDArray[np.bool_] | None = None) -> None:
        """Takes results whose verdicts are those of another watch.

        Parameters
        ----------
        over : which of those with a score are above the threshold that was promised a rate, where that is another than
            the model's
        """
        if over is not None:
            self.monitor.push(over)
            return
        # By the threshold that was shipped: the other keeps any rate, and would never speak against it. And by the
        # score alone: limits are no part of what was promised.
        score = results.scores.score
        self.monitor.push((score if results.all_scored else score[results.scores.scored]) > self._shipped)

    @property
    def memory(self) -> WatchMemory:
        """All that the verdicts on later results depend on."""
        threshold = self._threshold
        return WatchMemory(
            self.monitor.memory,
            threshold.alpha if isinstance(threshold, AdaptiveThreshold) else None,
            threshold.earned if isinstance(threshold, DiscoveryThreshold) else None,
        )

    def recall(self, memory: WatchMemory) -> None:
        """Goes on from there. A threshold of a kind that was not kept starts anew."""
        self.monitor.memory = memory.drift
        if isinstance(self._threshold, AdaptiveThreshold) and memory.alpha is not None:
            self._threshold.alpha = memory.alpha
        if isinstance(self._threshold, DiscoveryThreshold) and memory.earned is not None:
            self._threshold.earned = memory.earned
