"""CSV files as chunks of rows: strict about what a number is, exact about where a bad cell stands."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from ..bundle import Column
from ..errors import InputError
from .fields import UNKNOWN, Field, as_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK_ROWS = 1024
TIME_NAMES = frozenset({"timestamp", "time", "datetime", "date", "ts"})
"""Headers, lower-case, that name the time stamp when no column is named as such."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x89PNG": "a PNG image",
}


@dataclass(frozen=True)
class TableFormat:
    """How a text table is written."""

    delimiter: str = ","
    decimal: str = "."
    header: bool = True

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise InputError(f"delimiter is {self.delimiter!r}, expected one character like , or ;")
        if self.decimal not in (".", ","):
            raise InputError(f"decimal is {self.decimal!r}, expected . or ,")
        if self.decimal == self.delimiter:
            raise InputError("the decimal comma needs another delimiter than the comma; pass --delimiter ';'")

    def with_point(self, cell: str) -> str:
        """A number as written in this format, with a decimal point; 1.234,5 stays an error."""
        return cell if self.decimal == "." else cell.replace(".", "?").replace(",", ".")


class BadCell(NamedTuple):
    """Why a row cannot be scored; `column` is "" when the row as a whole is to blame."""

    column: str
    reason: str

    def __str__(self) -> str:
        return f"column {self.column!r} {self.reason}" if self.column else self.reason


class Rows(NamedTuple):
    """A chunk of consecutive rows.

    `values` is float32 of shape (rows, columns), in the order asked for, NaN throughout a bad row; `bad` says why, by
    index in the chunk; `times` are seconds, NaN where unreadable, or None without a time column.
    """

    first: int
    values: NDArray[np.float32]
    bad: dict[int, BadCell]
    times: NDArray[np.float64] | None


class Layout:
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
        self.time_position = names.index(time_column) if time_column in names else None

    def parse(self, first: int, lines: Sequence[Sequence[str]]) -> Rows:
        """The wanted columns of these rows of cells."""
        values = self._clean(lines)
        if values is not None:
            return Rows(first, self._complete(values, {}), {}, self._times(lines))
        bad: dict[int, BadCell] = {}
        numbers: list[list[float]] = []
        blank = [math.nan] * len(self._positions)
        for index, cells in enumerate(lines):
            if len(cells) != self.width:
                bad[index] = BadCell("", f"has {len(cells)} cells, expected {self.width}")
                numbers.append(blank)
                continue
            wanted = [cells[position] for position in self._positions]
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
        if not _is_plain("".join(flat)):
            return None
        try:
            values = np.fromiter(map(float, flat), np.float64, len(flat)).reshape(len(lines), len(self._positions))
        except ValueError:
            return None
        return values.astype(np.float32) if np.all(np.abs(values) <= _FLOAT32_MAX) else None

    def _numbers(self, cells: list[str]) -> list[float] | BadCell:
        written = cells
        if self.form.decimal == ",":
            cells = [
                cell if field.texts else self.form.with_point(cell)
                for field, cell in zip(self._fields, cells, strict=True)
            ]
        numerals = cells.copy()
        for place, field in self._coded:
            number = _number(field, cells[place])
            numerals[place] = "" if number is None else repr(number)
        if _is_plain("".join(numerals)):
            try:
                numbers = list(map(float, numerals))
            except ValueError:
                pass
            else:
                if all(map(_is_float32, numbers)):
                    return numbers
        return self._first_bad(cells, written)

    def _first_bad(self, cells: list[str], written: list[str]) -> BadCell:
        for field, cell, shown in zip(self._fields, cells, written, strict=True):
            if not field.is_number:
                if _number(field, cell) is None:
                    return BadCell(field.name, _unexpected(field, shown))
            elif bad_reason(cell):
                return BadCell(field.name, bad_reason(shown) or f"holds {shown.strip()!r}, expected a decimal comma")
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


def _is_plain(text: str) -> bool:
    """Whether float() can be trusted with it: it also reads 1_0 and digits of other alphabets."""
    return text.isascii() and "_" not in text


def _is_float32(number: float) -> bool:
    return -_FLOAT32_MAX <= number <= _FLOAT32_MAX  # False for NaN


def _number(field: Field, cell: str) -> float | None:
    """What the graph takes for a cell of a column that is not of any numbers; None for a bad cell."""
    text = cell.strip()
    if field.texts or not text:
        return field.number(text or None)
    return None if bad_reason(cell) else field.number(float(cell))


def _unexpected(field: Field, cell: str) -> str:
    text = cell.strip()
    return f"holds {_shown(text)}, expected {field.expected}" if text else f"is empty, expected {field.expected}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def bad_reason(cell: str) -> str:
    """Why a cell is no finite float32 number, "" if it is one."""
    text = cell.strip(" \t\r\n")  # not all that strip() takes for a space is one to float()
    shown = _shown(text)
    if not text:
        return "is empty"
    try:
        number = float(cell)
    except ValueError:
        return f"holds {shown}, expected a number"
    if not _is_plain(text):
        return f"holds {shown}, expected a number in plain digits"
    if not math.isfinite(number) and any(letter in text.lower() for letter in "ni"):
        return f"holds {shown}, expected a finite number"
    return "" if _is_float32(number) else f"holds {shown}, beyond the range of float32 (3.4e38)"


def parse_time(text: str) -> float:
    """Seconds since 1970 from ISO 8601 (no zone means UTC) or a number of seconds; NaN when it is neither."""
    try:
        seconds = float(text) if _is_plain(text) else math.nan
        return seconds if math.isfinite(seconds) else math.nan
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 file (gzip by its first bytes) opened as text; a byte order mark is dropped.

    Raises InputError for what is no text, naming what it seems to be.
    """
    try:
        with path.open("rb") as raw:
            magic = raw.read(4)
            raw.seek(0)
            for start, what in _FOREIGN.items():
                if magic.startswith(start):
                    raise InputError(f"{path}: this is {what}, expected CSV in UTF-8")
            plain = gzip.GzipFile(fileobj=raw) if magic[:2] == b"\x1f\x8b" else raw
            with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error.reason}") from None  # its position is within a buffer
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def cells(lines: Iterable[str], form: TableFormat, source: str) -> Iterator[list[str]]:
    """Rows of cells, blank lines left out. Raises InputError, naming the line, for broken quoting."""
    reader = csv.reader(lines, delimiter=form.delimiter, strict=True)
    try:
        for row in reader:
            if row and not (len(row) == 1 and row[0].isspace()):
                yield row
    except csv.Error as error:
        raise InputError(f"{source}, line {reader.line_num}: {error}") from None


def read_header(rows: Iterator[list[str]], source: str) -> list[str]:
    """The first row, taken as the header. Raises InputError when it looks like data or there is none."""
    header = next(rows, None)
    if header is None:
        raise InputError(f"{source}: the file is empty, expected a header and rows")
    header = [name.strip() for name in header]
    other = next((mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]), None)
    if other:
        raise InputError(
            f"{source}: the header is one column, {header[0][:40]!r}, that seems to be separated by {other!r}; "
            "pass --delimiter"
        )
    if all(not bad_reason(cell) for cell in header):
        raise InputError(
            f"{source}: the first row holds only numbers, expected column names; pass --no-header if there are none"
        )
    return header


def check_header(names: Sequence[str], wanted: Sequence[str], source: str) -> None:
    """Raises InputError when a wanted column is missing from a header or stands in it twice."""
    missing = [name for name in wanted if name not in names]
    if missing:
        shown = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        found = ", ".join(repr(name[:40]) for name in list(names)[:12])
        what = f"column {shown} is" if len(missing) == 1 else f"columns {shown} are"
        raise InputError(f"{source}: {what} missing; the header has {found}")
    for name in wanted:
        if list(names).count(name) > 1:
            raise InputError(f"{source}: column {name!r} stands in the header more than once")


def read_rows(
    path: Path,
    columns: Sequence[str | Column | Field],
    *,
    form: TableFormat,
    time_column: str | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[Rows]:
    """A CSV file in chunks; see `Layout` for how columns are found and `open_text` for what is refused.

    Columns of text are wanted as `Field`, like ``Field("mode", texts=("auto", "manual"))``: manual is read as 1.0, and
    a row with any other text is bad.
    """
    source = str(path)
    with open_text(path) as text:
        lines = cells(text, form, source)
        header = read_header(lines, source) if form.header else None
        layout = Layout(header, columns, time_column=time_column, form=form, source=source)
        first = 0
        while chunk := list(islice(lines, chunk_rows)):
            yield layout.parse(first, chunk)
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
