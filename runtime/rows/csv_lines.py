"""Lines of CSV to rows, a row a line: of a pipe as they come, of a body many at once."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from ..bundle import Column
from ..errors import InputError
from ..layout import Layout, TableFormat
from .cells import BadCell, bad_reason
from .chunk import Rows
from .csv_text import MAX_LINE_BYTES, as_spaced, read_header
from .fields import Field
from .tables import ColumnReader

TOO_LONG = BadCell("", f"is longer than {MAX_LINE_BYTES} bytes")
UNCLOSED = BadCell("", "is no line of CSV: unexpected end of data")
"""Of a line that opens a quote and does not close it."""


class CsvLines:
    """Reads the lines below a header; time stamps are read as the first line says.

    Parameters
    ----------
    names : of the header; None where there is none
    columns, layout, source : as `ColumnReader` takes them, and raises InputError
    """

    def __init__(
        self, names: Sequence[str] | None, columns: Sequence[Column | Field], layout: Layout, source: str
    ) -> None:
        self._form = layout.format
        self._reader = ColumnReader(names, columns, layout=layout, source=source)
        self._is_settled = layout.declares_time_format

    def without_units(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """The lines below the header but for those without a number, of as many as the recording had there."""
        for line in islice(lines, self._form.below):
            if not self.is_units(line):
                yield line
        yield from lines

    def is_units(self, line: bytes) -> bool:
        """Whether a line holds no number."""
        (cells,) = cells_of([line], self._form)
        return not isinstance(cells, BadCell) and bool(cells) and all(map(self._is_no_number, cells))

    def _is_no_number(self, cell: str) -> bool:
        return bad_reason(self._form.with_point(cell)) != ""

    def parse(self, first: int, lines: Sequence[bytes]) -> Rows:
        """A row for each line."""
        found = cells_of(lines, self._form)
        cells = [[] if isinstance(line, BadCell) else line for line in found]
        rows = self._reader.parse(first, cells)
        if rows.times is not None and not self._is_settled:
            self._is_settled = True
            if not np.isfinite(rows.times).all():
                self._reader.settle_stamps(cells, lambda: self._reader.stamp_cells(cells))
                rows = self._reader.parse(first, cells)
        rows.bad.update((index, line) for index, line in enumerate(found) if isinstance(line, BadCell))
        return rows


def csv_below(header: bytes, columns: Sequence[Column | Field], layout: Layout, source: str) -> CsvLines:
    """A reader for the lines below a header. Raises InputError when it is none of these columns."""
    (cells,) = cells_of([header], layout.format)
    if isinstance(cells, BadCell):
        raise InputError(f"{source}: the header {cells.reason}")
    return CsvLines(read_header(iter([cells]), source, layout.format), columns, layout, source)


def cells_of(lines: Sequence[bytes], form: TableFormat) -> Sequence[list[str] | BadCell]:
    """The cells of each line, or why it is no line of CSV."""
    try:
        if max(map(len, lines)) <= MAX_LINE_BYTES:
            found = list(_reader(b"\n".join(lines).decode(form.encoding).split("\n"), form))
            if len(found) == len(lines):  # no quoted cell goes on in the next line
                return found
    except (UnicodeDecodeError, csv.Error):
        pass
    return [_cells_of_line(line, form) for line in lines]


def _cells_of_line(line: bytes, form: TableFormat) -> list[str] | BadCell:
    if len(line) > MAX_LINE_BYTES:
        return TOO_LONG
    try:
        return next(_reader([line.decode(form.encoding)], form))
    except (UnicodeDecodeError, csv.Error) as error:
        return BadCell("", f"is no line of CSV: {error}")


def _reader(lines: Sequence[str], form: TableFormat) -> Iterator[list[str]]:
    lines = [as_spaced(line) for line in lines] if form.delimiter == " " else lines
    return csv.reader(lines, delimiter=form.delimiter, skipinitialspace=True, strict=True)
