"""The newest raw rows of all machines, so that a person can say of the last minutes: this is normal."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle import Bundle, Column
from ..errors import InputError
from ..output import make_folder, text_written_aside
from ..rows.times import write_time
from ..rows.writers import CsvWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 16 << 20
"""What is held, of all keys together; a machine that sends more often has more of it."""

_OF_A_ROW = 16  # bytes, its time and its key, beside its values


class Capture:
    """Of one model. Beyond its size the oldest row goes, whosever it is. May be used from several threads.

    Parameters
    ----------
    most_bytes : that rows may take
    """

    def __init__(self, bundle: Bundle, *, most_bytes: int = MOST_BYTES) -> None:
        if bundle.kind == "images":
            raise InputError("rows are captured, and this model looks at images")
        self._bundle = bundle
        columns = len(bundle.columns)
        self._most = max(1, most_bytes // (4 * columns + _OF_A_ROW))
        # Memory that is not yet written to is not yet taken.
        self._values = np.empty((self._most, columns), np.float32)
        self._times = np.empty(self._most, np.float64)
        self._keys: list[str] = []
        self._next = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str, times: NDArray[np.float64], values: NDArray[np.float32]) -> None:
        """The next rows of a machine: times (rows,), seconds since 1970, and values (rows, columns), in raw units."""
        with self._lock:
            if len(times) == 1:  # a stream, for which this is 5 times faster
                place = self._next
                self._times[place], self._values[place] = times[0], values[0]
                self._keys[place : place + 1] = (key,)
                self._next = (place + 1) % self._most
                return
            for begin in range(0, len(times), self._most):
                self._add(key, times[begin : begin + self._most], values[begin : begin + self._most])

    def _add(self, key: str, times: NDArray[np.float64], values: NDArray[np.float32]) -> None:
        n = len(times)
        first, self._next = self._next, (self._next + n) % self._most
        whole = min(n, self._most - first)
        for begin, cut in ((first, slice(0, whole)), (0, slice(whole, n))):
            size = cut.stop - cut.start
            if size:
                self._times[begin : begin + size] = times[cut]
                self._values[begin : begin + size] = values[cut]
                self._keys[begin : begin + size] = [key] * size

    def write(self, key: str, minutes: float, folder: Path) -> Path:
        """A CSV of the last minutes of a machine, up to its newest row, as `calibrate`, `train` and `score` read it.

        Rows in which nothing is known are left out.

        Raises
        ------
        InputError
            when there is no row of this key
        UnavailableError
            when it cannot be written
        """
        times, values = self._of(key, minutes)
        if not len(times):
            whose = f" of {key!r}" if key else ""
            raise InputError(f"no row{whose} is held to be written; expected one of the newest {len(self)} of all keys")
        make_folder(folder)
        path = _free(folder, key, float(times[-1]))
        table = _table(self._bundle, key, times, values)
        with text_written_aside(path) as out:
            writer = CsvWriter(out, dict.fromkeys(table, str))
            writer.write(table)
            writer.close()
        return path

    def _of(self, key: str, minutes: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        with self._lock:
            held = len(self._keys)
            order = (np.arange(held) + (self._next if held == self._most else 0)) % self._most
            own = np.array([self._keys[place] == key for place in order.tolist()], np.bool_)
            places = order[own]
            times, values = self._times[places], self._values[places]
        known = ~np.isnan(values).all(axis=1)
        if known.any():
            known &= times >= times[known].max() - 60 * minutes
        return times[known], values[known]


def _free(folder: Path, key: str, newest: float) -> Path:
    """A name that is not taken: the key, as far as it can stand in one, and the time."""
    whose = re.sub(r"[^\w.-]+", "_", key).strip("._")[:80] or "rows"
    when = datetime.fromtimestamp(newest, UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (f"{whose}-{when}{'' if number == 1 else f'-{number}'}.csv" for number in range(1, 1_000_000))
    return next(path for name in names if not (path := folder / name).exists())


def _table(bundle: Bundle, key: str, times: NDArray[np.float64], values: NDArray[np.float32]) -> dict[str, Any]:
    """The columns of the file, written as the recording that the model learnt from has them."""
    layout = bundle.data.layout
    table = _stamps(bundle, times)
    if layout.key is not None:
        table[layout.key] = [key] * len(times)
    cells = {column.name: _cells(column, values[:, place]) for place, column in enumerate(bundle.columns)}
    if layout.long is None:
        return table | cells
    # A row for each time and name.
    many = {name: [cell for cell in column for _ in cells] for name, column in table.items()}
    many[layout.long.name] = [name for _ in times for name in cells]
    many[layout.long.value] = [cell for row in zip(*cells.values(), strict=True) for cell in row]
    return many


def _stamps(bundle: Bundle, times: NDArray[np.float64]) -> dict[str, Any]:
    stamps = bundle.data.layout.stamps
    written = [write_time(each) or "" for each in times.tolist()]
    if stamps is None or len(stamps.columns) == 1:
        return {(stamps.column if stamps else bundle.data.time_column) or "time": written}
    if stamps.others:
        raise InputError(f"this model has its time stamps in {stamps.named}, and only one or two can be written")
    days, clocks = zip(*(each.partition("T")[::2] for each in written), strict=True)
    return {stamps.column: list(days), stamps.clock: list(clocks)}


def _cells(column: Column, values: NDArray[np.float32]) -> list[Any]:
    """Texts where the graph takes places of texts, numbers in the fewest digits; nothing where a cell is missing."""
    if column.texts:
        return ["" if np.isnan(value) else column.texts[int(value)] for value in values.tolist()]
    return ["" if np.isnan(value) else str(value).removesuffix(".0") for value in values]
