"""A second model that scores the same inputs, to see where it differs before it is trusted."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ..detector import Detector, Scores
from ..metrics.model import ShadowMetrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_WAITING = 64
"""Batches that wait to be scored again; beyond it they are passed over, and counted."""


class Shadow:
    """Scores beside a model, in a thread of its own: nobody waits for it.

    Parameters
    ----------
    metrics : in which it counts
    """

    def __init__(self, detector: Detector, metrics: ShadowMetrics) -> None:
        self.detector = detector
        self._metrics = metrics
        self._threshold = detector.bundle.calibration.threshold
        self._closed = False
        self._waiting: queue.Queue[tuple[NDArray[Any], Scores, float] | None] = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def problem_beside(self, other: Detector) -> str:
        """Why it cannot take the inputs of that model; "" when it can."""
        own, theirs = self.detector.bundle, other.bundle
        if own.kind != theirs.kind or own.input_shape != theirs.input_shape:
            return (
                f"it takes {own.kind} of {list(own.input_shape)}, the model {theirs.kind} of {list(theirs.input_shape)}"
            )
        if [(column.name, column.texts) for column in own.columns] != [
            (column.name, column.texts) for column in theirs.columns
        ]:
            return "it has other columns, or in another order"
        return ""

    def compare(self, inputs: NDArray[Any], scores: Scores, threshold: float) -> None:
        """Takes what the model was asked, and what it found with this threshold."""
        try:
            self._waiting.put_nowait((inputs, scores, threshold))
        except queue.Full:
            self._metrics.passed_over(len(inputs))

    def close(self) -> None:
        """Scores nothing more."""
        self._closed = True
        with suppress(queue.Full):  # then what waits wakes the thread up
            self._waiting.put_nowait(None)

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None and not self._closed:
            inputs, scores, threshold = waiting
            try:
                found = self.detector.score(inputs)
            except Exception:  # of the graph, on a device that is gone: no reason to stop for good
                self._metrics.passed_over(len(inputs))
                continue
            both = found.scored & scores.scored
            ratio = found.score[both].astype(np.float64) / self._threshold
            ratio /= np.maximum(scores.score[both].astype(np.float64) / threshold, 1e-12)
            different = int(np.count_nonzero(found.is_anomaly[both] != scores.is_anomaly[both]))
            self._metrics.seen(ratio, different)
