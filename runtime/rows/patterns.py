"""From a time stamp to the patterns by which it may be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product

from .stamp_reader import split_pattern

_MONTHS = [
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
]
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

_TOKEN = re.compile(r"\d+|[^\W\d_]+|[\W_]+")

_WITH_CLOCK = re.compile(
    r"(?<!\d)(?P<hour>[01]?\d|2[0-4])(?P<mark>:)(?P<minute>\d\d)(?:(?P<second>:\d\d)(?P<fraction>[.,:]\d+)?)?"
    r"(?P<half>\s*[ap]\.?m\.?)?(?P<zone>\s*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?",
    re.IGNORECASE,
)
_OTHER_CLOCK = re.compile(
    r"(?:(?<=[ T_,])|(?<=\d{4}-\d\d-\d\d-)|(?<=\d{8}:))"
    r"(?P<hour>[01]?\d|2[0-4])(?P<mark>[.h_-]?)(?P<minute>\d\d)(?:(?P<second>(?P=mark)\d\d)"
    r"(?P<fraction>[.,]\d+)?)?(?P<half>\s*[ap]\.?m\.?)?(?P<zone>\s*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?$",
    re.IGNORECASE,
)
_HOUR = re.compile(r"(?<=[ T_,])(?P<hour>[01]?\d|2[0-4])(?P<half>\s*[ap]\.?m\.?)?$", re.IGNORECASE)


def patterns_of(cell: str) -> list[str]:
    """The patterns, as `layout.Stamps` holds them, by which a cell that is no number may be read, the likelier first.

    >>> patterns_of("1/5/26 6:00 PM"), patterns_of("2026-01-05T06:00:00Z"), patterns_of("on")
    (['%d/%m/%y %I:%M %p', '%m/%d/%y %I:%M %p', '%y/%m/%d %I:%M %p'], [''], [])
    """
    if _is_interval(cell):
        return [""]
    if any(_day_patterns(cell)):
        return ["" if pattern == "%Y-%m-%d" else pattern for pattern in _day_patterns(cell)]
    for form in (_WITH_CLOCK, _OTHER_CLOCK, _HOUR):
        for found in form.finditer(cell):
            before = cell[: found.start()]
            day = before.rstrip(" ,_:-")
            day = day[:-1] if day.endswith("T") and day[-2:-1].isdigit() else day
            if found.end() != len(cell) or (not day and form is not _WITH_CLOCK):
                # The command `date` writes the year at the end.
                if form is _WITH_CLOCK and re.fullmatch(r" \d{4}", cell[found.end() :]):
                    dates = _day_patterns(day + cell[found.end() :])
                    return [f"{each.removesuffix(' %Y')} {_clock_pattern(found)} %Y" for each in dates]
                continue
            between = before[len(day) :]
            patterns = [each + between.replace("%", "%%") + _clock_pattern(found) for each in _day_patterns(day)]
            if patterns:
                return ["" if _is_iso(pattern, between) else pattern for pattern in patterns]
    return []


def _is_interval(cell: str) -> bool:
    """Whether a cell says when a row begins and ends, as ISO 8601 writes it; it is read as the begin."""
    begin, stroke, end = cell.partition("/")
    return bool(stroke) and all(re.match(r"\d{4}-\d\d-\d\dT\d\d", part) for part in (begin, end))


def _is_iso(pattern: str, between: str) -> bool:
    return split_pattern(pattern)[0] == "%Y-%m-%d" and between in (" ", "T") and "%H:%M" in pattern


def _clock_pattern(found: re.Match[str]) -> str:
    parts = found.groupdict()
    mark, second, fraction = parts.get("mark") or "", parts.get("second"), parts.get("fraction")
    pattern = "%I" if parts["half"] else "%H"
    if parts.get("minute"):
        pattern += f"{mark}%M" + (f"{mark}%S" if second else "") + (f"{fraction[0]}%f" if fraction else "")
    zone = (parts.get("zone") or "").strip()
    named = f" {zone}" if zone.isalpha() and len(zone) > 1 else "%z" if zone else ""
    return pattern + (" %p" if parts["half"] else "") + named


def _day_patterns(text: str) -> list[str]:
    """The patterns by which a date may be read, the likelier first; [""] of nothing, [] of what is no date."""
    if not text:
        return [""]
    if ":" in text and not re.fullmatch(r"\d{4}:\d\d:\d\d", text):  # as cameras write dates
        return []
    tokens: list[str] = _TOKEN.findall(text)
    numbers = [at for at, token in enumerate(tokens) if token.isdecimal()]
    written, named = list(tokens), 0
    for at, token in enumerate(tokens):
        word = token.lower()
        if not token.isalpha():
            written[at] = token.replace("%", "%%")
        elif len(word) > 2 and word in (*_MONTHS, *(month[:3] for month in _MONTHS)):
            written[at], named = "%b" if len(word) == 3 else "%B", named + 1
        elif word in (*_DAYS, *(day[:3] for day in _DAYS)):
            written[at] = "%a" if len(word) == 3 else "%A"
        elif at:  # a word before the date may belong to it, one in it not
            return []
    found = []
    for parts in _orders([tokens[at] for at in numbers], is_named=named == 1):
        for at, part in zip(numbers, parts, strict=True):
            written[at] = part
        found.append("".join(written))
    return found if named < 2 else []


def _orders(numbers: Sequence[str], *, is_named: bool) -> list[tuple[str, ...]]:
    """What the numbers of a date may be, in their order."""
    sizes = [len(number) for number in numbers]
    if sizes == [8] and not is_named and numbers[0][:2] in ("19", "20"):
        return [("%Y%m%d",)]
    if sizes == [4, 3] and not is_named:
        return [("%Y", "%j")]
    wanted = {"d", "y"} if is_named else {"d", "m", "y"}
    if len(numbers) != len(wanted):
        return []
    usual = [("d", "m", "y"), ("m", "d", "y"), ("y", "m", "d")] if not is_named else [("d", "y"), ("y", "d")]
    possible = [
        [part for part in wanted if (part == "y" and size in (2, 4)) or (part != "y" and size <= 2)] for size in sizes
    ]
    orders = [order for order in usual if order in set(product(*possible))]
    if is_named:
        orders = orders[:1]  # 05-Jan-26 begins with the day
    return [
        tuple("%Y" if part == "y" and size == 4 else f"%{part}" for part, size in zip(order, sizes, strict=True))
        for order in orders
    ]
