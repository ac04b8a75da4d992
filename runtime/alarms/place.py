"""One row among results, as an alarm looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np

from ..arrays import short
from ..scoring.results import Cause, Results
from .event import Event

Explain = Callable[[int], tuple[Cause, ...]]
"""By the place of a row: the columns that contribute most, the largest first, but first those beyond a limit."""


class Alarmed(msgspec.Struct):
    """A row that alarms."""

    time: float
    number: int
    """Of the row in its recording."""
    score: float | None
    severity: float | None
    reason: str
    causes: tuple[Cause, ...] = ()
    age: int = 0
    """Rows with a verdict since."""


class Place(NamedTuple):
    """A row with a verdict among results."""

    results: Results
    at: int
    time: float
    number: int
    is_anomaly: bool
    explain: Explain

    def read(self) -> Alarmed:
        """What there is to know of it without its causes."""
        scores, at = self.results.scores, self.at
        scored = bool(scores.scored[at])
        score = short(scores.score[at]) if scored else None
        severity = short(scores.severity[at]) if scored else None
        return Alarmed(self.time, self.number, score, severity, self.results.reason[at])

    def is_at_least(self, clear: float) -> bool:
        """Whether it holds an event up without an alarm."""
        return clear < 1 and self.results.scores.severity.item(self.at) >= clear

    def is_below(self, event: Event) -> bool:
        """Whether it is clearly none of its peaks: to read a row takes longer than all else."""
        if event.peak_score is None:
            return False
        return self.results.scores.score.item(self.at) <= np.float32(event.peak_score).item()

    @property
    def is_limited(self) -> bool:
        return self.results.limited is not None and bool(self.results.limited[self.at])
