"""Rows on their way to a detector, wherever they come from: CSV, JSON lines, a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InputError
from .cells import BadCell

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Rows(NamedTuple):
    """A chunk of consecutive rows.

    `values` is float32 of shape (rows, columns), in the order asked for, NaN where a cell is missing that may be, and
    throughout a bad row; `bad` says why, by index in the chunk; `times` are seconds, NaN where unreadable, or None
    without a time column; `keys` say whose row each is, None where all are of one machine.
    """

    first: int
    values: NDArray[np.float32]
    bad: dict[int, BadCell]
    times: NDArray[np.float64] | None
    keys: list[str] | None = None
    numbers: NDArray[np.int64] | None = None
    """Of the rows in the file, where they were put in another order; None where they count on from `first`."""

    def number(self, index: int) -> int:
        """The number in the file of a row of the chunk."""
        return self.first + index if self.numbers is None else int(self.numbers[index])

    def at(self, index: NDArray[np.intp]) -> Rows:
        """The rows at these places, ascending, as a recording of their own, with the numbers that they have."""
        bad = {place: self.bad[at] for place, at in enumerate(index.tolist()) if at in self.bad}
        times = None if self.times is None else self.times[index]
        keys = None if self.keys is None else [self.keys[at] for at in index.tolist()]
        numbers = index + self.first if self.numbers is None else self.numbers[index]
        return Rows(self.first, self.values[index], bad, times, keys, numbers)

    def by_key(self) -> dict[str, tuple[NDArray[np.int64], Rows]]:
        """The rows of each key and their indices in the chunk; the key whose newest row is the oldest comes first."""
        places: dict[str, list[int]] = {}
        for place, key in enumerate(self.keys or []):
            own = places.pop(key, [])  # and back at the end
            own.append(place)
            places[key] = own
        rows = self._replace(keys=None)
        return {key: (index, rows.at(index)) for key, own in places.items() for index in [np.array(own, np.int64)]}


def bad_row(number: int, columns: int, why: BadCell) -> Rows:
    """One row of so many columns that cannot be scored."""
    return Rows(number, np.full((1, columns), np.nan, np.float32), {0: why}, None)


def refused(rows: Rows, total: int) -> InputError:
    """What is wrong with the first bad row of these, where so many that came with it are refused for it."""
    index = min(rows.bad)
    number, why = rows.number(index), rows.bad[index]
    where = f"row {number}, " if why.column else f"row {number} "
    return InputError(f"{where}{why}", rows=total, row=number, column=why.column or None)


def joined(parts: Sequence[Rows]) -> Rows:
    """Chunks that follow each other as one; what only some of them have is NaN, or "", in the others."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0].first
    bad = {part.first - first + index: why for part in parts for index, why in part.bad.items()}
    times = keys = None
    if any(part.times is not None for part in parts):
        blank = [np.full(len(part.values), np.nan) if part.times is None else part.times for part in parts]
        times = np.concatenate(blank)
    if any(part.keys is not None for part in parts):
        keys = [key for part in parts for key in part.keys or [""] * len(part.values)]
    return Rows(first, np.concatenate([part.values for part in parts]), bad, times, keys)
