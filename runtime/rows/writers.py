"""Tables that are written chunk by chunk: CSV, JSON lines and Parquet, all from the same columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TextIO

import msgspec
import numpy as np

from ..errors import MissingExtraError

if TYPE_CHECKING:
    import polars
    from numpy.typing import NDArray

    Values = NDArray[Any] | Sequence[Any]

Table = Mapping[str, "Values"]
"""Columns of equal length by name: arrays, where what is absent is masked, or lists, where it is None."""

Schema = Mapping[str, type]
"""Names of the columns of a table in their order, and int, float, bool or str."""


class Writer(Protocol):
    """Writes one table, chunk by chunk."""

    def write(self, table: Table) -> None:
        """Writes the next rows."""

    def close(self) -> None:
        """Writes what is left, also of a table without a row; the file underneath stays open."""


class CsvWriter:
    """A header and a line for each row: numbers in the fewest digits, truth as 0 and 1, what is absent as nothing.

    The header comes with the first rows: of data that is refused at once nothing is written.
    """

    def __init__(self, out: TextIO, schema: Schema) -> None:
        self._writer = csv.writer(out, lineterminator="\n")
        self._header: Schema | None = schema

    def write(self, table: Table) -> None:
        self.close()
        self._writer.writerows(zip(*map(_cells, table.values()), strict=True))

    def close(self) -> None:
        if self._header is not None:
            self._writer.writerow(self._header)
            self._header = None


class JsonLinesWriter:
    """An object for each row, strict JSON, flushed at once; what is absent is null."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, table: Table) -> None:
        for record in records(table):
            self._out.write(msgspec.json.encode(record).decode() + "\n")
            self._out.flush()

    def close(self) -> None:
        """There is nothing left."""


class ParquetWriter:
    """A Parquet file, kept in memory until it is closed; what is absent is null.

    Raises MissingExtraError when Polars is not installed.
    """

    def __init__(self, out: BinaryIO, schema: Schema) -> None:
        try:
            import polars
        except ImportError as error:
            raise MissingExtraError(f"Parquet needs {error.name}: pip install 'vae-detect[tables]'") from None
        self._polars = polars
        self._out, self._schema = out, schema
        self._chunks: list[Table] = []

    def write(self, table: Table) -> None:
        self._chunks.append(table)

    def close(self) -> None:
        columns = [self._series(name, [chunk[name] for chunk in self._chunks]) for name in self._schema]
        self._polars.DataFrame(columns).write_parquet(self._out)

    def _series(self, name: str, parts: list[Values]) -> polars.Series:
        kind: Any = self._schema[name]
        if not parts or not isinstance(parts[0], np.ndarray):
            return self._polars.Series(name, [value for part in parts for value in part], kind)
        arrays = [np.asanyarray(part) for part in parts]
        is_absent = np.concatenate([np.ma.getmaskarray(part) for part in arrays])
        series = self._polars.Series(name, np.concatenate([np.ma.getdata(part) for part in arrays]))
        return series.set(self._polars.Series(is_absent), None) if is_absent.any() else series


def records(table: Table) -> Iterator[dict[str, Any]]:
    """The rows as objects for strict JSON: None for what is absent."""
    # tolist of a masked array has None at what is masked.
    columns = [values.tolist() if isinstance(values, np.ndarray) else values for values in table.values()]
    names = tuple(table)
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _cells(values: Values) -> Sequence[object]:
    """What the cells of a CSV hold; csv.writer makes nothing of None."""
    if not isinstance(values, np.ndarray):
        return values
    # Of a float32 astype(str) gives the fewest digits that read back as the same float32.
    written = np.ma.getdata(values).astype(np.int8 if values.dtype == np.bool_ else str)
    cells: list[object] = written.tolist()
    for absent in np.flatnonzero(np.ma.getmask(values)):
        cells[absent] = None
    return cells
