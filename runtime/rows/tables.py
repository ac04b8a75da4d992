"""CSV files as chunks of rows: strict about what a number is, exact about where a bad cell stands."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from ..bundle import Column
from ..errors import InputError
from ..layout import Layout
from .cell_units import in_unit, split_unit
from .cells import (
    FLOAT32_MAX,
    NOT_UTF8,
    BadCell,
    bad_reason,
    is_float32,
    is_plain,
    is_utf8,
    shown,
)
from .chunk import Rows
from .csv_text import check_header
from .fields import TRUTHS, UNKNOWN, Absences, Field, as_fields
from .forms import StampColumn, with_clock
from .grid import are_numbers, resampled
from .sources import open_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_ROWS = 1024

_DECIMALS = {".": "point", ",": "comma"}


class ColumnReader:
    """Where the wanted columns stand in a table, found by name in its header.

    Parameters
    ----------
    header : the table's header, or None when it has none: columns called c0, c1, ... then stand at these places, and
        others in the order of `columns`
    columns : what is wanted, in the order wanted: names of columns of numbers, a detector's columns, or fields
    layout : how cells are written, how many of a row may be missing, and where the time stamps are; a table without
        these has no times
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
        layout: Layout,
        source: str,
    ) -> None:
        fields = as_fields(columns)
        self.columns = tuple(field.name for field in fields)
        self.format = layout.format
        time_columns = layout.stamps.columns if layout.stamps else ()
        key = [layout.key] if layout.key is not None else []
        placed = _placed(*self.columns, *time_columns, *key) if header is None else []
        names = placed or [name.strip() for name in (self.columns if header is None else header)]
        self.width = len(names)
        self._header = names
        self._is_wider = bool(placed)
        self._present = [place for place, field in enumerate(fields) if field.name in names or not field.optional]
        self._fields = [fields[place] for place in self._present]
        wanted = [field.name for field in self._fields]
        has_time = bool(time_columns) and all(name in names for name in time_columns)
        check_header(names, [*dict.fromkeys([*wanted, *(time_columns if has_time else []), *key])], source)
        self._positions = [names.index(name) for name in wanted]
        self._coded = [(place, field) for place, field in enumerate(self._fields) if not field.is_number]
        self._flags = [(place, field) for place, field in enumerate(self._fields) if field.flag]
        self._numeric = [(place, field) for place, field in enumerate(self._fields) if not field.texts]
        self._absences = Absences(self._fields, layout.most_missing)
        self._named = 1 + max((at for at, name in enumerate(names) if name), default=len(names) - 1)
        self._time_positions = [names.index(name) for name in time_columns] if has_time else []
        self._stamps = StampColumn(layout.stamps) if layout.stamps and has_time else None
        self._key = names.index(layout.key) if layout.key is not None else None
        self.used = {*self.columns, *time_columns, *([layout.key] if layout.key is not None else [])}

    def parse(self, first: int, lines: Sequence[Sequence[str]]) -> Rows:
        """The wanted columns of these rows of cells."""
        if self._is_wider and lines:  # what stands behind the last wanted column is known from the first row on
            self.width = self._named = max(self.width, len(lines[0]))
            self._is_wider = False
        if any(len(line) != self.width for line in lines):
            lines = [self._fitted(line) for line in lines]
        bad: dict[int, BadCell] = {}
        values = self._clean(lines)
        if values is None:
            values = self._one_by_one(lines, bad)
        self._absences.settle(values, bad)
        keys = self._keys(lines, values, bad)
        return Rows(first, self._complete(values, bad), bad, self._times(lines), keys)

    def _keys(
        self, lines: Sequence[Sequence[str]], values: NDArray[np.float32], bad: dict[int, BadCell]
    ) -> list[str] | None:
        """Whose row each is; a row that does not say it is a bad one."""
        if self._key is None:
            return None
        keys = [line[self._key].strip() if self._key < len(line) else "" for line in lines]
        for index in (index for index, key in enumerate(keys) if not key and index not in bad):
            values[index] = np.nan
            bad[index] = BadCell(self._header[self._key], "is empty, expected whose row it is")
        return keys

    def _one_by_one(self, lines: Sequence[Sequence[str]], bad: dict[int, BadCell]) -> NDArray[np.float32]:
        """The values, and in `bad` which rows hold anything else."""
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
        return np.array(numbers, dtype=np.float64).reshape(len(lines), len(self._positions)).astype(np.float32)

    def _fitted(self, line: Sequence[str]) -> Sequence[str]:
        """A row as wide as the header where only empty cells, or columns without a name, make a difference."""
        if len(line) > self.width and not any(map(str.strip, line[self.width :])):
            return line[: self.width]
        lacking = self.width - len(line)
        return [*line, *[""] * lacking] if 0 < lacking <= self.width - self._named else line

    def _clean(self, lines: Sequence[Sequence[str]]) -> NDArray[np.float32] | None:
        """All the values in one go, or None when any cell needs a closer look; three times as fast as row by row."""
        if any(len(cells) != self.width for cells in lines):
            return None
        flat = [cells[position] for cells in lines for position in self._positions]
        if not self.format.is_pointed:
            for place, _ in self._numeric:
                flat[place :: len(self._positions)] = map(self.format.with_point, flat[place :: len(self._positions)])
        for place, field in self._coded:
            found = [_number(field, cell) for cell in flat[place :: len(self._positions)]]
            if None in found:
                return None
            flat[place :: len(self._positions)] = map(repr, found)
        if not is_plain("".join(flat)):
            return None
        if self._absences.most:
            flat = [cell or "nan" for cell in flat]
        try:
            values = np.fromiter(map(float, flat), np.float64, len(flat)).reshape(len(lines), len(self._positions))
        except ValueError:
            return None
        sound = np.abs(values) <= FLOAT32_MAX
        if self._absences.most:
            sound |= np.isnan(values)
        return values.astype(np.float32) if sound.all() else None

    def _numbers(self, cells: list[str]) -> list[float] | BadCell:
        """The numbers of a row, NaN for cells that may be missing and are."""
        absent = []
        if self._absences.most:
            absent = [place for place, field in enumerate(self._fields) if field.is_absent(cells[place])]
            cells = cells.copy()
            for place in absent:
                cells[place] = (self._fields[place].texts or ("0",))[0]  # a good cell, so that the others are judged
        numbers = self._parsed(cells)
        if not isinstance(numbers, BadCell):
            for place in absent:
                numbers[place] = math.nan
        return numbers

    def _parsed(self, cells: list[str]) -> list[float] | BadCell:
        written = cells
        cells = [self._numeral(field, cell) for field, cell in zip(self._fields, cells, strict=True)]
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

    def _numeral(self, field: Field, cell: str) -> str:
        """A number as float() takes it; a text, and what is no number as it is written, as it is."""
        if field.texts:
            return cell
        return in_unit(cell, field.unit, self.format) if field.unit else self.format.with_point(cell)

    def _first_bad(self, cells: list[str], written: list[str]) -> BadCell:
        for field, cell, as_written in zip(self._fields, cells, written, strict=True):
            if not field.is_number:
                if _number(field, cell) is None:
                    return BadCell(field.name, _unexpected(field, as_written))
            elif bad_reason(cell):
                return BadCell(field.name, self._why_bad(field, as_written))
        raise AssertionError("no bad cell in a row that did not parse")

    def _why_bad(self, field: Field, written: str) -> str:
        """Why a cell of a column of numbers is none."""
        parts = split_unit(written)
        if parts is not None and not bad_reason(self.format.with_point(parts[0])):
            wanted = f"a number in {field.unit}" if field.unit else "a number without a unit"
            return f"holds {shown(written.strip())}, expected {wanted}"
        return (
            bad_reason(written)
            or f"holds {shown(written.strip())}, expected a decimal {_DECIMALS[self.format.decimal]}"
        )

    def _complete(self, values: NDArray[np.float32], bad: dict[int, BadCell]) -> NDArray[np.float32]:
        """The values with the columns that the table lacks, which are unknown in every row."""
        if len(self._present) == len(self.columns):
            return values
        whole = np.full((len(values), len(self.columns)), UNKNOWN, np.float32)
        whole[:, self._present] = values
        whole[list(bad)] = np.nan
        return whole

    def _times(self, lines: Sequence[Sequence[str]]) -> NDArray[np.float64] | None:
        return self._stamps.read(self.stamp_cells(lines)) if self._stamps else None

    def stamp_cells(self, lines: Sequence[Sequence[str]]) -> list[str]:
        """The time stamps of rows of cells, as they are written."""
        if len(self._time_positions) == 1:
            place = self._time_positions[0]
            return [line[place] if place < len(line) else "" for line in lines]
        return [" ".join([line[place] for place in self._time_positions if place < len(line)]) for line in lines]

    def settle_stamps(self, lines: Sequence[Sequence[str]], whole: Callable[[], Sequence[str]]) -> None:
        """Decides from the first rows how the stamps are written, see `forms.StampColumn.settle`."""
        if self._stamps is not None:
            self._time_positions = with_clock(lines, self._time_positions)
            self._stamps.settle(self.stamp_cells(lines), whole)


def _placed(*names: str) -> list[str]:
    """What the columns of a table without a header are called, to the last of these; [] if these are others."""
    places = [re.fullmatch(r"c(\d{1,5})", name) for name in names]
    known = [int(place[1]) for place in places if place is not None]
    return [f"c{place}" for place in range(1 + max(known))] if known and len(known) == len(places) else []


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
    layout: Layout,
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
    if layout.resampling is not None:
        again = partial(read_rows, path, columns, chunk_rows=chunk_rows, stream=stream, unused=unused)
        plain = again(layout=replace(layout, resampling=None))
        yield from resampled(plain, layout.resampling, are_numbers(columns))
        return
    source = str(path)
    wanted = [field.name for field in as_fields(columns) if not field.optional]
    with open_table(path, layout, wanted=wanted, stream=stream) as (header, lines, form):
        reader = ColumnReader(header, columns, layout=replace(layout, format=form), source=source)
        others = [name for name in header or () if name not in reader.used]
        if others:
            unused(others)
        first, chunk = 0, list(islice(lines, chunk_rows))
        if layout.declared is not None and layout.declared.time_format is None:
            whole = path if path.is_file() else None
            reader.settle_stamps(chunk, lambda: _all_stamps(whole, reader, layout, chunk))
        while chunk:
            yield reader.parse(first, chunk)
            first += len(chunk)
            chunk = list(islice(lines, chunk_rows))


def _all_stamps(path: Path | None, reader: ColumnReader, layout: Layout, first: Sequence[Sequence[str]]) -> list[str]:
    """The stamps of all rows as they are written; of a pipe, which can be read only once, those of the first."""
    if path is None:
        return reader.stamp_cells(first)
    with open_table(path, layout, wanted=reader.columns) as (_, lines, _form):
        return [cell for line in lines for cell in reader.stamp_cells([line])]


def read_sample(path: Path, layout: Layout, rows: int = 200) -> tuple[list[str], list[list[str]]]:
    """The header (c0, c1, ... where the file has none) and the first rows of cells."""
    with open_table(path, layout) as (header, lines, _):
        sample = list(islice(lines, rows))
    if not sample:
        raise InputError(f"{path}: no rows after the header")
    return header if header is not None else [f"c{i}" for i in range(len(sample[0]))], sample


def read_column(path: Path, name: str, layout: Layout) -> list[str]:
    """One column as text, a cell for every row that `read_rows` gives; "" where a row is too short."""
    with open_table(path, layout, wanted=[name]) as (header, lines, _):
        names = header or read_sample(path, layout)[0]
        check_header(names, [name], str(path))
        position = names.index(name)
        return [row[position] if position < len(row) else "" for row in lines]
