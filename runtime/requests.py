"""The body of a scoring request: read within limits, parsed strictly, turned into rows in the model's order."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from .errors import InputError
from .tables import BadCell

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BODY = 16 * 1024 * 1024
MAX_BUFFERED = 4 * MAX_BODY
"""Bytes of unfinished bodies held at once; beyond it clients are asked to come again."""
BODY_S, CLOSING_S = 30.0, 5.0
"""Seconds that a body may take, and that it may still take once the service is stopping."""
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
    """A request that is not scored; `rows` counts its rows where they can be told."""

    def __init__(self, status: int, message: str, *, rows: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.rows = rows


class BodyReader:
    """Reads the bodies of one service, within limits of size, time and memory."""

    def __init__(self) -> None:
        self._buffered = 0
        self._limit_s = BODY_S
        self._timeouts: set[asyncio.Timeout] = set()

    def close_soon(self) -> None:
        """Bodies on the way get `CLOSING_S` from now."""
        self._limit_s = CLOSING_S
        deadline = asyncio.get_running_loop().time() + CLOSING_S
        for timeout in self._timeouts:
            timeout.reschedule(min(deadline, timeout.when() or deadline))

    async def read(self, headers: Iterable[tuple[bytes, bytes]], stream: AsyncIterable[bytes]) -> bytes:
        """The whole body; raises RefusedError as soon as a limit is passed, before buffering more."""
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > MAX_BODY:
                raise _too_large()
            if name == b"content-encoding" and value.lower() != b"identity":
                raise RefusedError(415, "the body is encoded; send it with Content-Encoding identity, or none")
        chunks: list[bytes] = []
        timeout = asyncio.timeout(self._limit_s)
        self._timeouts.add(timeout)
        try:
            async with timeout:
                await self._collect(stream, chunks)
        except TimeoutError:
            raise RefusedError(408, "the body did not arrive in time") from None
        finally:
            self._timeouts.discard(timeout)
            self._buffered -= sum(map(len, chunks))
        return b"".join(chunks)

    async def _collect(self, stream: AsyncIterable[bytes], chunks: list[bytes]) -> None:
        size = 0
        async for chunk in stream:
            chunks.append(chunk)
            size += len(chunk)
            self._buffered += len(chunk)
            if size > MAX_BODY:
                raise _too_large()
            if self._buffered > MAX_BUFFERED:
                raise RefusedError(503, "too many large requests at once; try again")


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
                return RefusedError(400, f"{where}{problem}", rows=len(rows))
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


def _too_large() -> RefusedError:
    return RefusedError(413, f"the body is larger than {MAX_BODY // 1024**2} MiB; send fewer rows at a time")


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
