"""Which alarms a detector would have given over a recording: day by day, event by event, with what they are about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..arrays import short
from ..batch.scores import score_tables
from ..bundle import Bundle
from ..describe import describe_range
from ..detector import Detector
from ..errors import InputError
from ..layout import Layout
from ..rows.times import LEAST_EPOCH_S, write_time
from ..scoring.results import Cause, Results
from ..scoring.state import StreamState
from ..text_table import text_table
from .events import by_key, runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DAY_S = 86400
_TOLD = 50
"""Events that the terminal shows."""
_COLUMNS_TOLD = 3


class Day(msgspec.Struct):
    """What was seen on a day, in UTC."""

    day: str | None
    """2026-01-05; None of rows without a time."""
    rows: int = 0
    scored: int = 0
    alarms: int = 0
    """Rows that alarm, by their score or by a limit."""
    over: int = 0
    """Rows that alarm by their score: what was promised a rate."""
    events: int = 0
    """That start on this day."""

    @property
    def rate(self) -> float | None:
        """over / scored, None without a score."""
        return self.over / self.scored if self.scored else None


class Event(msgspec.Struct):
    """An unbroken run of anomalous rows of one stream."""

    start: str | None
    end: str | None
    """The times of its first and last row, None where they have none."""
    row: int
    """The number of its first row."""
    rows: int
    peak_score: float | None
    """The largest; None where no row has a score."""
    peak_severity: float | None
    columns: tuple[Cause, ...]
    """What contributes most to the row of the largest score."""
    reason: str | None
    """What is to be said of that row: the limit that it breaks, or the cells that were filled."""
    key: str | None = None
    file: str | None = None


class Backtest(msgspec.Struct, frozen=True):
    """All of it."""

    model: str
    export_id: str
    rows: int
    scored: int
    alarms: int
    false_alarm_rate: float | None
    """Rows that alarm by their score / scored: false alarms, as far as the recording is normal."""
    promised_false_alarm_rate: float
    promised_range: tuple[float, float]
    days: list[Day]
    events: list[Event]
    promise: str
    """Whether it holds, in words."""

    def describe(self) -> str:
        """Tables for the terminal."""
        low_high = describe_range(*self.promised_range)
        rate = "none" if self.false_alarm_rate is None else f"{self.false_alarm_rate:.4f}"
        lines = [
            f"{self.rows} rows, {self.scored} scored, {self.alarms} alarms, {len(self.events)} events",
            f"  alarm rate   {rate}   promised {self.promised_false_alarm_rate:.3g}, really {low_high}",
            f"  promise      {self.promise}",
            "",
            *text_table(
                ["day (UTC)", "rows", "scored", "alarms", "events", "rate"],
                [
                    [
                        day.day or "without time",
                        *map(str, (day.rows, day.scored, day.alarms, day.events)),
                        "" if day.rate is None else f"{day.rate:.4f}",
                    ]
                    for day in self.days
                ],
                texts=[0],
            ),
        ]
        if self.events:
            header = ["event", "last row", "rows", "peak", "because of"]
            lines += ["", *text_table(header, map(_told, self.events[:_TOLD]), texts=[0, 1, 4])]
        if (more := len(self.events) - _TOLD) > 0:
            lines.append(f"and {more} more; --json has all")
        return "\n".join(lines)


def backtest(
    detector: Detector, name: str, tables: Sequence[Path], layout: Layout, *, adaptive: bool = False
) -> Backtest:
    """What the detector, called `name`, says of tables, each a recording of its own, as `batch.scores.score_tables`
    scores them. Raises InputError when there is no row, or what the detector scores is no table."""
    if detector.bundle.kind == "images":
        raise InputError("backtest is for recordings, and this model scores images")
    state = StreamState(detector.bundle, adaptive=adaptive)
    watched = Watched(detector.bundle)
    for results in score_tables(detector, tables, layout, state, causes=True):
        watched.add(results)
    if not watched.days:
        raise InputError("there is no row in DATA")
    days = watched.days_in_order()
    rows, scored, alarms, over = (
        sum(getattr(day, each) for day in days) for each in ("rows", "scored", "alarms", "over")
    )
    calibration = detector.bundle.calibration
    return Backtest(
        model=name,
        export_id=detector.bundle.export_id,
        rows=rows,
        scored=scored,
        alarms=alarms,
        false_alarm_rate=over / scored if scored else None,
        promised_false_alarm_rate=calibration.far,
        promised_range=(calibration.far_low, calibration.far_high),
        days=days,
        events=watched.events,
        promise=state.watch.monitor.describe(),
    )


class Watched:
    """Days and events of results as they come."""

    def __init__(self, bundle: Bundle) -> None:
        self._threshold = bundle.calibration.threshold
        self.days: dict[int | None, Day] = {}
        self.events: list[Event] = []
        """In the order of their first rows."""
        self._running: dict[str, Event] = {}

    def add(self, results: Results) -> None:
        """The next rows."""
        if not results.first:  # of another recording
            self._running.clear()
        days = self._count(results)
        for key, index in by_key(results.keys, len(results.status)):
            is_anomaly = results.scores.is_anomaly[index]
            for start, end in runs(is_anomaly):
                event = self._running.get(key) if start == 0 else None
                if event is None:
                    event = self._begin(results, int(index[start]), key)
                    self.days[days[int(index[start])]].events += 1
                _extend(event, results, index[start:end])
            if not is_anomaly[-1]:
                self._running.pop(key, None)

    def days_in_order(self) -> list[Day]:
        """The days, and at the end what has no time."""
        known = sorted(day for day in self.days if day is not None)
        return [*(self.days[day] for day in known), *([self.days[None]] if None in self.days else [])]

    def _count(self, results: Results) -> list[int | None]:
        """Counts the rows by day; the number of the day of each row, None without a time."""
        scores = results.scores
        over = scores.is_anomaly & scores.scored
        if results.limited is not None:  # these alarm whatever their score, and were promised nothing
            over = np.where(results.limited, scores.score > self._threshold, over)
        times = np.full(len(over), np.nan) if results.times is None else results.times
        day = np.floor(times / _DAY_S)
        for number in np.unique(day).tolist():  # NaN once
            mine = np.isnan(day) if np.isnan(number) else day == number
            told = self.days.setdefault(_known(number), Day(_written(number)))
            told.rows += int(mine.sum())
            told.scored += int(scores.scored[mine].sum())
            told.alarms += int(scores.is_anomaly[mine].sum())
            told.over += int(over[mine].sum())
        return list(map(_known, day.tolist()))

    def _begin(self, results: Results, first: int, key: str) -> Event:
        time = _time(results, first)
        named = None if results.keys is None else key
        event = Event(time, time, results.first + first, 0, None, None, (), None, named, results.file)
        self.events.append(event)
        self._running[key] = event
        return event


def _extend(event: Event, results: Results, index: NDArray[np.int64]) -> None:
    """Makes these rows part of the event."""
    event.rows += len(index)
    event.end = _time(results, int(index[-1]))
    score = np.nan_to_num(results.scores.score[index], nan=-np.inf)
    worst = int(index[score.argmax()])
    is_scored = bool(results.scores.scored[worst])
    if is_scored and (event.peak_score is None or score.max() > event.peak_score):
        event.peak_score = short(results.scores.score[worst])
        event.peak_severity = short(results.scores.severity[worst])
    elif event.columns:
        return
    event.columns = results.causes[worst] if results.causes is not None else ()
    event.reason = results.reason[worst] or None


def _time(results: Results, index: int) -> str | None:
    return None if results.times is None else write_time(float(results.times[index]))


def _known(day: float) -> int | None:
    return int(day) if np.isfinite(day) else None


def _written(day: float) -> str | None:
    """As a date; what counts from its own beginning has none, but a number."""
    number = _known(day)
    if number is None:
        return None
    return f"day {number}" if abs(number) * _DAY_S < LEAST_EPOCH_S else str(np.datetime64(number, "D"))


def _told(event: Event) -> list[str]:
    what = [
        f"{cause.column} {'missing' if cause.actual is None else f'{cause.actual:.5g}'}"
        + ("" if cause.expected is None else f" (expected {cause.expected:.5g})")
        for cause in event.columns[:_COLUMNS_TOLD]
    ]
    place = f"row {event.row}" if event.file is None else f"{Path(event.file).name}, row {event.row}"
    start = event.start or place
    return [
        start if event.key is None else f"{start} {event.key}",
        event.end or "",
        str(event.rows),
        "" if event.peak_severity is None else f"{event.peak_severity:.2f}",
        ", ".join(what),
    ]
