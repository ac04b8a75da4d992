"""What is known of columns: how far the recent rows are from the training rows, and what alarms were about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle import Column
from ..observation import treat

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_COLUMNS = 20
"""Columns of a model that have series of their own."""

OTHER = "other"
"""What stands for the rest of them."""

_FARTHEST = 100.0
"""Standard deviations from the mean of training that a reading counts at most: one absurd row would hide all others."""

_UNMEASURED = ("category", "class", "constant")
"""Columns without a mean to be far from."""


def grouped(columns: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    """The places of columns, each a name and a place, by the label that their series have.

    >>> grouped([(name, place) for place, name in enumerate("abcdefghijklmnopqrstuvw")])["other"]
    [20, 21, 22]
    """
    groups: dict[str, list[int]] = {}
    for number, (name, place) in enumerate(columns):
        groups.setdefault(name if number < MOST_COLUMNS else OTHER, []).append(place)
    return groups


class ColumnStatistics:
    """Mean and spread of recent rows, by column, in the units in which the graph standardises them.

    Both are exponentially weighted, and begin at what training found: a few rows alone are no drift.

    Parameters
    ----------
    memory : rows after which a row counts 1/e of what it counted when it came
    """

    def __init__(self, columns: Sequence[Column], memory: int) -> None:
        measured = [
            (column, place)
            for place, column in enumerate(columns)
            if column.treatment not in _UNMEASURED and column.scale > 0
        ]
        self._treated = [(at, column) for at, (column, _) in enumerate(measured) if column.treatment != "linear"]
        self._places = [place for _, place in measured]
        self._center = np.array([column.center for column, _ in measured])
        self._scale = np.array([column.scale for column, _ in measured])
        self._groups = grouped([(column.name, at) for at, (column, _) in enumerate(measured)])
        self._memory = memory
        self._mean = np.zeros(len(measured))
        self._square = np.ones(len(measured))

    def add(self, rows: NDArray[np.float32]) -> None:
        """Takes rows (n, features), raw units; cells that are NaN are passed over."""
        values = rows[:, self._places].astype(np.float64)
        for at, column in self._treated:
            values[:, at] = treat(values[:, at], column)
        values = np.clip((values - self._center) / self._scale, -_FARTHEST, _FARTHEST)
        there = np.isfinite(values)
        counts = there.sum(axis=0)
        weight = -np.expm1(-counts / self._memory)
        values[~there] = 0.0
        mean, square = (each.sum(axis=0) / np.maximum(counts, 1) for each in (values, values**2))
        self._mean += weight * (mean - self._mean)
        self._square += weight * (square - self._square)

    @property
    def shift(self) -> dict[str, float]:
        """By label: the recent mean less that of training, in standard deviations of training; of several columns that
        of the one which is farthest off."""
        return self._of_groups(self._mean, np.abs(self._mean))

    @property
    def spread(self) -> dict[str, float]:
        """By label: the recent standard deviation over that of training; of several columns as above."""
        ratio = np.sqrt(np.maximum(self._square - self._mean**2, 0.0))
        return self._of_groups(ratio, np.abs(np.log(np.maximum(ratio, 1e-12))))

    def _of_groups(self, values: NDArray[Any], far: NDArray[Any]) -> dict[str, float]:
        return {label: float(values[max(places, key=far.__getitem__)]) for label, places in self._groups.items()}


class Contributions:
    """What alarms were about: the sum, over alarms, of each column's share of the score."""

    def __init__(self, names: Sequence[str]) -> None:
        self._groups = grouped([(name, place) for place, name in enumerate(names)])
        self.totals = dict.fromkeys(self._groups, 0.0)
        """By label; together as many as there were alarms."""

    def add(self, contribution: NDArray[np.float32]) -> None:
        """Takes what columns contribute to scores, (alarms, features) or (alarms, window, features), none negative."""
        columns = contribution.reshape(len(contribution), -1, contribution.shape[-1]).sum(axis=1, dtype=np.float64)
        whole = columns.sum(axis=1, keepdims=True)
        shares = np.divide(columns, whole, out=np.zeros_like(columns), where=whole > 0).sum(axis=0)
        for label, places in self._groups.items():
            self.totals[label] += float(shares[places].sum())

    def going_on(self, names: Sequence[str]) -> Contributions:
        """Those of another version, which begin where these are."""
        made = Contributions(names)
        made.totals.update((label, total) for label, total in self.totals.items() if label in made.totals)
        return made
