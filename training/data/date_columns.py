"""Dates that stand in several columns, year, month, day and hour: found by name, or by place where there are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.layout import Stamps
from ...runtime.rows.date_parts import PATTERNS, read_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMES = {
    "%Y": frozenset({"year", "yr", "yyyy", "jahr", "año", "ano", "année", "annee", "anno"}),
    "%m": frozenset({"month", "mon", "mo", "mm", "monat", "mes", "mois", "mese"}),
    "%d": frozenset({"day", "dd", "tag", "día", "dia", "jour", "giorno", "dom", "mday"}),
    "%j": frozenset({"doy", "jday", "yday", "dayofyear", "julianday", "julday"}),
    "%H": frozenset({"hour", "hours", "hr", "hh", "stunde", "hora", "heure", "ora"}),
    "%M": frozenset({"minute", "minutes", "min", "mi", "minuto"}),
    "%S": frozenset({"second", "seconds", "sec", "ss", "sekunde", "segundo"}),
}
"""What the parts of a date are called, in small letters and without marks between."""

_PLACES = (
    *("%Y %j %m %d %H %M", "%Y %m %d %H %M %S", "%Y %m %d %H %M", "%Y %m %d %H", "%Y %j %H %M", "%Y %j %H%M"),
    "%Y %m %d",
)
"""In which order parts stand in the first columns of a table without a header."""

_MOSTLY = 0.5
"""Share of the rows whose parts must be a date."""

_EVEN = 0.9
"""Share of the steps that are alike, from which on numbers without a name are believed to be dates."""


def find_parts(header: Sequence[str], sample: Sequence[Sequence[str]]) -> Stamps | None:
    """The columns that make up the date, and the time of day if there is one; None where a table has none."""
    if all(re.fullmatch(r"c\d+", name) for name in header):
        return _by_place(header, sample)
    return _by_name(header, sample)


def parts_named(header: Sequence[str], names: Sequence[str]) -> Stamps | None:
    """Columns that somebody named, in whatever order; None where their names do not say what they hold."""
    places = {part: name for name in names if (part := part_of(name))}
    found = _stamps(places)
    return found if found is not None and {*found.columns} == {*names} and {*names} <= {*header} else None


def spare_parts(header: Sequence[str], sample: Sequence[Sequence[str]], stamps: Stamps | None) -> tuple[str, ...]:
    """The columns that say the date once more, where the time stamps are in others."""
    found = find_parts(header, sample) if stamps is not None and not stamps.others else None
    return () if found is None or stamps is None or {*stamps.columns} & {*found.columns} else found.columns


def _by_name(header: Sequence[str], sample: Sequence[Sequence[str]]) -> Stamps | None:
    places = dict[str, str]()
    for name in header:
        part = part_of(name)
        if part is not None and list(header).count(name) == 1:
            places.setdefault(part, name)
    found = _stamps(places)
    if found is None:
        return None
    last = list(header).index(found.columns[-1])
    if "%H" not in found.pattern and last + 1 < len(header):  # hours and minutes in one number, whatever it is called
        clock = header[last + 1]
        longer = Stamps(found.column, pattern=f"{found.pattern} %H%M", others=(*found.others, clock))
        is_clock = bool(clock) and _is_clock(header, sample, clock) and not _goes_on(_times(header, sample, found))
        if is_clock and _goes_on(_times(header, sample, longer)):
            return longer
    while found is not None:
        times = _times(header, sample, found)
        if len(times) and np.isfinite(times).mean() > _MOSTLY:
            return found
        found = _without_last(found)  # a column called min may hold the lowest temperature
    return None


def _without_last(stamps: Stamps) -> Stamps | None:
    """The same without the smallest part of the time of day; None where there is only the day."""
    day, _, last = stamps.pattern.rpartition(" ")
    if last not in ("%H", "%M", "%S"):
        return None
    return Stamps(stamps.column, pattern=day, others=stamps.others[:-1])


def _by_place(header: Sequence[str], sample: Sequence[Sequence[str]]) -> Stamps | None:
    for order in _PLACES:
        parts = order.split()
        if len(parts) >= len(header):
            continue
        places = dict(zip(parts, header, strict=False))
        hour = places.pop("%H%M", None)
        found = _stamps(places)
        if found is not None and hour is not None and _is_clock(header, sample, hour):
            found = Stamps(found.column, pattern=f"{found.pattern} %H%M", others=(*found.others, hour))
        if found is None or not _goes_on(times := _times(header, sample, found)):
            continue
        if "%j" not in places or "%m" not in places:
            return found
        of_year = _times(header, sample, Stamps(places["%Y"], pattern="%Y %j", others=(places["%j"],)))
        if np.array_equal(of_year, np.floor(times / 86400) * 86400):
            return found
    return None


def part_of(name: str) -> str | None:
    """The part of a date, as strptime calls it, that a header names."""
    plain = re.sub(r"[\s_.-]", "", re.sub(r"\s*[\[(].*[\])]$", "", name)).lower()
    return next((part for part, names in _NAMES.items() if plain in names), None)


def _stamps(places: dict[str, str]) -> Stamps | None:
    """The stamps of the parts that stand in these columns, as many as follow each other from the year down."""
    if "%Y" not in places:
        return None
    day = ["%Y", "%m", "%d"] if {"%m", "%d"} <= {*places} else ["%Y", "%j"]
    if any(part not in places for part in day):
        return None
    clock = []
    for part in ("%H", "%M", "%S"):
        if part not in places:
            break
        clock.append(part)
    parts = [*day, *clock]
    pattern = " ".join(parts)
    assert pattern in PATTERNS
    return Stamps(places["%Y"], pattern=pattern, others=tuple(places[part] for part in parts[1:]))


def _times(header: Sequence[str], sample: Sequence[Sequence[str]], stamps: Stamps) -> NDArray[np.float64]:
    places = [list(header).index(name) for name in stamps.columns]
    return read_parts([" ".join([row[at] for at in places if at < len(row)]) for row in sample], stamps.pattern)


def _is_clock(header: Sequence[str], sample: Sequence[Sequence[str]], name: str) -> bool:
    """Whether numbers like 930 in a column may be times of day: an hour or a month is less than 100."""
    place = list(header).index(name)
    return any(bool(re.fullmatch(r"\d{3,4}(?:\.0*)?", row[place].strip())) for row in sample if place < len(row))


def _goes_on(times: NDArray[np.float64]) -> bool:
    """Whether all are times, and go on evenly."""
    steps = np.diff(times)
    if len(steps) < 2 or not np.isfinite(times).all() or not (steps > 0).all():
        return False
    return bool(np.mean(np.abs(steps - np.median(steps)) <= 0.1 * np.median(steps)) >= _EVEN)
