"""Several machines in one file: the column that tells their rows apart, where nobody has named it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import few
from .date_columns import part_of
from .suspects import MOST_LEVELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sources import Read

_LEAST_BACK = 10
"""Steps in which time does not go forward from which on it is no accident that a column explains all of them."""

_SHARED = 1.1
"""Rows of a stamp on average from which on rows share stamps."""

_LEAST_IN_RUN = 5
"""Rows that are counted anew, on average: fewer may be the places of a code."""

_EXPLAINED = 0.95
"""Share of such steps that are none between the rows of one value."""


_LONG_WORDS = frozenset(
    {"value", "values", "val", "reading", "wert", "valor", "sensor", "tag", "variable", "parameter", "metric", "signal"}
    | {"channel", "measurement", "quantity", "field", "attribute", "item", "point", "tagname"}
)
_KEY_WORDS = frozenset({"machine", "device", "unit", "asset", "pump", "turbine", "line", "host", "station", "vehicle"})
"""Words of headers."""


def find_mixture(read: Read, names: Sequence[str]) -> str | None:
    """The column but for whose values time would go forward all the way; None where it does, or no column explains it.

    Rows of several machines take turns, or come one machine after the other. Without time stamps, it is the column for
    each of whose values another one counts the rows anew.
    """
    read = read.reordered(np.lexsort((read.row, read.file)))
    if read.times is None:
        return _find_counted_anew(read.values[read.kept], names)
    usable = read.kept & np.isfinite(read.times)
    times, values, recording = read.times[usable], read.values[usable], read.recording[usable]
    back = _steps_back(times, recording)
    for name, cells in zip(names, values.T, strict=True):
        levels, whose = np.unique(cells, return_inverse=True)
        if not 2 <= len(levels) <= MOST_LEVELS or not np.array_equal(levels, np.rint(levels)):
            continue
        runs = np.count_nonzero(np.diff(whose)) + 1
        if back < (len(levels) - 1 if runs == len(levels) else _LEAST_BACK) or len(times) < 3 * len(levels):
            continue
        order = np.lexsort((np.arange(len(times)), whose, recording))
        own = recording[order] * len(levels) + whose[order]
        if _steps_back(times[order], own) <= (1 - _EXPLAINED) * back and _is_steady(times, whose):
            return name
    return None


def _find_counted_anew(values: NDArray[np.float32], names: Sequence[str]) -> str | None:
    """The first column whose values come in one run each, in which another goes up by 1 from row to row.

    Days, in which hours are counted, are none.
    """
    if len(values) < 2:
        return None
    steps = np.diff(values, axis=0)
    moves = steps != 0
    for place, name in enumerate(names):
        ends = moves[:, place]
        runs = np.count_nonzero(ends) + 1
        if runs < 2 or len(values) < _LEAST_IN_RUN * runs or len(np.unique(values[:, place])) != runs:
            continue
        counts = np.all((steps == 1) != ends[:, None], axis=0) & np.all(steps[ends] < 0, axis=0)
        if any(counts[other] and part_of(names[other]) is None for other in range(len(names)) if other != place):
            return name if part_of(name) is None else None
    return None


def is_like_long(name: str, value: str) -> bool:
    """Whether two columns are called as names and values of a long table are, and not as a machine and a reading.

    >>> is_like_long("sensor", "value"), is_like_long("VarName", "VarValue"), is_like_long("machine", "temp")
    (True, True, False)
    """
    words = {*re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", f"{name} {value}").lower())}
    return bool(words & _LONG_WORDS) and not words & _KEY_WORDS


def describe_mixture(name: str, texts: Mapping[str, Sequence[str]], option: str, *, timed: bool) -> str:
    """What is wrong, for the user; `option` is what helps."""
    whose = f" ({few(map(repr, texts[name]), 3)})" if name in texts else ""
    if option == "--long":
        return f"each time has a row for each {name!r}{whose}: this is a long table"
    again = "time goes back or repeats, but not within the rows of one" if timed else "rows are counted anew for each"
    return f"{again} {name!r}{whose}: several machines share the file"


def _is_steady(times: NDArray[np.float64], whose: NDArray[np.int64]) -> bool:
    """Whether each value, where rows share stamps, comes up at most of the stamps of its time; a reading does not."""
    stamps, counts = np.unique(times, return_counts=True)
    if counts.mean() < _SHARED:
        return True
    for level in range(int(whose.max()) + 1):
        own = times[whose == level]
        between = np.searchsorted(stamps, own.max(), "right") - np.searchsorted(stamps, own.min())
        if len(np.unique(own)) < 0.5 * between:
            return False
    return True


def _steps_back(times: NDArray[np.float64], recording: NDArray[np.int64]) -> int:
    """Steps within a recording in which time does not go forward."""
    return int(np.count_nonzero((np.diff(times) <= 0) & (np.diff(recording) == 0)))
