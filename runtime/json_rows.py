"""JSON to rows in the model's order: a body of many rows, or one line; strict, and exact about what is wrong where."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from .errors import InputError
from .tables import BadCell

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ROWS = 100_000
MAX_VALUES = 1_000_000
"""Numbers, texts and lists in one body. 16 MiB of "[]," would otherwise become 400 MB of Python objects."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_SHOWN = 40
"""Characters of input that a message repeats."""

_Cell = float | str | bool | None | list[Any] | dict[str, Any]
_Object = dict[str, _Cell]
_DECODER = msgspec.json.Decoder(list[float | list[float] | _Object] | _Object)


class RefusedError(InputError):
    """JSON that is not scored.

    `status` is what HTTP answers; `rows` counts the rows where they can be told; `problem` is what is wrong with the
    first bad row, None when the JSON as a whole is to blame.
    """

    def __init__(self, status: int, message: str, *, rows: int = 0, problem: BadCell | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.rows = rows
        self.problem = problem


class RowReader:
    """Reads bodies for a model with these columns.

    >>> reader = RowReader(["flow", "pressure"])
    >>> reader.read(b'[[1, 2], {"pressure": 4, "flow": 3}]').tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._keys = [msgspec.json.encode(name) for name in columns]

    def read(self, body: bytes) -> NDArray[np.float32]:
        """The rows, shape (rows, columns), all finite float32.

        Parameters
        ----------
        body : JSON: a list of numbers in the order of the columns, an object by column name (others are ignored), or
            a list of such

        Raises
        ------
        RefusedError
            naming the row and the column where there is one to name
        """
        if len(body) > MAX_VALUES and body.count(b",") >= MAX_VALUES:
            raise RefusedError(413, f"the body holds more than {MAX_VALUES} values")
        try:
            decoded = _DECODER.decode(body)
            rows = self._lists(decoded, body)
            values = np.array(rows, dtype=np.float64)
        except (ValueError, TypeError, KeyError, RecursionError) as error:  # ragged rows, and all that msgspec raises
            raise self._diagnosis(body, f"the body is not valid JSON: {error}"[:200]) from None
        if len(values) > MAX_ROWS:
            raise RefusedError(413, f"the body holds {len(values)} rows, expected at most {MAX_ROWS}", rows=len(rows))
        # Compared in float64: a number just above the largest float32 must not be rounded down to it.
        if values.ndim != 2 or values.shape[1] != len(self._columns) or not np.abs(values).max() <= _FLOAT32_MAX:
            raise self._diagnosis(body, "expected rows of finite numbers")
        return values.astype(np.float32)

    def _lists(self, decoded: list[Any] | _Object, body: bytes) -> list[list[float]]:
        """Rows as lists; KeyError or ValueError for an object that is no row."""
        if isinstance(decoded, dict):
            rows = [self._by_name(decoded)]
            n_objects = 1
        elif decoded and type(decoded[0]) is float:
            return [decoded]
        else:
            rows = [self._by_name(row) if type(row) is dict else row for row in decoded]
            n_objects = sum(type(row) is dict for row in decoded)
        # Decoding keeps the last of equal keys. Without escapes in the body every key stands in it as it is written.
        if n_objects and (b"\\" in body or any(body.count(key) != n_objects for key in self._keys)):
            problem = self._diagnosis(body, "")
            if str(problem):
                raise problem
        return rows

    def _by_name(self, row: _Object) -> list[float]:
        cells = [row[name] for name in self._columns]
        if not all(type(cell) is float for cell in cells):
            raise ValueError("not a number")
        return cells  # type: ignore[return-value]

    def _diagnosis(self, body: bytes, fallback: str) -> RefusedError:
        """Why this body is refused: parsed again, slowly, by a parser that keeps what is wrong with it."""
        try:
            found = json.loads(body.decode(), parse_int=float, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            return RefusedError(400, f"the body {_unreadable(error)}")
        if type(found) is not list and type(found) is not _Pairs:
            return RefusedError(400, f"the body {_kind(found)}, expected a row (a list or an object) or a list of rows")
        many = type(found) is list and any(isinstance(item, list) for item in found)
        rows = found if many else [found]
        if not found:
            return RefusedError(400, "the body is empty, expected a row or a list of rows")
        for index, row in enumerate(rows):
            problem = self._problem(row)
            if problem:
                where = f"row {index}, " if problem.column else f"row {index} "
                return RefusedError(400, f"{where}{problem}", rows=len(rows), problem=problem)
        return RefusedError(400, fallback, rows=len(rows))

    def _problem(self, row: Any) -> BadCell | None:
        if type(row) is _Pairs:
            times = Counter(key for key, _ in row)
            for name in self._columns:
                if times[name] != 1:
                    return BadCell(name, "is missing" if not times[name] else "stands in the object more than once")
            by_name = dict(row)
            cells = [by_name[name] for name in self._columns]
        elif type(row) is list:
            if len(row) != len(self._columns):
                return BadCell("", f"has {len(row)} values, expected {len(self._columns)}")
            cells = row
        else:
            return BadCell("", f"{_kind(row)}, expected a list or an object")
        for name, cell in zip(self._columns, cells, strict=True):
            reason = _reason(cell)
            if reason:
                return BadCell(name, reason)
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


def _reason(cell: Any) -> str:
    """Why a cell is no finite float32 number, "" if it is one."""
    if not isinstance(cell, float):
        return f"{_kind(cell)}, expected a number"
    if math.isnan(cell):
        return "holds NaN, expected a finite number"
    return "" if abs(cell) <= _FLOAT32_MAX else f"{_kind(cell)} beyond the range of float32 (3.4e38)"
