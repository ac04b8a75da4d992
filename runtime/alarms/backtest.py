"""Which alarms a detector would have given over a recording: day by day, event by event, with what they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..batch.scores import score_tables
from ..bundle import Bundle
from ..describe import describe_range
from ..detector import Detector
from ..errors import InputError
from ..layout import Layout
from ..rows.times import LEAST_EPOCH_S
from ..scoring.results import Results
from ..scoring.state import StreamState
from ..text_table import text_table
from .event import because
from .recorded import RecordedAlarms
from .rule import AlarmRule

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
    events: list[dict[str, Any]]
    """As `Recorded.told` has them."""
    untold: int
    """Events beyond those that an hour may have."""
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
        if self.untold:
            lines.append(f"{self.untold} events beyond those, more than --most-events in an hour, are told to nobody")
        return "\n".join(lines)


def backtest(
    detector: Detector,
    name: str,
    tables: Sequence[Path],
    layout: Layout,
    *,
    adaptive: bool = False,
    fdr: float | None = None,
    rule: AlarmRule | None = None,
) -> Backtest:
    """What the detector, called `name`, says of tables, each a recording of its own, as `batch.scores.score_tables`
    scores them, and by `rule`, else by the defaults, an event. Raises InputError when there is no row, or what the
    detector scores is no table."""
    if detector.bundle.kind == "images":
        raise InputError("backtest is for recordings, and this model scores images")
    state = StreamState(detector.bundle, adaptive=adaptive, fdr=fdr)
    watched = Watched(detector.bundle, rule, model=name)
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
        events=[each.told() for each in watched.alarms.events],
        untold=watched.alarms.untold,
        promise=state.watch.monitor.describe(),
    )


class Watched:
    """Days and events of results as they come."""

    def __init__(self, bundle: Bundle, rule: AlarmRule | None = None, *, model: str = "") -> None:
        self._threshold = bundle.calibration.threshold
        self.days: dict[int | None, Day] = {}
        self.alarms = RecordedAlarms(bundle, rule or AlarmRule(), model=model)

    def add(self, results: Results) -> None:
        """The next rows."""
        self._count(results)
        for each in self.alarms.add(results):
            day = int(each.event.start // _DAY_S) if each.is_timed else None
            self._day(day).events += 1

    def days_in_order(self) -> list[Day]:
        """The days, and at the end what has no time."""
        known = sorted(day for day in self.days if day is not None)
        return [*(self.days[day] for day in known), *([self.days[None]] if None in self.days else [])]

    def _count(self, results: Results) -> None:
        """Counts the rows by day; those without a time are a day of their own."""
        scores = results.scores
        over = scores.is_anomaly & scores.scored
        if results.limited is not None:  # these alarm whatever their score, and were promised nothing
            over = np.where(results.limited, scores.score > self._threshold, over)
        times = np.full(len(over), np.nan) if results.times is None else results.times
        day = np.floor(times / _DAY_S)
        for number in np.unique(day).tolist():  # NaN once
            mine = np.isnan(day) if np.isnan(number) else day == number
            told = self._day(int(number) if np.isfinite(number) else None)
            told.rows += int(mine.sum())
            told.scored += int(scores.scored[mine].sum())
            told.alarms += int(scores.is_anomaly[mine].sum())
            told.over += int(over[mine].sum())

    def _day(self, number: int | None) -> Day:
        return self.days.setdefault(number, Day(_written(number)))


def _written(day: int | None) -> str | None:
    """As a date; what counts from its own beginning has none, but a number."""
    if day is None:
        return None
    return f"day {day}" if abs(day) * _DAY_S < LEAST_EPOCH_S else str(np.datetime64(day, "D"))


def _told(event: Mapping[str, Any]) -> list[str]:
    place = f"row {event['row']}" if event["file"] is None else f"{Path(event['file']).name}, row {event['row']}"
    start = event["start"] or place
    severity = event["peak_severity"]
    return [
        f"{start} {event['key']}".rstrip(),
        event["end"] or "",
        str(event["rows"]),
        "" if severity is None else f"{severity:.2f}",
        because(event["columns"], _COLUMNS_TOLD),
    ]
