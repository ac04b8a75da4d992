"""Cells of a table as text: which are numbers, and what is wrong with one that is not."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

NOT_UTF8 = "which is not UTF-8; pass --encoding, like --encoding cp1252"

FLOAT32_MAX = float(np.finfo(np.float32).max)
"""Beyond it there is no float32: numpy warns of the cast and makes it infinite."""

MISSING = frozenset(
    {"?", "-", "--", "---", "na", "n/a", "n.a.", "#n/a", "nan", "null", "none", "nil", "missing", "bad", "no data"}
    | {"nodata", "bad input", "#div/0!", "#value!", "#num!", "#ref!", "#name?", "#null!"}
)
"""Texts, in small letters, that stand for nothing in a column of numbers."""


class BadCell(NamedTuple):
    """Why a row cannot be scored; `column` is "" when the row as a whole is to blame."""

    column: str
    reason: str

    def __str__(self) -> str:
        return f"column {self.column!r} {self.reason}" if self.column else self.reason


def is_plain(text: str) -> bool:
    """Whether float() can be trusted with it: it also reads 1_0 and digits of other alphabets."""
    return text.isascii() and "_" not in text


def is_float32(number: float) -> bool:
    """Whether it is finite as a float32."""
    return -FLOAT32_MAX <= number <= FLOAT32_MAX  # False for NaN


def is_utf8(text: str) -> bool:
    """Whether a text has no byte in it that is no UTF-8; `csv_text.open_text` lets those through."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str) -> str:
    """A cell as a message repeats it: quoted, long ones cut, bytes that are no UTF-8 as \\x.."""
    return repr(text if len(text) <= 40 else text[:37] + "...").replace("\\udc", "\\x")


def bad_reason(cell: str) -> str:
    """Why a cell is no finite float32 number, "" if it is one."""
    text = cell.strip(" \t\r\n")  # not all that strip() takes for a space is one to float()
    found = shown(text)
    if not text:
        return "is empty"
    if not is_utf8(text):
        return f"holds {found}, {NOT_UTF8}"
    try:
        number = float(cell)
    except ValueError:
        return f"holds {found}, expected a number"
    if not is_plain(text):
        return f"holds {found}, expected a number in plain digits"
    if not math.isfinite(number) and any(letter in text.lower() for letter in "ni"):
        return f"holds {found}, expected a finite number"
    return "" if is_float32(number) else f"holds {found}, beyond the range of float32 (3.4e38)"


def is_missing(cell: str) -> bool:
    """Whether a cell of a column of numbers stands for no value: it is empty, or one of `MISSING`."""
    text = cell.strip().lower()
    return not text or text in MISSING
