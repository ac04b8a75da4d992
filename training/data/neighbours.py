"""Whether neighbouring rows of a table say that they follow each other in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.calibration.distributions import ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EVIDENT = 0.8
"""Rank correlation of neighbouring rows, median of the columns, from which on their order is evident. Tables that lie
sorted by some property reach 0.6."""

_LEAST_ROWS = 50
"""Rows from which on such a correlation says something."""

_LEAST_SENSORS, _FAR_APART = 3, 10
"""Rows that may be sensors, and how many times the spread of one their means must be spread."""

_LOOKED_AT = 50_000
"""Rows that are looked at."""


def is_evident(values: NDArray[Any], segment: NDArray[np.int64]) -> bool:
    """Whether neighbouring rows of (rows, columns) are so much alike that they must follow each other in time.

    The median over the columns that vary of the rank correlation of successive rows (Spearman) is `_EVIDENT` or more.
    """
    if len(values) < _LEAST_ROWS:
        return False
    values, segment = whole(values[:_LOOKED_AT]), segment[:_LOOKED_AT]
    ranks = [z for z in map(_standard_ranks, values.T) if z is not None]
    follows = segment[1:] == segment[:-1]
    if not ranks or not follows.any():
        return False
    return float(np.median([(z[1:] * z[:-1])[follows].mean() for z in ranks])) >= _EVIDENT


def lies_on_its_side(values: NDArray[Any]) -> bool:
    """Whether the rows of (rows, columns) seem to be sensors, and the columns the times of their readings.

    There are fewer rows than columns, and rows differ by far more than what stands in one of them.
    """
    rows, columns = values.shape
    if not _LEAST_SENSORS <= rows < columns or np.isnan(values).any():
        return False
    within = np.median(values.std(axis=1, dtype=np.float64))
    return bool(values.mean(axis=1, dtype=np.float64).std() > _FAR_APART * within)


def whole(values: NDArray[Any]) -> NDArray[Any]:
    """Values (rows, columns) with the mean of its column in each missing cell, for what knows no missing ones."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    held = np.maximum((~missing).sum(axis=0), 1)
    means = np.where(missing, 0, values).sum(axis=0, dtype=np.float64) / held
    return np.where(missing, means, values).astype(values.dtype)


def _standard_ranks(column: NDArray[Any]) -> NDArray[np.float64] | None:
    """Ranks of a column with mean 0 and variance 1; None of one that is constant."""
    found = ranks(column)
    spread = found.std()
    return (found - found.mean()) / spread if spread > 0 else None
