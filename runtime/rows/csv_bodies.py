"""A whole CSV in a body: its lines, with or without a header, and how they are read."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from msgspec.structs import replace

from ..bundle import Column
from ..errors import InputError
from ..layout import Layout
from .cells import BadCell
from .chunk import Rows
from .csv_lines import UNCLOSED, CsvLines, cells_of
from .csv_text import header_names, marked_encoding
from .fields import Field
from .labels import Labels
from .pieces import check_rows, check_values, split_lines

SOURCE = "the body"


class CsvBody:
    """The lines of a body that are rows, and their reader.

    Parameters
    ----------
    body : written as `layout` says, in UTF-8 if its encoding is another one that `as_utf8` has replaced
    header : whether the first line names the columns; None where it is to be told: it does unless it is a row
    key : whose rows those are, where there is no column that says it

    Raises
    ------
    TooLargeError
        when there are too many rows or values
    InputError
        when there are none, or the header is none of this model
    """

    def __init__(
        self, body: bytes, columns: Sequence[Column | Field], layout: Layout, *, header: bool | None, key: str | None
    ) -> None:
        self._columns, self._key = columns, key
        self._labels: Labels | None = Labels(Layout(key=layout.key), key=key)
        self._layout = replace(layout, format=replace(layout.format, encoding="utf-8"))
        delimiter = layout.format.delimiter
        lines = split_lines(body, b" \t\r\n".replace(delimiter.encode(), b""))
        if not lines:
            raise InputError("the body is empty, expected CSV")
        marks = sum(map(body.count, (b" ", b"\t"))) if delimiter == " " else body.count(delimiter.encode())
        check_values(marks + len(lines))
        self._reader, self.lines = self._found(lines, header)
        if not self.lines:
            raise InputError("the body holds a header and no rows")
        check_rows(len(self.lines))

    def read(self, first: int, end: int) -> Rows:
        """The rows of a piece. Raises InputError for a quote that is not closed: which rows follow cannot be told."""
        rows = self._reader.parse(first, self.lines[first:end])
        for index, why in rows.bad.items():
            if why == UNCLOSED:
                raise InputError(
                    f"row {first + index} opens a quote and does not close it; line breaks in cells are not read",
                    rows=len(self.lines),
                    row=first + index,
                )
        return rows if self._labels is None else self._labels.put(rows, [None] * len(rows.values))

    def _found(self, lines: list[bytes], header: bool | None) -> tuple[CsvLines, list[bytes]]:
        """The reader, and the lines that are rows: below the header, and the units below that, if there is one."""
        problem = InputError("")
        for place, line in enumerate(lines[: self._layout.format.skip + 1] if header is not False else []):
            try:
                reader = self._below(line)
            except InputError as error:
                problem = problem if place else error
            else:
                return reader, [*reader.without_units(iter(lines[place + 1 :]))]
        if header is True:
            raise problem
        is_bare = header is False or not self._layout.format.header
        if not is_bare and self._without_header().parse(0, lines[:1]).bad:
            raise InputError(f"{problem}; of rows without a header say Content-Type: text/csv; header=absent")
        return self._without_header(), lines

    def _without_header(self) -> CsvLines:
        return CsvLines(None, self._columns, replace(self._layout, key=None), SOURCE)

    def _below(self, line: bytes) -> CsvLines:
        (cells,) = cells_of([line], self._layout.format)
        if isinstance(cells, BadCell):
            raise InputError(f"{SOURCE}: the header {cells.reason}")
        names = header_names(cells, self._layout.format)
        key = self._layout.key if self._layout.key in names or self._key is None else None
        reader = CsvLines(names, self._columns, replace(self._layout, key=key), SOURCE)
        self._labels = self._labels if key is None else None  # where a column says whose row each is
        return reader


def as_utf8(body: bytes, charset: str | None, layout: Layout) -> bytes | None:
    """The text of a body in UTF-8: written in a charset, by default that of the layout; a byte order mark wins.

    What is not of another charset becomes U+FFFD. None for a charset that is neither UTF-8 nor that of the layout.
    """
    own = codecs.lookup(layout.format.encoding).name
    try:
        said = own if charset is None else codecs.lookup(charset).name
    except (LookupError, ValueError):
        return None
    if said not in ("utf-8", "ascii", own):
        return None
    found = marked_encoding(body[:4]) or said
    return body if found in ("utf-8", "utf-8-sig", "ascii") else body.decode(found, "replace").encode()
