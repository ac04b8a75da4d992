"""Time stamps: reading them, and what their steps say of a recording."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from .cells import is_plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIME_NAMES = frozenset({"timestamp", "time", "datetime", "date", "ts"})
"""Headers, lower-case, that name the time stamp when no column is named as such."""

GAP_PERIODS = 1.5
"""A step of more than this many periods is a gap; less is jitter."""


def parse_time(text: str) -> float:
    """Seconds since 1970 from ISO 8601 (no zone means UTC) or a number of seconds; NaN when it is neither."""
    try:
        seconds = float(text) if is_plain(text) else math.nan
        return seconds if math.isfinite(seconds) else math.nan
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def period_of(times: NDArray[np.float64]) -> float | None:
    """Seconds between rows: the median of the steps that go forward; None when none does. Unreadable times are NaN."""
    steps = np.diff(times[np.isfinite(times)])
    forward = steps[steps > 0]
    return float(np.median(forward)) if len(forward) else None


def is_break(steps: NDArray[np.float64], rows: NDArray[np.int64] | int, period_s: float) -> NDArray[np.bool_]:
    """Whether rows on both sides of a step in time, `rows` apart, do not follow each other. NaN is no break.

    Time went on by more than the rows explain, or did not go on.
    """
    broken: NDArray[np.bool_] = (steps > (rows - 1 + GAP_PERIODS) * period_s) | (steps <= 0)
    return broken
