"""Times and durations as they are typed for Prometheus, and the grid of time that a range query is answered on."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from ..errors import InputError
from ..rows.times import write_time

_UNITS_MS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_DURATION = re.compile("".join(rf"(?:(\d+){unit})?" for unit in _UNITS_MS))
_RELATIVE = re.compile(r"(?:now)?-(.+)")


def parse_duration(text: str) -> int:
    """Milliseconds of a duration like 15s, 1m, 1h30m or 30d, as in PromQL, or of a number of seconds."""
    found = _DURATION.fullmatch(text)
    if text and found is not None:
        return sum(int(number or 0) * unit for number, unit in zip(found.groups(), _UNITS_MS.values(), strict=True))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1e10:
        raise InputError(f"duration {text!r}: expected one like 15s, 1m, 1h30m or 30d, or a number of seconds")
    return round(seconds * 1000)


def parse_moment(text: str, now_s: float) -> int:
    """Milliseconds since 1970 of a time in RFC 3339, of seconds since 1970, of now, or of -30d, so long ago."""
    if text == "now":
        return round(now_s * 1000)
    if relative := _RELATIVE.fullmatch(text):
        return round(now_s * 1000) - parse_duration(relative[1])
    try:
        return round(float(text) * 1000)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        wanted = "expected one with a zone like 2026-01-05T06:00:00Z, seconds since 1970, now, or -30d from now"
        raise InputError(f"time {text!r}: {wanted}")
    return round(moment.timestamp() * 1000)


class Grid(NamedTuple):
    """Evenly spaced times, at whole multiples of the step: whoever asks twice is told of the same times."""

    first_ms: int
    steps: int
    """How many times there are."""
    step_ms: int

    @classmethod
    def between(cls, start_ms: int, end_ms: int, step_ms: int) -> Grid:
        """The times from start to end, both included. Raises InputError when there are none."""
        if step_ms < 1:
            raise InputError("--step is 0, expected the time from row to row, like 15s")
        first = -(-start_ms // step_ms)
        steps = end_ms // step_ms - first + 1
        if steps < 1:
            raise InputError(f"there is no time from --start to --end that is a whole number of steps of {step_ms} ms")
        return cls(first * step_ms, steps, step_ms)

    @property
    def last_ms(self) -> int:
        return self.first_ms + (self.steps - 1) * self.step_ms

    def __str__(self) -> str:
        start, end = (write_time(ms / 1000) for ms in (self.first_ms, self.last_ms))
        return f"{start} to {end}, every {self.step_ms / 1000:g} s"

    def pieces(self, most: int) -> Iterator[Grid]:
        """The same times in grids of at most so many."""
        for done in range(0, self.steps, most):
            yield Grid(self.first_ms + done * self.step_ms, min(most, self.steps - done), self.step_ms)
