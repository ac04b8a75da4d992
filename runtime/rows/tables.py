"""CSV files as chunks of rows: strict about what a number is, exact about where a bad cell stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..bundle import Column
from ..errors import InputError
from .cells import FLOAT32_MAX, NOT_UTF8, BadCell, bad_reason, is_float32, is_plain, is_utf8, shown
from .chunk import Rows
from .csv_text import TableFormat, cells, check_header, open_text, read_header
from .fields import TRUTHS, UNKNOWN, Field, as_fields
from .times import parse_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_ROWS = 1024


class ColumnReader:
    """Where the wanted columns stand in a table, found by name in its header.

    Parameters
    ----------
    header : the table's header, or None when it has none: the columns then stand in the order of `columns`
    columns : what is wanted, in the order wanted: names of columns of numbers, a detector's columns, or fields
    time_column : name of the time stamp, None for none; a table without it has no times
    source : how to call the table in messages

    Raises
    ------
    InputError
        when a wanted column is missing or named twice; an optional one may be missing
    """

    def __init__(
        self,
        header: Sequence[str] | None,
        columns: Sequence[str | Column | Field],
        *,
        time_column: str | None = None,
        form: TableFormat,
        source: str,
    ) -> None:
        fields = as_fields(columns)
        self.columns = tuple(field.name for field in fields)
        self.form = form
        names = list(self.columns) if header is None else [name.strip() for name in header]
        self.width = len(names)
        self._present = [place for place, field in enumerate(fields) if field.name in names or not field.optional]
        self._fields = [fields[place] for place in self._present]
        wanted = [field.name for field in self._fields]
        check_header(names, (*wanted, time_column) if time_column in names else wanted, source)
        self._positions = [names.index(name) for name in wanted]
        self._coded = [(place, field) for place, field in enumerate(self._fields) if not field.is_number]
        self._flags = [(place, field) for place, field in enumerate(self._fields) if field.flag]
        self.time_position = names.index(time_column) if time_column in names else None

    def parse(self, first: int, lines: Sequence[Sequence[str]]) -> Rows:
        """The wanted columns of these rows of cells."""
        values = self._clean(lines)
        if values is not None:
            return Rows(first, self._complete(values, {}), {}, self._times(lines))
        bad: dict[int, BadCell] = {}
        numbers: list[list[float]] = []
        blank = [math.nan] * len(self._positions)
        for index, line in enumerate(lines):
            if len(line) != self.width:
                bad[index] = BadCell("", f"has {len(line)} cells, expected {self.width}")
                numbers.append(blank)
                continue
            wanted = [line[position] for position in self._positions]
            parsed = self._numbers(wanted)
            if isinstance(parsed, BadCell):
                bad[index] = parsed
                numbers.append(blank)
            else:
                numbers.append(parsed)
        values = np.array(numbers, dtype=np.float64).reshape(len(lines), len(self._positions)).astype(np.float32)
        return Rows(first, self._complete(values, bad), bad, self._times(lines))

    def _clean(self, lines: Sequence[Sequence[str]]) -> NDArray[np.float32] | None:
        """All the values in one go, or None when any cell needs a closer look; three times as fast as row by row."""
        if self.form.decimal != "." or any(len(cells) != self.width for cells in lines):
            return None
        flat = [cells[position] for cells in lines for position in self._positions]
        for place, field in self._coded:
            found = [_number(field, cell) for cell in flat[place :: len(self._positions)]]
            if None in found:
                return None
            flat[place :: len(self._positions)] = map(repr, found)
        if not is_plain("".join(flat)):
            return None
        try:
            values = np.fromiter(map(float, flat), np.float64, len(flat)).reshape(len(lines), len(self._positions))
        except ValueError:
            return None
        return values.astype(np.float32) if np.all(np.abs(values) <= FLOAT32_MAX) else None

    def _numbers(self, cells: list[str]) -> list[float] | BadCell:
        written = cells
        if self.form.decimal == ",":
            cells = [
                cell if field.texts else self.form.with_point(cell)
                for field, cell in zip(self._fields, cells, strict=True)
            ]
        for place, field in self._flags:
            meant = field.meant(TRUTHS.get(cells[place].strip().lower()))
            if meant is not None:
                cells = [*cells[:place], str(meant), *cells[place + 1 :]]
        numerals = cells.copy()
        for place, field in self._coded:
            number = _number(field, cells[place])
            numerals[place] = "" if number is None else repr(number)
        if is_plain("".join(numerals)):
            try:
                numbers = list(map(float, numerals))
            except ValueError:
                pass
            else:
                if all(map(is_float32, numbers)):
                    return numbers
        return self._first_bad(cells, written)

    def _first_bad(self, cells: list[str], written: list[str]) -> BadCell:
        for field, cell, as_written in zip(self._fields, cells, written, strict=True):
            if not field.is_number:
                if _number(field, cell) is None:
                    return BadCell(field.name, _unexpected(field, as_written))
            elif bad_reason(cell):
                why = bad_reason(as_written) or f"holds {as_written.strip()!r}, expected a decimal comma"
                return BadCell(field.name, why)
        raise AssertionError("no bad cell in a row that did not parse")

    def _complete(self, values: NDArray[np.float32], bad: dict[int, BadCell]) -> NDArray[np.float32]:
        """The values with the columns that the table lacks, which are unknown in every row."""
        if len(self._present) == len(self.columns):
            return values
        whole = np.full((len(values), len(self.columns)), UNKNOWN, np.float32)
        whole[:, self._present] = values
        whole[list(bad)] = np.nan
        return whole

    def _times(self, lines: Sequence[Sequence[str]]) -> NDArray[np.float64] | None:
        if self.time_position is None:
            return None
        position = self.time_position
        return np.array([parse_time(cells[position]) if position < len(cells) else math.nan for cells in lines])


def _number(field: Field, cell: str) -> float | None:
    """What the graph takes for a cell of a column that is not of any numbers; None for a bad cell."""
    text = cell.strip()
    if field.texts or not text:
        return field.number(text or None)
    return None if bad_reason(cell) else field.number(float(cell))


def _unexpected(field: Field, cell: str) -> str:
    text = cell.strip()
    if not is_utf8(text):
        return f"holds {shown(text)}, {NOT_UTF8}"
    return f"holds {shown(text)}, expected {field.expected}" if text else f"is empty, expected {field.expected}"


def read_rows(
    path: Path,
    columns: Sequence[str | Column | Field],
    *,
    form: TableFormat,
    time_column: str | None = None,
    chunk_rows: int = CHUNK_ROWS,
    stream: bool = False,
    unused: Callable[[list[str]], object] = lambda names: None,
) -> Iterator[Rows]:
    """A CSV file in chunks; see `ColumnReader` for how columns are found and `open_text` for what is refused.

    With `stream` a pipe will do: the file is read once. `unused` gets the columns that are not wanted, where there are
    any, before the first chunk.

    Columns of text are wanted as `Field`, like ``Field("mode", texts=("auto", "manual"))``: manual is read as 1.0, and
    a row with any other text is bad.
    """
    source = str(path)
    with open_text(path, stream=stream) as text:
        lines = cells(text, form, source)
        header = read_header(lines, source) if form.header else None
        reader = ColumnReader(header, columns, time_column=time_column, form=form, source=source)
        used = {*reader.columns, time_column}
        others = [name for name in header or () if name not in used]
        if others:
            unused(others)
        first = 0
        while chunk := list(islice(lines, chunk_rows)):
            yield reader.parse(first, chunk)
            first += len(chunk)


def read_sample(path: Path, form: TableFormat, rows: int = 200) -> tuple[list[str], list[list[str]]]:
    """The header (c0, c1, ... where the file has none) and the first rows of cells."""
    source = str(path)
    with open_text(path) as text:
        lines = cells(text, form, source)
        header = read_header(lines, source) if form.header else None
        sample = list(islice(lines, rows))
    if not sample:
        raise InputError(f"{source}: no rows after the header")
    return header if header is not None else [f"c{i}" for i in range(len(sample[0]))], sample


def read_column(path: Path, name: str, form: TableFormat) -> list[str]:
    """One column as text, a cell for every row that `read_rows` gives; "" where a row is too short."""
    source = str(path)
    with open_text(path) as text:
        lines = cells(text, form, source)
        header = read_header(lines, source) if form.header else read_sample(path, form)[0]
        check_header(header, [name], source)
        position = header.index(name)
        return [row[position] if position < len(row) else "" for row in lines]
