"""Numbers that a logger writes where there is no value: -200, -999, 9999, 65535."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...runtime.rows.fields import write_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_COUNT = 3
"""How often a number must come up to stand for something."""

_LEAST_LEVELS, _LEAST_CELLS = 10, 20
"""Other values, and cells that hold them, without which there is no telling what lies far from them: the column may be
a switch."""

_LARGEST_INTEGERS = frozenset({32767.0, -32768.0, 65535.0, 2147483647.0, -2147483648.0, 4294967295.0})

_CODES = frozenset({6999.0, -6999.0, 7999.0, -7999.0})
"""What Campbell's loggers write for no number in a format of two bytes, which ends at 7999."""

_BLANK = 0.8
"""Share of the rows without a value from which on a column holds next to nothing."""

_SEVERAL = 3
"""Columns in which -1 must stand for nothing before it does in any."""

_ENDLESS = 1e20
"""From here on a number is no measurement: 1e30, netCDF's 9.96921e36, the largest float."""


class Sentinel(NamedTuple):
    """The numbers that stand for nothing in a column, ascending, and in what share of the rows that could be read."""

    values: tuple[float, ...]
    share: float

    @property
    def written(self) -> str:
        """The numbers in words."""
        return " and ".join(map(write_number, self.values))


class _Counted(NamedTuple):
    """The different values of a column, ascending, without the fillers at both ends; and these, how often they come."""

    levels: NDArray[np.float32]
    counts: NDArray[np.int64]
    fillers: dict[float, int]

    @classmethod
    def of(cls, cells: NDArray[np.float32]) -> _Counted:
        levels, counts = np.unique(cells[np.isfinite(cells)], return_counts=True)
        below = sum(1 for _ in takewhile(is_filler, map(shortest, levels)))
        above = sum(1 for _ in takewhile(is_filler, map(shortest, levels[below:][::-1])))
        outer = [*range(below), *range(len(levels) - above, len(levels))]
        inner = slice(below, len(levels) - above)
        return cls(levels[inner], counts[inner], {shortest(levels[at]): int(counts[at]) for at in outer})

    def is_far(self, value: float) -> bool:
        """Whether all values lie on one side of a number, closer to each other than to it, as 90 % of them are.

        A negative number below values that are none is far from half the spread of their middle half on: their tail may
        be long, but on the other side.
        """
        if len(self.levels) < _LEAST_LEVELS or self.counts.sum() < _LEAST_CELLS or not self.is_outside(value):
            return False
        gap = max(self.levels[0] - value, value - self.levels[-1])
        places = np.cumsum(self.counts) / self.counts.sum()
        only_above = value < 0 <= self.levels[0]
        first, last = (
            self.levels[np.searchsorted(places, at)] for at in ((0.25, 0.75) if only_above else (0.05, 0.95))
        )
        return bool(gap > (last - first) * (0.5 if only_above else 1.0))

    def is_outside(self, value: float) -> bool:
        """Whether there are several values, and all on one side of a number."""
        return len(self.levels) > 1 and not self.levels[0] <= value <= self.levels[-1]

    def without_minus_one(self) -> _Counted | None:
        """The same without -1, where that comes again and again, and is the only negative value of many."""
        is_lone = len(self.levels) > _LEAST_LEVELS and self.levels[0] == -1 and self.levels[1] >= 0
        if not is_lone or self.counts[0] < _LEAST_COUNT:
            return None
        return _Counted(self.levels[1:], self.counts[1:], self.fillers | {-1.0: int(self.counts[0])})


def find_sentinels(values: NDArray[np.float32], names: Sequence[str]) -> dict[str, Sentinel]:
    """By name, those columns of (rows, columns) in which a number stands for a missing value; cells may be NaN.

    A filler (`is_filler`) that comes up again and again, far from all other values of a column that takes many. What is
    one in one column is one in every other whose values all lie on one side of it, whether it is there or not: the same
    logger writes them. 0 is never one, nor is a number that others come near, as where a sensor is at its limit. -1 is
    one where it is the only negative value, and far from the others in several columns.
    """
    columns = {name: _Counted.of(cells) for name, cells in zip(names, values.T, strict=True)}
    minus = {name: other for name, column in columns.items() if (other := column.without_minus_one())}
    if sum(other.is_far(-1.0) for other in minus.values()) < _SEVERAL:
        minus = {}
    columns |= minus
    known = {
        value
        for column in columns.values()
        for value, count in column.fillers.items()
        if count >= _LEAST_COUNT and column.is_far(value)
    }
    found = {}
    for name, column in columns.items():
        mine = tuple(sorted({*filter(column.is_outside, known), *([-1.0] if name in minus else [])}))
        if mine:
            read = max(1, int(column.counts.sum()) + sum(column.fillers.values()))
            found[name] = Sentinel(mine, sum(column.fillers.get(value, 0) for value in mine) / read)
    return found


def declared_sentinels(
    values: NDArray[np.float32], names: Sequence[str], numbers: Sequence[float] | Mapping[str, Sequence[float]]
) -> dict[str, Sentinel]:
    """By name, the columns of (rows, columns) with the numbers of which somebody said that they stand for no value."""
    found = {}
    for name, cells in zip(names, values.T, strict=True):
        mine = tuple(sorted(numbers.get(name, ()) if isinstance(numbers, Mapping) else numbers))
        if mine:
            found[name] = Sentinel(mine, float(np.isin(cells, np.array(mine, np.float32)).mean()))
    return found


def blank_columns(found: Mapping[str, Sentinel], names: Sequence[str]) -> dict[str, str]:
    """Why columns among these are to be left out that hold next to nothing but such numbers; not all of them are."""
    blank = {
        name: f"holds {each.written}, which stands for no value, in {each.share:.0%} of the rows"
        for name, each in found.items()
        if name in names and each.share >= _BLANK
    }
    return blank if len(blank) < len(names) else {}


def describe_sentinels(found: Mapping[str, Sentinel]) -> list[str]:
    """A line for each column that holds such numbers."""
    return [
        f"column {name!r}: {each.written} in {100 * each.share:.2g} % of the rows stands for missing; --missing-value "
        "none keeps it"
        for name, each in found.items()
        if each.share
    ]


def is_filler(value: float) -> bool:
    """Whether loggers write a number for want of another: nines, a round negative one, a largest integer, no end.

    >>> [is_filler(value) for value in (-200.0, -99.9, 999.0, -7999.0, -9900.0, 65535.0, -1e30)]
    [True, True, True, True, True, True, True]
    >>> [is_filler(value) for value in (0.0, -1.0, 99.0, 100.0, 4095.0, -210.0)]
    [False, False, False, False, False, False]
    """
    digits = _digits(value)
    nines = set(digits) == {"9"} and len(digits) >= (2 if value < 0 else 3)
    is_round = value <= -100 and (float(f"{value:.0e}") == value or set(digits.rstrip("0")) == {"9"})
    return nines or is_round or value in _LARGEST_INTEGERS | _CODES or abs(value) >= _ENDLESS


def is_nothing(value: float) -> bool:
    """Whether a column that holds only this number holds nothing; less is sure of it than of a filler among others.

    >>> [is_nothing(value) for value in (9999.0, -9999.9, -7999.0, 999999.0, -200.0, 99.0, 9.0)]
    [True, True, True, True, False, False, False]
    """
    nines = set(_digits(value)) == {"9"} and abs(value) >= 999
    return nines or value in _LARGEST_INTEGERS | _CODES or abs(value) >= _ENDLESS


def _digits(value: float) -> str:
    return write_number(abs(value)).replace(".", "").lstrip("0")


def shortest(value: np.float32) -> float:
    """A float32 as it is written: -999.9, and not -999.9000244140625."""
    return float(str(value))
