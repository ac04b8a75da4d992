"""How a recording is written: what training found out or was told, and scoring must know to read the same."""

from __future__ import annotations

from typing import Literal

import msgspec

from .errors import InputError


class TableFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a text table is written."""

    delimiter: str = ","
    """One character; a space stands for any run of white space."""
    decimal: str = "."
    header: bool = True
    encoding: str = "utf-8"
    """utf-8, utf-16, cp1252, ... as Python names it; a byte order mark wins over it."""
    skip: int = 0
    """Lines above the header: titles, comments, sep=."""
    missing: tuple[str, ...] = ()
    """Texts that stand for a missing cell, beside an empty one."""

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


class Stamps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the time stamps are, and how they are written."""

    column: str
    """The column of the time, or of the date."""
    clock: str = ""
    """The column of the time of day where it is another one."""
    pattern: str = ""
    """As strptime takes it; "" for ISO 8601, compact dates and numbers, see `rows.times.parse_time`."""
    zone: str = "UTC"
    """Of stamps that do not name one."""


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
    stamps: Stamps | None = None
    key: str | None = None
    """The column that says whose row it is, where several machines share a file: each has its windows and gaps."""
    long: Long | None = None
    resampling: Resampling | None = None
    max_gap_s: float | None = None
    """Step in time that is still no gap; None for `rows.times.GAP_PERIODS` periods."""
