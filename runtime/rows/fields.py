"""What the cells of a column may hold besides numbers: text of a few kinds, a class that may be unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..bundle import Column
from ..errors import few
from .cells import FLOAT32_MAX, BadCell, is_missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = -1.0
"""What the graph takes for a class that is not known."""

_SHOWN_LETTERS = 40

TRUTHS = {"true": True, "false": False}
"""How a truth value is written, in any case."""


@dataclass(frozen=True)
class Field:
    """A column to read.

    Parameters
    ----------
    name : as in the header
    texts : the texts that it may hold, each read as its place in this list; () for a column of numbers
    levels : the only numbers that it may hold; () for any
    optional : whether a cell, or the whole column, may be absent, which is read as `UNKNOWN`
    flag : whether a column of numbers is one of 0 and 1, for which false and true may stand
    unit : what may stand behind a number; with any other the cell is a bad one
    missing : numbers that stand for no value, like -999

    >>> Field("mode", texts=("auto", "manual")).number("manual")
    1.0
    """

    name: str
    texts: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    optional: bool = False
    flag: bool = False
    unit: str = ""
    missing: tuple[float, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether every finite float32 is welcome."""
        return not (self.texts or self.levels)

    @property
    def expected(self) -> str:
        """What a cell may hold, for messages."""
        names = [repr(_cut(text)) for text in self.texts] or [write_number(level) for level in self.levels]
        return f"one of {few(names)}"

    def number(self, cell: str | float | None) -> float | None:
        """What the graph takes for a text, a number or an absent cell; None when the column cannot hold it.

        For columns that are not `is_number`; a column of texts holds no numbers, and the other way round.
        """
        if cell is None:
            return UNKNOWN if self.optional else None
        if isinstance(cell, str):
            meant = self.meant(TRUTHS.get(cell.lower())) if cell not in self._places else cell
            return self._places.get(meant) if isinstance(meant, str) else None
        return cell if abs(cell) <= FLOAT32_MAX and np.float32(cell).item() in self._levels32 else None

    @cached_property
    def knows_truths(self) -> bool:
        """Whether true and false mean something in this column."""
        return bool(self._truths)

    def meant(self, truth: bool | None) -> float | str | bool | None:
        """What a truth value stands for, 1 or 0 or a text; itself where it stands for nothing."""
        return truth if truth is None else self._truths.get(truth, truth)

    @cached_property
    def _truths(self) -> dict[bool, float | str]:
        if self.flag:
            return {False: 0.0, True: 1.0}
        found = [text for text in self.texts if text.lower() in TRUTHS]
        known: dict[bool, float | str] = {TRUTHS[text.lower()]: text for text in found}
        return known if len(known) == len(found) else {}  # True beside TRUE are two texts

    def is_absent(self, cell: str) -> bool:
        """Whether a cell holds no value, though it should; a class may be unknown."""
        return not self.optional and is_missing(cell) and cell.strip() not in self._places

    @cached_property
    def _places(self) -> dict[str, float]:
        return {text: float(place) for place, text in enumerate(self.texts)}

    @cached_property
    def _levels32(self) -> frozenset[float]:
        return frozenset(np.float32(level).item() for level in self.levels)


def as_fields(columns: Iterable[str | Column | Field]) -> tuple[Field, ...]:
    """How to read these columns; a name alone is a column of numbers."""
    return tuple(map(_as_field, columns))


def _as_field(column: str | Column | Field) -> Field:
    if isinstance(column, Field):
        return column
    if isinstance(column, str):
        return Field(column)
    is_class = column.treatment == "class"
    # Numbers outside the levels of a category are for the graph to judge; of a class they mean nothing.
    levels = column.levels if is_class and not column.texts else ()
    is_flag = column.treatment == "binary" and not column.texts and {*column.levels} <= {0.0, 1.0}
    return Field(
        column.name,
        column.texts,
        levels,
        optional=is_class,
        flag=is_flag,
        unit=column.unit,
        missing=() if column.texts else column.missing,
    )


class Absences:
    """Which cells of rows hold no value, and which rows miss too many: the same rule wherever rows come from.

    Parameters
    ----------
    fields : the columns
    most : cells of a row that may be missing; by default every row is bad that misses one
    """

    def __init__(self, fields: Sequence[Field], most: int = 0) -> None:
        self.names, self.most = [field.name for field in fields], most
        self._sentinels = [
            (place, np.array(field.missing, np.float32)) for place, field in enumerate(fields) if field.missing
        ]

    def settle(self, values: NDArray[np.float32], bad: dict[int, BadCell]) -> None:
        """Makes numbers that stand for no value NaN in (rows, columns), and adds the rows that miss too many to `bad`.

        A bad row is NaN throughout.
        """
        for place, sentinels in self._sentinels:
            found = np.flatnonzero(np.isin(values[:, place], sentinels))
            if not self.most:
                for index in found.tolist():
                    written = write_number(float(str(values[index, place])))
                    bad.setdefault(index, BadCell(self.names[place], f"holds {written}, which stands for no value"))
            values[found, place] = np.nan
        if self.most:
            absent = np.isnan(values)
            for index in np.flatnonzero(absent.sum(axis=1) > self.most).tolist():
                names = [self.names[place] for place in np.flatnonzero(absent[index])]
                text = f"misses {len(names)} of {len(self.names)} cells, at most {self.most} can be filled: "
                bad.setdefault(index, BadCell("", text + few(map(repr, names))))
        if bad:
            values[list(bad)] = np.nan


def write_number(value: float) -> str:
    """A number in the fewest digits: 3, not 3.0."""
    return str(value).removesuffix(".0")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else text[: _SHOWN_LETTERS - 3] + "..."
