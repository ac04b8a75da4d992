"""CSV as text: how a file is written, what is refused as no CSV, its header and its cells."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import InputError
from .cells import bad_reason

_FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x89PNG": "a PNG image",
}


@dataclass(frozen=True)
class TableFormat:
    """How a text table is written."""

    delimiter: str = ","
    decimal: str = "."
    header: bool = True

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise InputError(f"delimiter is {self.delimiter!r}, expected one character like , or ;")
        if self.decimal not in (".", ","):
            raise InputError(f"decimal is {self.decimal!r}, expected . or ,")
        if self.decimal == self.delimiter:
            raise InputError("the decimal comma needs another delimiter than the comma; pass --delimiter ';'")

    def with_point(self, cell: str) -> str:
        """A number as written in this format, with a decimal point; 1.234,5 stays an error."""
        return cell if self.decimal == "." else cell.replace(".", "?").replace(",", ".")


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 file (gzip by its first bytes) opened as text; a byte order mark is dropped.

    Raises InputError for what is no text, naming what it seems to be.
    """
    try:
        with path.open("rb") as raw:
            magic = raw.read(4)
            raw.seek(0)
            for start, what in _FOREIGN.items():
                if magic.startswith(start):
                    raise InputError(f"{path}: this is {what}, expected CSV in UTF-8")
            plain = gzip.GzipFile(fileobj=raw) if magic[:2] == b"\x1f\x8b" else raw
            with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error.reason}") from None  # its position is within a buffer
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def cells(lines: Iterable[str], form: TableFormat, source: str) -> Iterator[list[str]]:
    """Rows of cells, blank lines left out. Raises InputError, naming the line, for broken quoting."""
    reader = csv.reader(lines, delimiter=form.delimiter, strict=True)
    try:
        for row in reader:
            if row and not (len(row) == 1 and row[0].isspace()):
                yield row
    except csv.Error as error:
        raise InputError(f"{source}, line {reader.line_num}: {error}") from None


def read_header(rows: Iterator[list[str]], source: str) -> list[str]:
    """The first row, taken as the header. Raises InputError when it looks like data or there is none."""
    header = next(rows, None)
    if header is None:
        raise InputError(f"{source}: the file is empty, expected a header and rows")
    header = [name.strip() for name in header]
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
        shown = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        found = ", ".join(repr(name[:40]) for name in list(names)[:12])
        what = f"column {shown} is" if len(missing) == 1 else f"columns {shown} are"
        raise InputError(f"{source}: {what} missing; the header has {found}")
    for name in wanted:
        if list(names).count(name) > 1:
            raise InputError(f"{source}: column {name!r} stands in the header more than once")
