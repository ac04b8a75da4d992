"""What is expected in cells that are missing, given the others: before anything else in the graph, for every recipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...runtime.bundle import Column
from ...runtime.observation import untreat
from ...runtime.rows.fields import UNKNOWN

NUMBERS = ("linear", "log", "logit", "angle")
"""Treatments of columns that hold any number, whose missing cells follow from the others. Of the rest it is the
commonest level."""

STEPS = 5
"""Of conjugate gradients: exact for as many missing cells, near for more."""

_FARTHEST = 5.0
"""Standard deviations beyond which a value says no more of the others; one broken sensor must not fill them all."""

_SHRINKAGE = 0.02
"""Share of the identity in a matrix of correlations, so that it can be inverted."""

_MOST_ALIKE = 0.999
"""Correlation of a column with its own last row, at most."""

_LEAST_PAIRS = 30
"""Rows that must hold two columns at once for their correlation to be believed."""

_FLAT = 1e-6
"""Standard deviation below which a column has none."""

_SMALLEST = 1e-20  # a divisor that is 0 where nothing is left to correct; adding it would be lost in the export


class Filling(nn.Module):
    """Standardised inputs with missing cells to inputs with what is expected in them.

    Numbers are taken for a Gaussian process: the row before, times each column's own autocorrelation rho, and
    innovations e that the columns share,

        x_t = rho x_(t-1) + e_t,   e_t ~ N(0, Q),   x_1 ~ N(0, Q) of unit variance

    (rows that are looked at on their own: x ~ N(0, Q)). With P the inverse of the covariance of a whole input, the
    expectation of its missing cells given the others is the solution of

        P_mm x_m = -P_mo x_o

    (Rue and Held 2005, theorem 2.5), found by `STEPS` steps of conjugate gradients (Hestenes and Stiefel 1952), and
    held within what training rows showed. A row that lacks more cells than may be missing becomes NaN. What is filled
    is never quite what was there, so that inputs score higher the more is missing: `toll` says by how much.

    Parameters
    ----------
    columns : the features
    window : rows of an input; 1 for rows that are looked at on their own
    most : cells of a row that may be missing
    """

    rest: Tensor
    is_number: Tensor
    mean: Tensor
    scale: Tensor
    lowest: Tensor
    highest: Tensor
    before: Tensor
    first: Tensor
    unit: Tensor
    precision: Tensor
    counts: Tensor
    inverse_widths: Tensor
    tolls: Tensor

    def __init__(self, columns: Sequence[Column], window: int, most: int) -> None:
        super().__init__()
        self.window, self.most = window, most
        self._keep("rest", resting_values(columns))
        is_number = [column.treatment in NUMBERS for column in columns]
        self.register_buffer("is_number", torch.tensor(is_number), persistent=False)
        self.set_tolls([0, most], [0.0, 0.0])

    def _keep(self, name: str, values: object) -> None:
        self.register_buffer(name, torch.tensor(np.asarray(values, np.float32)), persistent=False)

    def fit(self, standardised: NDArray[np.float32], follows: NDArray[np.bool_]) -> None:
        """Takes what columns have to do with each other from training rows.

        Parameters
        ----------
        standardised : (rows, features), NaN where a cell is missing
        follows : (rows,), whether a row follows the one before it
        """
        x = np.where(self.is_number.numpy(), standardised.astype(np.float64), np.nan)
        held = ~np.isnan(x)
        # A column may hold nothing in these rows, if its sensor came late.
        known = [column[here] if here.any() else np.zeros(1) for column, here in zip(x.T, held.T, strict=True)]
        mean, scale = (np.array([of(cells) for cells in known]) for of in (np.mean, np.std))
        scale[scale < _FLAT] = 1.0
        self._keep("mean", mean)
        self._keep("scale", scale)
        self._keep("lowest", [cells.min() for cells in known])
        self._keep("highest", [cells.max() for cells in known])
        z = np.clip((x - mean) / scale, -_FARTHEST, _FARTHEST)
        rho = np.zeros(x.shape[1])
        if self.window > 1:
            pairs = follows[1:, None] & held[1:] & held[:-1]
            now, last = (np.where(pairs, part, 0.0) for part in (z[1:], z[:-1]))
            rho = (now * last).sum(0) / np.maximum(np.sqrt((now**2).sum(0) * (last**2).sum(0)), 1e-12)
            rho = np.clip(rho, -_MOST_ALIKE, _MOST_ALIKE)
            z = np.where(pairs, z[1:] - rho * z[:-1], np.nan)
        precision = np.linalg.inv(_correlations(z))
        # In units in which the whole input's P has ones on its diagonal, or nearly.
        unit = 1 / np.sqrt(np.diag(precision) * (1 + rho**2))
        spread = np.sqrt(1 - rho**2)
        self._keep("before", rho)
        self._keep("first", np.concatenate([spread[None], np.ones((self.window - 1, len(rho)))]))
        self._keep("unit", unit * spread)
        self._keep("precision", unit[:, None] * precision * unit)

    def set_tolls(self, counts: Sequence[int], tolls: Sequence[float]) -> None:
        """Takes how much higher normal inputs score that miss so many columns, from 0 up to the most."""
        self._keep("counts", np.array(counts[:-1])[:, None])
        self._keep("inverse_widths", 1 / np.maximum(np.diff(counts), 1)[:, None])
        self._keep("tolls", np.diff(tolls))

    def toll(self, missing: Tensor) -> Tensor:
        """What the missing cells add to the score of a normal input, linear between the counts: (batch,).

        In a window a cell counts where its column missed the row before too: single ones are easily filled.
        """
        counted = missing[:, 1:] & missing[:, :-1] if self.window > 1 else missing
        count = counted.to(self.tolls.dtype).flatten(1).sum(-1) / max(1, self.window - 1)
        reached = torch.clamp((count - self.counts) * self.inverse_widths, 0.0, 1.0)  # (counts - 1, batch)
        found: Tensor = self.tolls @ reached
        return found

    def forward(self, standardised: Tensor, missing: Tensor) -> Tensor:
        """Inputs (batch, features) or (batch, window, features) with the cells filled that are `missing`.

        What stands in these is not looked at where they are numbers; in others it stays.
        """
        open_ = (missing & self.is_number).to(standardised.dtype)
        known = torch.clamp((standardised - self.mean) / self.scale, -_FARTHEST, _FARTHEST)
        known = torch.where(missing | ~self.is_number, torch.zeros_like(known), known) / self.unit
        residual = -open_ * self._times_precision(known)
        direction, found = residual, torch.zeros_like(residual)
        squares = self._sum(residual * residual)
        for _ in range(STEPS):
            along = open_ * self._times_precision(direction)
            step = squares / torch.clamp(self._sum(direction * along), min=_SMALLEST)
            found = found + step * direction
            residual = residual - step * along
            left = self._sum(residual * residual)
            direction = residual + left / torch.clamp(squares, min=_SMALLEST) * direction
            squares = left
        expected = found * self.unit * self.scale + self.mean
        expected = torch.minimum(torch.maximum(expected, self.lowest), self.highest)
        filled = torch.where(missing & self.is_number, expected, standardised)
        too_many = (missing.to(filled.dtype).sum(-1, keepdim=True) > self.most).to(filled.dtype)
        return filled + 0.0 / (1.0 - too_many)  # NaN, which no weight of a graph may be

    def _sum(self, values: Tensor) -> Tensor:
        """Over each input."""
        return values.sum((-2, -1), keepdim=True) if self.window > 1 else values.sum(-1, keepdim=True)

    def _times_precision(self, x: Tensor) -> Tensor:
        """P x, for x (batch, ..., features) in the units of `unit`."""
        if self.window == 1:
            return x @ self.precision
        none = torch.zeros_like(x[:, :1])
        innovations = self.first * x - self.before * torch.cat([none, x[:, :-1]], 1)
        weighed = innovations @ self.precision
        return self.first * weighed - self.before * torch.cat([weighed[:, 1:], none], 1)


def resting_values(columns: Sequence[Column]) -> list[float]:
    """A value of each column in raw units that says nothing: the mean of numbers, else the lowest level."""
    return [_resting(column) for column in columns]


def _resting(column: Column) -> float:
    if column.treatment == "class":
        return UNKNOWN
    if column.treatment in ("binary", "category"):
        return column.levels[0]
    return float(untreat(np.array(column.center), column))


def _correlations(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of columns (rows, columns) in which cells are NaN, from the rows that hold both; made positive definite."""
    held = ~np.isnan(z)
    values = np.where(held, z, 0.0)
    squares = (values**2).T @ held.astype(np.float64)  # of one column in the rows that hold the other
    found = values.T @ values / np.sqrt(np.maximum(squares * squares.T, 1e-12))
    found[held.T.astype(np.int64) @ held < _LEAST_PAIRS] = 0.0
    np.fill_diagonal(found, 1.0)
    sizes, axes = np.linalg.eigh(found)
    found = (axes * np.maximum(sizes, 0.0)) @ axes.T
    size = np.sqrt(np.maximum(np.diag(found), 1e-12))
    shrunk: NDArray[np.float64] = (1 - _SHRINKAGE) * found / (size * size[:, None]) + _SHRINKAGE * np.eye(len(found))
    return shrunk
