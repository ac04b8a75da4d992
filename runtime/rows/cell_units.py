"""Cells of a number and its unit: 20.4%, 61.9 MiB."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from ..layout import TableFormat
from .cells import bad_reason, is_missing

_WITH_UNIT = re.compile(
    r"((?>[+-]?[\d.,'’ \u00a0\u202f]*\d[.,]?(?:[eE][+-]?\d+)?))\s*"
    r"((?:[^\W\d_]|[°%‰])(?:[^\s,;\d]|[23](?!\d)){0,11})"
)

_MOSTLY = 0.9
"""Share of the filled cells of a column that must come with its unit."""

_PREFIXES = {
    **{"n": 1e-9, "µ": 1e-6, "u": 1e-6, "m": 1e-3, "c": 1e-2, "": 1.0, "h": 1e2, "k": 1e3, "K": 1e3},
    **{"M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40},
}
_BASES = ("B/s", "bit/s", "bps", "B", "bit", "Pa", "Hz", "Wh", "W", "VA", "V", "A", "Ohm", "Ω", "J", "N", "g", "m", "s")
"""Units that people write with prefixes, so that one column may hold kB and MB."""


def split_unit(cell: str) -> tuple[str, str] | None:
    """A number, not yet looked at, and the unit that stands behind it; None for anything else.

    >>> split_unit("61.9 MiB")
    ('61.9', 'MiB')
    """
    found = _WITH_UNIT.fullmatch(cell.strip())
    return (found[1].strip(), found[2]) if found else None


def in_unit(cell: str, unit: str, form: TableFormat) -> str:
    """A number as float() takes it, brought to this unit; a cell that has no other is no number then either.

    >>> in_unit("1,5 GiB", "MiB", TableFormat(";", ","))
    '1536.0'
    """
    parts = split_unit(cell)
    ratio = ratio_of(parts[1], unit) if parts is not None else None
    if parts is None or ratio is None:
        return form.with_point(cell)
    number = form.with_point(parts[0])
    return number if ratio == 1.0 or bad_reason(number) else repr(float(number) * ratio)


@cache
def ratio_of(unit: str, wanted: str) -> float | None:
    """How many of the wanted unit one of this unit is, None where they measure different things."""
    if unit == wanted:
        return 1.0
    of, to = _parts(unit), _parts(wanted)
    return of[0] / to[0] if of and to and of[1] == to[1] else None


def _parts(unit: str) -> tuple[float, str] | None:
    """What a prefix stands for, and the unit behind it."""
    for base in _BASES:
        prefix = unit.removesuffix(base)
        if unit.endswith(base) and prefix in _PREFIXES:
            return _PREFIXES[prefix], base
    return None


def unit_in(cells: Sequence[str], form: TableFormat) -> str:
    """The unit that stands behind the numbers of a column, "" where there is none.

    Nearly all filled cells must have it, or one that differs from it by a prefix: 3A beside 7B are two codes.
    """
    filled = [cell for cell in cells if not is_missing(cell)]
    parts = [parts for parts in map(split_unit, filled) if parts and not bad_reason(form.with_point(parts[0]))]
    if not parts:
        return ""
    unit, _ = Counter(each[1] for each in parts).most_common(1)[0]
    held = sum(ratio_of(each[1], unit) is not None for each in parts)
    return unit if held >= _MOSTLY * len(filled) else ""
