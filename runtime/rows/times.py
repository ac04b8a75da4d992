"""Time stamps: reading them, and what their steps say of a recording."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .cells import is_plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIME_NAMES = frozenset(
    {"timestamp", "time", "datetime", "date", "ts", "time stamp", "date time", "time_stamp", "date_time"}
    | {"datum", "uhrzeit", "zeit", "zeitstempel", "fecha", "hora", "heure", "epoch", "x_value"}
)
"""Headers, lower-case, that name the time stamp when no column is named as such."""

_COMPACT = "%Y%m%d%H%M%S"
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""Sizes from which on a number counts so many in a second."""

GAP_PERIODS = 1.5
"""A step of more than this many periods is a gap; less is jitter."""

_SHARED, _BACK = 0.1, 0.01
"""Share of steps of 0 from which on stamps are coarser than the rows, unless more than so many steps go back."""

LEAST_EPOCH_S = 1e8
"""Seconds since 1970 below which they are those of a recording that counts from its own beginning: 1973 is no date."""

_DATES_S = -6.2e10, 2.5e11  # within what datetime knows, the years 1 to 9999


def parse_time(text: str) -> float:
    """Seconds since 1970 from ISO 8601 (no zone means UTC), a compact date or a number; NaN when it is none of them.

    Of an interval, like 2026-01-05T00:00/2026-01-05T01:00, it is the begin.
    20260105 and 20260105103000 are dates. Numbers are seconds; larger ones milli-, micro- or nanoseconds.
    """
    stamp = text.strip()
    if stamp.isdecimal() and stamp.isascii() and len(stamp) in (8, 12, 14) and stamp[:2] in ("19", "20"):
        try:
            return datetime.strptime(stamp, _COMPACT[: len(stamp) - 2]).replace(tzinfo=UTC).timestamp()
        except ValueError:
            pass  # a number after all
    try:
        number = float(text) if is_plain(text) else math.nan
        return number / unit_of(number) if math.isfinite(number) else math.nan
    except ValueError:
        pass
    try:
        moment, *_ = [datetime.fromisoformat(part) for part in stamp.split("/", 1)]
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def unit_of(number: float) -> float:
    """How many of its units make a second: 1e11 s are the year 5138, 1e11 ms the year 1973, and so on."""
    return next((unit for least, unit in _UNITS if abs(number) >= least), 1.0)


def write_time(seconds: float) -> str | None:
    """A time as ISO 8601 in UTC, None for NaN; what is no date, see `LEAST_EPOCH_S`, stays a number of seconds.

    >>> write_time(1767592800.5), write_time(90)
    ('2026-01-05T06:00:00.500000Z', '90')
    """
    if not math.isfinite(seconds):
        return None
    if abs(seconds) < LEAST_EPOCH_S or not _DATES_S[0] < seconds < _DATES_S[1]:
        return str(seconds).removesuffix(".0")
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


class Clock(NamedTuple):
    """How time goes on from row to row."""

    period_s: float
    """Seconds between rows."""
    stamp_s: float = 0.0
    """Seconds between time stamps that several rows share, 0 where every row has its own."""
    max_gap_s: float | None = None
    """Step that is still no gap, where somebody said it; None for `GAP_PERIODS` periods."""


def clock_of(times: NDArray[np.float64]) -> Clock | None:
    """The clock of rows with these times, shape (rows,), in seconds; None when no step goes forward. NaN: unreadable.

    The period is the median of the steps that go forward. Where stamps are coarser than the rows, so that many repeat,
    it is the time of a row within them instead: over stamps that begin and end without a gap.
    """
    known = np.flatnonzero(np.isfinite(times))
    steps = np.diff(times[known])
    moved = np.flatnonzero(steps)
    jumps = steps[moved]
    if not (jumps > 0).any():
        return None
    typical, share = float(np.median(jumps[jumps > 0])), len(moved) / len(steps)
    if 1 - share < _SHARED or np.count_nonzero(jumps < 0) > _BACK * len(steps):
        return Clock(typical)
    rough = Clock(typical * share, typical)
    goes_on = ~is_break(jumps, 1, rough)
    whole = goes_on[1:] & goes_on[:-1]  # by stamp, from the second one on
    rows = np.diff(known[moved + 1])[whole].sum()
    return Clock(float(jumps[1:][whole].sum() / rows), typical) if rows else rough


def is_break(steps: NDArray[np.float64], rows: NDArray[np.int64] | int, clock: Clock) -> NDArray[np.bool_]:
    """Whether rows on both sides of a step in time, `rows` apart, do not follow each other. NaN is no break.

    Time went on by more than the rows and the coarseness of the stamps explain, or did not go on.
    """
    still = GAP_PERIODS * clock.period_s if clock.max_gap_s is None else clock.max_gap_s
    furthest = (rows - 1) * clock.period_s + still + clock.stamp_s
    may_stand = clock.stamp_s > 0 or clock.max_gap_s is not None
    broken: NDArray[np.bool_] = (steps > furthest) | (steps < 0 if may_stand else steps <= 0)
    return broken
