"""What a Prometheus tells of a range of time as a file, so that all that reads tables reads it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import InputError, VaeDetectError, of_system
from ..rows.times import write_time
from .moments import Grid
from .range_reader import RangeReader


@contextmanager
def fetched(reader: RangeReader, grid: Grid) -> Iterator[tuple[Path, int]]:
    """A CSV of the rows of these times, there until the block ends, and how many they are.

    What is found wrong with it is told of the server.

    Raises as `RangeReader.rows`, and InputError when a query has no series at all.
    """
    with TemporaryDirectory(prefix="vae-detect-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "prometheus.csv"
        try:
            rows = _write(path, reader, grid)
        except OSError as error:
            if isinstance(error, VaeDetectError):
                raise
            raise of_system(error, f"{path}: cannot be written") from None
        reader.check_all_found(grid)
        if not rows:
            raise InputError(f"{reader.client.address}: has no row between --start and --end")
        try:
            yield path, rows
        except VaeDetectError as error:
            error.args = tuple(str(each).replace(str(path), str(reader.client.address)) for each in error.args)
            raise


def _write(path: Path, reader: RangeReader, grid: Grid) -> int:
    """How many rows there are."""
    count = 0
    keyed = reader.key is not None
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(reader.header)
        for row in reader.rows(grid):
            writer.writerow([write_time(row.time_ms / 1000), *([row.key] if keyed else []), *row.cells])
            count += 1
    return count
