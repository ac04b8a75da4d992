"""The time stamps of a column, read by the one pattern that they are written in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from ..layout import DAYS_TO_1970, NUMBERS_OF
from .cells import is_plain
from .date_parts import PATTERNS, read_parts
from .times import parse_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ZONE = r"\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
_CLOCK = re.compile(
    r"([01]?\d|2[0-4])(?:([:.h_-])(\d\d)(?:\2(\d\d)(?:[.,:](\d+))?)?)?\s*(?:([ap])\.?m\.?)?" + _ZONE, re.IGNORECASE
)
_COMPACT_CLOCK = re.compile(r"(\d\d)()(\d\d)(?:(\d\d)(?:[.,]?(\d+))?)?()" + _ZONE, re.IGNORECASE)
_CLOCK_PATTERN = re.compile(
    r"%[HI](?:[:.h_-]?%M(?:[:.h_-]?%S(?:[.,:]?%f)?)?)?(?: ?%p)?(?: ?(?:%z|%Z|Z|UTC|GMT))?", re.IGNORECASE
)

_ISO = "%Y-%m-%d %H:%M:%S"

_BETWEEN = " ,_:-"
"""What may stand between a date and a time of day, beside T."""

_MOST_KEPT = 1 << 17
"""Texts that are remembered: more than a day has seconds."""

_WIDTHS = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3}


class StampReader:
    """Reads stamps of a pattern as `layout.Stamps` holds it.

    Days and times of day come up again and again, so that most stamps are two look-ups. A time of day may have
    seconds, a fraction and a zone more or less than the pattern says, and may be absent at midnight, as spreadsheets
    write it.

    Raises InputError for a pattern that holds nothing of a date or of a time of day.

    >>> StampReader("%d.%m.%Y %H:%M").read(["05.01.2026 06:00", "05.01.2026 06:00:30", "soon"]).tolist()
    [1767592800.0, 1767592830.0, nan]
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._days: dict[str, float] = {}
        self._clocks: dict[str, float] = {}
        self._day_pattern, clock = split_pattern(pattern or _ISO)
        self._is_compact = "%H%M" in clock
        self._cut = _cutter(pattern or _ISO)

    def read(self, cells: Sequence[str]) -> NDArray[np.float64]:
        """Seconds since 1970, NaN where a cell is none of the pattern: (cells,)."""
        if self.pattern in NUMBERS_OF:
            return _numbers(cells) / NUMBERS_OF[self.pattern] - 86400 * DAYS_TO_1970.get(self.pattern, 0.0)
        if self.pattern in PATTERNS:
            return read_parts(cells, self.pattern)
        if self._cut is None:
            return np.array([self._whole(cell) for cell in cells], np.float64)
        days, clocks, cut = self._days, self._clocks, self._cut
        found = []
        for cell in cells:
            at = cut(cell)
            try:
                found.append(days[cell[:at]] + clocks[cell[at:]])
            except KeyError:
                found.append(self._parse(cell))
        return np.array(found, np.float64)

    def _parse(self, cell: str) -> float:
        """A stamp with a day or a time of day that did not come up before."""
        assert self._cut is not None
        if not self.pattern and "-" not in cell and not math.isnan(_number(cell)):
            return parse_time(cell)  # a count, or a compact date
        at = self._cut(cell) if self._day_pattern else 0
        day, clock = (cell[:at], cell[at:]) if at >= 0 else (cell, "")
        begins = self._days.get(day)
        if begins is None:
            begins = self._day(day)
        whole, _, digits = clock.partition(".")
        if digits.isdecimal() and ":" in whole and digits.isascii():  # fractions hardly come up again
            since = self._since(whole) + float(f"0.{digits}")
        else:
            since = self._since(clock)
        if math.isnan(begins + since):
            return parse_time(cell) if self.pattern == "" else math.nan
        if len(self._days) + len(self._clocks) > _MOST_KEPT:
            self._days.clear()
            self._clocks.clear()
        self._days[day] = begins
        return begins + since

    def _since(self, clock: str) -> float:
        """Seconds since midnight of a time of day as it stands behind a date."""
        since = self._clocks.get(clock)
        if since is None:
            since = self._clocks[clock] = read_clock(clock.lstrip("T" + _BETWEEN).rstrip(), is_compact=self._is_compact)
        return since

    def _day(self, text: str) -> float:
        text = text.strip().rstrip(_BETWEEN)
        if text[-1:] == "T" and text[-2:-1].isdigit():
            text = text[:-1]
        if not text and not self._day_pattern:
            return 0.0
        if not is_plain(text):
            return math.nan
        for pattern in (self._day_pattern, self._day_pattern.replace("%b", "%B")):  # May is short, June is not
            try:
                return datetime.strptime(text, pattern).replace(tzinfo=UTC).timestamp()
            except ValueError:
                pass
        return math.nan

    def _whole(self, cell: str) -> float:
        """A stamp of a pattern whose date and time of day are not apart."""
        try:
            moment = datetime.strptime(cell.strip(), self.pattern)
        except ValueError:
            return math.nan
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_clock(text: str, *, is_compact: bool = False) -> float:
    """Seconds since midnight in UTC of a time of day, 0 for none, NaN for no such thing.

    >>> read_clock("1:05 PM"), read_clock("24:00"), read_clock("01:00:00+01:00"), read_clock("930", is_compact=True)
    (47100.0, 86400.0, 0.0, 34200.0)
    """
    if not text:
        return 0.0
    if is_compact and text.isdecimal():
        text = text.zfill(4 if len(text) < 5 else 6)  # a number has no zeros in front
    found = (_COMPACT_CLOCK if is_compact else _CLOCK).fullmatch(text)
    if not found or not text.isascii():
        return math.nan
    hours, _, minutes, seconds, digits, half, zone = found.groups()
    hour, minute, second = int(hours), int(minutes or 0), int(seconds or 0)
    if half:
        if not 1 <= hour <= 12:
            return math.nan
        hour = hour % 12 + 12 * (half in "pP")
    if minute > 59 or second > 60 or hour > 24 or (hour == 24 and (minute or second)):
        return math.nan
    fraction = float(f"0.{digits}") if digits else 0.0
    return hour * 3600 + minute * 60 + second + fraction - (_offset(zone) if zone else 0.0)


def _offset(zone: str) -> float:
    """Seconds by which a zone is before UTC."""
    if zone[0] not in "+-":
        return 0.0
    digits = zone[1:].replace(":", "")
    return (int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60) * (-1.0 if zone[0] == "-" else 1.0)


def split_pattern(pattern: str) -> tuple[str, str]:
    """The date and the time of day of a pattern, "" where there is none of either."""
    begins = min((at for mark in ("%H", "%I") if (at := pattern.find(mark)) >= 0), default=len(pattern))
    day = pattern[:begins].rstrip(_BETWEEN)
    day = day[:-1] if day.endswith("T") and day[-2:-1] != "%" else day
    return day, pattern[begins:]


def _cutter(pattern: str) -> Callable[[str], int] | None:
    """Where the time of day begins in a stamp, negative where it has none; None where date and time are not apart."""
    day, clock = split_pattern(pattern)
    if re.search(r"%[MSfpzZcxXsG]", day) or (clock and not _CLOCK_PATTERN.fullmatch(clock)):
        return None
    if not clock:
        return len
    between = pattern[len(day) : len(pattern) - len(clock)]
    if day and not between:
        width = len(re.sub(r"%(.)", lambda found: "0" * _WIDTHS.get(found[1], 1), day))
        return lambda cell: width if len(cell) > width else -1
    if ":" in clock and ":" not in between + day:
        return lambda cell: cell.find(":") - 2  # of an hour of one digit, the mark before it goes along
    mark = between[:1]
    before = day.count(mark) if mark else 0
    return lambda cell: _nth(cell, mark, before)


def _nth(cell: str, mark: str, before: int) -> int:
    at = cell.find(mark)
    for _ in range(before):
        at = cell.find(mark, at + 1) if at >= 0 else at
    return at


def _numbers(cells: Sequence[str]) -> NDArray[np.float64]:
    """Cells as numbers, NaN for others."""
    try:
        if is_plain("".join(cells)):
            found = np.array(list(map(float, cells)), np.float64)
            found[~np.isfinite(found)] = np.nan
            return found
    except ValueError:
        pass
    return np.array([_number(cell) for cell in cells], np.float64)


def _number(cell: str) -> float:
    try:
        number = float(cell) if is_plain(cell) else math.nan
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
