"""CSV as text: how a file is written, what is refused as no CSV, its header and its cells."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import InputError, TooLargeError, few
from ..layout import TableFormat
from ..opening import open_file
from .cells import NOT_UTF8, bad_reason, is_utf8, shown

MAX_LINE_BYTES = 1 << 20
"""Of a line, and of a row that goes on over several lines: a larger one could fill the memory."""

# Python's own limit, 128 KiB a cell, would refuse a file for one cell that nobody needs.
csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))

_FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x89PNG": "a PNG image",
}


@contextmanager
def open_text(path: Path, *, stream: bool = False) -> Iterator[IO[str]]:
    """A UTF-8 file (gzip by its first bytes) opened as text; a byte order mark is dropped.

    Bytes that are no UTF-8 are let through as lone surrogates: they harm only the cell that they stand in.

    Parameters
    ----------
    stream : whether a pipe will do, which can be read only once

    Raises
    ------
    InputError
        for what is no text, naming what it seems to be, and for what is no file
    """
    try:
        file = open_file(path, stream=stream)
    except InputError as error:
        copy = "; it is read more than once, so write it to a file first: COMMAND > rows.csv"
        raise InputError(f"{path}: {error}{copy if path.is_fifo() else ''}") from None
    try:
        with file as raw:
            magic = raw.peek(4)[:4]
            for start, what in _FOREIGN.items():
                if magic.startswith(start):
                    raise InputError(f"{path}: this is {what}, expected CSV in UTF-8")
            plain = gzip.GzipFile(fileobj=raw) if magic[:2] == b"\x1f\x8b" else raw
            with io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
                yield text
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def cells(text: IO[str], form: TableFormat, source: str) -> Iterator[list[str]]:
    """Rows of cells, blank lines left out.

    Raises InputError, naming the line where the row began, for broken quoting and for more than `MAX_LINE_BYTES`.
    """
    lines = _Lines(text, source)
    reader = csv.reader(iter(lines.next, ""), delimiter=form.delimiter, strict=True)
    try:
        for row in reader:
            if row and not (len(row) == 1 and row[0].isspace()):
                yield row
            lines.end_row()
    except csv.Error as error:
        raise InputError(f"{source}, line {lines.began}: {error}{lines.describe()}") from None


class _Lines:
    """The lines of a text, counted, and how much of them a row has taken."""

    def __init__(self, text: IO[str], source: str) -> None:
        self._readline, self._source = text.readline, source
        self._number = self._size = 0
        self.began = 1
        """The line where the row began that is being read."""

    def next(self) -> str:
        """The next line, "" at the end."""
        line = self._readline(MAX_LINE_BYTES + 1)
        self._number += bool(line)
        self._size += len(line)
        if self._size > MAX_LINE_BYTES:
            what = "the line is" if self._number == self.began else "the row is"
            limit = f"longer than {MAX_LINE_BYTES >> 20} MiB"
            raise TooLargeError(f"{self._source}, line {self.began}: {what} {limit}{self.describe()}")
        return line

    def end_row(self) -> None:
        """The next line begins another row."""
        self.began, self._size = self._number + 1, 0

    def describe(self) -> str:
        """Where the row ends that began lines before, for a message."""
        if self._number == self.began:
            return ""
        return f"; the row goes on to line {self._number}: a quote opened on line {self.began} is not closed"


def read_header(rows: Iterator[list[str]], source: str) -> list[str]:
    """The first row, taken as the header. Raises InputError when it looks like data or there is none."""
    header = next(rows, None)
    if header is None:
        raise InputError(f"{source}: the file is empty, expected a header and rows")
    header = [name.strip() for name in header]
    broken = next((name for name in header if not is_utf8(name)), None)
    if broken is not None:
        raise InputError(f"{source}, line 1: the header holds {shown(broken)}, {NOT_UTF8}")
    other = next((mark for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]), None)
    if other:
        raise InputError(
            f"{source}: the header is one column, {header[0][:40]!r}, that seems to be separated by {other!r}; "
            "pass --delimiter"
        )
    if all(not bad_reason(cell) for cell in header):
        raise InputError(
            f"{source}: the first row holds only numbers, expected column names; pass --no-header if there are none"
        )
    return header


def check_header(names: Sequence[str], wanted: Sequence[str], source: str) -> None:
    """Raises InputError when a wanted column is missing from a header or stands in it twice."""
    missing = [name for name in wanted if name not in names]
    if missing:
        listed = few(map(shown, missing))
        what = f"column {listed} is" if len(missing) == 1 else f"columns {listed} are"
        raise InputError(f"{source}: {what} missing; the header has {few(map(shown, names), 12)}")
    for name in wanted:
        if list(names).count(name) > 1:
            raise InputError(f"{source}: column {name!r} stands in the header more than once")
