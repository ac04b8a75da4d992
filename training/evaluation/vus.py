"""Volume under the surface: how well scores rank a series whose events have no sharp ends.

Paparrizos et al. 2022, "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly Detection",
PVLDB 15(11). Rows near an event count as partly anomalous, up to a buffer; the areas under the ROC and the
precision-recall curve are averaged over all buffers up to the longest. No threshold is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...runtime.alarms.runs import runs
from ...runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

THRESHOLDS = 250
"""Points on each curve, at evenly spaced ranks of the scores, as the authors' package takes them."""

LONGEST_BUFFER_ROWS = 512
"""No buffer is longer, however long the events: the work grows with its square."""


class Volumes(NamedTuple):
    """Both volumes, from 0 to 1."""

    roc: float
    precision_recall: float


def vus_pr(labels: ArrayLike, scores: ArrayLike, *, buffer_rows: int | None = None) -> float:
    """The volume under the precision-recall surface; see `volumes`.

    >>> vus_pr([0, 0, 1, 1, 0, 0], [1, 2, 8, 9, 3, 1])
    1.0
    """
    return volumes(labels, scores, buffer_rows=buffer_rows).precision_recall


def volumes(labels: ArrayLike, scores: ArrayLike, *, buffer_rows: int | None = None) -> Volumes:
    """The volumes under the ROC and the precision-recall surface.

    With buffer w a row outside the events counts as min(1, sum over the ends of events at most w // 2 rows away of
    sqrt(1 - distance / w)) of an anomalous one. At a threshold with B the sum of these shares over its alarms, A the
    anomalous rows among them, and P the anomalous rows of the n:

        TP        = A + B
        precision = TP / alarms
        recall    = min(1, TP / (P + B / 2)) * share of the events with an alarm in them or in their buffer
        FPR       = (alarms - TP) / (n - P - B / 2)

    Events whose buffers overlap are one. The area under the first two is summed in steps, that under the last two by
    trapezia, and both are averaged over w = 0, 1, ..., `buffer_rows`. So it is in the authors' package, vus 0.0.6
    (`RangeAUC_volume_opt`), and in TSB-AD 1.5; an older function of the package, `RangeAUC`, has all shares in B / 2,
    not only those of alarms, so that even a perfect detector stays below 1.

    Parameters
    ----------
    labels : (n,) 1 or True for anomalous rows, in order
    scores : (n,) higher is worse, finite
    buffer_rows : the longest buffer; by default the median length of the events, and no more than
        `LONGEST_BUFFER_ROWS`: a near miss then is one by less than half of an event, whatever the rows' period

    Raises
    ------
    InputError
        when there are not as many labels as scores, all labels are the same, or a score is not finite
    """
    truth, score = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != score.shape:
        raise InputError(f"labels of shape {truth.shape} and scores of shape {score.shape}, expected (n,) for both")
    if truth.all() or not truth.any():
        raise InputError(f"all {len(truth)} rows have the same label; a ranking needs normal and anomalous rows")
    if not np.isfinite(score).all():
        raise InputError(f"row {int(np.argmin(np.isfinite(score)))} has the score {score[~np.isfinite(score)][0]:g}")
    starts, ends = np.array(runs(truth)).T
    longest = default_buffer(truth) if buffer_rows is None else buffer_rows
    if longest < 0:
        raise InputError(f"buffer_rows is {longest}, expected 0 or more")
    surface = _Surface(truth, score, starts, ends - 1, longest // 2)
    areas = np.array([surface.areas(buffer) for buffer in range(longest + 1)])
    return Volumes(*areas.mean(axis=0).tolist())


def default_buffer(truth: NDArray[np.bool_]) -> int:
    """The longest buffer in rows for these labels (n,): the median length of their events, bounded."""
    return min(int(np.median([end - start for start, end in runs(truth)])), LONGEST_BUFFER_ROWS)


class _Surface:
    """What all buffers share. Alarms of the k-th threshold are the rows with `level` <= k.

    Parameters
    ----------
    starts, ends : first and last row of each event
    reach : rows to either side of an event that the longest buffer has
    """

    def __init__(
        self,
        truth: NDArray[np.bool_],
        score: NDArray[np.float64],
        starts: NDArray[np.intp],
        ends: NDArray[np.intp],
        reach: int,
    ) -> None:
        self._n = len(truth)
        descending = -np.sort(-score)
        thresholds = descending[np.linspace(0, self._n - 1, THRESHOLDS).astype(np.intp)]
        self._level = np.searchsorted(-thresholds, -score)
        self._alarms = self._cumulated(self._level)
        self._found = self._cumulated(self._level[truth])
        self._starts, self._ends = starts, ends
        # Every pair of a row in a buffer and an end of an event near it, by distance.
        distance = np.repeat(np.arange(1, reach + 1), 2 * len(starts))
        rows = np.concatenate([np.stack([starts - d, ends + d]).ravel() for d in range(1, reach + 1)] or [starts[:0]])
        outside = (rows >= 0) & (rows < self._n)
        outside[outside] = ~truth[rows[outside]]
        self._distance = distance[outside]
        buffered, self._place = np.unique(rows[outside], return_inverse=True)
        self._buffered_level = self._level[buffered]
        # Lowest level in each event and its buffer, which grows with the calls of `areas`.
        self._reached = 0
        self._first = np.array([self._level[a : b + 1].min() for a, b in zip(starts, ends, strict=True)])

    def areas(self, buffer: int) -> tuple[float, float]:
        """Areas under the ROC and the precision-recall curve with this buffer; call for 0, 1, 2, ... in order."""
        near = int(np.searchsorted(self._distance, buffer // 2, side="right"))
        shares = np.sqrt(1 - self._distance[:near] / max(buffer, 1))
        weights = np.minimum(np.bincount(self._place[:near], shares, len(self._buffered_level)), 1)
        partly = self._cumulated(self._buffered_level, weights)
        hits, positives = self._found + partly, self._found[-1] + partly / 2
        recall = np.minimum(hits / positives, 1) * self._share_of_events(buffer // 2)
        false_rate = (self._alarms - hits) / (self._n - positives)
        roc = np.trapezoid([0, *recall, 1], [0, *false_rate, 1])
        return float(roc), float(np.diff(recall, prepend=0) @ (hits / self._alarms))

    def _share_of_events(self, reach: int) -> NDArray[np.float64]:
        """By threshold, the share of events, those whose buffers overlap taken as one, that have an alarm."""
        while self._reached < reach:
            self._reached += 1
            before = self._level[np.maximum(self._starts - self._reached, 0)]
            after = self._level[np.minimum(self._ends + self._reached, self._n - 1)]
            self._first = np.minimum(self._first, np.minimum(before, after))
        apart = self._ends[:-1] + reach < self._starts[1:] - reach
        first = np.minimum.reduceat(self._first, np.flatnonzero(np.concatenate([[True], apart])))
        return self._cumulated(first) / len(first)

    def _cumulated(self, level: NDArray[np.intp], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """By threshold, how many of these rows, or what sum of weights, raise an alarm."""
        return np.cumsum(np.bincount(level, weights, THRESHOLDS), dtype=np.float64)
