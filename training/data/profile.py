"""What stands in each column of a table, cell by cell, whether it is a feature or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ...runtime.layout import Layout
from ...runtime.rows.cell_units import in_unit
from ...runtime.rows.cells import bad_reason, is_missing, is_plain
from ...runtime.rows.sources import open_table
from .sentinels import Sentinel
from .sources import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK_ROWS = 4096

_TEXTS = 1000
"""Different texts of a column that are counted; of more it is only known that there are more."""


class Profile(msgspec.Struct, frozen=True):
    """One column of a table."""

    name: str
    missing: float
    """Share of cells that are empty, or in no row."""
    numbers: int
    """Cells that are numbers."""
    low: float | None
    """The lowest number; None where there is none."""
    median: float | None
    high: float | None
    texts: tuple[str, ...]
    """The commonest texts that are no numbers, at most three."""
    kinds: int
    """Different texts that are no numbers."""
    strange: float
    """Share of cells that are such texts."""


class Gathered:
    """The cells of one column so far."""

    def __init__(self, unit: str = "") -> None:
        self.cells = self.empty = 0
        self._unit = unit
        self._numbers: list[NDArray[np.float64]] = []
        self.texts: Counter[str] = Counter()

    def add(self, cells: Sequence[str], layout: Layout) -> None:
        """More cells, as they are written."""
        self.cells += len(cells)
        plain = cells
        if self._unit or not layout.format.is_pointed:
            plain = [in_unit(cell, self._unit, layout.format) for cell in cells]
        try:
            if is_plain("".join(plain)):
                found = np.array(list(map(float, plain)))
                if np.isfinite(found).all():
                    self._numbers.append(found)
                    return
        except ValueError:
            pass
        numbers = []
        for cell, written in zip(plain, cells, strict=True):
            text = written.strip()
            if is_missing(text):
                self.empty += 1
            elif not bad_reason(cell):
                numbers.append(float(cell))
            elif len(self.texts) < _TEXTS or text in self.texts:
                self.texts[text] += 1
        self._numbers.append(np.array(numbers))

    def profile(self, name: str, rows: int, sentinel: Sentinel | None = None) -> Profile:
        """What they come to, of so many rows; the numbers of a sentinel are missing."""
        numbers = np.concatenate([np.empty(0), *self._numbers])
        if sentinel is not None:
            absent = np.isin(numbers.astype(np.float32), np.array(sentinel.values, np.float32))
            self.empty += int(absent.sum())
            numbers = numbers[~absent]
        low, median, high = np.quantile(numbers, (0, 0.5, 1)).tolist() if len(numbers) else (None, None, None)
        common = tuple(text for text, _ in self.texts.most_common(3))
        empty = self.empty + rows - self.cells
        missing = 1 - (len(numbers) + self.texts.total()) / rows if len(self.texts) < _TEXTS else empty / rows
        strange = 1 - missing - len(numbers) / rows
        return Profile(name, missing, len(numbers), low, median, high, common, len(self.texts), strange)


def profile_table(
    sources: Sequence[Source],
    *,
    units: Mapping[str, str] = MappingProxyType({}),
    sentinels: Mapping[str, Sentinel] = MappingProxyType({}),
) -> tuple[int, list[Profile]]:
    """How many rows the files have, and their columns in order; c0, c1, ... where there is no header.

    A column that is not in all files is missing in the others. Raises what `open_table` raises.

    Parameters
    ----------
    units : by column, what stands behind its numbers
    sentinels : by column, the numbers that stand for no value, which are missing
    """
    total, gathered = 0, dict[tuple[str, int], Gathered]()
    for path, layout in sources:
        with open_table(path, layout) as (header, rows, _):
            names, columns = list(header or ()), list[Gathered]()
            while chunk := list(islice(rows, _CHUNK_ROWS)):
                if header is None:
                    names += [f"c{place}" for place in range(len(names), max(map(len, chunk)))]
                for place, name in enumerate(names[len(columns) :], len(columns)):
                    # A name that stands twice in a header is that of two columns.
                    which = name, names[:place].count(name)
                    columns.append(gathered.setdefault(which, Gathered(units.get(name, ""))))
                total += len(chunk)
                for place, column in enumerate(columns):
                    column.add([row[place] for row in chunk if place < len(row)], layout)
    return total, [column.profile(name, total, sentinels.get(name)) for (name, _), column in gathered.items()]
