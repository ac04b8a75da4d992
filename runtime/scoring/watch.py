"""What the verdicts of a stream are held against: whether the promise holds, and a threshold that may follow."""

from __future__ import annotations

import msgspec

from ..bundle import Bundle
from .adaptive import AdaptiveThreshold
from .drift import DriftMemory, DriftMonitor
from .results import Results


class WatchMemory(msgspec.Struct, frozen=True):
    """What a watch has seen."""

    drift: DriftMemory
    alpha: float | None
    """Of the threshold that follows; None without one."""


class Watch:
    """Of one stream. It sees only results that were accepted: a request that is refused leaves no trace.

    Inputs without a score are passed over, and the next one follows on as if they had not been.
    """

    def __init__(self, bundle: Bundle, *, adaptive: bool = False) -> None:
        self._shipped = bundle.calibration.threshold
        self.monitor = DriftMonitor(bundle.calibration, bundle.data.period_s)
        self._threshold = AdaptiveThreshold(bundle.calibration.far) if adaptive else None

    def accept(self, results: Results) -> Results:
        """The next results, their verdicts by the threshold that follows the stream, where there is one."""
        self.see(results)
        if self._threshold is None:
            return results
        scores = results.scores
        verdicts = self._threshold.verdicts(scores.p_value)
        if results.limited is not None:
            verdicts |= results.limited
        return results._replace(scores=scores._replace(is_anomaly=verdicts))

    def see(self, results: Results) -> None:
        """Takes results whose verdicts are those of another watch."""
        # By the threshold that was shipped: the other keeps any rate, and would never speak against it. And by the
        # score alone: limits are no part of what was promised.
        score = results.scores.score
        self.monitor.push((score if results.all_scored else score[results.scores.scored]) > self._shipped)

    @property
    def memory(self) -> WatchMemory:
        """All that the verdicts on later results depend on."""
        return WatchMemory(self.monitor.memory, self._threshold.alpha if self._threshold else None)

    def recall(self, memory: WatchMemory) -> None:
        """Goes on from there. A threshold that follows starts anew where none was kept."""
        self.monitor.memory = memory.drift
        if self._threshold is not None and memory.alpha is not None:
            self._threshold.alpha = memory.alpha
