"""Parquet files and Excel workbooks as the CSV that would say the same, so that all that reads tables reads them."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import InputError, MissingExtraError, first_line

_PARQUET = b"PAR1"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""What .xlsx and .ods begin with, and .xls."""

_MARK = b"\xef\xbb\xbf"
"""Says that the text is UTF-8, whatever was declared or learnt of another file."""


def is_binary_table(start: bytes) -> bool:
    """Whether a file that begins so is one of these."""
    return start.startswith((_PARQUET, *_WORKBOOKS))


def as_csv(path: Path, start: bytes) -> bytes:
    """All of a file that begins so as UTF-8 text: cells between commas, a decimal point, times as ISO 8601.

    Of a workbook it is the first sheet that holds anything; see `sheets_of`.

    Raises
    ------
    MissingExtraError
        when Polars, or fastexcel for a workbook, is not installed
    InputError
        when the file is damaged, or a workbook holds nothing
    """
    return _MARK + (_of_parquet(path) if start.startswith(_PARQUET) else _of_workbook(path))


def sheets_of(path: Path) -> list[str]:
    """The names of the sheets of a workbook."""
    names: list[str] = _open_workbook(path).sheet_names
    return names


def _of_parquet(path: Path) -> bytes:
    polars: Any = _needed("polars", "Parquet")
    try:
        frame = polars.read_parquet(path)
    except (OSError, polars.exceptions.PolarsError) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {first_line(error)}") from None
    columns = []
    for name, kind in frame.schema.items():
        column = polars.col(name)
        if kind.is_nested() or kind in (polars.Binary, polars.Object):
            column = polars.lit(f"({kind})").alias(name)
        elif isinstance(kind, polars.Datetime) and kind.time_zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")
        elif kind == polars.Duration:
            column = column.dt.total_microseconds() / 1e6
        columns.append(column)
    out = io.BytesIO()
    frame.select(columns).write_csv(out, datetime_format="%Y-%m-%dT%H:%M:%S%.f")
    return out.getvalue()


def _of_workbook(path: Path) -> bytes:
    workbook = _open_workbook(path)
    for place in range(len(workbook.sheet_names)):
        # Everything as text, the header too: it need not stand in the first row.
        frame = workbook.load_sheet(place, header_row=None, dtypes="string").to_polars()
        if frame.height:
            out = io.BytesIO()
            frame.write_csv(out, include_header=False)
            return out.getvalue()
    raise InputError(f"{path}: the workbook is empty, expected a header and rows")


def _open_workbook(path: Path) -> Any:
    _needed("polars", "Excel")
    fastexcel: Any = _needed("fastexcel", "Excel")
    try:
        return fastexcel.read_excel(path)
    except (OSError, fastexcel.FastExcelError) as error:
        raise InputError(f"{path}: cannot be read as an Excel workbook: {first_line(error)}") from None


def _needed(name: str, what: str) -> ModuleType:
    try:
        return __import__(name)
    except ImportError as error:
        raise MissingExtraError(f"{what} needs {error.name}: pip install 'vae-detect[tables]'") from None
