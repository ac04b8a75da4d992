"""How a text table is written, from what is declared and from its first lines."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from ..errors import InputError
from ..layout import Declared, TableFormat
from .cell_units import split_unit
from .cells import bad_reason, is_missing
from .csv_text import header_names, marked_encoding, open_bytes
from .patterns import patterns_of
from .preamble import COMMENTS, GROUPED, MARKED, cells_of, header_row, read_at

HEAD_BYTES = 1 << 18
"""Of a file, from which its form is recognised."""

_LINES, _LINES_IN_A_CELL = 300, 8
"""Lines that are looked at, and over how many a quoted cell may go on."""

_DELIMITERS = (",", ";", "\t", "|", " ")
"""The likelier ones first."""

_ALL_BUT_FEW = 0.9
"""Share of the rows that must be as short, for the last names of the header to have no cells."""

_PROSE = 0.1
"""Share of cells that hold a value, up to which text between white space is taken for prose."""

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "white space"}


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
    return _with_whole_quotes(lines[: len(lines) - (not is_whole)][:_LINES]) if len(lines) > 1 else lines


def _with_whole_quotes(lines: Sequence[str]) -> list[str]:
    """The lines, those together over which a quoted cell goes on, as names of columns do; a lone quote does nothing."""
    found, at = list[str](), 0
    while at < len(lines):
        end = at + 1
        if lines[at].count('"') % 2 and re.search(r'(?:^|[,;\t|])\s*"[^"]*$', lines[at]):
            ends = range(at + 2, min(at + 2 + _LINES_IN_A_CELL, len(lines) + 1))
            end = next((each for each in ends if not "".join(lines[at:each]).count('"') % 2), end)
        found.append("\n".join(lines[at:end]))
        at = end
    return found


def _fits(lines: Sequence[str], form: TableFormat, wanted: Sequence[str]) -> bool:
    """Whether the header that a format expects holds all that is wanted, and rows below can be read."""
    rows = [row for row in (cells_of(line, form.delimiter) for line in lines[form.skip :]) if row]
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
    found = MARKED.fullmatch(cell.strip())
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
    readings = [read_at(lines[first:], delimiter, declared) for delimiter in delimiters]
    # White space stands in any prose too, so that only a table with values in its rows is taken apart at it.
    tables = [each for each in readings if each.delimiter != " " or each.share > _PROSE] or readings
    best = max(tables, key=lambda each: (each.width > 1, round(each.share, 2)))
    if best.width == 1 and best.share <= _PROSE and any(best.rows) and not wanted:
        raise InputError(f"{source}: no numeric column, and nothing that looks like a table; expected rows of numbers")
    form = TableFormat(best.delimiter, encoding=encoding)
    at = header_row(best, wanted, declared)
    data = [row for row in best.rows[at:] if row][:200]
    decimal, thousands = _marks(data[1:] or data, best.delimiter, declared, source)
    form = replace(form, decimal=decimal, thousands=thousands)
    has_header = declared.header if declared.header is not None else _is_header(data, form, wanted)
    comment = next((mark for mark in COMMENTS if has_header and data and data[0][0].startswith(mark)), "")
    if data and comment == data[0][0] and len(data[0]) == best.width:
        comment = ""  # a column of row numbers that is called #
    above = sum(1 + line.count("\n") for line in lines[: first + at])
    form = replace(form, header=has_header, skip=above if _is_needed(best.rows[:at]) or first else 0, comment=comment)
    if has_header and data:
        widths = Counter(map(len, data[1:]))
        named = len(header_names(data[0], form))
        usual, rows = widths.most_common(1)[0] if widths else (named, 0)
        unfilled = named - usual if 1 < usual < named and rows >= _ALL_BUT_FEW * widths.total() else 0
        form = replace(form, row_names=usual == named + 1, unfilled=unfilled)
        form = replace(form, below=_units_below(data[1:], form))
    return form


def _is_needed(above: Sequence[list[str]]) -> bool:
    """Whether lines above the header must be passed over; blank ones are anyway."""
    return any(above)


def _marks(rows: Sequence[list[str]], delimiter: str, declared: Declared, source: str) -> tuple[str, str]:
    """The decimal mark, and what stands between thousands."""
    cells = [parts[0] if (parts := split_unit(cell)) else cell.strip() for row in rows for cell in row]
    last = Counter(found[1] for cell in cells if (found := MARKED.fullmatch(cell)))
    grouped = [found for cell in cells if (found := GROUPED.fullmatch(cell))]
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
    has_number = [any(_is_number(cell, form) or patterns_of(cell.strip()) for cell in row) for row in rows[:20]]
    for lines in (1, 2):
        if len(has_number) > lines + 1 and not any(has_number[:lines]) and all(has_number[lines:]):
            numeric = sum(map(any, ([_is_number(cell, form) for cell in row] for row in rows[lines:20])))
            return lines if numeric else 0
    return 0
