"""How long does it take to read a table?

    python benchmarks/batch.py [--rows 100000] [--columns 10]

CPU seconds, the least of three runs, for one table in several forms: by `read_rows`, which scoring and training use,
and as a multiple of `csv.reader`, which reads the plain form cell by cell and makes no numbers of it. Polars reads it
too, where it is installed.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vae_detect.runtime.layout import Declared, Layout, Stamps
from vae_detect.runtime.rows.tables import read_rows


def write(
    path: Path, rows: int, columns: int, *, delimiter: str = ",", decimal: str = ".", holes: bool = False
) -> Path:
    values = np.random.default_rng(0).normal(20, 5, (rows, columns))
    stamps = np.datetime_as_string(np.datetime64("2026-01-05T00:00:00") + np.arange(rows).astype("m8[s]"))
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(delimiter.join(["time", *(f"c{place}" for place in range(columns))]) + "\n")
        for number, (stamp, row) in enumerate(zip(stamps.tolist(), values.tolist(), strict=True)):
            cells = [f"{value:.4f}".replace(".", decimal) for value in row]
            if holes and number % 2:
                cells[number % columns] = "?"
            file.write(delimiter.join([stamp, *cells]) + "\n")
    return path


def seconds(function: Callable[[], object]) -> float:
    def once() -> float:
        before = time.process_time()
        function()
        return time.process_time() - before

    return min(once() for _ in range(3))


def by_us(path: Path, columns: int, most_missing: int = 0) -> float:
    layout = Layout(declared=Declared(), stamps=Stamps("time"), most_missing=most_missing)
    names = [f"c{place}" for place in range(columns)]
    return seconds(lambda: [chunk.values for chunk in read_rows(path, names, layout=layout)])


def by_csv(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        for _ in csv.reader(file):
            pass


def by_polars(path: Path) -> float | None:
    try:
        import polars as pl
    except ImportError:
        return None
    return seconds(lambda: pl.read_csv(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=10)
    arguments = parser.parse_args()
    rows, columns = arguments.rows, arguments.columns
    with tempfile.TemporaryDirectory() as folder:
        plain = write(Path(folder) / "plain.csv", rows, columns)
        german = write(Path(folder) / "german.csv", rows, columns, delimiter=";", decimal=",")
        holed = write(Path(folder) / "holed.csv", rows, columns, holes=True)
        limit = seconds(lambda: by_csv(plain))
        found = {
            "csv.reader, no numbers": limit,
            "Polars": by_polars(plain),
            "plain": by_us(plain, columns),
            "semicolons and decimal commas": by_us(german, columns),
            "a cell missing in every other row": by_us(holed, columns, most_missing=2),
        }
    print(f"| {rows} rows of {columns} numbers and a time stamp | CPU seconds | times csv.reader |")
    print("|---|---|---|")
    for name, taken in found.items():
        if taken is not None:
            print(f"| {name} | {taken:.2f} | {taken / limit:.1f} |")


if __name__ == "__main__":
    main()
