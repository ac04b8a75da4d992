"""What the hours of a machine are usually like, so that an odd one stands out."""

from __future__ import annotations

import math
from array import array
from typing import NamedTuple

import msgspec
import numpy as np

HOURS = 64
"""That are remembered; the oldest go."""

FEWEST_HOURS = 8
"""With which it can be said what is usual."""

_LEAST_SPREAD = 0.05
"""Of the logarithm of severities: hours of a machine that differ by less are alike."""


class Usual(NamedTuple):
    """Of the logarithm of the mean severity of an hour."""

    median: float
    spread: float
    """Median of the distances from it."""


class HoursMemory(msgspec.Struct, frozen=True):
    """What is known of hours: their logarithms as float32, and the one that is not yet full."""

    hours: bytes = b""
    total: float = 0.0
    rows: int = 0


class Hours:
    """Of one machine.

    Parameters
    ----------
    period_s : seconds between rows, None where unknown: then 3600 rows count as an hour

    >>> hours = Hours(1800.0)
    >>> for hour in range(8):
    ...     hours.add(1.0, 1)
    ...     hours.add(3.0, 1)
    >>> [round(each, 6) for each in hours.usual or ()]
    [0.693147, 0.05]
    """

    def __init__(self, period_s: float | None) -> None:
        self._rows_an_hour = max(1, round(3600 / period_s)) if period_s else 3600
        self._hours = array("f")
        self._total, self._rows = 0.0, 0

    @property
    def missing(self) -> int:
        """Rows that the hour that goes on still takes."""
        return self._rows_an_hour - self._rows

    def add(self, total: float, rows: int) -> None:
        """Severities of the next rows, their sum; `missing` of them at most."""
        self._total += total
        self._rows += rows
        if self._rows == self._rows_an_hour:
            mean = self._total / self._rows
            if mean > 0:
                self._hours.append(math.log(mean))
                del self._hours[:-HOURS]
            self._total, self._rows = 0.0, 0

    @property
    def usual(self) -> Usual | None:
        """None before it is known."""
        if len(self._hours) < FEWEST_HOURS:
            return None
        x = np.array(self._hours, np.float64)
        median = float(np.median(x))
        return Usual(median, max(float(np.median(np.abs(x - median))), _LEAST_SPREAD))

    @property
    def memory(self) -> HoursMemory:
        """All of it."""
        return HoursMemory(self._hours.tobytes(), self._total, self._rows)

    def recall(self, memory: HoursMemory) -> None:
        """Goes on from there. Raises ValueError when it is of another size."""
        hours = array("f")
        hours.frombytes(memory.hours)
        if len(hours) > HOURS or not 0 <= memory.rows < self._rows_an_hour:
            raise ValueError("what is known of hours has another size")
        self._hours, self._total, self._rows = hours, memory.total, memory.rows
