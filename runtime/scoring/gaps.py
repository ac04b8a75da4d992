"""Where a recording was interrupted, for detectors that look at each row on its own and do not mind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..bundle import Bundle
from ..rows.times import Clock, is_break, write_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOSTLY = 0.99
"""Share of the steps that must go one way for a longer one to be a gap."""


class Gaps:
    """Counts the gaps between rows as they come; its size does not grow."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last, self._ago = np.nan, 1
        self._ways = np.zeros(2, np.int64)
        self._gaps = np.zeros(2, np.int64)
        self._longest: list[tuple[float, int, float]] = [(0.0, 0, np.nan)] * 2

    @classmethod
    def of(cls, bundle: Bundle) -> Gaps | None:
        """For a detector of rows whose recording told the time from row to row; None for others, which flag gaps."""
        data = bundle.data
        if bundle.kind != "rows" or data.period_s is None or data.layout.key is not None:
            return None
        return cls(Clock(data.period_s, data.stamp_s, data.layout.max_gap_s))

    def begin(self) -> None:
        """The next rows are of another recording."""
        self._last, self._ago = np.nan, 1

    def add(self, first: int, times: NDArray[np.float64]) -> None:
        """The times, in seconds, of the next rows, which are numbered from `first`."""
        known = np.flatnonzero(np.isfinite(times))
        if not len(known):
            self._ago += len(times)
            return
        steps = np.diff(times[known], prepend=self._last)
        apart = np.diff(known, prepend=-self._ago)
        self._last, self._ago = float(times[known[-1]]), len(times) - int(known[-1])
        for way, sign in enumerate((1, -1)):
            forward = np.maximum(np.nan_to_num(sign * steps), 0)
            self._ways[way] += np.count_nonzero(forward)
            gaps = np.flatnonzero(is_break(forward, apart, self._clock) & (forward > 0))
            self._gaps[way] += len(gaps)
            if len(gaps):
                worst = int(gaps[forward[gaps].argmax()])
                found = (float(forward[worst]), first + int(known[worst]), float(times[known[worst]]))
                self._longest[way] = max(self._longest[way], found)

    def describe(self) -> str:
        """How many there are and where the longest ends, "" without any or where rows stand in no order."""
        way = int(self._ways.argmax())
        if not self._gaps[way] or self._ways[way] < _MOSTLY * self._ways.sum():
            return ""
        count, (longest, row, time) = int(self._gaps[way]), self._longest[way]
        return (
            f"{count} gap{'s' * (count > 1)} in the time stamps, the longest {longest:.6g} s before row {row} "
            f"({write_time(time)}): nothing is known of what was there"
        )
