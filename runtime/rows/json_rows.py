"""JSON to rows in the model's order: a body of many rows, or one line; strict, and exact about what is wrong where."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..bundle import Column
from ..errors import InputError, TooLargeError
from .cells import FLOAT32_MAX, BadCell
from .chunk import Rows, bad_row
from .fields import Absences, Field, as_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ROWS = 100_000
MAX_VALUES = 1_000_000
"""Numbers, texts and lists in one body. 16 MiB of "[]," would otherwise become 400 MB of Python objects."""

_SHOWN = 40
"""Characters of input that a message repeats."""

_Cell = float | str | bool | None | list[Any] | dict[str, Any]
_Object = dict[str, _Cell]
_NUMBERS = msgspec.json.Decoder(list[float | list[float] | _Object] | _Object)
_Text = float | str | None
_Truth = float | str | bool | None
_ALL = msgspec.json.Decoder(list[_Truth | list[_Truth] | _Object] | _Object)
_TEXTS = msgspec.json.Decoder(list[_Text | list[_Text] | _Object] | _Object)


class JsonRowsError(InputError):
    """JSON that is no rows. `problem` is what is wrong with the first bad row, None when all of it is to blame."""

    def __init__(self, message: str, *, rows: int = 0, row: int | None = None, problem: BadCell | None = None) -> None:
        super().__init__(message, rows=rows, row=row, column=problem.column or None if problem else None)
        self.problem = problem

    @classmethod
    def at(cls, row: int, problem: BadCell, rows: int) -> JsonRowsError:
        """This row, one of so many, is bad."""
        where = f"row {row}, " if problem.column else f"row {row} "
        return cls(f"{where}{problem}", rows=rows, row=row, problem=problem)

    def moved(self, first: int, rows: int) -> JsonRowsError:
        """The same of a body of so many rows, of which those that were read began at row `first`."""
        if self.problem is None or self.row is None:
            return JsonRowsError(f"rows from {first} on: {self}", rows=rows)
        return JsonRowsError.at(first + self.row, self.problem, rows)


class RowReader:
    """Reads bodies for a model with these columns, of which so many cells of a row may be missing.

    >>> reader = RowReader(["flow", "pressure"])
    >>> reader.read(b'[[1, 2], {"pressure": 4, "flow": 3}]').tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """

    def __init__(self, columns: Sequence[str | Column | Field], *, most_missing: int = 0) -> None:
        self._fields = as_fields(columns)
        self._absences = Absences(self._fields, most_missing)
        self._columns = tuple(field.name for field in self._fields)
        self._keys = [msgspec.json.encode(name) for name in self._columns]
        self._coded = [(place, field) for place, field in enumerate(self._fields) if not field.is_number]
        self._truths = [(place, field) for place, field in enumerate(self._fields) if field.knows_truths]
        self._decode = (_ALL if most_missing else _TEXTS if self._coded else _NUMBERS).decode

    def read(self, body: bytes) -> NDArray[np.float32]:
        """The rows, shape (rows, columns), all finite float32 but for NaN where a cell is missing that may be.

        Parameters
        ----------
        body : JSON: a list of numbers in the order of the columns, an object by column name (others are ignored), or
            a list of such; text where the column holds text, null or no key for a class that is not known and
            for a cell that may be missing

        Raises
        ------
        TooLargeError
            when there are more than `MAX_ROWS` rows or `MAX_VALUES` values
        InputError
            for anything else that is no rows, naming the row and the column where there is one to name
        """
        if len(body) > MAX_VALUES and body.count(b",") >= MAX_VALUES:
            raise TooLargeError(f"the body holds more than {MAX_VALUES} values")
        try:
            has_truths = self._truths and (b"true" in body or b"false" in body)
            rows = self._lists(self._without_truths(body) if has_truths else self._decode(body), body)
            values = np.array(rows, dtype=np.float64)
        except (ValueError, TypeError, KeyError, RecursionError) as error:  # ragged rows, and all that msgspec raises
            raise self._diagnosis(body, f"the body is not valid JSON: {error}"[:200]) from None
        if len(values) > MAX_ROWS:
            raise TooLargeError(f"the body holds {len(values)} rows, expected at most {MAX_ROWS}", rows=len(values))
        # Compared in float64: a number just above the largest float32 must not be rounded down to it.
        if values.ndim != 2 or values.shape[1] != len(self._columns) or not self._are_sound(values):
            raise self._diagnosis(body, "expected rows of finite numbers")
        found, bad = values.astype(np.float32), dict[int, BadCell]()
        self._absences.settle(found, bad)
        if bad:
            raise JsonRowsError.at(min(bad), bad[min(bad)], len(found))
        return found

    def _are_sound(self, values: NDArray[np.float64]) -> bool:
        """Whether all are finite as float32, or missing where they may be."""
        size = np.abs(values)
        if self._absences.most:
            size[np.isnan(size)] = 0
        return bool(size.max() <= FLOAT32_MAX)

    def read_line(self, number: int, line: bytes) -> Rows:
        """The row on one line, as `read` takes it; a bad row where it holds none or several."""
        try:
            values = self.read(line)
        except InputError as error:
            problem = error.problem if isinstance(error, JsonRowsError) else None
            return bad_row(number, len(self._columns), problem or BadCell("", str(error)))
        if len(values) != 1:
            return bad_row(number, len(self._columns), BadCell("", f"holds {len(values)} rows, expected one a line"))
        return Rows(number, values, {}, None)

    def _without_truths(self, body: bytes) -> Any:
        """Decoded, with what truth values stand for in the columns that know them."""
        decoded = _ALL.decode(body)
        is_one = isinstance(decoded, dict) or not any(type(row) in (list, dict) for row in decoded)
        for row in [decoded] if is_one else decoded:
            for place, field in self._truths:
                at: Any = field.name if isinstance(row, dict) else place
                if isinstance(row, dict | list) and (at in row if isinstance(row, dict) else at < len(row)):
                    row[at] = field.meant(row[at]) if type(row[at]) is bool else row[at]
        return decoded

    def _lists(self, decoded: list[Any] | _Object, body: bytes) -> list[list[float]]:
        """Rows as lists; KeyError, TypeError or ValueError for what is no row."""
        if isinstance(decoded, dict) or (decoded and not isinstance(decoded[0], list | dict)):
            decoded = [decoded]
        objects = [row for row in decoded if type(row) is dict]
        rows = [self._by_name(row) if type(row) is dict else row for row in decoded] if objects else decoded
        # Decoding keeps the last of equal keys. Without escapes in the body every key stands in it as it is written.
        if objects and (b"\\" in body or any(body.count(key) != n for key, n in self._expected(objects))):
            problem = self._diagnosis(body, "")
            if str(problem):
                raise problem
        return [self._numbers(row) for row in rows] if self._coded or self._absences.most else rows

    def _expected(self, objects: list[_Object]) -> Iterator[tuple[bytes, int]]:
        """Each key as it is written, and how often it must stand in a body of these objects."""
        for key, field in zip(self._keys, self._fields, strict=True):
            may_lack = field.optional or self._absences.most
            yield key, sum(field.name in row for row in objects) if may_lack else len(objects)

    def _by_name(self, row: _Object) -> list[Any]:
        if self._absences.most:
            return [row.get(name) for name in self._columns]
        if self._coded:
            return [row.get(field.name) if field.optional else row[field.name] for field in self._fields]
        cells = [row[name] for name in self._columns]
        if not all(type(cell) is float for cell in cells):
            raise ValueError("not a number")
        return cells

    def _numbers(self, row: list[Any]) -> list[float]:
        """A row of cells with the texts and the unknown classes as numbers, and NaN for those that are missing."""
        if type(row) is not list or len(row) != len(self._fields):
            raise ValueError("not a row")
        numbers = row.copy()
        for place, field in self._coded:
            numbers[place] = _number(field, row[place])
        if self._absences.most:
            for place, field in enumerate(self._fields):
                if row[place] is None and not field.optional:
                    numbers[place] = math.nan
        if not all(type(number) is float for number in numbers):
            raise ValueError("not a number, or another text than the column holds")
        return numbers

    def _diagnosis(self, body: bytes, fallback: str) -> JsonRowsError:
        """Why this body is refused: parsed again, slowly, by a parser that keeps what is wrong with it."""
        try:
            found = json.loads(body.decode(), parse_int=float, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            return JsonRowsError(f"the body {_unreadable(error)}")
        if type(found) is not list and type(found) is not _Pairs:
            return JsonRowsError(f"the body {_kind(found)}, expected a row (a list or an object) or a list of rows")
        many = type(found) is list and any(isinstance(item, list) for item in found)
        rows = found if many else [found]
        if not found:
            return JsonRowsError("the body is empty, expected a row or a list of rows")
        for index, row in enumerate(rows):
            problem = self._problem(row)
            if problem:
                return JsonRowsError.at(index, problem, len(rows))
        return JsonRowsError(fallback, rows=len(rows))

    def _problem(self, row: Any) -> BadCell | None:
        if type(row) is _Pairs:
            times = Counter(key for key, _ in row)
            for field in self._fields:
                if times[field.name] > 1:
                    return BadCell(field.name, "stands in the object more than once")
                if not times[field.name] and not field.optional and not self._absences.most:
                    return BadCell(field.name, "is missing")
            by_name = dict(row)
            cells = [by_name.get(name) for name in self._columns]
        elif type(row) is list:
            if len(row) != len(self._columns):
                return BadCell("", f"has {len(row)} values, expected {len(self._columns)}")
            cells = row
        else:
            return BadCell("", f"{_kind(row)}, expected a list or an object")
        for field, cell in zip(self._fields, cells, strict=True):
            if cell is None and self._absences.most:
                continue
            reason = _reason(field, field.meant(cell) if isinstance(cell, bool) else cell)
            if reason:
                return BadCell(field.name, reason)
        return None


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with repeated keys kept."""


def _unreadable(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 text: {error.reason} at byte {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return f"is not valid JSON: {error.msg} at character {error.pos}"
    return "is nested too deeply; expected rows of numbers"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return f"holds {str(value).lower()}"
    if value is None:
        return "holds null"
    if isinstance(value, str):
        return f"holds {value if len(value) <= _SHOWN else value[: _SHOWN - 3] + '...'!r}"
    if isinstance(value, float):
        return f"holds {value:.9g}" if math.isfinite(value) else "holds a number"
    return "holds an object" if type(value) is _Pairs else "holds a list"


def _number(field: Field, cell: Any) -> float | None:
    """What the graph takes for a cell of a column that is not of any numbers; None for a bad cell."""
    return field.number(cell) if cell is None or type(cell) in (float, str) else None


def _reason(field: Field, cell: Any) -> str:
    """Why a cell cannot stand in this column, "" if it can."""
    if not field.is_number:
        return f"{_kind(cell)}, expected {field.expected}" if _number(field, cell) is None else ""
    if not isinstance(cell, float):
        return f"{_kind(cell)}, expected a number"
    if math.isnan(cell):
        return "holds NaN, expected a finite number"
    return "" if abs(cell) <= FLOAT32_MAX else f"{_kind(cell)} beyond the range of float32 (3.4e38)"
