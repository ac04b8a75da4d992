"""Lines in, one result per line out: CSV or JSON lines from a pipe."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from typing import IO, TYPE_CHECKING

import msgspec
import numpy as np

from ..detector import Detector
from ..errors import InputError
from ..rows.cells import BadCell
from ..rows.chunk import Rows, bad_row
from ..rows.csv_text import MAX_LINE_BYTES, TableFormat, read_header
from ..rows.json_rows import RowReader
from ..rows.tables import ColumnReader
from ..rows.times import parse_time
from ..scoring.results import Results
from ..scoring.score import score_stream
from ..scoring.state import StreamState

if TYPE_CHECKING:
    from numpy.typing import NDArray

_JSON_STARTS = (b"{", b"[")


def score_lines(detector: Detector, lines: IO[bytes], form: TableFormat, state: StreamState) -> Iterator[Results]:
    """The result of each row as soon as its line is read; `state` is that of a stream that begins.

    The first line decides: a JSON object or list means JSON lines (lists in column order, objects by column name),
    anything else is the header of a CSV (or its first row, when `form` has no header). Blank lines are passed over.

    Raises
    ------
    InputError
        when a CSV has no usable header; after that a bad line is a bad row, and the stream goes on
    """
    return score_stream(detector, _read(detector, lines, form), state)


def _read(detector: Detector, lines: IO[bytes], form: TableFormat) -> Iterator[Rows]:
    """A row for each line."""
    source = _lines(lines, b" \t\r\n".replace(form.delimiter.encode(), b""))
    first = next(source, None)
    if first is None:
        return
    reader: _JsonLines | _CsvLines
    if first.lstrip().startswith(_JSON_STARTS):
        reader = _JsonLines(detector)
        pending = first
    else:
        reader = _CsvLines(detector, first if form.header else None, form)
        pending = b"" if form.header else first
    for number, line in enumerate(chain([pending] if pending else [], source)):
        yield reader.parse(number, line)


def _lines(stream: IO[bytes], blanks: bytes) -> Iterator[bytes]:
    """Lines of more than `blanks`, without these at their ends; one that is too long comes cut."""
    is_first = True
    while line := stream.readline(MAX_LINE_BYTES + 1):
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES + 1)
        if is_first:
            line, is_first = line.removeprefix(b"\xef\xbb\xbf"), False
        if line.strip(blanks):
            yield line.strip(blanks) if len(line) <= MAX_LINE_BYTES else line


class _CsvLines:
    def __init__(self, detector: Detector, header: bytes | None, form: TableFormat) -> None:
        facts = detector.bundle
        self._form = form
        names = None
        if header is not None:
            cells = self._cells(header)
            if isinstance(cells, BadCell):
                raise InputError(f"standard input: the header {cells.reason}")
            names = read_header(iter([cells]), "standard input")
        self._reader = ColumnReader(
            names, facts.columns, time_column=facts.data.time_column, form=form, source="standard input"
        )

    def parse(self, number: int, line: bytes) -> Rows:
        cells = self._cells(line)
        return (
            bad_row(number, len(self._reader.columns), cells)
            if isinstance(cells, BadCell)
            else self._reader.parse(number, [cells])
        )

    def _cells(self, line: bytes) -> list[str] | BadCell:
        if len(line) > MAX_LINE_BYTES:
            return _TOO_LONG
        try:
            return next(csv.reader([line.decode()], delimiter=self._form.delimiter, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            return BadCell("", f"is no line of CSV: {error}")


class _JsonLines:
    def __init__(self, detector: Detector) -> None:
        self._reader = RowReader(detector.bundle.columns)
        self._columns = len(detector.bundle.names)
        self._time_column = detector.bundle.data.time_column

    def parse(self, number: int, line: bytes) -> Rows:
        if len(line) > MAX_LINE_BYTES:
            return bad_row(number, self._columns, _TOO_LONG)
        rows = self._reader.read_line(number, line)
        return rows if rows.bad else rows._replace(times=self._time(line))

    def _time(self, line: bytes) -> NDArray[np.float64] | None:
        if self._time_column is None or not line.startswith(b"{"):
            return None
        return np.array([parse_time(str(msgspec.json.decode(line).get(self._time_column, "")))])


_TOO_LONG = BadCell("", f"is longer than {MAX_LINE_BYTES} bytes")
