"""When alarming rows become an event that somebody is told of."""

from __future__ import annotations

import math
import re

import msgspec
from msgspec.structs import replace

from ..bundle import Bundle
from ..errors import InputError, few
from ..scoring.results import Cause

MOST_ROWS = 1000
"""Rows that a rule of k of n looks back at, at most."""

SILENCE_S, SILENT_PERIODS, SILENT_WINDOWS = 600.0, 10.0, 3.0
"""Seconds without a row with a score after which nothing runs any more where the model knows no period; else so many
periods, or the time of so many windows: one bad row takes the score of every window that holds it."""

_GATE = re.compile(
    r"\s*(?P<column>.+?)\s*(?P<way>[<>~])\s*(?P<sign>[+-]?)(?P<least>[0-9.]*(?:[eE]-?[0-9]+)?)\s*(?P<share>%?)\s*"
)


class Gate(msgspec.Struct, frozen=True):
    """Which deviations of a column begin an event.

    >>> Gate.parse("pressure>5%")
    Gate(column='pressure', way='>', least=5.0, is_share=True)
    """

    column: str
    way: str
    """> above what was expected, < below it, ~ either."""
    least: float = 0.0
    """How far, in the column's unit, or in percent of what was expected."""
    is_share: bool = False

    @classmethod
    def parse(cls, text: str) -> Gate:
        """From `pressure>`, `pressure<0.5`, `pressure~5%`; raises InputError for what is none."""
        found = _GATE.fullmatch(text)
        if found is None:
            raise InputError(
                f"gate {text!r}: expected a column and > or <, like 'pressure>', and maybe how far, 'pressure>0.5'"
            )
        column, way, sign, least, share = found.groups()
        try:
            far = float(least or 0)
        except ValueError:
            far = math.nan
        if not 0 <= far < math.inf or (least == "" and (sign or share)):
            raise InputError(f"gate {text!r}: {sign}{least}{share} is no deviation, expected one like 0.5 or 5%")
        if (way, sign) in ((">", "-"), ("<", "+")) or (way == "~" and (sign or not far)):
            raise InputError(
                f"gate {text!r}: expected 'pressure>0.5' for at least 0.5 above what was expected, 'pressure<0.5' for "
                "below it, 'pressure~0.5' for either"
            )
        return cls(column, way, far, share == "%")

    def passes(self, cause: Cause) -> bool:
        """Whether what the column reads deviates so; also where nobody knows what it reads, or should."""
        if cause.actual is None or cause.expected is None:
            return True
        above = cause.actual - cause.expected
        far = {">": above, "<": -above, "~": abs(above)}[self.way]
        least = self.least * abs(cause.expected) / 100 if self.is_share else self.least
        return far >= least and far > 0


class AlarmRule(msgspec.Struct, frozen=True):
    """By the defaults every unbroken run of rows that alarm is an event."""

    k: int = 1
    n: int = 1
    """An event begins when k of the last n rows with a verdict alarm, and goes on while they do."""
    clear: float = 1.0
    """It goes on, too, while a row alarms or its severity is at least this; 1 is where rows begin to alarm."""
    min_duration_s: float = 0.0
    """From its first row that alarms to its last, before anybody is told."""
    most_an_hour: int = 60
    """Of one key; what is beyond is counted, and told to nobody."""
    gates: tuple[Gate, ...] = ()
    """A column with gates begins events only by deviations that one of them lets through."""
    silence_s: float = SILENCE_S
    """Without a row with a verdict for so long, what runs has ended."""

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n <= MOST_ROWS:
            raise InputError(f"alarm {self.k}/{self.n}: expected K of N rows, 1 <= K <= N <= {MOST_ROWS}, like 3/5")
        if not 0 < self.clear <= 1:
            raise InputError(f"clear is {self.clear:g}, expected a severity above 0 and at most 1")
        if not 0 <= self.min_duration_s < math.inf:
            raise InputError(f"min_duration_s is {self.min_duration_s:g}, expected 0 or more")
        if self.most_an_hour < 1:
            raise InputError(f"most_an_hour is {self.most_an_hour}, expected 1 or more")

    def of(self, bundle: Bundle) -> AlarmRule:
        """The rule for the streams of a model. Raises InputError for a gate of a column that it does not know."""
        unknown = next((gate.column for gate in self.gates if gate.column not in bundle.names), None)
        if unknown is not None:
            known = f"this model has {few(bundle.names)}" if bundle.names else "this model scores images"
            raise InputError(f"gate of {unknown!r}: no such column; {known}")
        period_s = bundle.data.period_s
        if period_s is None:
            return self
        return replace(self, silence_s=period_s * max(SILENT_PERIODS, SILENT_WINDOWS * bundle.window))

    def passes(self, causes: tuple[Cause, ...]) -> bool:
        """Whether a row that alarms may begin an event: the gates of the column that contributes most decide.

        Without gates of that column, or without causes, it may.
        """
        if not self.gates or not causes:
            return True
        asked = [gate for gate in self.gates if gate.column == causes[0].column]
        return not asked or any(gate.passes(causes[0]) for gate in asked)
