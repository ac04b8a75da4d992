"""Lines in, one result per line out: CSV or JSON lines from a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import IO, Literal

from msgspec.structs import replace

from ..detector import Detector
from ..errors import InputError
from ..layout import Layout
from ..rows.chunk import Rows, bad_row
from ..rows.csv_lines import TOO_LONG, CsvLines, csv_below
from ..rows.csv_text import MAX_LINE_BYTES
from ..rows.grid import are_numbers, resampled
from ..rows.json_rows import RowReader
from ..rows.labels import Labels
from ..scoring.results import Results
from ..scoring.score import score_stream
from ..scoring.state import StreamState

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
    reader: _JsonLines | CsvLines = _JsonLines(detector, layout)
    pending: list[bytes] = []
    if input_format != "json":
        first = next(source, None)
        if first is None:
            return
        if input_format == "auto" and _is_json(first):
            pending = [first]
        elif not layout.format.header:
            reader, pending = CsvLines(None, detector.bundle.columns, layout, "standard input"), [first]
        else:
            reader, pending = _find_header(detector, first, source, layout, input_format)
    if isinstance(reader, CsvLines):
        source = reader.without_units(source)
    for number, line in enumerate(chain(pending, source)):
        yield reader.parse(number, [line])


def _find_header(
    detector: Detector, first: bytes, source: Iterator[bytes], layout: Layout, input_format: InputFormat
) -> tuple[_JsonLines | CsvLines, list[bytes]]:
    """A reader for the lines that follow, and lines before them that are rows.

    Above a header may stand what stood above that of the recording. A header is answered by nothing, so that nobody
    waits while the next lines are looked at.
    """
    seen = [first]
    while True:
        try:
            return csv_below(seen[-1], detector.bundle.columns, layout, "standard input"), []
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


class _JsonLines:
    def __init__(self, detector: Detector, layout: Layout) -> None:
        self._reader = RowReader(detector.bundle.columns, most_missing=layout.most_missing)
        self._columns = len(detector.bundle.names)
        self._labels = Labels(layout)

    def parse(self, number: int, lines: Sequence[bytes]) -> Rows:
        if len(lines[0]) > MAX_LINE_BYTES:
            return bad_row(number, self._columns, TOO_LONG)
        return self._reader.read_lines(lines, self._labels, first=number)
