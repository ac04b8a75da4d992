"""Results of rows that are drawn as letters."""

from __future__ import annotations

import numpy as np

from vae_detect.runtime.alarms.alarm import Alarm
from vae_detect.runtime.alarms.event import Change
from vae_detect.runtime.detector import Scores
from vae_detect.runtime.scoring.results import Cause, Results


def drawn(text: str, first: int = 0) -> Results:
    """A row a letter: . normal, of severity 0.25; a digit an alarm of this severity and twice the score; o normal, of
    severity 0.75; - without a score; ! beyond a limit without one."""
    severity = np.array(
        [float(each) if each.isdigit() else {".": 0.25, "o": 0.75}.get(each, np.nan) for each in text], np.float32
    )
    alarm = np.array([each.isdigit() or each == "!" for each in text], np.bool_)
    scores = Scores(severity * 2, severity, severity, alarm, ~np.isnan(severity))
    status = ["bad" if each in "-!" else "ok" for each in text]
    reason = [{"-": "no number", "!": "beyond its limit"}.get(each, "") for each in text]
    limited = np.array([each == "!" for each in text], np.bool_)
    return Results(first, scores, status, reason, None, limited=limited)


def cause(row: int, deviation: float = 1.0) -> tuple[Cause, ...]:
    """What a row is blamed on: it reads 10 + deviation instead of 10."""
    return (Cause(f"column {row}", 2.0, 10 + deviation, 10.0),)


def see(alarm: Alarm, text: str, *, at: float = 0.0, step: float = 1.0) -> list[Change]:
    """Takes the rows at these times."""
    return alarm.see(drawn(text), at + step * np.arange(len(text), dtype=np.float64), cause)


def spans(changes: list[Change]) -> list[tuple[str, float, float, int]]:
    """What changed: start, end and rows of its event."""
    return [(change.what, change.event.start, change.event.end, change.event.rows) for change in changes]
