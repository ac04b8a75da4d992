"""Where the time stamps of a table are, and what they say of the order of its rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...runtime.errors import InputError, few
from ...runtime.layout import NUMBERS_OF, Stamps
from ...runtime.rows.cells import bad_reason, is_missing, shown
from ...runtime.rows.forms import has_clock, has_day, possible_patterns, settle_pattern
from ...runtime.rows.stamp_reader import StampReader
from ...runtime.rows.times import LEAST_EPOCH_S, TIME_NAMES, Clock, clock_of, is_break
from .date_columns import find_parts, parts_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOUR_NAMES = frozenset({"hour", "hr", "hh", "stunde"})

_INTERRUPTED = 30
"""Periods from which on a step is an interruption, whatever the others are."""

_OFTEN = 0.02
"""Share of steps that are gaps from which on the stamps are said to jitter."""

_NICE_S = [
    unit * size for unit in (1e-3, 1e-2, 0.1, 1, 10, 60, 600, 3600, 21600, 86400) for size in (1.0, 1.5, 2.0, 3.0, 5.0)
]

_SUNDAY, _BACK, _LATEST_HOUR = 6, (3, 4, 9, 10, 11), 4
"""When clocks are put back, in either half of the world."""

_LEAST_MOMENT_S, _LAST_MOMENT_S = 9.4e8, 2.6e9
"""Times since 1970 within which people record: from 2000 to 2050."""

_TIME_WORDS = TIME_NAMES | {"utc", "clock", "stamp", "yyyymmdd", "yyyymmddhh", "yyyymmddhhmm"}
"""Words of a header that may name time stamps; only their cells tell whether it does."""


class _Dated(NamedTuple):
    """A column whose cells are dates, times of day, or numbers under a name that says that they are stamps."""

    place: int
    tier: int
    """How much speaks for it; 0 is most."""
    has_day: bool
    has_clock: bool
    is_small: bool
    """Whether it counts from its own beginning, or is a time of day without marks, like 930."""


def find_stamps(
    header: Sequence[str],
    sample: Sequence[Sequence[str]],
    named: str | None,
    column: Callable[[str], Sequence[str]],
    *,
    pattern: str | None = None,
) -> Stamps | None:
    """Where the time stamps are and how they are written: in the columns named, else found by name and content.

    Parameters
    ----------
    named : a column, or those of a date and a time of day with a comma between them
    column : gives all cells of a column; called only where the first rows leave the form in doubt
    pattern : how they are written, where somebody said it

    Raises
    ------
    InputError
        when a named column is missing, and as `forms.settle_pattern`
    """
    parts = None
    if named is not None:
        names = _named(header, named)
        parts = parts_named(header, names)
        _refuse_many(names, parts)
    else:
        names = _found(header, sample, pattern)
        if not names or _counts_itself(names, header, sample):
            parts = find_parts(header, sample) if pattern is None else None
    if parts is not None:
        return parts
    if not names:
        return None
    if pattern is None:
        first = _joined([_cells(header, sample, name) for name in names])
        pattern = settle_pattern(first, lambda: _joined([column(name) for name in names]), column=" and ".join(names))
        is_day = named is None and pattern is not None and not has_clock(first, pattern) and len({*first}) == 1
        if is_day and len(first) > 2 and len({*map(str.strip, column(names[0]))}) == 1:
            return None  # the day of a recording says nothing of its rows
    return Stamps(names[0], names[1] if len(names) > 1 else "", pattern or "")


def _named(header: Sequence[str], named: str) -> list[str]:
    names = [named] if named in header else [part.strip() for part in named.split(",")]
    missing = next((name for name in names if name not in header), None)
    if missing is not None:
        raise InputError(f"time column {missing!r} is not in the header: {few(map(shown, header), 12)}")
    return names


def _refuse_many(names: Sequence[str], parts: Stamps | None) -> None:
    if len(names) > 2 and parts is None:
        raise InputError(
            f"time column names {len(names)} columns, expected one, those of a date and a time of day, or of year, "
            "month, day, hour, ... by these names"
        )


def _counts_itself(names: Sequence[str], header: Sequence[str], sample: Sequence[Sequence[str]]) -> bool:
    """Whether a column called like time stamps holds small numbers, which may be a time of day, like 930."""
    cells = [cell for cell in _cells(header, sample, names[0]) if not bad_reason(cell)]
    return len(names) == 1 and bool(cells) and max(map(float, cells)) < LEAST_EPOCH_S


def _cells(header: Sequence[str], sample: Sequence[Sequence[str]], name: str) -> list[str]:
    place = list(header).index(name)
    return [row[place] if place < len(row) else "" for row in sample]


def _found(header: Sequence[str], sample: Sequence[Sequence[str]], pattern: str | None) -> list[str]:
    """The columns that hold time stamps: one, two of a date and a time of day, or none."""
    # Pandas writes no name above its index.
    lone = [(at, name) for at, name in enumerate(header) if name or [*header].count("") == 1]
    dated = [found for at, name in lone if (found := _look_at(at, name, _cells(header, sample, name), pattern))]
    whole = [each for each in dated if each.has_day]
    if not whole:
        return []
    best = min(whole, key=lambda each: (each.tier, each.is_small, not each.has_clock, each.place))
    names = [header[best.place]]
    if best.has_clock:
        return names
    places = {each.place for each in dated if not each.has_day}
    places |= {place for place, name in enumerate(header) if _plain(name) in TIME_NAMES | _HOUR_NAMES}
    for place in sorted(places - {best.place}, key=lambda place: abs(place - best.place)):
        pair = [names[0], header[place]]
        is_near = abs(place - best.place) == 1 or _plain(header[place]) in TIME_NAMES
        if is_near and (pattern is not None or _is_pair(_joined([_cells(header, sample, name) for name in pair]))):
            return pair
    return names


def _is_pair(cells: Sequence[str]) -> bool:
    """Whether a date and what stands beside it are a stamp."""
    patterns = possible_patterns(cells)
    return bool(patterns) and has_day(patterns[0]) and has_clock(cells, patterns[0])


def _plain(name: str) -> str:
    """A header without a unit."""
    return re.sub(r"\s*[\[(].*[\])]$", "", name).strip().lower()


def _joined(cells: Sequence[Sequence[str]]) -> list[str]:
    """The stamps of one column, or of two."""
    return [" ".join(each) for each in zip(*cells, strict=True)]


def _look_at(place: int, name: str, cells: Sequence[str], pattern: str | None) -> _Dated | None:
    """What a column holds of the time; None where that is nothing."""
    filled = [cell for cell in cells if not is_missing(cell)]
    words = {*re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())}
    if pattern is not None and 2 * np.isfinite(StampReader(pattern).read(filled)).sum() > len(filled):
        patterns = [pattern]
    else:
        patterns = possible_patterns(filled)
    if not patterns:
        return None
    plain = _plain(name)
    are_numbers = patterns[0] in NUMBERS_OF or 2 * sum(not bad_reason(cell) for cell in filled) > len(filled)
    is_named = plain in TIME_NAMES or plain in _HOUR_NAMES
    if are_numbers and not is_named and not (words & _TIME_WORDS and _are_moments(filled, patterns[0])):
        return None  # any number may count something
    is_small = patterns[0] == "s" and not any(float(cell) >= LEAST_EPOCH_S for cell in filled if not bad_reason(cell))
    if plain in _HOUR_NAMES and not is_small:
        return None
    is_dated = has_day(patterns[0])
    clocked = has_clock(filled, patterns[0])
    if is_named:
        tier = 0
    elif place == 0 and is_dated:
        tier = 1
    elif words & _TIME_WORDS:
        tier = 2
    elif is_dated and not clocked:
        return None  # a date beside a recording may be that of a lot
    else:
        tier = 3
    # An hour alone is no stamp.
    return _Dated(place, tier, is_dated and plain not in _HOUR_NAMES, clocked, is_small)


def _are_moments(cells: Sequence[str], pattern: str) -> bool:
    """Whether numbers under a name that speaks of time are dates, like 2026010506, or times since 1970."""
    if pattern.startswith("%Y%m%d"):
        return True
    times = StampReader(pattern).read(cells)
    return pattern in NUMBERS_OF and bool(np.all((times > _LEAST_MOMENT_S) & (times < _LAST_MOMENT_S)))


def segments_of(
    kept: NDArray[np.bool_],
    times: NDArray[np.float64] | None,
    recording: NDArray[np.int64],
    max_gap_s: float | None = None,
) -> tuple[NDArray[np.int64], Clock | None]:
    """Number of each row's unbroken stretch, which lies within a recording, and how time goes on in the longest one."""
    breaks = np.zeros(len(kept), np.int64)
    breaks[1:] |= ~kept[:-1] | (np.diff(recording) != 0)
    if times is None or len(times) == 1:
        return np.cumsum(breaks), None
    clock = clock_of(longest(times, recording))
    if clock is None:
        raise InputError("the time stamps never go forward; name the right column with --time-column")
    clock = clock._replace(max_gap_s=max_gap_s)
    breaks[1:] |= is_break(np.diff(times), 1, clock)
    return np.cumsum(breaks), clock


def longest(times: NDArray[np.float64], recording: NDArray[np.int64]) -> NDArray[np.float64]:
    """The times of the recording with the most rows."""
    found: NDArray[np.float64] = times[recording == np.bincount(recording).argmax()]
    return found


def gap_that_helps(times: NDArray[np.float64], recording: NDArray[np.int64], clock: Clock) -> float:
    """The step, in seconds, up to which steps must count as no gap for nearly all to be none; 0 where that is so.

    Steps that are much longer stay gaps: the recording was interrupted.
    """
    steps = np.diff(times)[np.diff(recording) == 0]
    steps = steps[(steps > 0) & (steps <= _INTERRUPTED * (clock.period_s + clock.stamp_s))]
    if not len(steps) or np.mean(is_break(steps, 1, clock)) < _OFTEN:
        return 0.0
    enough = float(np.quantile(steps, 1 - _OFTEN / 10))
    return next((nice for nice in _NICE_S if nice >= enough), enough)


def summer_time(times: NDArray[np.float64] | None, recording: NDArray[np.int64], stamps: Stamps | None) -> str:
    """What to do about stamps that go back by an hour at night in autumn, "" where they do not."""
    clock = None if times is None else clock_of(longest(times, recording))
    if times is None or clock is None or stamps is None or stamps.zone != "UTC":
        return ""
    steps = np.where(np.diff(recording) == 0, np.diff(times), np.nan)
    by_an_hour = np.abs(steps + 3600 - clock.period_s) <= 0.1 * clock.period_s + clock.stamp_s
    for row in np.flatnonzero(by_an_hour & (clock.period_s <= 3600 * 1.1)).tolist():
        shown = datetime.fromtimestamp(times[row], UTC)
        if shown.weekday() == _SUNDAY and shown.month in _BACK and shown.hour <= _LATEST_HOUR:
            return (
                f"time goes back by an hour on {shown:%Y-%m-%d}, as at the end of summer time: name the zone, like "
                "--time-zone Europe/Berlin"
            )
    return ""
