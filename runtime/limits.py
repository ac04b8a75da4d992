"""Limits that people set beside what was learnt: which readings break them, and how that is said."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .bundle import Limit, Operator

if TYPE_CHECKING:
    from numpy.typing import NDArray

BROKEN: dict[Operator, Callable[[Any, Any], Any]] = {
    "<": operator.ge,
    "<=": operator.gt,
    ">": operator.le,
    ">=": operator.lt,
}
"""How a reading that breaks a limit compares with its value, of arrays and of tensors; NaN compares with nothing, and
breaks none."""


def newest_rows(x: NDArray[Any]) -> NDArray[Any]:
    """The newest row of each input, a view (inputs, features) of rows or of windows (inputs, window, features)."""
    return x[:, -1] if x.ndim == 3 else x


def broken_limits(x: NDArray[np.float32], limits: Sequence[Limit], names: Sequence[str]) -> NDArray[np.bool_]:
    """Which limits the newest row of each input breaks, compared as float32: (inputs, limits).

    Parameters
    ----------
    x : (inputs, features), or (inputs, window, features) with the newest row last; raw units
    names : of the features
    """
    newest = newest_rows(x)
    broken = np.zeros((len(x), len(limits)), np.bool_)
    for place, limit in enumerate(limits):
        broken[:, place] = BROKEN[limit.operator](newest[:, names.index(limit.column)], np.float32(limit.value))
    return broken


def breaks_any(x: NDArray[Any], limits: Sequence[Limit], names: Sequence[str]) -> NDArray[np.bool_]:
    """Whether the newest row of each input breaks a limit, (inputs,); images have none."""
    any_of_them = np.zeros(len(x), np.bool_)
    return broken_limits(x, limits, names).any(axis=1, out=any_of_them) if limits else any_of_them


def describe_broken(
    row: NDArray[np.float32], broken: NDArray[np.bool_], limits: Sequence[Limit], names: Sequence[str]
) -> str:
    """What of a row (features,) breaks these of the limits (limits,), like "pressure is 9.2, limit < 8"."""
    parts = []
    for limit in (limits[place] for place in np.flatnonzero(broken).tolist()):
        reading = str(row[names.index(limit.column)]).removesuffix(".0")
        parts.append(f"{limit.column} is {reading}, limit {limit.operator} {limit.written}")
    return "; ".join(parts)
