"""From the time of a zone, with its summer time, to UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUARTER_S = 900
"""Offsets of zones change at whole quarters of an hour."""

_NAMES_ZONE = re.compile(r"\d\s*(?:Z|UTC|GMT)$|\d:\d\d\S*\s*[+-]\d\d(?::?\d\d)?$", re.IGNORECASE)


def check_zone(zone: str) -> ZoneInfo:
    """The zone of this name. Raises InputError where this machine knows none."""
    try:
        return ZoneInfo(zone)
    except (OSError, ValueError, LookupError):  # of a folder, of a path, unknown
        raise InputError(
            f"time zone {zone!r} is not known here, expected a name like Europe/Berlin; where the system has no zones, "
            "install the Python package tzdata"
        ) from None


def names_zone(cell: str) -> bool:
    """Whether a time stamp says its zone itself.

    >>> names_zone("2026-01-05T06:00:00+01:00"), names_zone("2026-01-05 06:00"), names_zone("05-01-05")
    (True, False, False)
    """
    return _NAMES_ZONE.search(cell.strip()) is not None


class ZoneClock:
    """Turns the time of a zone into UTC, as it goes on from row to row.

    An hour that comes twice in autumn is told by the rows before: of its two meanings the one is taken by which time
    goes on in the usual step. One that does not exist in spring is read as if the clock had not been put forward yet.
    """

    def __init__(self, zone: str) -> None:
        self._zone = check_zone(zone)
        self._last = np.nan
        self._step = 0.0
        self._offsets = lru_cache(1 << 16)(self._look_up)

    def to_utc(self, local: NDArray[np.float64]) -> NDArray[np.float64]:
        """Seconds in UTC, from those that a clock of the zone shows (rows,); NaN stays."""
        known = np.flatnonzero(np.isfinite(local))
        if not len(known):
            return local
        shown = local[known]
        steps = np.diff(shown)
        is_backward = np.count_nonzero(steps < 0) > np.count_nonzero(steps > 0)
        shown = shown[::-1] if is_backward else shown
        moved = np.diff(shown)
        if (moved > 0).any():
            self._step = float(np.median(moved[moved > 0]))
        quarters, places = np.unique(np.floor(shown / _QUARTER_S), return_inverse=True)
        offsets = np.array([self._offsets(int(quarter)) for quarter in quarters])[places]
        found = shown - offsets[:, 0]
        later = shown - offsets[:, 1]
        for row in np.flatnonzero(later > found).tolist():
            last = found[row - 1] if row else np.nan if is_backward else self._last
            if abs(later[row] - last - self._step) < abs(found[row] - last - self._step):
                found[row] = later[row]
        if not is_backward:
            self._step = float(found[-1] - self._last) if len(found) == 1 and found[-1] > self._last else self._step
            self._last = float(found[-1])
        utc = local.copy()
        utc[known] = found[::-1] if is_backward else found
        return utc

    def _look_up(self, quarter: int) -> tuple[float, float]:
        """Seconds that the zone is before UTC, for the earlier and the later meaning of a time that it shows."""
        try:
            shown = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=quarter * _QUARTER_S)
            meant = [shown.replace(tzinfo=self._zone, fold=fold).utcoffset() for fold in (0, 1)]
        except (OverflowError, ValueError):
            return 0.0, 0.0
        first, second = (0.0 if each is None else each.total_seconds() for each in meant)
        return first, second


def local_rows(cells: Sequence[str]) -> NDArray[np.bool_]:
    """Which stamps do not say their zone themselves: (cells,)."""
    return np.array([not names_zone(cell) for cell in cells], np.bool_)
