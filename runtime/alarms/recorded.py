"""The events of recordings, as they would have been told while their rows came."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..bundle import Bundle
from ..detector import Scores
from ..scoring.results import Cause, Results
from .alarm import Alarm
from .event import Event, told
from .rule import AlarmRule
from .runs import by_key

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Recorded(msgspec.Struct, frozen=True):
    """An event of a recording."""

    event: Event
    is_timed: bool
    """Whether its first row has a time; else rows are counted in place of seconds."""
    file: str | None = None
    """That it is from; None where there is only one."""

    def told(self) -> dict[str, Any]:
        """The event for JSON."""
        times = {} if self.is_timed else {"start": None, "end": None}
        return told(self.event) | times | {"row": self.event.first_row, "file": self.file}


class RecordedAlarms:
    """Sees results of recordings, one after the other, each key for itself.

    Parameters
    ----------
    rule : as it was asked for
    """

    def __init__(self, bundle: Bundle, rule: AlarmRule, *, model: str = "") -> None:
        self._rule, self._model = rule.of(bundle), model
        self._period_s = bundle.data.period_s or 1.0
        self._alarms: dict[str, Alarm] = {}
        self._ended = [0, 0]
        self._last = np.nan
        self.events: list[Recorded] = []
        """Those that are told, in the order in which they were."""

    @property
    def started(self) -> int:
        """Events that began, also those that were too many in an hour."""
        return self._ended[0] + sum(alarm.started for alarm in self._alarms.values())

    @property
    def untold(self) -> int:
        """Those that were too many in an hour."""
        return self._ended[1] + sum(alarm.untold for alarm in self._alarms.values())

    def add(self, results: Results) -> list[Recorded]:
        """The next rows, which begin another recording where they are the first of one; the events that are new."""
        if not results.first:
            self.end()
        times, is_timed = self._times(results)
        before = len(self.events)
        for key, index in by_key(results.keys, len(results.status)):
            alarm = self._alarms.get(key)
            if alarm is None:
                alarm = self._alarms[key] = Alarm(self._rule, model=self._model, key=key)
            own = results if results.keys is None else _taken(results, index)
            changes = alarm.see(own, times[index], partial(_causes, own), numbers=results.first + index)
            self.events += [
                Recorded(change.event, is_timed, results.file) for change in changes if change.what == "started"
            ]
        return self.events[before:]

    def end(self) -> None:
        """No more rows of this recording come."""
        self._ended = [self.started, self.untold]
        for alarm in self._alarms.values():
            alarm.end()
        self._alarms, self._last = {}, np.nan

    def _times(self, results: Results) -> tuple[NDArray[np.float64], bool]:
        """Seconds (rows,), and whether they are times: of rows without one those of the row before, or where no row has
        any, the number of the row in periods."""
        n = len(results.status)
        times = np.full(n, np.nan) if results.times is None else results.times
        known = np.isfinite(times)
        if not known.any() and not np.isfinite(self._last):
            return (results.first + np.arange(n, dtype=np.float64)) * self._period_s, False
        filled = np.concatenate([[self._last if np.isfinite(self._last) else times[known][0]], times])
        place = np.maximum.accumulate(np.where(np.isfinite(filled), np.arange(n + 1), 0))
        times = filled[place][1:]
        if n:
            self._last = float(times[-1])
        return times, True


def _taken(results: Results, index: NDArray[np.int64]) -> Results:
    """The results at these places."""
    places = index.tolist()
    return results._replace(
        scores=Scores._make([each[index] for each in results.scores]),
        status=[results.status[at] for at in places],
        reason=[results.reason[at] for at in places],
        limited=None if results.limited is None else results.limited[index],
        causes=None if results.causes is None else [results.causes[at] for at in places],
    )


def _causes(results: Results, index: int) -> tuple[Cause, ...]:
    return () if results.causes is None else results.causes[index]
