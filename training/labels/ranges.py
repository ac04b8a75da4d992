"""Labels as ranges of time, the way a maintenance log has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.layout import Stamps
from ...runtime.rows.cells import shown
from ...runtime.rows.forms import StampColumn
from ...runtime.rows.times import parse_time, write_time
from ..data.wording import NORMAL_WORDS, number_of, word_of
from .words import FAULT, NORMAL

_BEGIN = frozenset({"start", "starts", "started", "begin", "begins", "began", "from", "onset"})
_END = frozenset({"end", "ends", "ended", "stop", "stops", "stopped", "to", "until", "till", "finish", "finished"})
"""Words in the headers of both ends."""

_DAY_S = 86400.0


class Ranges(NamedTuple):
    """When something was wrong: seconds since 1970, both ends included, infinite where one is open."""

    begins: NDArray[np.float64]
    ends: NDArray[np.float64]
    source: str
    labels: NDArray[np.int64] | None = None
    """What each says of its rows, (ranges,); None for `FAULT`."""
    keys: Sequence[str] | None = None
    """Whose rows each is about; None for all."""

    def at(
        self,
        times: NDArray[np.float64] | None,
        *,
        outside: int,
        say: Callable[[str], None],
        keys: NDArray[np.str_] | None = None,
    ) -> NDArray[np.int64]:
        """What the ranges say of the rows (rows,) whose time lies in one, `outside` for the others.

        Of a row in several, one of which says `FAULT`, it is that. `keys` are whose rows they are, where that is known.
        Raises InputError when the rows have no times, or no range holds any of them.
        """
        if times is None:
            raise InputError(
                f"{self.source}: ranges of time label rows with time stamps, and the recording has none that the model "
                "knows; train again with --time-column, or give a label for each row"
            )
        found, met = np.full(len(times), -1), 0
        for place, (begin, end) in enumerate(zip(self.begins, self.ends, strict=True)):
            here = (times >= begin) & (times <= end)
            if self.keys is not None and keys is not None:
                here &= keys == self.keys[place]
            met += bool(here.any())
            found[here] = np.maximum(found[here], FAULT if self.labels is None else self.labels[place])
        inside = found >= 0
        known = times[np.isfinite(times)]
        spanned = f"from {write_time(known.min())} to {write_time(known.max())}" if len(known) else "without any time"
        if not met:
            raise InputError(f"{self.source}: no row lies in any of the ranges; the recording goes {spanned}")
        lost = len(self.begins) - met
        text = f"labels in {self.source}: {inside.sum()} of {len(times)} rows lie in {met} ranges of time"
        say(text + (f"; {lost} hold none of the rows, which go {spanned}" if lost else ""))
        return np.where(inside, found, outside)


def find_ends(header: Sequence[str]) -> tuple[str, str] | None:
    """The columns of begin and end of ranges of time; None where not exactly one of each is named so.

    >>> find_ends(["Start Time", "end_time", "what"]), find_ends(["start", "flow"])
    (('Start Time', 'end_time'), None)
    """
    words = {name: set(re.findall(r"[^\W\d_]+", name.lower())) for name in header}
    begins = [name for name in header if words[name] & _BEGIN]
    ends = [name for name in header if words[name] & _END]
    return (begins[0], ends[0]) if len(begins) == len(ends) == 1 and begins != ends else None


def read_ranges(begins: Sequence[str], ends: Sequence[str], source: str, stamps: Stamps | None = None) -> Ranges:
    """Ranges from the cells of their ends. An empty one is open; an end that is a date is the end of that day.

    They are taken to be written like the recording's `stamps` where those fit, and in its time zone. Raises InputError
    for a cell that is no time, with its row, or an end before its begin.
    """
    found = []
    times = _times([*begins, *ends], stamps or Stamps("start"))
    for row, cells in enumerate(zip(begins, ends, strict=True)):
        begin, end = _moment(cells[0], times, -np.inf, row, source), _moment(cells[1], times, np.inf, row, source)
        if _is_date(cells[1]):
            end += _DAY_S - 1e-6
        if end < begin:
            raise InputError(f"{source}: row {row}: ends at {cells[1].strip()}, before it begins", row=row)
        found.append((begin, end))
    if not found:
        raise InputError(f"{source}: no rows after the header")
    both = np.array(found)
    return Ranges(both[:, 0], both[:, 1], source)


def labels_of(cells: Sequence[str], anomalous: Sequence[str] = ()) -> NDArray[np.int64]:
    """What ranges say by a word each, (ranges,): those that mean normal, like false alarm or 0, `NORMAL`, all others
    `FAULT`; with `anomalous` only these."""
    told = {word_of(value) for value in anomalous}
    words = [word_of(cell.replace("-", " ")) for cell in cells]
    faults = [word in told if told else word not in NORMAL_WORDS and number_of(word) != 0 for word in words]
    return np.where(faults, FAULT, NORMAL)


def _times(cells: Sequence[str], stamps: Stamps) -> dict[str, float]:
    """By cell, seconds since 1970, NaN where it is no time; dates and times of day may each be written in one form."""
    found: dict[str, float] = {}
    for are_dates in (True, False):
        filled = [cell for cell in dict.fromkeys(cells) if word_of(cell) and _is_date(cell) == are_dates]
        if not filled:
            continue
        column = StampColumn(replace(stamps, clock=""))
        column.settle(filled, partial(list, filled))
        found |= zip(filled, column.read(filled).tolist(), strict=True)
    zoned = stamps.zone != "UTC"
    return {cell: parse_time(cell) if np.isnan(time) and not zoned else time for cell, time in found.items()}


def _moment(cell: str, times: Mapping[str, float], open_end: float, row: int, source: str) -> float:
    if not word_of(cell):
        return open_end
    time = times[cell]
    if np.isnan(time):
        raise InputError(f"{source}: row {row}: holds {shown(cell)}, expected a time, like 2026-01-05 10:30", row=row)
    return time


def _is_date(cell: str) -> bool:
    text = cell.strip()
    compact = len(text) == len("20260105") and text.isdecimal()
    return bool(word_of(text)) and ":" not in text and (number_of(text) is None or compact)
