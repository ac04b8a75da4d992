"""How a text table is written, from what is declared and from its first lines."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from ..errors import InputError
from ..layout import Declared, TableFormat
from .cell_units import split_unit
from .cells import bad_reason, is_missing
from .csv_text import as_spaced, header_names, marked_encoding, open_bytes
from .times import parse_time

HEAD_BYTES = 1 << 18
"""Of a file, from which its form is recognised."""

_LINES = 300

_DELIMITERS = (",", ";", "\t", "|", " ")
"""The likelier ones first."""

_PROSE = 0.1
"""Share of cells that hold a value, up to which text between white space is taken for prose."""

_COMMENTS = ("#", "%", "//")

_GROUPED = re.compile(r"[+-]?\d{1,3}(?:([.,'’ ])\d{3})+(?:([.,])\d+)?")
_MARKED = re.compile(r"[+-]?\d*([.,])\d+(?:[eE][+-]?\d+)?")

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "white space"}


class _Reading(NamedTuple):
    """The first lines of a table, taken apart at one delimiter."""

    delimiter: str
    rows: list[list[str]]
    """Cells of every line; [] of a blank one."""
    width: int
    """Cells of most rows, without empty ones at their ends."""
    share: float
    """How many of the cells hold what cells hold: numbers, times, nothing."""


def recognise(
    path: Path, declared: Declared, *, like: TableFormat | None = None, wanted: Sequence[str] = ()
) -> TableFormat:
    """How a table is written; it is read up to `HEAD_BYTES`.

    Parameters
    ----------
    declared : what is known of it, which is taken as it is
    like : how it is written most likely, which is taken when the header then holds all of `wanted`

    Raises
    ------
    InputError
        as `open_bytes`, when its numbers can be read in two ways, and when it is prose
    """
    with open_bytes(path) as file:
        head = file.read(HEAD_BYTES)
    is_whole = len(head) < HEAD_BYTES
    encoding = declared.encoding or _encoding(head, like)
    lines = _lines(head, encoding, is_whole=is_whole)
    if like is not None and wanted:
        alike = like.as_declared(declared, encoding=encoding)
        if _fits(lines, alike, wanted):
            return alike
    return _recognise(lines, encoding, declared, wanted, str(path))


def describe_format(form: TableFormat) -> str:
    """How a table is written, in words.

    >>> describe_format(TableFormat(";", ","))
    'UTF-8, cells between semicolons, decimal comma, a header'
    """
    above = f" after {form.skip} line{'s' * (form.skip > 1)}" if form.skip else ""
    below = f", {form.below} line{'s' * (form.below > 1)} of units below it" if form.below else ""
    grouped = f", {form.thousands!r} between thousands" if form.thousands else ""
    return (
        f"{form.encoding.upper()}, cells between {_NAMES.get(form.delimiter, repr(form.delimiter))}, decimal "
        f"{'comma' if form.decimal == ',' else 'point'}{grouped}, {'a' if form.header else 'no'} header{above}{below}"
    )


def _encoding(head: bytes, like: TableFormat | None) -> str:
    """utf-8 where the bytes allow it; else that of `like` if it is no UTF, else cp1252."""
    marked = marked_encoding(head[:4])
    if marked is not None:
        return marked.removesuffix("-sig")
    zeros = head[:4096].count(0), head[:4096:2].count(0)
    if zeros[0] > len(head[:4096]) / 4:
        return "utf-16-be" if zeros[1] > zeros[0] / 2 else "utf-16-le"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        # Where other letters are UTF-8, a byte that is not is a damaged one.
        if re.search(rb"[\xc3-\xf4][\x80-\xbf]+", head) and len(head.decode("utf-8", "ignore")) > len(head) - 50:
            return "utf-8"
        return like.encoding if like is not None and not like.encoding.startswith("utf") else "cp1252"
    return "utf-8"


def _lines(head: bytes, encoding: str, *, is_whole: bool) -> list[str]:
    """The first lines; one that is cut is left out."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head).lstrip("\ufeff")
    lines = re.split(r"\r\n|\n|\r", text)
    return lines[: len(lines) - (not is_whole)][:_LINES] if len(lines) > 1 else lines


def _cells(line: str, delimiter: str) -> list[str]:
    if not line.strip():
        return []
    line = as_spaced(line) if delimiter == " " else line
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _fits(lines: Sequence[str], form: TableFormat, wanted: Sequence[str]) -> bool:
    """Whether the header that a format expects holds all that is wanted, and rows below can be read."""
    rows = [row for row in (_cells(line, form.delimiter) for line in lines[form.skip :]) if row]
    if not rows:
        return False
    if not form.header:
        # The names of columns would be values that cannot be read; another delimiter leaves one cell of each row.
        return 2 * sum(_is_number(cell, form) for cell in rows[0]) >= max(2, len(wanted))
    names = header_names(rows[0], form)
    if any(name not in names for name in wanted):
        return False
    places = [names.index(name) for name in wanted]
    cells = [row[place] for row in rows[1 + form.below :][:50] for place in places if place < len(row)]
    filled = [cell for cell in cells if not is_missing(cell)]
    # A number that only the other decimal mark makes one says that the form is another.
    return not any(_other_mark(cell, form) for cell in filled)


def _other_mark(cell: str, form: TableFormat) -> bool:
    found = _MARKED.fullmatch(cell.strip())
    return found is not None and found[1] != form.decimal and bool(bad_reason(form.with_point(cell)))


def _recognise(
    lines: Sequence[str], encoding: str, declared: Declared, wanted: Sequence[str], source: str
) -> TableFormat:
    separator = re.fullmatch(r'"?sep=(.)"?', lines[0].strip("\ufeff ")) if lines else None
    first = 1 if separator else 0
    delimiters: Sequence[str] = _DELIMITERS
    if declared.delimiter is not None:
        delimiters = (declared.delimiter,)
    elif separator:
        delimiters = (separator[1],)
    readings = [_read(lines[first:], delimiter, declared) for delimiter in delimiters]
    # White space stands in any prose too, so that only a table with values in its rows is taken apart at it.
    tables = [each for each in readings if each.delimiter != " " or each.share > _PROSE] or readings
    best = max(tables, key=lambda each: (each.width > 1, round(each.share, 2)))
    if best.width == 1 and best.share <= _PROSE and any(best.rows) and not wanted:
        raise InputError(f"{source}: no numeric column, and nothing that looks like a table; expected rows of numbers")
    form = TableFormat(best.delimiter, encoding=encoding)
    at = _header_row(best, wanted, declared)
    data = [row for row in best.rows[at:] if row][:200]
    decimal, thousands = _marks(data[1:] or data, best.delimiter, declared, source)
    form = replace(form, decimal=decimal, thousands=thousands)
    has_header = declared.header if declared.header is not None else _is_header(data, form, wanted)
    comment = next((mark for mark in _COMMENTS if has_header and data and data[0][0].startswith(mark)), "")
    if data and comment == data[0][0] and len(data[0]) == best.width:
        comment = ""  # a column of row numbers that is called #
    form = replace(
        form, header=has_header, skip=first + at if _is_needed(best.rows[:at]) or first else 0, comment=comment
    )
    if has_header and data:
        widths = Counter(map(len, data[1:]))
        named = len(header_names(data[0], form))
        form = replace(form, row_names=bool(widths) and widths.most_common(1)[0][0] == named + 1)
        form = replace(form, below=_units_below(data[1:], form))
    return form


def _is_needed(above: Sequence[list[str]]) -> bool:
    """Whether lines above the header must be passed over; blank ones are anyway."""
    return any(above)


def _read(lines: Sequence[str], delimiter: str, declared: Declared) -> _Reading:
    rows = [_cells(line, delimiter) for line in lines]
    filled = [_trimmed(row) for row in rows if row]
    widths = Counter(len(row) for row in filled[len(filled) // 3 :])
    width = widths.most_common(1)[0][0] if widths else 1
    below = [row for row in filled[len(filled) // 3 :][:100] if len(row) == width]
    even = widths[width] / max(1, widths.total())
    held = [_holds(cell, declared.decimal) for row in below for cell in row]
    headed = any(len(row) in (width, width - 1) for row in filled[: len(filled) // 3 or 1])
    return _Reading(delimiter, rows, width, even * (sum(held) / max(1, len(held)) + 0.01) * (1 if headed else 0.5))


def _trimmed(row: list[str]) -> list[str]:
    """Without the empty cells at its end."""
    last = next((at for at in range(len(row), 0, -1) if row[at - 1].strip()), 1)
    return row[:last]


def _holds(cell: str, decimal: str | None) -> bool:
    """Whether a cell holds a number in some form, a time, or nothing."""
    text = cell.strip()
    if is_missing(text) or not bad_reason(text):
        return True
    if decimal != "." and (_MARKED.fullmatch(text) or _GROUPED.fullmatch(text)):
        return True
    if split_unit(text) is not None:
        return True
    return parse_time(text) == parse_time(text) or bool(re.fullmatch(r"[\d./: -]{4,25}(?:[APap][Mm])?", text))


def _header_row(reading: _Reading, wanted: Sequence[str], declared: Declared) -> int:
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


def _first_wide(reading: _Reading, first: int) -> int:
    """The first row from here that is as wide as most are and no title; one of a comment if no other follows."""
    found = None
    for at, row in enumerate(reading.rows[first:], first):
        trimmed = _trimmed(row) if row else []
        width = len(trimmed) - (1 if trimmed and trimmed[0] in _COMMENTS else 0)
        is_comment = bool(trimmed) and trimmed[0].startswith(_COMMENTS)
        if is_comment and found is None and len(trimmed) >= reading.width:
            found = at
        if width < reading.width - (reading.delimiter == " " and width > 1) or width == 0:
            continue
        if not is_comment:
            return found if found is not None and _is_data(row) else at
    return first if found is None else found


def _is_data(row: Sequence[str]) -> bool:
    """Whether there is a number in a row, so that it names no columns."""
    return any(not bad_reason(cell) for cell in row)


def _end_of_preamble(reading: _Reading, at: int) -> int | None:
    """A line of one text below, where another header follows: what stands above it is about the recording."""
    if reading.width < 3:
        return None
    for place in range(at + 1, min(at + 30, len(reading.rows) - 1)):
        alone = reading.rows[place] and len(_trimmed(reading.rows[place])) == 1
        if alone and not _is_data(reading.rows[place][:1]) and not _is_data(reading.rows[place + 1]):
            return place
    return None


def _share_held(row: Sequence[str], declared: Declared) -> float:
    """How many of the cells of a row hold what cells hold."""
    return sum(_holds(cell, declared.decimal) for cell in row) / max(1, len(row))


def _marks(rows: Sequence[list[str]], delimiter: str, declared: Declared, source: str) -> tuple[str, str]:
    """The decimal mark, and what stands between thousands."""
    cells = [cell.strip() for row in rows for cell in row]
    last = Counter(found[1] for cell in cells if (found := _MARKED.fullmatch(cell)))
    grouped = [found for cell in cells if (found := _GROUPED.fullmatch(cell))]
    both = [found for found in grouped if found[2] and found[2] != found[1]]
    if both:
        mark, between = Counter((found[2], found[1]) for found in both).most_common(1)[0][0]
        return declared.decimal or mark, between if (declared.decimal or mark) != between else ""
    if declared.decimal is not None:
        return declared.decimal, ""
    commas = [found for found in grouped if found[1] == ","]
    if delimiter == "," and last[","] and len(commas) == last[","] and not last["."]:
        example = commas[0].group()
        raise InputError(
            f"{source}: {example!r} may be {example.replace(',', '.')} or {example.replace(',', '')}; "
            "say --decimal ',' or --decimal ."
        )
    if delimiter == "," and last["."] and commas:
        return ".", ","
    return ("," if last[","] > last["."] else "."), ""


def _is_header(rows: Sequence[list[str]], form: TableFormat, wanted: Sequence[str]) -> bool:
    """Whether the first row names the columns: where the rows below hold numbers it holds none."""
    if not rows:
        return True
    names = header_names(rows[0], form)
    if wanted and {*wanted} <= {*names}:
        return True
    if len(rows) == 1:
        return any(bad_reason(form.with_point(cell)) and not is_missing(cell) for cell in names)
    below = rows[1:50]
    numeric = [at for at in range(len(names)) if _mostly_numbers([row[at] for row in below if at < len(row)], form)]
    if not numeric:
        return not all(is_missing(cell) or not bad_reason(cell) for cell in names)
    named = [at for at in numeric if bad_reason(form.with_point(names[at])) and not is_missing(names[at])]
    return len(named) * 2 > len(numeric)


def _mostly_numbers(cells: Sequence[str], form: TableFormat) -> bool:
    filled = [cell for cell in cells if not is_missing(cell)]
    return bool(filled) and 2 * sum(_is_number(cell, form) for cell in filled) > len(filled)


def _is_number(cell: str, form: TableFormat) -> bool:
    if not bad_reason(form.with_point(cell)):
        return True
    parts = split_unit(cell)
    return parts is not None and not bad_reason(form.with_point(parts[0]))


def _units_below(rows: Sequence[list[str]], form: TableFormat) -> int:
    """How many rows stand between the header and the first with a number, where all further ones have some."""
    has_number = [any(_is_number(cell, form) for cell in row) for row in rows[:20]]
    for lines in (1, 2):
        if len(has_number) > lines + 1 and not any(has_number[:lines]) and all(has_number[lines:]):
            numeric = sum(map(any, ([_is_number(cell, form) for cell in row] for row in rows[lines:20])))
            return lines if numeric else 0
    return 0
