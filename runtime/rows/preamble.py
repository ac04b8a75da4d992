"""Where a table begins in its first lines: below titles, comments and what loggers say of themselves."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..layout import Declared
from .cell_units import split_unit
from .cells import bad_reason, is_missing
from .csv_text import as_spaced
from .times import parse_time

COMMENTS = ("#", "%", "//")
"""What lines of comments begin with."""

GROUPED = re.compile(r"[+-]?\d{1,3}(?:([.,'’ ])\d{3})+(?:([.,])\d+)?")
MARKED = re.compile(r"[+-]?\d*([.,])\d+(?:[eE][+-]?\d+)?")
"""Numbers with marks between thousands, and with a decimal mark."""

_FURTHEST = 40
"""Rows below the first that may be one of names, in which a row says that the table begins still further down."""


class Reading(NamedTuple):
    """The first lines of a table, taken apart at one delimiter."""

    delimiter: str
    rows: list[list[str]]
    """Cells of every line; [] of a blank one."""
    width: int
    """Cells of most rows, without empty ones at their ends."""
    share: float
    """How many of the cells hold what cells hold: numbers, times, nothing."""


def read_at(lines: Sequence[str], delimiter: str, declared: Declared) -> Reading:
    """The lines taken apart at a delimiter; comments say nothing of the width: there may be more of them than rows."""
    rows = [cells_of(line, delimiter) for line in lines]
    filled = [_trimmed(row) for row in rows if row]
    filled = [row for row in filled if not row[0].startswith(COMMENTS)] or filled
    widths = Counter(len(row) for row in filled[len(filled) // 3 :])
    width = widths.most_common(1)[0][0] if widths else 1
    below = [row for row in filled[len(filled) // 3 :][:100] if len(row) == width]
    even = widths[width] / max(1, widths.total())
    held = [_holds(cell, declared.decimal) for row in below for cell in row]
    headed = any(len(row) in (width, width - 1) for row in filled[: len(filled) // 3 or 1])
    return Reading(delimiter, rows, width, even * (sum(held) / max(1, len(held)) + 0.01) * (1 if headed else 0.5))


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of a line, or of several over which a quoted one goes on; [] of a blank one."""
    if not line.strip():
        return []
    line = as_spaced(line) if delimiter == " " else line
    try:
        return next(csv.reader(line.splitlines(keepends=True), delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def header_row(reading: Reading, wanted: Sequence[str], declared: Declared) -> int:
    """The row where the table begins: the first that holds all that is wanted, else the first as wide as most are."""
    for at, row in enumerate(reading.rows[:100]):
        if wanted and {*wanted} <= {cell.strip().lstrip("#%").strip() for cell in row}:
            return at
    at = _first_wide(reading, 0)
    end = _end_of_preamble(reading, at)
    at = at if end is None else _first_wide(reading, end + 1)
    named = next((above for above in range(at - 1, -1, -1) if reading.rows[above]), None)
    if named is not None and reading.width > 2 and len(reading.rows[named]) == reading.width - 1:
        # R writes no name above the numbers of its rows.
        is_bare = not any(_holds(cell, declared.decimal) for cell in reading.rows[named])
        if is_bare and _share_held(reading.rows[at], declared) >= 0.5:
            return named
    return at


def _first_wide(reading: Reading, first: int) -> int:
    """The first row from here that is as wide as most are and no title; one of a comment if no other follows.

    Names written as a comment stand in the last of them, or in the first of the last ones that are as wide: units
    may follow.
    """
    found, goes_on = None, False
    for at, row in enumerate(reading.rows[first:], first):
        trimmed = _trimmed(row) if row else []
        width = len(trimmed) - (1 if trimmed and trimmed[0] in COMMENTS else 0)
        is_comment = bool(trimmed) and trimmed[0].startswith(COMMENTS)
        if is_comment:
            is_wide = len(trimmed) >= reading.width
            found = at if is_wide and not goes_on else found
            goes_on = is_wide
        if width < reading.width - (reading.delimiter == " " and width > 1) or width == 0:
            continue
        if not is_comment:
            return found if found is not None and _is_data(row) else at
    return first if found is None else found


def _end_of_preamble(reading: Reading, at: int) -> int | None:
    """A row below that belongs to what stands above the table: another header, or wide rows of its own, come first.

    It is a line of one text before a row without numbers; or, below a row that is wider than the table, the last of
    another width that begins with a text.
    """
    if reading.width < 3:
        return None
    below = range(at + 1, min(at + _FURTHEST, len(reading.rows) - 1))
    rows = {place: _trimmed(reading.rows[place]) for place in below if reading.rows[place]}
    for place, row in rows.items():
        if len(row) == 1 and not _is_data(row) and not _is_data(reading.rows[place + 1]):
            return place
    if len(_trimmed(reading.rows[at])) <= reading.width:
        return None
    odd = [place for place, row in rows.items() if len(row) != reading.width and not _holds(row[0], None)]
    return max(odd, default=None)


def _is_data(row: Sequence[str]) -> bool:
    """Whether there is a number in a row, so that it names no columns."""
    return any(not bad_reason(cell) for cell in row)


def _share_held(row: Sequence[str], declared: Declared) -> float:
    """How many of the cells of a row hold what cells hold."""
    return sum(_holds(cell, declared.decimal) for cell in row) / max(1, len(row))


def _trimmed(row: list[str]) -> list[str]:
    """Without the empty cells at its end."""
    last = next((at for at in range(len(row), 0, -1) if row[at - 1].strip()), 1)
    return row[:last]


def _holds(cell: str, decimal: str | None) -> bool:
    """Whether a cell holds a number in some form, a time, or nothing."""
    text = cell.strip()
    if is_missing(text) or not bad_reason(text):
        return True
    if decimal != "." and (MARKED.fullmatch(text) or GROUPED.fullmatch(text)):
        return True
    if split_unit(text) is not None:
        return True
    return parse_time(text) == parse_time(text) or bool(re.fullmatch(r"[\d./: -]{4,25}(?:[APap][Mm])?", text))
