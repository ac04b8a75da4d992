"""From the verdicts on the rows of one key to its events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from ..scoring.results import Results
from .event import Change, Event, because
from .place import Alarmed, Explain, Place
from .rule import AlarmRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

State = Literal["normal", "anomaly", "cannot tell"]

MOST_EXPLAINED = 16
"""How often an event is explained anew as its peak rises."""

HIGHER_SEVERITY, HIGHER_SCORE = 1.1, 1.5
"""Times what was explained before, from which on a new peak is explained too: a slow rise asks for few of them."""

KEEP_S = 60.0
"""Seconds of an event after which its newest row is a change, too: its end is known when the process is killed."""

_MANY = 64
"""Rows from which on it pays to take those at once that only make an event longer."""

_HOUR_S = 3600.0


class AlarmMemory(msgspec.Struct):
    """All that later events of a key depend on."""

    recent: int = 0
    """The last n verdicts, a bit each, the newest the lowest."""
    waiting: list[Alarmed] = []
    """Rows of `recent` that alarm, while nothing runs."""
    last: float = 0.0
    """Time of the newest row with a verdict, while something runs or waits."""
    event: Event | None = None
    has_lasted: bool = False
    """Whether the event has lasted long enough to count."""
    is_beyond: bool = False
    """Whether it is one too many in its hour, and told to nobody."""
    kept: float = 0.0
    """Time of the event's end when a change was told last."""
    explained: int = 0
    explained_severity: float = 0.0
    explained_score: float = 0.0
    hour: float = -math.inf
    """When the hour began in which events are counted."""
    in_hour: int = 0


class Alarm:
    """Of one key.

    Rows without a verdict, that have no score and break no limit, neither count nor end what runs, until
    `AlarmRule.silence_s` have passed without any other.

    Parameters
    ----------
    model, source, key : whose events these are
    """

    __slots__ = ("_mask", "_memory", "_rule", "_unknown", "key", "model", "source", "started", "untold")

    def __init__(self, rule: AlarmRule, *, model: str = "", source: str = "", key: str = "") -> None:
        self._rule, self.model, self.source, self.key = rule, model, source, key
        self._mask = (1 << rule.n) - 1
        self._memory = AlarmMemory()
        self._unknown = ""
        self.started = 0
        """Events that began and lasted, since this was made."""
        self.untold = 0
        """Those of them that nobody was told of, since there were too many in an hour."""

    @property
    def state(self) -> State:
        """After the newest row; "anomaly" while an event runs."""
        if self._unknown:
            return "cannot tell"
        return "anomaly" if self._memory.has_lasted else "normal"

    @property
    def why(self) -> str:
        """What there is to say of the state, "" where it is normal."""
        event = self._memory.event
        if self._unknown or event is None or not self._memory.has_lasted:
            return self._unknown
        told = event.reason or because(event.columns)
        return f"{told}; one of more than {self._rule.most_an_hour} events an hour" if self._memory.is_beyond else told

    @property
    def event(self) -> Event | None:
        """What runs, and was told."""
        memory = self._memory
        return memory.event if memory.has_lasted and not memory.is_beyond else None

    @property
    def silence_s(self) -> float:
        """Seconds without a row with a verdict after which nothing runs any more."""
        return self._rule.silence_s

    @property
    def memory(self) -> AlarmMemory:
        """What to save. It changes with the next row."""
        return self._memory

    def recall(self, memory: AlarmMemory) -> None:
        """Goes on from there, by the rule that holds now."""
        self._memory = memory
        memory.recent &= self._mask

    def see(
        self,
        results: Results,
        times: NDArray[np.float64],
        explain: Explain,
        *,
        numbers: NDArray[np.int64] | None = None,
    ) -> list[Change]:
        """Takes the next rows; what is to be told.

        Parameters
        ----------
        results : accepted ones, of this key alone, in the order of its time
        times : (rows,) seconds, none NaN
        explain : asked for rows that alarm while nothing runs, and for the peaks of what runs as they rise
        numbers : of the rows in their recording (rows,), where results do not follow each other in it
        """
        # Nearly always this is one normal row. numpy's any() would take longer than all of it.
        alarms, scored = results.scores.is_anomaly.tobytes(), results.scores.scored.tobytes()
        changes: list[Change] = []
        if 1 in alarms or self._memory.recent or self._memory.event is not None:
            self._walk(results, times, explain, numbers, changes)
        if 0 in scored[-1:] and not alarms[-1]:
            self._unknown = ": ".join(filter(None, (results.status[-1], results.reason[-1])))
        elif scored:
            self._unknown = ""
        return changes

    def end(self) -> list[Change]:
        """Closes what runs: another model or another recording follows, or the key is forgotten."""
        changes: list[Change] = []
        self._close(changes)
        self._unknown = ""
        return changes

    def _walk(
        self,
        results: Results,
        times: NDArray[np.float64],
        explain: Explain,
        numbers: NDArray[np.int64] | None,
        changes: list[Change],
    ) -> None:
        memory = self._memory
        alarms, scored = results.scores.is_anomaly.tobytes(), results.scores.scored.tobytes()
        index = -1
        while (index := index + 1) < len(alarms):
            idle = memory.event is None and not memory.recent
            if idle and (index := alarms.find(1, index)) < 0:  # what is normal until then changes nothing
                return
            index = self._skip(results, times, alarms, index, numbers, changes)
            if index == len(alarms):
                return
            time = float(times[index])
            if not idle and abs(time - memory.last) > self._rule.silence_s:
                self._close(changes)
            if alarms[index] or scored[index]:
                memory.last = time
                number = results.first + index if numbers is None else int(numbers[index])
                place = Place(results, index, time, number, bool(alarms[index]), explain)
                if memory.event is None:
                    self._wait(memory, place, changes)
                else:
                    self._go_on(memory, memory.event, place, changes)

    def _skip(
        self,
        results: Results,
        times: NDArray[np.float64],
        alarms: bytes,
        index: int,
        numbers: NDArray[np.int64] | None,
        changes: list[Change],
    ) -> int:
        """Takes many rows at once that only make an event longer, none above its peak; the first row after them."""
        memory, event = self._memory, self._memory.event
        end = alarms.find(0, index)
        n = (len(alarms) if end < 0 else end) - index
        if n < _MANY or event is None or event.peak_score is None:
            return index
        cut = times[index : index + n]
        higher = ~(results.scores.score[index : index + n] <= np.float32(event.peak_score))
        after = np.abs(np.diff(cut, prepend=memory.last)) > self._rule.silence_s
        n = next(iter(np.flatnonzero(higher | after).tolist()), n)
        if not n:
            return index
        newest = min(n, self._rule.n)
        memory.recent = (memory.recent << newest | (1 << newest) - 1) & self._mask
        memory.last = float(cut[n - 1])
        event.end, event.rows = max(event.end, float(cut[:n].max())), event.rows + n
        event.last_row = results.first + index + n - 1 if numbers is None else int(numbers[index + n - 1])
        self._keep(memory, event, changes)
        return index + n

    def _wait(self, memory: AlarmMemory, place: Place, changes: list[Change]) -> None:
        """A row while nothing runs."""
        rule = self._rule
        counts = False
        for row in memory.waiting:
            row.age += 1
        if place.is_anomaly:
            row = place.read()
            row.causes = place.explain(place.at)
            if counts := place.is_limited or rule.passes(row.causes):
                memory.waiting.append(row)
        memory.recent = (memory.recent << 1 | counts) & self._mask
        memory.waiting = [row for row in memory.waiting if row.age < rule.n]
        if len(memory.waiting) >= rule.k:
            memory.event = self._begun(memory)
            self._tell(memory, memory.event, changes)

    def _begun(self, memory: AlarmMemory) -> Event:
        """The event of the rows that wait."""
        rows, memory.waiting = memory.waiting, []
        worst = max(rows, key=lambda row: -math.inf if row.score is None else row.score)
        event = Event(0, self.model, self.source, self.key, rows[0].time, max(row.time for row in rows), rows=len(rows))
        event.first_row, event.last_row = rows[0].number, rows[-1].number
        _raise(event, worst)
        _explain(memory, event, worst)
        return event

    def _go_on(self, memory: AlarmMemory, event: Event, place: Place, changes: list[Change]) -> None:
        """A row while an event runs."""
        memory.recent = (memory.recent << 1 | place.is_anomaly) & self._mask
        if place.is_anomaly or place.is_at_least(self._rule.clear):
            event.end, event.last_row = max(event.end, place.time), place.number
            event.rows += place.is_anomaly
            if not place.is_below(event) and _raise(event, row := place.read()) and _is_worth(memory, row):
                row.causes = place.explain(place.at)
                _explain(memory, event, row)
                if memory.has_lasted:
                    self._change(memory, event, "changed", changes)
            self._keep(memory, event, changes)
        elif memory.recent.bit_count() < self._rule.k:
            self._close(changes)

    def _keep(self, memory: AlarmMemory, event: Event, changes: list[Change]) -> None:
        """Tells an event that has become longer, now and then."""
        if memory.has_lasted and event.end - memory.kept >= KEEP_S:
            self._change(memory, event, "changed", changes)
        self._tell(memory, event, changes)

    def _tell(self, memory: AlarmMemory, event: Event, changes: list[Change]) -> None:
        """Counts an event as soon as it has lasted."""
        if memory.has_lasted or event.end - event.start < self._rule.min_duration_s:
            return
        memory.has_lasted, event.told_row = True, event.last_row
        if not 0 <= event.start - memory.hour < _HOUR_S:
            memory.hour, memory.in_hour = event.start, 0
        memory.in_hour += 1
        memory.is_beyond = memory.in_hour > self._rule.most_an_hour
        self.started += 1
        self.untold += memory.is_beyond
        self._change(memory, event, "started", changes)

    def _change(
        self,
        memory: AlarmMemory,
        event: Event,
        what: Literal["started", "changed", "ended"],
        changes: list[Change],
    ) -> None:
        is_told = what == "changed" and changes and changes[-1].event is event  # what is told anyway says the newest
        memory.kept = event.end
        if not memory.is_beyond and not is_told:
            changes.append(Change(event, what))

    def _close(self, changes: list[Change]) -> None:
        memory, event = self._memory, self._memory.event
        memory.recent, memory.waiting = 0, []
        if event is None:
            return
        event.state = "ended"
        if memory.has_lasted:
            self._change(memory, event, "ended", changes)
        memory.event, memory.has_lasted, memory.is_beyond, memory.explained = None, False, False, 0


def _raise(event: Event, row: Alarmed) -> bool:
    """Takes the row for the peak, where it is; whether it was."""
    if row.score is None:
        return False
    if event.peak_score is not None and row.score <= event.peak_score:
        return False
    event.peak_score, event.peak_severity = row.score, row.severity
    return True


def _is_worth(memory: AlarmMemory, row: Alarmed) -> bool:
    """Whether a new peak is enough above what was explained."""
    if memory.explained >= MOST_EXPLAINED or row.score is None or row.severity is None:
        return False
    # p-values, and so severities, have a floor: far out only scores tell rows apart.
    far = memory.explained_score > 0 and row.score >= HIGHER_SCORE * memory.explained_score
    return far or row.severity >= HIGHER_SEVERITY * memory.explained_severity


def _explain(memory: AlarmMemory, event: Event, row: Alarmed) -> None:
    event.columns, event.reason = row.causes or event.columns, row.reason  # not everything that is asked is answered
    memory.explained += 1
    memory.explained_severity, memory.explained_score = row.severity or 0.0, row.score or 0.0
