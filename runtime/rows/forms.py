"""The forms in which time stamps are written, and which of them a column has: decided once, from many of its cells."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import InputError
from ..layout import DAYS_TO_1970, NUMBERS_OF, Stamps
from .cells import bad_reason, is_missing, shown
from .patterns import patterns_of
from .stamp_reader import StampReader, split_pattern
from .times import LEAST_EPOCH_S, clock_of, is_break, unit_of
from .zones import ZoneClock, local_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Cell = TypeVar("_Cell")

_LOOKED_AT = 200
"""Cells by which the forms are found that can be meant."""

_COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}

_DAYS, _LEAST_DECIMALS = (4400.0, 34400.0), 3
"""Days since 1970 of dates that are counted in days, and decimals of one that says the time of day."""

_CHOSEN_STEPS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 360, 600, 900, 1200, 1800, 3600)
"""Times from row to row that people choose."""

_MOSTLY = 0.5
"""Share of cells that a form must read: a few damaged stamps must not hide the others."""


def possible_patterns(cells: Sequence[str]) -> list[str]:
    """The patterns, as `layout.Stamps` holds them, that read most cells of a column: several where it is in doubt.

    Of numbers, whatever they count, a unit; [] where less than half of the cells are stamps of one form.

    >>> possible_patterns(["05.01.2026 06:00", "06.01.2026 06:00"])
    ['%d.%m.%Y %H:%M', '%m.%d.%Y %H:%M']
    >>> possible_patterns(["05.01.2026 06:00", "13.01.2026 06:00"]), possible_patterns(["1767592800000"])
    (['%d.%m.%Y %H:%M'], ['ms'])
    """
    filled = [cell.strip() for cell in _spread(cells) if not is_missing(cell)]
    if not filled:
        return []
    numbers = [cell for cell in filled if not bad_reason(cell)]
    if len(numbers) > _MOSTLY * len(filled):
        return [_of_numbers(numbers)]
    shapes = Counter(map(_shape, filled))
    usual = shapes.most_common(1)[0][0]
    example = next(cell for cell in filled if _shape(cell) == usual)
    read = {pattern: _count(pattern, filled) for pattern in patterns_of(example)}
    most = max(read.values(), default=0)
    return [pattern for pattern, count in read.items() if count == most] if most > _MOSTLY * len(filled) else []


def settle_pattern(
    cells: Sequence[str], whole: Callable[[], Sequence[str]], *, column: str, likely: str | None = None
) -> str | None:
    """The one pattern of a column, None where it holds no stamps.

    Where several read the cells, the whole column decides: by a day that is no month, or by time that goes on without
    a break in one reading only.

    Parameters
    ----------
    cells : the first of the column
    whole : gives all of them; called only where the first do not decide
    likely : the pattern of the recording that a model learnt from, which is taken where it reads as many as any other

    Raises
    ------
    InputError
        when two readings are as good
    """
    looked_at = [cell for cell in _spread(cells) if not is_missing(cell)]
    is_clear = likely is not None and likely not in NUMBERS_OF and not _has_twin(likely)
    if likely is not None and is_clear and looked_at and _count(likely, looked_at) == len(looked_at):
        return likely
    found = possible_patterns(cells)
    if likely in NUMBERS_OF and found and found[0] in NUMBERS_OF:
        return found[0] if np.nanmedian(StampReader(found[0]).read(looked_at)) >= LEAST_EPOCH_S else likely
    if likely is not None and likely not in found and _count(likely, looked_at) > _MOSTLY * len(looked_at):
        found = [likely] if not found or _count(found[0], looked_at) <= _count(likely, looked_at) else found
    if len(found) < 2:
        return found[0] if found else None
    every = [cell for cell in whole() if not is_missing(cell)]
    times = {pattern: StampReader(pattern).read(every) for pattern in found}
    read = {pattern: int(np.isfinite(each).sum()) for pattern, each in times.items()}
    best = [pattern for pattern in found if read[pattern] == max(read.values())]
    if likely in best:
        return likely
    if len(best) > 1:
        breaks = {pattern: _count_breaks(times[pattern]) for pattern in best}
        best = [pattern for pattern in best if breaks[pattern] == min(breaks.values())]
        if "%m.%d.%Y" not in best[0]:  # with dots nobody writes the month first
            best = [pattern for pattern in best if "%m.%d.%Y" not in pattern]
    if len(best) > 1:
        raise InputError(_doubt(best, every, column))
    return best[0]


class StampColumn:
    """The time stamps of one column, or of a date and a time of day in two, which are read as "DATE TIME"."""

    def __init__(self, stamps: Stamps) -> None:
        self._stamps = stamps
        self._reader = StampReader(stamps.pattern)
        self._zone = ZoneClock(stamps.zone) if stamps.zone != "UTC" else None

    def settle(self, cells: Sequence[str], whole: Callable[[], Sequence[str]]) -> None:
        """Decides how the stamps are written: like those that are known, if these can be. Raises as `settle_pattern`.

        Parameters
        ----------
        cells : the first stamps
        whole : gives all of them, where the first leave it in doubt
        """
        named = " and ".join(self._stamps.columns)
        found = settle_pattern(cells, whole, column=named, likely=self._reader.pattern)
        if found is not None and found != self._reader.pattern:
            self._reader = StampReader(found)

    def read(self, cells: Sequence[str]) -> NDArray[np.float64]:
        """Seconds since 1970 in UTC, NaN where unreadable: (cells,). They follow those that were read before."""
        times = self._reader.read(cells)
        if self._zone is None or self._reader.pattern in NUMBERS_OF:
            return times
        is_local = local_rows(cells)
        times[is_local] = self._zone.to_utc(times[is_local])
        return times


def with_clock(lines: Sequence[Sequence[str]], places: list[int]) -> list[int]:
    """Where the stamps of rows of cells are: a date, and the time of day beside it, where one column was asked for."""
    if len(places) != 1:
        return places
    days = [line[places[0]] if places[0] < len(line) else "" for line in _spread(lines)]
    found = possible_patterns(days)
    if not found or not has_day(found[0]) or has_clock(days, found[0]):
        return places
    for place in (places[0] + 1, places[0] - 1):
        beside = [line[place] if 0 <= place < len(line) else "" for line in _spread(lines)]
        both = [f"{day} {clock}" for day, clock in zip(days, beside, strict=True)]
        if all(bad_reason(cell) for cell in beside) and (pair := possible_patterns(both)) and has_clock(both, pair[0]):
            return [places[0], place]
    return places


def describe_stamps(stamps: Stamps) -> str:
    """Where the time stamps are, and how they are written where that is not the plain form.

    >>> describe_stamps(Stamps("Date", "Time", "%d.%m.%Y %H:%M"))
    "time stamps: columns 'Date' and 'Time', written %d.%m.%Y %H:%M"
    """
    where = f"column{'s' * (len(stamps.columns) > 1)} {stamps.named}" if stamps.column else stamps.named
    written = f", numbers of {stamps.pattern}" if stamps.pattern in NUMBERS_OF else f", written {stamps.pattern}"
    return f"time stamps: {where}{written if stamps.pattern else ''}"


def has_day(pattern: str) -> bool:
    """Whether stamps of a pattern say the day, and not only the time of day."""
    return pattern in NUMBERS_OF or pattern == "" or bool(split_pattern(pattern)[0])


def has_clock(cells: Sequence[str], pattern: str) -> bool:
    """Whether most of these stamps of a pattern say the time of day."""
    if pattern:
        return pattern in NUMBERS_OF or bool(split_pattern(pattern)[1])
    return 2 * sum(":" in cell for cell in cells) > len(cells)


def _spread(cells: Sequence[_Cell]) -> Sequence[_Cell]:
    """Some of the cells, all along the column."""
    return cells if len(cells) <= _LOOKED_AT else cells[:: len(cells) // _LOOKED_AT]


def _count(pattern: str, cells: Sequence[str]) -> int:
    """How many of the cells a pattern reads; numbers are for the units."""
    if not pattern:
        cells = [cell for cell in cells if bad_reason(cell)]
    return int(np.isfinite(StampReader(pattern).read(cells)).sum())


def _has_twin(pattern: str) -> bool:
    """Whether the same stamps may be read with day and month, or year, in another order."""
    day, _ = split_pattern(pattern)
    return "%m" in day and not day.startswith("%Y")


def _count_breaks(times: NDArray[np.float64]) -> float:
    """How often time does not go on from row to row, in whichever direction it goes."""
    known = times[np.isfinite(times)]
    steps = np.diff(known)
    forward = known if np.count_nonzero(steps < 0) <= np.count_nonzero(steps > 0) else known[::-1]
    clock = clock_of(forward)
    return np.inf if clock is None else float(np.count_nonzero(is_break(np.diff(forward), 1, clock)))


def _doubt(patterns: Sequence[str], cells: Sequence[str], column: str) -> str:
    read = {pattern: StampReader(pattern) for pattern in patterns}

    def days(cell: str) -> list[str]:
        found = [reader.read([cell])[0] for reader in read.values()]
        return [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") for at in found if np.isfinite(at)]

    example = next((cell for cell in cells if len(set(days(cell))) > 1), cells[0])
    options = " or ".join(f"--time-format {pattern!r}" for pattern in patterns)
    return f"column {column!r}: {shown(example.strip())} may be {' or '.join(days(example))}; say {options}"


def _of_numbers(numbers: Sequence[str]) -> str:
    widths = Counter(len(cell) for cell in numbers)
    pattern = _COMPACT.get(widths.most_common(1)[0][0])
    dates = [cell for cell in numbers if cell[:2] in ("19", "20") and cell.isdecimal()]
    if pattern is not None and 2 * len(dates) > len(numbers) and _count(pattern, dates) > _MOSTLY * len(numbers):
        return pattern
    days = _days_of(np.array(list(map(float, numbers))), numbers)
    if days:
        return days
    size = unit_of(float(np.median(np.abs(list(map(float, numbers))))))
    return next(unit for unit, per_second in NUMBERS_OF.items() if per_second == size)


def _days_of(counts: NDArray[np.float64], numbers: Sequence[str]) -> str:
    """Whether numbers are days with fractions, as Excel or MATLAB counts them; "" where they are not.

    They lie in the years from 1982 to 2064, have decimals, and go on in steps that people choose, or they may be
    seconds that a logger counts from its own beginning.
    """
    steps = np.abs(np.diff(counts)) * 86400
    steps = steps[steps > 0]
    decimals = sum(len(cell.partition(".")[2]) >= _LEAST_DECIMALS for cell in numbers)
    if not len(steps) or 2 * decimals < len(numbers):
        return ""
    step = float(np.median(steps))
    is_chosen = any(abs(step - chosen) <= max(0.01 * chosen, 0.01) for chosen in _CHOSEN_STEPS_S)
    since = {pattern: counts - zero for pattern, zero in DAYS_TO_1970.items()}
    within = [pattern for pattern, days in since.items() if _DAYS[0] < days.min() and days.max() < _DAYS[1]]
    return within[0] if within and is_chosen else ""


def _shape(cell: str) -> str:
    """What cells have in common that are written alike."""
    words = re.sub(r"[^\W\d_]+", "a", re.sub(r"\d{1,2}(?!\d)", "0", re.sub(r"\d{3,}", "9", cell)))
    return re.sub(r"(?<=0:0).*", "", words)
