"""How a recording is written: what training found out or was told, and scoring must know to read the same."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from .errors import InputError

DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " ", "\\s+": " "}
"""How delimiters that cannot be seen are typed."""


NUMBERS_OF = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "excel": 1 / 86400, "matlab": 1 / 86400}
"""Patterns of time stamps that are numbers, and how many of them make a second."""

DAYS_TO_1970 = {"excel": 25569.0, "matlab": 719529.0}
"""What those that count days count on 1970-01-01; the others are 0 then."""

_DIRECTIVES = "aAbBdHIjmMpSyYzZfGuVwUWcxX%"
"""What strptime knows."""


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody said of how a text table is written; None is to be recognised."""

    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None
    time_format: str | None = None
    """Of the time stamps, as `Stamps.pattern`."""
    time_zone: str | None = None
    """Of the time stamps, as `Stamps.zone`."""

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            _check_delimiter(self.delimiter)
        if self.encoding is not None:
            _check_encoding(self.encoding)
        if self.time_format is not None:
            _check_time_format(self.time_format)
        if self.decimal == "," == self.delimiter:
            raise InputError("the decimal comma needs another delimiter than the comma; pass --delimiter ';'")


class TableFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a text table is written."""

    delimiter: str = ","
    """One character; a space stands for any run of spaces and tabs."""
    decimal: str = "."
    """A comma beside the delimiter comma stands only in quoted cells."""
    header: bool = True
    """Where there is none, columns are called c0, c1, ..."""
    encoding: str = "utf-8"
    """utf-8, utf-16, cp1252, ... as Python names it; a byte order mark wins over it."""
    skip: int = 0
    """Lines above the header: titles, comments, sep=."""
    below: int = 0
    """Rows between the header and the first row of values: units."""
    comment: str = ""
    """What the line of the header begins with, where it is written as a comment: # or %."""
    row_names: bool = False
    """Whether the first column has no name in a header that is shorter for it, as R writes it."""
    thousands: str = ""
    """What stands between groups of three digits."""
    unfilled: int = 0
    """Names at the end of the header for which the rows have no cell, like that of comments in LabVIEW's files."""

    def __post_init__(self) -> None:
        _check_delimiter(self.delimiter)
        _check_encoding(self.encoding)
        if self.decimal not in (".", ","):
            raise InputError(f"decimal is {self.decimal!r}, expected . or ,")

    def as_declared(self, declared: Declared, *, encoding: str | None = None) -> TableFormat:
        """This format with what is declared in place of its own, and with this encoding where none is."""
        return msgspec.structs.replace(
            self,
            delimiter=declared.delimiter or self.delimiter,
            decimal=declared.decimal or self.decimal,
            encoding=declared.encoding or encoding or self.encoding,
            header=self.header if declared.header is None else declared.header,
        )

    @property
    def is_pointed(self) -> bool:
        """Whether numbers are written as float() takes them."""
        return self.decimal == "." and not self.thousands

    def with_point(self, cell: str) -> str:
        """A number as written in this format as float() takes it; others stay what float() refuses."""
        if self.is_pointed:
            return cell
        if self.thousands and self.thousands in cell:
            whole, mark, fraction = cell.strip().partition(self.decimal)
            first, *groups = whole.split(self.thousands)
            if not 0 < len(first.lstrip("+-")) <= 3 or any(len(group) != 3 for group in groups):
                return cell.replace(self.thousands, "?")
            cell = "".join([first, *groups, mark, fraction])
        return cell if self.decimal == "." else cell.replace(".", "?").replace(",", ".")


def _check_delimiter(delimiter: str) -> None:
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(f"delimiter is {delimiter!r}, expected one character like , or ; or one of tab, space")


def _check_encoding(encoding: str) -> None:
    try:
        text = b"1".decode(encoding, "replace")
    except (LookupError, ValueError):
        text = None
    if not isinstance(text, str):
        raise InputError(f"encoding is {encoding!r}, which is not known; expected one like utf-8, utf-16 or cp1252")


def _check_time_format(pattern: str) -> None:
    unknown = [f"%{letter}" for letter in re.findall(r"%(.?)", pattern) if letter not in _DIRECTIVES or not letter]
    if unknown or (pattern and "%" not in pattern and pattern not in NUMBERS_OF):
        what = f"{unknown[0]} is no directive" if unknown else "it says nothing of a date or a time"
        raise InputError(
            f"time format is {pattern!r}, but {what}; expected one like '%d.%m.%Y %H:%M:%S', one of "
            f"{', '.join(NUMBERS_OF)} for numbers, or iso"
        )


class Stamps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the time stamps are, and how they are written."""

    column: str
    """The column of the time, or of the date."""
    clock: str = ""
    """The column of the time of day where it is another one."""
    pattern: str = ""
    """As strptime takes it; s, ms, us or ns of numbers since 1970; "" for ISO 8601, see `rows.times.parse_time`."""
    zone: str = "UTC"
    """Of stamps that do not name one."""
    others: tuple[str, ...] = ()
    """Where `column` holds the year only: those of the month, the day and so on; see `rows.date_parts`."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that they are in, in the order of `pattern`."""
        return (self.column, *([self.clock] if self.clock else []), *self.others)

    @property
    def named(self) -> str:
        """The columns in words."""
        names = [repr(name) if name else "the column without a name" for name in self.columns]
        return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


class Long(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table with a row for each time and name, which becomes one with a column for each name."""

    name: str
    """The column that says what was measured."""
    value: str
    """The column that says how much."""


class Resampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows at irregular times, brought to a grid."""

    period_s: float
    how: Literal["mean", "last"] = "mean"


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the rows of a recording are found in its files."""

    format: TableFormat = TableFormat()
    declared: Declared | None = None
    """Where the format is still to be recognised, in each file: what was said of it, and `format` is only likely."""
    stamps: Stamps | None = None
    key: str | None = None
    """The column that says whose row it is, where several machines share a file: each has its windows and gaps."""
    long: Long | None = None
    resampling: Resampling | None = None
    max_gap_s: float | None = None
    """Step in time that is still no gap; None for `rows.times.GAP_PERIODS` periods."""
    queries: dict[str, str] = {}
    """PromQL by the name of a column, where the recording was read from a Prometheus."""
    most_missing: int = 0
    """Cells of a row that may hold no value, and are NaN then; a row that lacks more is a bad one."""

    def __post_init__(self) -> None:
        if self.key is not None and self.resampling is not None:
            raise InputError("--key does not go with --resample: rows of several machines are not brought to one grid")

    @property
    def declares_time_format(self) -> bool:
        """Whether somebody said how time stamps are written."""
        return self.declared is not None and self.declared.time_format is not None
