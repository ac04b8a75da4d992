"""Scores of normal operation that a service has logged, told apart by its events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.alarms.event import Event
from ..runtime.alarms.store import FILE, EventStore
from ..runtime.bundle import Calibration
from ..runtime.calibration.calibration import event_rows
from ..runtime.detector import Detector
from ..runtime.errors import InputError
from ..runtime.streams.score_log import read_scores
from .normal import Normal

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_EVENTS = 100_000


def of_log(detector: Detector, state: Path, *, since_s: float, now: float) -> Normal:
    """The scores that a service has logged, of times that were normal.

    What lies in an event is left out, but for such as people called false alarms. That alone would cut off the highest
    normal scores, each time lower: so of events that nobody has judged as many count as normal, the lowest peak first,
    as make up the rate of false alarms that was promised.

    Parameters
    ----------
    state : the folder of `serve --state` or `stream --state`
    since_s : seconds that are looked back, before `now`

    Raises
    ------
    InputError
        when nothing was logged of this detector
    """
    bundle, path = detector.bundle, state / f"{detector.path.stem}.scores"
    parents = (bundle.recalibration.parent,) if bundle.recalibration else ()
    logged = read_scores(path, (bundle.export_id, *parents))
    order = np.lexsort((logged.times, logged.keys))
    order = order[logged.times[order] >= now - since_s]
    if not len(order):
        raise InputError(f"{path}: no score of export {bundle.export_id} of the last {since_s / 86400:.3g} days")
    times, scores, keys = logged.times[order], logged.scores[order], logged.keys[order]
    steps = np.diff(times)[np.diff(keys) == 0]
    step = float(np.median(steps)) if len(steps) else 0.0
    run, period = event_rows(bundle), bundle.data.period_s
    events = _events(state, detector.path.stem, now - since_s)
    within = [_rows_of(event, times, keys, logged.names, run * (period or step)) for event in events]
    normal, told = _normal(events, within, scores, bundle.calibration)
    where = f"{path}: {len(scores)} scores of {len(np.unique(keys))} keys, {int(normal.sum())} of them normal"
    return Normal(
        scores[normal],
        str(path),
        sha256(times.tobytes() + scores[normal].tobytes()).hexdigest(),
        dependence_rows=math.ceil(run / max(1, round(step / period))) if period else run,
        told=where + told,
    )


def _events(state: Path, model: str, since: float) -> list[Event]:
    """Of this model, the lowest peak first."""
    path = state / FILE
    if not path.exists():
        return []
    store = EventStore(path, read_only=True)
    try:
        found = store.list(since=since, limit=_MOST_EVENTS)
    finally:
        store.close()
    own = (event for event in found if event.model in ("", model))
    return sorted(own, key=lambda event: event.peak_severity or math.inf)


def _rows_of(
    event: Event, times: NDArray[np.float64], keys: NDArray[np.int64], names: Sequence[str], margin_s: float
) -> slice:
    """The scores of an event, and those beside it that windows share with it; keys ascend, and times of each."""
    if event.key not in names:
        return slice(0, 0)
    key = names.index(event.key)
    first, last = np.searchsorted(keys, key), np.searchsorted(keys, key, side="right")
    end = event.end if event.state == "ended" else math.inf
    begin, after = np.searchsorted(times[first:last], [event.start - margin_s, np.nextafter(end + margin_s, math.inf)])
    return slice(int(first + begin), int(first + after))


def _normal(
    events: Sequence[Event], within: Sequence[slice], scores: NDArray[np.float32], before: Calibration
) -> tuple[NDArray[np.bool_], str]:
    """Which scores are taken to be normal, (scores,), and what is to be said of it."""
    normal, alarms = np.ones(len(scores), np.bool_), scores > before.threshold
    for event, rows in zip(events, within, strict=True):
        normal[rows] &= event.label == "false-alarm"
    back, promised = 0, before.far * len(scores)
    for event, rows in zip(events, within, strict=True):
        if not event.label and np.count_nonzero(alarms & normal) + np.count_nonzero(alarms[rows]) <= promised:
            normal[rows], back = True, back + 1
    for event, rows in zip(events, within, strict=True):
        if event.label == "fault":
            normal[rows] = False
    mistaken, faults = (sum(event.label == label for event in events) for label in ("false-alarm", "fault"))
    told = f"; of {len(events)} events {mistaken} were false alarms, {faults} faults"
    return normal, f"{told}, and {back} that nobody has judged count as the false alarms that were promised"
