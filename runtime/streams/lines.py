"""Lines in, one result per line out: CSV or JSON lines from a pipe."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Literal

import msgspec
import numpy as np
from msgspec.structs import replace

from ..detector import Detector
from ..errors import InputError
from ..layout import Layout
from ..rows.cells import BadCell, bad_reason
from ..rows.chunk import Rows, bad_row
from ..rows.csv_text import MAX_LINE_BYTES, as_spaced, read_header
from ..rows.forms import StampColumn
from ..rows.grid import are_numbers, resampled
from ..rows.json_rows import RowReader
from ..rows.tables import ColumnReader
from ..scoring.results import Results
from ..scoring.score import score_stream
from ..scoring.state import StreamState

if TYPE_CHECKING:
    from numpy.typing import NDArray

InputFormat = Literal["auto", "csv", "json"]

_JSON_STARTS = (b"{", b"[")

_HEADLESS = 3
"""Lines that are looked through for JSON when the first one is no header of this model: a banner, a last will."""


def score_lines(
    detector: Detector,
    lines: IO[bytes],
    layout: Layout,
    state: StreamState,
    *,
    input_format: InputFormat = "auto",
) -> Iterator[Results]:
    """The result of each row as soon as its line is read; `state` is that of a stream that begins.

    JSON lines are lists in column order or objects by column name; a CSV has a header, unless `layout` has none, and
    may have above and below it what the recording had there. Blank lines are passed over. Of "auto" the first line
    decides: JSON, or the header of a CSV (or its first row). Where it is no header of this model JSON may still follow,
    and the lines before it are bad rows.

    Raises
    ------
    InputError
        when a CSV has no usable header; after that a bad line is a bad row, and the stream goes on
    """
    layout = detector.bundle.data.complete(layout)
    if layout.declared is not None:  # a stream is written as the recording was, or as is declared
        layout = replace(layout, format=layout.format.as_declared(layout.declared))
    rows = _read(detector, lines, layout, input_format)
    if layout.resampling is not None:
        rows = resampled(rows, layout.resampling, are_numbers(detector.bundle.columns))
    return score_stream(detector, rows, state)


def _read(detector: Detector, lines: IO[bytes], layout: Layout, input_format: InputFormat) -> Iterator[Rows]:
    """A row for each line."""
    source = _lines(lines, b" \t\r\n".replace(layout.format.delimiter.encode(), b""))
    reader: _JsonLines | _CsvLines = _JsonLines(detector, layout)
    pending: list[bytes] = []
    if input_format != "json":
        first = next(source, None)
        if first is None:
            return
        if input_format == "auto" and _is_json(first):
            pending = [first]
        elif not layout.format.header:
            reader, pending = _CsvLines(detector, None, layout), [first]
        else:
            reader, pending = _find_header(detector, first, source, layout, input_format)
    if isinstance(reader, _CsvLines):
        source = reader.without_units(source)
    for number, line in enumerate(chain(pending, source)):
        yield reader.parse(number, line)


def _find_header(
    detector: Detector, first: bytes, source: Iterator[bytes], layout: Layout, input_format: InputFormat
) -> tuple[_JsonLines | _CsvLines, list[bytes]]:
    """A reader for the lines that follow, and lines before them that are rows.

    Above a header may stand what stood above that of the recording. A header is answered by nothing, so that nobody
    waits while the next lines are looked at.
    """
    seen = [first]
    while True:
        try:
            return _CsvLines(detector, seen[-1], layout), []
        except InputError as error:
            problem = error
        if len(seen) > layout.format.skip or (line := next(source, None)) is None:
            break
        seen.append(line)
    if not _is_json(seen[-1]):
        seen += _up_to_json(source)
    seen = seen if input_format == "auto" else []
    if not seen or not _is_json(seen[-1]):
        raise InputError(f"{problem}; of JSON lines, say --input-format json") from None
    return _JsonLines(detector, layout), seen


def _up_to_json(source: Iterator[bytes]) -> Iterator[bytes]:
    """The next lines up to the first of JSON, or to the last that are looked through."""
    for line in islice(source, _HEADLESS):
        yield line
        if _is_json(line):
            return


def _is_json(line: bytes) -> bool:
    return line.lstrip().startswith(_JSON_STARTS)


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
    def __init__(self, detector: Detector, header: bytes | None, layout: Layout) -> None:
        facts = detector.bundle
        self._layout = layout
        names = None
        if header is not None:
            cells = self._cells(header)
            if isinstance(cells, BadCell):
                raise InputError(f"standard input: the header {cells.reason}")
            names = read_header(iter([cells]), "standard input", layout.format)
        self._reader = ColumnReader(names, facts.columns, layout=self._layout, source="standard input")
        self._is_settled = _says_time_format(layout)

    def without_units(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """The lines below the header but for those without a number, of as many as the recording had there."""
        form = self._layout.format
        for place, line in enumerate(lines):
            cells = self._cells(line) if place < form.below else []
            if isinstance(cells, BadCell) or not cells or not all(bad_reason(form.with_point(cell)) for cell in cells):
                yield line

    def parse(self, number: int, line: bytes) -> Rows:
        cells = self._cells(line)
        if isinstance(cells, BadCell):
            return bad_row(number, len(self._reader.columns), cells)
        rows = self._reader.parse(number, [cells])
        if self._is_settled or rows.times is None:
            return rows
        self._is_settled = True
        if np.isfinite(rows.times).all():
            return rows
        self._reader.settle_stamps([cells], lambda: self._reader.stamp_cells([cells]))
        return self._reader.parse(number, [cells])

    def _cells(self, line: bytes) -> list[str] | BadCell:
        if len(line) > MAX_LINE_BYTES:
            return _TOO_LONG
        form = self._layout.format
        try:
            text = line.decode(form.encoding)
            text = as_spaced(text) if form.delimiter == " " else text
            return next(csv.reader([text], delimiter=form.delimiter, skipinitialspace=True, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            return BadCell("", f"is no line of CSV: {error}")


class _JsonLines:
    def __init__(self, detector: Detector, layout: Layout) -> None:
        self._reader = RowReader(detector.bundle.columns, most_missing=layout.most_missing)
        self._columns = len(detector.bundle.names)
        self._stamps = StampColumn(layout.stamps) if layout.stamps else None
        self._time_columns = layout.stamps.columns if layout.stamps else ()
        self._is_settled = _says_time_format(layout)
        self._key = detector.bundle.data.layout.key

    def parse(self, number: int, line: bytes) -> Rows:
        if len(line) > MAX_LINE_BYTES:
            return bad_row(number, self._columns, _TOO_LONG)
        rows = self._reader.read_line(number, line)
        if self._key is not None and not rows.bad:
            rows = self._with_key(rows, line)
        return rows if rows.bad else rows._replace(times=self._time(line))

    def _with_key(self, rows: Rows, line: bytes) -> Rows:
        found = msgspec.json.decode(line).get(self._key) if line.startswith(b"{") else None
        if found is None or found == "":
            why = BadCell(str(self._key), "is missing, expected whose row it is")
            return bad_row(rows.first, self._columns, why)
        return rows._replace(keys=[str(found)])

    def _time(self, line: bytes) -> NDArray[np.float64] | None:
        if self._stamps is None or not line.startswith(b"{"):
            return None
        found = msgspec.json.decode(line)
        cells = [" ".join(str(found.get(name, "")) for name in self._time_columns)]
        times = self._stamps.read(cells)
        if not self._is_settled and not np.isfinite(times).all():
            self._stamps.settle(cells, lambda: cells)
            times = self._stamps.read(cells)
        self._is_settled = True
        return times


def _says_time_format(layout: Layout) -> bool:
    """Whether somebody said how time stamps are written."""
    return layout.declared is not None and layout.declared.time_format is not None


_TOO_LONG = BadCell("", f"is longer than {MAX_LINE_BYTES} bytes")
