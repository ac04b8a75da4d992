"""Rows of a recording, in order, to results in order: windows, gaps, bad rows; and images, which stand alone.

Files, stdin and HTTP all come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..bundle import Bundle
from ..detector import Detector, Explanation, Scores
from ..rows.tables import Rows
from .adaptive import AdaptiveThreshold
from .drift import DriftMonitor

if TYPE_CHECKING:
    from numpy.typing import NDArray

OK, WARMING, GAP, BAD, OVERFLOW = "ok", "warming", "gap", "bad", "overflow"
STATUSES = (OK, WARMING, GAP, BAD, OVERFLOW)
"""ok: scored. warming: the recording is still shorter than a window. gap: the window holds a bad row or a jump in
time. bad: a cell of this row is no finite number, or this image cannot be read. overflow: the score exceeds float32."""

_GAP_PERIODS = 1.5
"""A step in time of more than this many periods is a gap; less is jitter."""


class Results(NamedTuple):
    """Results of consecutive rows, one element a row; `scores` is NaN wherever `status` is not ok."""

    first: int
    scores: Scores
    status: list[str]
    reason: list[str]
    explanation: Explanation | None

    def row(self, index: int) -> dict[str, Any]:
        """One row's result with None for what does not exist, ready for strict JSON."""
        result: dict[str, Any] = {"row": self.first + index}
        scored = self.status[index] == OK
        for name in ("score", "severity", "p_value", "is_anomaly"):
            result[name] = getattr(self.scores, name)[index].item() if scored else None
        result["status"] = self.status[index]
        result["reason"] = self.reason[index] or None
        return result


class Framed(NamedTuple):
    """What a detector gets for consecutive rows.

    `inputs` has one for each row where `full`, (n, features) or (n, window, features); `status` and `reason` have an
    element for every row, and say where there is no input.
    """

    first: int
    inputs: NDArray[Any]
    full: NDArray[np.bool_]
    status: list[str]
    reason: list[str]


class Framer:
    """Makes inputs of a recording that arrives in chunks of any size; the chunking changes no input.

    A window ends at its newest row. It must hold `window` rows that follow each other: after a bad row or a jump in
    time it fills anew, nothing is interpolated.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._kind = bundle.kind
        self._window = bundle.window
        self._period_s = bundle.data.period_s
        # The rows before the newest that its window reaches back to; NaN before the recording begins.
        self._tail = np.full((self._window - 1, len(bundle.columns)), np.nan, np.float32)
        self._run = 0  # rows that follow each other, up to the newest
        self._why = ""  # why the run was broken; "" at the start of the recording
        self._last_time = np.nan  # the last readable time, and how many rows ago it was
        self._last_time_ago = 1

    def push(self, rows: Rows) -> Framed:
        """Inputs for the next rows of the recording."""
        status, reason, full = self._statuses(rows)
        inputs = self._inputs(rows.values)
        return Framed(rows.first, inputs if full.all() else inputs[full], full, status, reason)

    def _statuses(self, rows: Rows) -> tuple[list[str], list[str], NDArray[np.bool_]]:
        status, reason = [OK] * len(rows.values), [""] * len(rows.values)
        jumps = self._jumps(rows.times, len(rows.values))
        for index in range(len(rows.values)):
            number = rows.first + index
            if index in rows.bad:
                self._run, self._why = 0, f"row {number} in the window is bad"
                status[index], reason[index] = BAD, str(rows.bad[index])
                continue
            if index in jumps:
                self._run, self._why = 0, f"time jumps by {jumps[index]:.6g} s before row {number}"
            self._run += 1
            if self._run < self._window:
                missing = self._window - self._run
                status[index] = GAP if self._why else WARMING
                reason[index] = f"{self._why or 'the recording begins'}; {missing} more rows fill the window"
        full = np.array([one == OK for one in status], np.bool_)
        return status, reason, full

    def _jumps(self, times: NDArray[np.float64] | None, n: int) -> dict[int, float]:
        """By index, the steps in time that break a window. An unreadable time neither proves nor hides one."""
        if self._period_s is None or self._window == 1:
            return {}
        known = np.flatnonzero(np.isfinite(times)) if times is not None else np.empty(0, np.intp)
        if times is None or not len(known):
            self._last_time_ago += n
            return {}
        steps = np.diff(times[known], prepend=self._last_time)  # NaN, before the first time, compares False
        rows = np.diff(known, prepend=-self._last_time_ago)
        self._last_time, self._last_time_ago = times[known[-1]], n - int(known[-1])
        jumped = (steps > (rows - 1 + _GAP_PERIODS) * self._period_s) | (steps <= 0)
        return {int(known[index]): float(steps[index]) for index in np.flatnonzero(jumped)}

    def _inputs(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """One input for each of these rows; inputs that reach before the recording hold NaN."""
        if self._kind == "rows":
            return rows
        joined = np.concatenate([self._tail, rows])
        self._tail = joined[len(rows) :]
        windows = np.lib.stride_tricks.sliding_window_view(joined, self._window, axis=0)  # (rows, features, window)
        return windows.transpose(0, 2, 1)


class Watch:
    """What the verdicts of a stream are held against: whether the promise holds, and a threshold that may follow.

    Inputs without a score are passed over by both, and the next one follows on as if they had not been.
    """

    def __init__(self, detector: Detector, *, adaptive: bool = False) -> None:
        bundle = detector.bundle
        self.monitor = DriftMonitor(bundle.calibration, bundle.data.period_s)
        self._threshold = AdaptiveThreshold(bundle.calibration.far) if adaptive else None

    def push(self, scores: Scores) -> Scores:
        """The next results, their verdicts by the threshold that follows the stream, where there is one."""
        # Those of the threshold that was shipped: the other keeps any rate, and would never speak against it.
        self.monitor.push(scores.is_anomaly[scores.scored])
        if self._threshold is None:
            return scores
        return scores._replace(is_anomaly=self._threshold.verdicts(scores.p_value))


class Recording:
    """Scores a recording that arrives in chunks of any size; the chunking changes no result. See `Framer`.

    Parameters
    ----------
    watch : of the stream that the recording is a part of, when that is wanted
    """

    def __init__(self, detector: Detector, *, explain: bool = False, watch: Watch | None = None) -> None:
        self._detector = detector
        self._explain = explain
        self._watch = watch
        self._framer = Framer(detector.bundle)

    def push(self, rows: Rows) -> Results:
        """Results for the next rows of the recording."""
        first, inputs, full, status, reason = self._framer.push(rows)
        scores = _watched(_score(self._detector, inputs, full, status, reason), self._watch)
        explanation = self._explanations(inputs, full, len(status)) if self._explain else None
        return Results(first, scores, status, reason, explanation)

    def _explanations(self, inputs: NDArray[np.float32], full: NDArray[np.bool_], n: int) -> Explanation:
        """Per row and column: the contribution summed over the window, and the value expected at the newest row."""
        contribution, expected = self._detector.explain(inputs)
        if contribution.ndim == 3:
            contribution, expected = contribution.sum(axis=1), expected[:, -1]
        return Explanation(fill(contribution, full, n), fill(expected, full, n))


def score_images(
    detector: Detector, first: int, images: Sequence[NDArray[np.uint8] | str], watch: Watch | None = None
) -> Results:
    """Results of images as `images.read_image` gives them; a text in place of an image is why it cannot be read.

    Parameters
    ----------
    first : number of the first of these images
    watch : of the stream or folder that they are a part of, when that is wanted
    """
    full = np.array([not isinstance(image, str) for image in images], np.bool_)
    status = [OK if readable else BAD for readable in full]
    reason = [image if isinstance(image, str) else "" for image in images]
    pixels = [image for image in images if not isinstance(image, str)]
    inputs = np.stack(pixels) if pixels else np.empty((0, *detector.bundle.input_shape), np.uint8)
    scores = _watched(_score(detector, inputs, full, status, reason), watch)
    return Results(first, scores, status, reason, None)


def _watched(scores: Scores, watch: Watch | None) -> Scores:
    return scores if watch is None else watch.push(scores)


def _score(
    detector: Detector, inputs: NDArray[Any], full: NDArray[np.bool_], status: list[str], reason: list[str]
) -> Scores:
    """The scores of the inputs at the places where `full`; what overflows is marked in `status` and `reason`."""
    scored = detector.score(inputs)
    if not scored.scored.all():
        for index in np.flatnonzero(full)[~scored.scored]:
            status[index] = OVERFLOW
            reason[index] = "the score exceeds float32"
    return _spread(scored, full, len(full))


def _spread(scores: Scores, full: NDArray[np.bool_], n: int) -> Scores:
    return scores if full.all() else Scores(*(fill(values, full, n) for values in scores))


def fill(values: NDArray[Any], full: NDArray[np.bool_], n: int) -> NDArray[Any]:
    """`values` at the rows where `full`; NaN, or False for booleans, elsewhere."""
    out = np.full((n, *values.shape[1:]), False if values.dtype == np.bool_ else np.nan, values.dtype)
    out[full] = values
    return out
