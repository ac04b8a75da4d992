"""A line in the log for every alarm, for operators who asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..hosting.logs import MOST_A_SECOND, Log
from ..scoring.results import Results
from ..streams.parts import Part
from .models import Served

if TYPE_CHECKING:
    from numpy.typing import NDArray


def tell_alarms(log: Log, request_id: str, served: Served, parts: Sequence[Part], found: Sequence[Results]) -> None:
    """Says which rows of a request are anomalies, and of those that will be read which column contributes most."""
    left = MOST_A_SECOND
    more = sum(int(np.count_nonzero(results.scores.is_anomaly)) for results in found) - left
    for part, results in zip(parts, found, strict=True):
        told = np.flatnonzero(results.scores.is_anomaly)[:left]
        left -= len(told)
        columns = _columns(served, part, results, told)
        for index in told.tolist():
            scored = bool(results.scores.scored[index])
            log.alarm(
                served.name,
                more=max(0, more) if left == 0 and index == told[-1] else 0,
                row=part.numbers[index],
                key=part.rows.keys[index] if part.rows.keys else None,
                score=results.scores.score[index].item() if scored else None,
                severity=results.scores.severity[index].item() if scored else None,
                column=columns.get(index),
                reason=results.reason[index] or None,
                request_id=request_id,
            )
        if not left:
            return


def _columns(served: Served, part: Part, results: Results, alarms: NDArray[np.intp]) -> dict[int, str]:
    """The column that contributes most, by the place of the row."""
    alarms = alarms[results.scores.scored[alarms]]
    if not len(alarms) or served.detector.bundle.image is not None:
        return {}
    places = np.cumsum(part.framed.full)[alarms] - 1
    contribution = served.detector.explain(part.framed.inputs[places]).contribution
    largest = contribution.reshape(len(alarms), -1, contribution.shape[-1]).sum(axis=1).argmax(axis=1)
    return {
        row: served.detector.bundle.names[place] for row, place in zip(alarms.tolist(), largest.tolist(), strict=True)
    }
