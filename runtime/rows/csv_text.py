"""CSV as text: how a file is written, what is refused as no CSV, its header and its cells."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import InputError, TooLargeError, few
from ..layout import TableFormat
from ..opening import open_file
from .binary_tables import as_csv, is_binary_table
from .cells import NOT_UTF8, bad_reason, is_utf8, shown

MAX_LINE_BYTES = 1 << 20
"""Of a line, and of a row that goes on over several lines: a larger one could fill the memory."""

# Python's own limit, 128 KiB a cell, would refuse a file for one cell that nobody needs.
csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))

_PNG = b"\x89PNG"

_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Byte order marks, and the encoding that drops them."""


def marked_encoding(start: bytes) -> str | None:
    """The encoding that a byte order mark at the start of a text tells of."""
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None)


@contextmanager
def open_bytes(path: Path, *, stream: bool = False) -> Iterator[io.BufferedReader[Any]]:
    """A file to be read as text, by its first bytes: unpacked where it is gzip, as CSV where it is Parquet or Excel.

    A pipe will do with `stream`.

    Raises
    ------
    InputError
        for what is no text, naming what it seems to be, and for what is no file; also while it is read
    """
    try:
        file = open_file(path, stream=stream)
    except InputError as error:
        copy = "; it is read more than once, so write it to a file first: COMMAND > rows.csv"
        raise InputError(f"{path}: {error}{copy if path.is_fifo() else ''}") from None
    try:
        with file as raw:
            magic = raw.peek(4)[:4]
            if magic == _PNG:
                raise InputError(f"{path}: this is a PNG image, expected a table")
            if is_binary_table(magic):
                if path.is_fifo():
                    raise InputError(f"{path}: this is Parquet or Excel, which a pipe cannot hold; write it to a file")
                yield io.BufferedReader(io.BytesIO(as_csv(path, magic)))
                return
            if magic[:2] != b"\x1f\x8b":
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as packed, io.BufferedReader(packed) as plain:
                yield plain
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


@contextmanager
def open_text(path: Path, encoding: str = "utf-8", *, stream: bool = False) -> Iterator[IO[str]]:
    """A file opened as text of an encoding, or of the one that its byte order mark tells of; the mark is dropped.

    Bytes that are no UTF-8 are let through as lone surrogates: they harm only the cell that they stand in. What is
    not of another encoding becomes U+FFFD. Raises like `open_bytes`.
    """
    with open_bytes(path, stream=stream) as raw:
        found = marked_encoding(raw.peek(4)[:4]) or encoding
        errors = "surrogateescape" if found.lower().replace("_", "-").startswith(("utf-8", "utf8")) else "replace"
        with io.TextIOWrapper(raw, encoding=found, errors=errors, newline="") as text:
            yield text


def cells(text: IO[str], form: TableFormat, source: str) -> Iterator[list[str]]:
    """Rows of cells from the header on, blank lines left out.

    Raises InputError, naming the line where the row began, for broken quoting and for more than `MAX_LINE_BYTES`.
    """
    lines = _Lines(text, source)
    for _ in range(form.skip):
        lines.next()
        lines.end_row()
    read = lines.next if form.delimiter != " " else lambda: as_spaced(lines.next())
    reader = csv.reader(iter(read, ""), delimiter=form.delimiter, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if len(row) > 1 or (row and not lines.is_blank):
                yield row
            lines.end_row()
    except csv.Error as error:
        raise InputError(f"{source}, line {lines.began}: {error}{lines.describe()}") from None


def as_spaced(line: str) -> str:
    """A line whose cells are separated by white space, for a reader that knows spaces only."""
    return line.replace("\t", " ").strip(" \r\n") + "\n" if line else ""


class _Lines:
    """The lines of a text, counted, and how much of them a row has taken."""

    def __init__(self, text: IO[str], source: str) -> None:
        self._readline, self._source = text.readline, source
        self._number = self._size = 0
        self.began = 1
        """The line where the row began that is being read."""
        self.is_blank = False
        """Whether the last line held nothing."""

    def next(self) -> str:
        """The next line, "" at the end."""
        line = self._readline(MAX_LINE_BYTES + 1)
        self._number += bool(line)
        self._size += len(line)
        self.is_blank = line.isspace()
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


def read_header(rows: Iterator[list[str]], source: str, form: TableFormat | None = None) -> list[str]:
    """The names of the columns, from the first row. Raises InputError when it looks like data or there is none."""
    form = form or TableFormat()
    header = next(rows, None)
    if header is None:
        raise InputError(f"{source}: the file is empty, expected a header and rows")
    header = header_names(header, form)
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


def header_names(row: Sequence[str], form: TableFormat) -> list[str]:
    """The names of the columns in the row of the header: "" for one without a name."""
    names = [" ".join(name.split("\n")).strip() if "\n" in name else name.strip() for name in row]
    if form.comment:
        names[0] = names[0].lstrip(form.comment).strip()
        names = names[not names[0] :]
    names = names[: len(names) - form.unfilled]
    return ["", *names] if form.row_names else names


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
