"""Limits as they are typed, whether the columns can have them, and the rows of a recording that break them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import numpy as np

from ...runtime.bundle import Column, Limit, Operator, Treatment
from ...runtime.errors import InputError
from ...runtime.layout import Layout
from ...runtime.limits import broken_limits, describe_broken
from ...runtime.rows.cells import bad_reason
from .holes import MOST_BAD
from .sources import Read
from .suspects import Doubt

_REFUSED: dict[Treatment, str] = {
    "category": "a category, whose values are only names",
    "class": "a class, whose values are only names",
    "angle": "an angle, which has no greatest reading",
}
"""Treatments of columns that cannot have a limit, and why."""


def parse_limits(texts: Iterable[str]) -> tuple[Limit, ...]:
    """Limits from texts like "pressure<8"; the name may hold anything, the last operator counts.

    Raises InputError for one that is no limit, and for two that no reading can keep.

    >>> [str(limit) for limit in parse_limits(["pressure<8", "Temp (°C) >= -5.5"])]
    ['pressure < 8', 'Temp (°C) >= -5.5']
    """
    limits = tuple(dict.fromkeys(map(_parse, texts)))
    for name in dict.fromkeys(limit.column for limit in limits):
        own = [limit for limit in limits if limit.column == name]
        low, high = max(own, key=lambda limit: _kept(limit)[0]), min(own, key=lambda limit: _kept(limit)[1])
        if _kept(low)[0] > _kept(high)[1]:
            raise InputError(f"--limit '{low}' and --limit '{high}' contradict each other: no reading keeps both")
    return limits


def _parse(text: str) -> Limit:
    found = re.fullmatch(r"(.*)(<=|>=|<|>)([^<>]*)", text, re.DOTALL)
    name, operator, value = map(str.strip, found.groups()) if found else ("", "", "")
    if not name:
        raise InputError(f"--limit {shlex.quote(text)} is no limit; expected a column, <, <=, > or >= and a number")
    if why := bad_reason(value):
        raise InputError(f"--limit {shlex.quote(text)}: the limit {why}; write it plain, like 'pressure<8.5'")
    return Limit(name, cast(Operator, operator), float(value))


def _kept(limit: Limit) -> tuple[float, float]:
    """The lowest and the highest float32 that keeps a limit."""
    value = np.float32(limit.value)
    with np.errstate(over="ignore"):
        below, above = (float(np.nextafter(value, np.float32(end))) for end in (-np.inf, np.inf))
    return {
        "<": (-np.inf, below),
        "<=": (-np.inf, float(value)),
        ">": (above, np.inf),
        ">=": (float(value), np.inf),
    }[limit.operator]


def refuse_unscored(
    limits: Sequence[Limit],
    names: Sequence[str],
    left_out: Mapping[str, str],
    doubts: Mapping[str, Doubt],
    layout: Layout,
) -> None:
    """Raises InputError for a limit of a column that is not among those scored.

    Parameters
    ----------
    names : of the columns that are scored
    left_out, doubts : by column, why others are not
    """
    why = {name: f"it {reason}" for name, reason in left_out.items()}
    for name, doubt in doubts.items():
        keep = shlex.quote(f"{name}={doubt.value[1]}")
        why[name] = f"{doubt.value[0]}; --treat {keep} keeps it"
    why |= dict.fromkeys(layout.stamps.columns if layout.stamps else (), "it holds the time")
    why |= {layout.key: "it says whose row it is"} if layout.key is not None else {}
    for limit in limits:
        if limit.column not in names:
            reason = why.get(limit.column, "--columns or --exclude leaves it out")
            raise InputError(
                f"--limit '{limit}': a limit is for columns that are scored, and {limit.column!r} is not: {reason}"
            )


def refuse_untaken(limits: Sequence[Limit], columns: Iterable[Column]) -> None:
    """Raises InputError for a limit of a column that is not taken as numbers."""
    treatments = {column.name: column.treatment for column in columns}
    for limit in limits:
        why = _REFUSED.get(treatments[limit.column])
        if why is not None:
            raise InputError(f"--limit '{limit}': column {limit.column!r} is taken as {why}; a limit is for numbers")


def within_limits(read: Read, limits: Sequence[Limit], names: Sequence[str], say: Callable[[str], None]) -> Read:
    """The same without rows that break a limit, which are counted in a line. Raises InputError when they are many."""
    broken = broken_limits(read.values, limits, names)
    beyond = broken.any(axis=1) & read.kept
    if not beyond.any():
        return read
    count, rows, first = int(beyond.sum()), len(read.values), int(beyond.argmax())
    why = describe_broken(read.values[first], broken[first], limits, names)
    text = f"{count} of {rows} rows left out: they break a limit (first: {read.place(first)}, {why})"
    if count > MOST_BAD * rows:
        raise InputError(
            f"{text}; more than a fifth is too much for a recording of normal operation: set limits that it keeps"
        )
    say(text)
    return read._replace(kept=read.kept & ~beyond)
