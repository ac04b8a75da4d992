"""Where the time stamps of a table are, and what they say of the order of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import InputError, few
from ...runtime.rows.cells import bad_reason, shown
from ...runtime.rows.times import TIME_NAMES, Clock, clock_of, is_break, parse_time

if TYPE_CHECKING:
    from numpy.typing import NDArray


def find_time_column(header: Sequence[str], sample: Sequence[Sequence[str]], named: str | None) -> str | None:
    """The column that holds time stamps: the one named, else one with a usual name, else a first column of dates."""
    if named is not None:
        if named not in header:
            raise InputError(f"time column {named!r} is not in the header: {few(map(shown, header), 12)}")
        return named
    for position, name in enumerate(header):
        cells = [row[position] for row in sample if position < len(row) and row[position].strip()]
        readable = [cell for cell in cells if not np.isnan(parse_time(cell))]
        dates = [cell for cell in readable if bad_reason(cell)]
        # Half, not all: a few damaged stamps must not turn the clock into a feature.
        stamps = readable if name.lower() in TIME_NAMES else dates if position == 0 else []
        if 2 * len(stamps) > len(cells):
            return name
    return None


def segments_of(
    kept: NDArray[np.bool_], times: NDArray[np.float64] | None, recording: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Clock | None]:
    """Number of each row's unbroken stretch, which lies within a recording, and how time goes on in the longest one."""
    breaks = np.zeros(len(kept), np.int64)
    breaks[1:] |= ~kept[:-1] | (np.diff(recording) != 0)
    if times is None or len(times) == 1:
        return np.cumsum(breaks), None
    clock = clock_of(longest(times, recording))
    if clock is None:
        raise InputError("the time stamps never go forward; name the right column with --time-column")
    breaks[1:] |= is_break(np.diff(times), 1, clock)
    return np.cumsum(breaks), clock


def longest(times: NDArray[np.float64], recording: NDArray[np.int64]) -> NDArray[np.float64]:
    """The times of the recording with the most rows."""
    found: NDArray[np.float64] = times[recording == np.bincount(recording).argmax()]
    return found
