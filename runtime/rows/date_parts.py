"""Time stamps that stand in several columns, a number in each: year, month, day, hour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .cells import is_plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DAYS = ("%Y %m %d", "%Y %j")
_CLOCKS = ("", " %H", " %H %M", " %H %M %S", " %H%M")

PATTERNS = frozenset(f"{day}{clock}" for day in _DAYS for clock in _CLOCKS)
"""Their patterns, as `layout.Stamps` holds them: the numbers of a row with blanks between; an hour alone may be 24."""

_YEARS = 1900, 2100

_WITHIN = {"%m": (1, 12), "%d": (1, 31), "%j": (1, 366), "%H": (0, 24), "%M": (0, 60), "%S": (0, 60), "%Y": _YEARS}
"""The lowest and the highest number of each part; a clock that counts to the end of what it names writes 24 or 60."""


def read_parts(cells: Sequence[str], pattern: str) -> NDArray[np.float64]:
    """Seconds since 1970 of numbers with blanks between, NaN where they are no time: (cells,).

    >>> read_parts(["2026 1 5 6", "2026 2 30 0"], "%Y %m %d %H").tolist()
    [1767592800.0, nan]
    """
    names = pattern.split()
    parts = dict(zip(names, _numbers(cells, len(names)).T, strict=True))
    if "%H%M" in parts:
        clock = parts.pop("%H%M")
        parts |= {"%H": clock // 100, "%M": clock % 100}
    sound = np.all([(low <= parts[name]) & (parts[name] <= high) for name, (low, high) in _within(parts)], axis=0)
    sound &= np.all([parts[name] % 1 == 0 for name in parts if name not in ("%H", "%S")], axis=0)
    parts = {name: np.where(sound, part, _WITHIN[name][0]) for name, part in parts.items()}
    months = (parts["%Y"].astype(np.int64) - 1970) * 12 + parts.get("%m", np.ones(len(cells))).astype(np.int64) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    day = first + (parts.get("%d", parts.get("%j", np.ones(len(cells)))) - 1).astype(np.int64)
    unit = "datetime64[M]" if "%d" in parts else "datetime64[Y]"
    sound &= day.astype(unit) == first.astype(unit)  # no 30th of February
    since = sum(parts.get(name, 0.0) * size for name, size in (("%H", 3600), ("%M", 60), ("%S", 1)))
    return np.where(sound, day.astype(np.int64) * 86400.0 + since, np.nan)


def _within(parts: dict[str, NDArray[np.float64]]) -> list[tuple[str, tuple[int, int]]]:
    return [(name, _WITHIN[name]) for name in parts]


def _numbers(cells: Sequence[str], width: int) -> NDArray[np.float64]:
    """The numbers of each cell, NaN in one that holds anything else: (cells, width)."""
    words = [cell.split() for cell in cells]
    numbers = np.full((len(cells), width), np.nan)
    for row, parts in enumerate(words):
        if len(parts) == width and is_plain("".join(parts)):
            try:
                numbers[row] = list(map(float, parts))
            except ValueError:
                continue
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers
