"""Rows that cannot be learnt from because cells of theirs hold no value: which columns are to blame, what to type."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...runtime.errors import few
from ...runtime.rows.fields import Field
from .sources import Source, read_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BAD = 0.2
"""Share of bad rows above which training is refused: the rest is no longer a fair sample."""


class Holes(NamedTuple):
    """Which cells of the features hold no value, or none that can be read."""

    names: list[str]
    cells: NDArray[np.bool_]
    """(rows, features)"""

    @property
    def blank(self) -> int:
        """Rows in which nothing at all was recorded."""
        return int(self.cells.all(axis=1).sum()) if len(self.names) > 1 else 0

    @property
    def are_few(self) -> bool:
        """Whether few enough of the rows in which something was recorded lack anything."""
        return self._are_few(list(range(len(self.names))))

    def describe(self) -> str:
        """Which columns lack how many of their cells, and what to type."""
        shares = dict(zip(self.names, self.cells.mean(axis=0).tolist(), strict=True))
        worst = sorted((name for name in self.names if shares[name] > 0), key=lambda name: -shares[name])
        if not worst:
            return "mend the file"
        listed = few(f"{name!r} {shares[name]:.0%}" for name in worst)
        to_leave_out = self._to_leave_out()
        if len(to_leave_out) == len(self.names) or not all(map(str.isprintable, to_leave_out)):
            return f"missing or bad are {listed}; mend the file"
        return f"missing or bad are {listed}; mend the file or --exclude {shlex.quote(','.join(to_leave_out))}"

    @property
    def _recorded(self) -> NDArray[np.bool_]:
        """The same of the rows in which anything was recorded."""
        return self.cells[~self.cells.all(axis=1)] if len(self.names) > 1 else self.cells

    def _are_few(self, places: Sequence[int]) -> bool:
        """Whether few enough of the recorded rows lack anything of the columns at these places."""
        return bool(self._recorded[:, places].any(axis=1).sum() <= MOST_BAD * len(self._recorded))

    def _to_leave_out(self) -> list[str]:
        """As few columns as it takes, the worst one first, in the order of the file."""
        missing, left = self._recorded.sum(axis=0), list(range(len(self.names)))
        while left and not self._are_few(left):
            left.remove(max(left, key=lambda place: int(missing[place])))
        return [name for place, name in enumerate(self.names) if place not in left]


def find_holes(sources: Sequence[Source], fields: Sequence[Field]) -> Holes:
    """Reads the files again, cell by cell. Of a row with cells that are no values only the first one counts."""
    read = read_features(sources, fields, most_missing=len(fields))
    names = [field.name for field in fields]
    cells = np.isnan(read.values)
    for row, why in read.bad.items():
        cells[row] = False if why.column else cells[row]
        if why.column:
            cells[row, names.index(why.column)] = True
    return Holes(names, cells)
