"""What is wrong with JSON that is no row: parsed slowly, by a parser that keeps what the fast one only refuses."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import InputError
from .cells import FLOAT32_MAX, BadCell
from .fields import Field

MOST_LEVELS = 64
"""How deep JSON may be nested, in what is ignored too."""

_SHOWN = 40
"""Characters of input that a message repeats."""

_MOST_DIGITS = 400

_NO_BRACKETS = bytes({*range(256)} - {*b"[]{}"})
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Pairs(list[tuple[str, Any]]):
    """A JSON object with repeated keys kept."""


def slow_rows(body: bytes) -> tuple[list[Any], str]:
    """The rows of JSON, lists, `Pairs` or what else stands there, and why it is no JSON in spite of that, "" if it is.

    Raises InputError, whose message begins with a verb, for what is no row and no list of rows.
    """
    if is_deep(body):
        raise InputError(f"is nested deeper than {MOST_LEVELS} levels; expected rows of numbers", limit="depth")
    try:
        found = json.loads(body.decode(), parse_int=_whole, object_pairs_hook=Pairs)
    except (ValueError, RecursionError) as error:
        raise InputError(_unreadable(error)) from None
    if type(found) is not list and type(found) is not Pairs:
        raise InputError(f"{_kind(found)}, expected a row (a list or an object) or a list of rows")
    if not found:
        raise InputError("is empty, expected a row or a list of rows")
    rows = found if type(found) is list and any(isinstance(item, list) for item in found) else [found]
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return rows, f"is not valid JSON: {error}"[:200]
    return rows, ""


def problem_of(row: Any, fields: Sequence[Field], *, may_lack: bool) -> BadCell | None:
    """Why a row, as `slow_rows` gives it or a dictionary, cannot be read; with `may_lack` any cell may be absent."""
    if isinstance(row, Pairs | dict):
        times = Counter([*row] if isinstance(row, dict) else [key for key, _ in row])
        for field in fields:
            if times[field.name] > 1:
                return BadCell(field.name, "stands in the object more than once")
            if not times[field.name] and not field.optional and not may_lack:
                return BadCell(field.name, "is missing")
        by_name = dict(row)
        cells = [by_name.get(field.name) for field in fields]
    elif isinstance(row, list):
        if len(row) != len(fields):
            return BadCell("", f"has {len(row)} values, expected {len(fields)}")
        cells = row
    else:
        return BadCell("", f"{_kind(row)}, expected a list or an object")
    for field, cell in zip(fields, cells, strict=True):
        if cell is None and may_lack:
            continue
        reason = _reason(field, field.meant(cell) if isinstance(cell, bool) else cell)
        if reason:
            return BadCell(field.name, reason)
    return None


def is_json(row: Any) -> bool:
    """Whether a row that was parsed is JSON throughout: no NaN, no infinity, no half of a surrogate pair."""
    try:
        json.dumps(row, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def number_of(field: Field, cell: Any) -> float | None:
    """What the graph takes for a cell of a column that is not of any numbers; None for a bad cell."""
    return field.number(cell) if cell is None or type(cell) in (float, int, str) else None


def is_deep(body: bytes) -> bool:
    """Whether JSON, or what should be some, is nested deeper than `MOST_LEVELS`.

    >>> is_deep(b"[" * 64 + b"]" * 64), is_deep(b"[" * 65), is_deep(b'["' + b"[" * 99 + b'"]')
    (False, True, False)
    """
    if body.count(b"[") + body.count(b"{") <= MOST_LEVELS:
        return False
    rest = body.translate(None, _NO_BRACKETS)
    for _ in range(MOST_LEVELS // 2):  # pairs with nothing between them fall away, at most two levels at a time
        shorter = rest.replace(b"[]", b"").replace(b"{}", b"")
        if len(shorter) in (0, len(rest)):
            break
        rest = shorter
    return bool(shorter) and _is_deep_outside_texts(body)


def _is_deep_outside_texts(body: bytes) -> bool:
    level = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        level += 1 if bracket in b"[{" else -1
        if level > MOST_LEVELS:
            return True
    return False


def _whole(digits: str) -> int | float:
    """A whole number, exactly; as a float where it has more digits than any float."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


def _unreadable(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 text: {error.reason} at byte {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return f"is not valid JSON: {error.msg} at character {error.pos}"
    return f"is not valid JSON: {error}"[:200]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return f"holds {str(value).lower()}"
    if value is None:
        return "holds null"
    if isinstance(value, str):
        return f"holds {value if len(value) <= _SHOWN else value[: _SHOWN - 3] + '...'!r}"
    if isinstance(value, float | int):
        value = float(str(value))  # which is infinite where float() of so large a whole number raises
        return f"holds {value:.9g}" if math.isfinite(value) else "holds a number"
    return "holds an object" if isinstance(value, Pairs | dict) else "holds a list"


def _reason(field: Field, cell: Any) -> str:
    """Why a cell cannot stand in this column, "" if it can."""
    if not field.is_number:
        return f"{_kind(cell)}, expected {field.expected}" if number_of(field, cell) is None else ""
    if type(cell) not in (float, int):
        return f"{_kind(cell)}, expected a number"
    if isinstance(cell, float) and math.isnan(cell):
        return "holds NaN, expected a finite number"
    return "" if abs(cell) <= FLOAT32_MAX else f"{_kind(cell)} beyond the range of float32 (3.4e38)"
