"""Events of ordered data, and how alarms find them.

An event is an unbroken run of anomalous rows. Alarm events are those that a service would have told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ...runtime.alarms.runs import runs
from .labelled import AlarmEvent

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLATTERS = (
    "one alarm anywhere in an event counts as an alarm at each of its rows, so that almost any detector, random scores "
    "too, comes above 0.9 with long events (Kim et al. 2022); the coin alarms as often, and knows nothing"
)
"""Why point-adjusted figures must not be compared with anything."""


class Events(msgspec.Struct, frozen=True):
    """How alarms and events meet; an event is found when any of its rows raises an alarm (Hundman et al. 2018)."""

    events: int
    found: int
    median_delay_rows: float | None
    """Rows from an event's first row to its first alarm; None when none was found."""
    median_delay_s: float | None
    """The same in seconds, None without time stamps."""
    false_events: int
    """Alarm events that touch no event."""
    max_delay_rows: int | None = None
    """The longest delay of those that were found."""
    precision: float | None = None
    """found / (found + false_events); None without any alarm."""
    recall: float | None = None
    """found / events; None without events."""
    f1: float | None = None
    """2 found / (found + false_events + events); None without alarms and events."""
    false_events_per_day: float | None = None
    """False events over the time that normal rows with a score stand for; None without time stamps."""


class PointAdjusted(msgspec.Struct, frozen=True):
    """Row by row after every event with an alarm was given one in each of its rows. Not comparable: see `warning`."""

    precision: float | None
    """None without any alarm."""
    recall: float
    f1: float
    coin_f1: float
    """What alarms at random rows, as many of them, get."""
    warning: str = FLATTERS


def count_events(
    truth: NDArray[np.bool_],
    alarm: NDArray[np.bool_],
    told: Sequence[AlarmEvent],
    times: NDArray[np.float64] | None = None,
    *,
    normal_days: float | None = None,
) -> Events:
    """Events found, their delays, and false events, over all rows in order (a row without a score raises no alarm).

    Parameters
    ----------
    truth, alarm : (rows,)
    told : alarm events; before the row with which one is told it finds nothing
    times : (rows,) seconds, NaN where one cannot be read
    normal_days : how long normal operation was watched
    """
    delays, heard = [], heard_alarms(alarm, told)
    for start, end in runs(truth):
        fired = np.flatnonzero(heard[start:end])
        if len(fired):
            delays.append((start, start + int(fired[0])))
    rows = [first - start for start, first in delays]
    seconds = [] if times is None else [times[first] - times[start] for start, first in delays]
    events, found = len(runs(truth)), len(delays)
    false = sum(not truth[each.first : each.last + 1].any() for each in told)
    return Events(
        events=events,
        found=found,
        median_delay_rows=float(np.median(rows)) if rows else None,
        median_delay_s=float(np.median(seconds)) if seconds else None,
        false_events=false,
        max_delay_rows=max(rows, default=None),
        precision=found / (found + false) if found + false else None,
        recall=found / events if events else None,
        f1=2 * found / (found + false + events) if false + events else None,
        false_events_per_day=false / normal_days if normal_days else None,
    )


def heard_alarms(alarm: NDArray[np.bool_], told: Sequence[AlarmEvent]) -> NDArray[np.bool_]:
    """The alarms (rows,) of events that were told by then."""
    heard = np.zeros_like(alarm)
    for each in told:
        heard[each.told : each.last + 1] = alarm[each.told : each.last + 1]
    return heard


def point_adjust(truth: NDArray[np.bool_], alarm: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The alarms (rows,), and one in each row of every event that has one (Xu et al. 2018)."""
    adjusted = alarm.copy()
    for start, end in runs(truth):
        adjusted[start:end] |= alarm[start:end].any()
    return adjusted
