"""Cells that hold no value: how many of a row may be missing, which columns are to blame, what to type."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from ...runtime.errors import InputError, few
from ...runtime.rows.fields import Field
from .selection import Selection
from .sources import Read, Source, read_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BAD = 0.2
"""Share of bad rows above which training is refused: the rest is no longer a fair sample."""


USUAL_SHARE = 0.2
"""Share of the cells of a row that may be missing, where rows miss some and nobody said how many may."""

_HARDLY = 0.01
"""Share of rows that miss some of their cells up to which these rows are left out unless somebody said otherwise."""

_EMPTY = 0.8
"""Share of its cells from which on a column that misses them is left out."""


class Holes(NamedTuple):
    """Which cells of the features hold no value, or none that can be read, and what share of a row may be missing."""

    names: list[str]
    cells: NDArray[np.bool_]
    """(rows, features)"""
    share: float = 0.0

    @property
    def most(self) -> int:
        """Cells of a row that may be missing."""
        return most_missing(len(self.names), self.share)

    @property
    def matter(self) -> bool:
        """Whether more than hardly any rows miss some of their cells, but not all."""
        return float(self._recorded.any(axis=1).sum()) > _HARDLY * len(self.cells)

    @property
    def empty(self) -> dict[str, str]:
        """By column that hardly holds a value where others do, how much it lacks."""
        missing = self._recorded.mean(axis=0).tolist() if len(self._recorded) else []
        return {
            name: f"it holds no value in {share:.0%} of the rows"
            for name, share in zip(self.names, missing, strict=False)
            if _EMPTY < share < 1
        }

    def but(self, names: Collection[str]) -> Holes:
        """The same without these columns."""
        kept = [place for place, name in enumerate(self.names) if name not in names]
        return self._replace(names=[self.names[place] for place in kept], cells=self.cells[:, kept])

    @property
    def recorded(self) -> NDArray[np.bool_]:
        """(rows,), in which anything at all was recorded; a single column that holds nothing is a hole."""
        return np.asarray(~self.cells.all(axis=1) | (len(self.names) == 1))

    @property
    def blank(self) -> int:
        """How many the others are."""
        return int((~self.recorded).sum())

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
        remedies = ["mend the file"]
        if len(to_leave_out) < len(self.names) and all(map(str.isprintable, to_leave_out)):
            remedies.append(f"--exclude {shlex.quote(','.join(to_leave_out))}")
        tenths = (tenth / 10 for tenth in range(1, 6))
        if share := next((share for share in tenths if self._replace(share=share).are_few), None):
            remedies.append(f"--max-missing {share}")
        return f"missing or bad are {listed}; {' or '.join(remedies)}"

    @property
    def _recorded(self) -> NDArray[np.bool_]:
        return self.cells[self.recorded]

    def _are_few(self, places: Sequence[int]) -> bool:
        """Whether few enough of the recorded rows lack more than they may of the columns at these places."""
        lacking = self._recorded[:, places].sum(axis=1) > most_missing(len(places), self.share)
        return bool(lacking.sum() <= MOST_BAD * len(self._recorded))

    def _to_leave_out(self) -> list[str]:
        """As few columns as it takes, the worst one first, in the order of the file."""
        missing, left = self._recorded.sum(axis=0), list(range(len(self.names)))
        while left and not self._are_few(left):
            left.remove(max(left, key=lambda place: int(missing[place])))
        return [name for place, name in enumerate(self.names) if place not in left]


def most_missing(columns: int, share: float) -> int:
    """Cells of a row of so many that may be missing when this share may: at least one, where two others are left.

    >>> most_missing(40, 0.2), most_missing(3, 0.2), most_missing(2, 0.2), most_missing(40, 0)
    (8, 1, 0, 0)
    """
    return max(1, int(share * columns + 1e-9)) if share and columns > 2 else 0


def may_miss(sources: Sequence[Source], most: int) -> list[Source]:
    """The files, read so that up to so many cells of a row may be missing."""
    return [source._replace(layout=msgspec.structs.replace(source.layout, most_missing=most)) for source in sources]


class Settled(NamedTuple):
    """Files and columns as they are read in the end, what was read, and by column without values why it is none."""

    sources: list[Source]
    fields: list[Field]
    read: Read
    empty: dict[str, str]


def settle_holes(sources: list[Source], fields: list[Field], read: Read, selection: Selection) -> Settled:
    """The same, but where too many rows miss some of their cells these are let in, without columns that hold nothing.

    Parameters
    ----------
    read : what the files hold where no cell may be missing
    """
    asked = selection.max_missing
    share = USUAL_SHARE if asked is None else asked
    if not share or (asked is None and len(read.bad) <= _HARDLY * len(read.values)):
        return Settled(sources, fields, read, {})
    holes = find_holes(sources, fields, share)
    empty = {name: why for name, why in holes.empty.items() if not selection.asks_for(name)}
    empty = {} if len(empty) == len(fields) else empty
    fields, holes = [field for field in fields if field.name not in empty], holes.but(empty)
    lenient = may_miss(sources, holes.most if asked is not None or holes.matter else 0)
    found = read_features(lenient, fields)
    if asked is None and not np.isnan(found.values[found.kept]).any():  # cells are bad, not missing
        return Settled(sources, fields, found, empty)
    return Settled(lenient, fields, found, empty)


def describe_filled(read: Read, most: int) -> str:
    """In how many rows cells are filled, "" where that is none."""
    filled = int(np.isnan(read.values[read.kept]).any(axis=1).sum()) if most else 0
    if not filled:
        return ""
    cells = f"{most} of the {read.values.shape[1]} cells of a row"
    return (
        f"cells are missing in {filled} of {len(read.values)} rows: up to {cells} are filled with what is expected "
        "there; --max-missing 0 leaves such rows out"
    )


def describe_bad(read: Read, sources: Sequence[Source], fields: Sequence[Field], name: str) -> str:
    """How many rows are left out, and why the first is. Raises InputError, of the tables of this name, for too many."""
    row, why = next(iter(read.bad.items()))
    rows, most = len(read.values), sources[0].layout.most_missing
    what = "too many missing cells, or bad ones" if most else "a missing or bad cell"
    text = f"{len(read.bad)} of {rows} rows left out: {what} (first: {read.place(row)}, {why})"
    if len(read.bad) <= MOST_BAD * rows:
        return text
    holes = find_holes(sources, fields, most / len(fields))
    bad = np.count_nonzero(holes.recorded & ~read.kept)
    if not read.kept.any() or bad > MOST_BAD * np.count_nonzero(holes.recorded):
        raise InputError(f"{name}: {text}; more than a fifth is too much, {holes.describe()}")
    return f"{text}; in {holes.blank} of them nothing was recorded"


def find_holes(sources: Sequence[Source], fields: Sequence[Field], share: float = 0.0) -> Holes:
    """Reads the files again, cell by cell. Of a row with cells that are no values only the first one counts."""
    read = read_features(may_miss(sources, len(fields)), fields)
    names = [field.name for field in fields]
    cells = np.isnan(read.values)
    for row, why in read.bad.items():
        cells[row] = False if why.column else cells[row]
        if why.column:
            cells[row, names.index(why.column)] = True
    return Holes(names, cells, share)
