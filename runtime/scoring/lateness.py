"""Rows that come late, or twice: no window holds them, so that they do not break those of the rows in order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..rows.times import Clock
from .results import LATE, REPEATED

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_LATE = 5
"""Rows in a row that are taken to be late; with the next one it is the clock that went back, and a recording begins."""


def out_of_order(
    times: NDArray[np.float64] | None, newest: float, late: int, clock: Clock | None
) -> tuple[dict[int, tuple[str, str]], int]:
    """Status and reason, by index, of rows that are late or repeated, and how many rows at the end are late.

    Nothing is, where the clock is not known or many rows share a time stamp; a time that cannot be read is in order.

    Parameters
    ----------
    times : of the next rows (rows,), seconds, NaN where unreadable
    newest : the time of the newest row before them, NaN without one
    late : rows before them, after the newest, that were late
    """
    if times is None or clock is None or clock.stamp_s > 0 or _are_ordered(times, newest):
        return {}, 0
    found: dict[int, tuple[str, str]] = {}
    for index, time in enumerate(times.tolist()):
        if math.isnan(time) or not time <= newest:
            late = 0
        elif time == newest:
            found[index] = REPEATED, "a row of the same time came before"
            continue
        elif late < MOST_LATE:
            late += 1
            found[index] = LATE, f"its time is {newest - time:.6g} s before that of the newest row"
            continue
        else:
            late = 0
        newest = newest if math.isnan(time) else time
    return found, late


def _are_ordered(times: NDArray[np.float64], newest: float) -> bool:
    if len(times) == 1:
        return not times[0] <= newest
    return not (np.diff(times, prepend=newest) <= 0).any() and not np.isnan(times).any()
