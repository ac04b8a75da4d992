"""Densities of normal inputs beside an autoencoder, and one score from them all.

A member measures how far an input lies from normal ones: from the nearest of some prototypes, from the mean of a
Gaussian, from the space of linear patches. Members are fitted in closed form once the network is trained, and
computed in the scorer's graph. What a member sees is standardised, categories as one-hot: (batch, columns) for rows,
(batch, window, columns), or (batch, height, width, channels).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...runtime.bundle import Kind

PROTOTYPES = 256
"""Centres that stand for the training inputs, and as many for their codes."""

FINEST = 512
"""Columns of the Gaussian over the rows of a window, at most; a longer window is taken in cells of several rows."""

GRID = 16
"""Cells along a side of an image, at most, and at least four pixels in each; the second grid is half as fine."""

PATCH, PATCH_STRIDE, PATCH_VARIANCE = 8, 4, 0.9
"""Side of a patch and pixels between two; share of the patches' variance that the space of normal ones holds."""

FITTED_INPUTS, FITTED_VALUES = 10_000, 50_000_000
"""Training inputs to which members are fitted, at most, and the values in them."""

SUBSPACE_GRID, SUBSPACE_VARIANCE, SUBSPACE_WINDOW = 64, 0.5, 9
"""Cells along a side at which whole images are compared, at most; share of their variance that the space of normal ones
holds; width in cells of the square over which what is left is averaged."""

SHARPEST = 3.25
"""Power to which a relative distance is raised, at most: a spread over few validation inputs can be small by chance."""

_DEVIATION_FLOOR = 0.05  # standard deviations of the column; the logarithm needs an end
_FLAT, _FLAT_SCALE = 1e-3, 0.3  # a statistic that hardly varied while training, and the unit in which it is measured
_REACH = 1e6  # standard deviations beyond which values are alike, so that squares stay in float32
_TINY = 1e-12
_QUARTILES = 1.349  # between those of a normal distribution, in standard deviations


class Measured(NamedTuple):
    """What a member says of a batch."""

    distance: Tensor
    """(batch,), >= 0."""
    where: Tensor
    """How much each value of the inputs has to do with it, shaped like them, >= 0."""


class WindowStatistics(nn.Module):
    """Mean, log of the standard deviation, and departure of the newest row from the mean, of each column of a window.

    (batch, window, columns) to (batch, 3 * columns), standardised over the training windows; and back to rows.
    """

    center: Tensor
    scale: Tensor
    newest: Tensor

    def __init__(self, window: int, columns: int) -> None:
        super().__init__()
        self.window, self.columns, self.width = window, columns, 3 * columns
        self.register_buffer("center", torch.zeros(self.width))
        self.register_buffer("scale", torch.ones(self.width))
        newest = torch.zeros(window, 1)
        newest[-1] = 1.0
        self.register_buffer("newest", newest, persistent=False)

    def fit(self, windows: Tensor) -> None:
        """Takes center and scale from these training windows."""
        self.center, self.scale = _center_and_scale(self._of(windows))

    def forward(self, windows: Tensor) -> Tensor:
        return (self._of(windows) - self.center) / self.scale

    def rows(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        """What each row and its deviation are expected to be, (batch, window, columns) both."""
        mean, log_deviation, departure = self._split(statistics * self.scale + self.center)
        expected = mean + self.newest * departure
        deviation = torch.clamp(torch.exp(log_deviation) - _DEVIATION_FLOOR, min=0.0)
        return expected, deviation + torch.zeros_like(expected)

    def spread(self, parts: Tensor) -> Tensor:
        """Parts of the statistics (batch, 3 * columns) over the rows that they are about, with the same sum."""
        mean, log_deviation, departure = self._split(parts)
        return (mean + log_deviation) / self.window + self.newest * departure

    def _of(self, windows: Tensor) -> Tensor:
        mean = windows.mean(1, keepdim=True)
        around = windows - mean
        log_deviation = torch.log(torch.sqrt((around * around).mean(1)) + _DEVIATION_FLOOR)
        return torch.cat([mean[:, 0], log_deviation, around[:, -1]], -1)

    def _split(self, statistics: Tensor) -> tuple[Tensor, ...]:
        """Three of (batch, 1, columns)."""
        return tuple(statistics.unflatten(-1, (3, 1, self.columns)).unbind(1))


class Cells(nn.Module):
    """Means of the cells of a grid over inputs, and where asked the logs of their standard deviations, flattened.

    Parameters
    ----------
    size : of the inputs along the axes that are cut: (window,) or (height, width)
    grid : cells along each
    """

    def __init__(self, size: Sequence[int], grid: Sequence[int], *, deviations: bool) -> None:
        super().__init__()
        self.size, self.grid, self.deviations = tuple(size), tuple(grid), deviations
        for axis, (length, cells) in enumerate(zip(size, grid, strict=True)):
            average = torch.zeros(cells, length)
            for cell, places in enumerate(np.array_split(np.arange(length), cells)):
                average[cell, places] = 1 / len(places)
            self.register_buffer(f"average_{axis}", average, persistent=False)
            self.register_buffer(f"spread_{axis}", average.T.contiguous(), persistent=False)
            self.register_buffer(f"hold_{axis}", (average.T > 0).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        means = self._along(x, "average")
        if not self.deviations:
            return means.flatten(1)
        around = x - self._along(means, "hold")
        variances = self._along(around * around, "average")
        return torch.cat([means.flatten(1), torch.log(torch.sqrt(variances) + _DEVIATION_FLOOR).flatten(1)], 1)

    def spread(self, parts: Tensor) -> Tensor:
        """Parts of what `forward` gives over the values that they are about, with the same sum."""
        of_cells = parts.unflatten(1, (2 if self.deviations else 1, *self.grid, -1)).sum(1)
        return self._along(of_cells, "spread")

    def _along(self, x: Tensor, what: str) -> Tensor:
        """Multiplies each axis that is cut by its matrix."""
        if self.grid == self.size:
            return x
        of_first: Tensor = getattr(self, f"{what}_0")
        x = (of_first @ x.flatten(2)).unflatten(2, x.shape[2:])
        return x if len(self.size) == 1 else getattr(self, f"{what}_1") @ x


class Mahalanobis(nn.Module):
    """Squared Mahalanobis distance of the cells of an input from the training inputs'.

    The covariance is shrunk (Ledoit and Wolf 2004), so that it can be inverted whatever their number. The symmetric
    root of its inverse splits the distance over the columns (Garthwaite and Koch 2016, the corr-max transformation).
    """

    center: Tensor
    whitening: Tensor

    def __init__(self, cells: Cells, x: Tensor) -> None:
        from sklearn.covariance import LedoitWolf  # half a second, which no other recipe needs

        super().__init__()
        self.cells = cells
        found = cells(x)
        center, scale = _center_and_scale(found)
        fitted = LedoitWolf(assume_centered=True).fit(((found - center) / scale).double().numpy())
        values, vectors = np.linalg.eigh(fitted.covariance_)
        root = (vectors / np.sqrt(np.maximum(values, _TINY))) @ vectors.T
        self.register_buffer("center", center)
        self.register_buffer("whitening", torch.from_numpy(root).float() / scale[:, None])

    def forward(self, x: Tensor) -> Measured:
        white = (self.cells(x) - self.center) @ self.whitening
        squares = white * white
        return Measured(squares.sum(-1), self.cells.spread(squares))


class Prototypes(nn.Module):
    """Squared distance from the nearest of the centres of training rows, found by k-means."""

    centres: Tensor
    offsets: Tensor

    def __init__(self, rows: Tensor, seed: int) -> None:
        super().__init__()
        if len(rows) > PROTOTYPES:
            from sklearn.cluster import MiniBatchKMeans  # half a second, which no other recipe needs

            found = MiniBatchKMeans(PROTOTYPES, n_init=1, batch_size=2048, random_state=seed).fit(rows.numpy())
            rows = torch.from_numpy(found.cluster_centers_).float()
        self.register_buffer("centres", rows)
        self.register_buffer("offsets", 0.5 * (rows * rows).sum(-1))

    def forward(self, x: Tensor) -> Measured:
        # The nearest by |c|^2 / 2 - x c, but its distance by differences: a difference of squares would cancel.
        nearest = torch.argmin(self.offsets - x @ self.centres.T, -1)
        departure = x - self.centres.index_select(0, nearest)
        squares = departure * departure
        return Measured(squares.sum(-1), squares)


class Patches(nn.Module):
    """Largest squared distance of a patch of an image from the space that training patches span (Pearson 1901)."""

    residual: Tensor
    bias: Tensor
    ones: Tensor

    def __init__(self, images: Tensor, seed: int) -> None:
        super().__init__()
        channels = images.shape[-1]
        patches = F.unfold(images.permute(0, 3, 1, 2), PATCH, stride=PATCH_STRIDE)  # (images, values, places)
        every = patches.transpose(1, 2).reshape(-1, channels * PATCH**2)
        chosen = np.random.default_rng(seed).choice(len(every), min(len(every), FITTED_INPUTS), replace=False)
        rows = every[chosen].double().numpy()
        center = rows.mean(0)
        variances, axes = np.linalg.eigh(np.cov(rows - center, rowvar=False))
        share = np.cumsum(variances[::-1]) / max(variances.sum(), _TINY)
        kept = axes[:, ::-1][:, : int(np.searchsorted(share, PATCH_VARIANCE)) + 1]
        away = np.eye(len(center)) - kept @ kept.T
        filters = torch.from_numpy(away).float().unflatten(1, (channels, PATCH, PATCH))
        self.register_buffer("residual", filters)
        self.register_buffer("bias", torch.from_numpy(-away @ center).float())
        self.register_buffer("ones", torch.ones(1, 1, PATCH, PATCH), persistent=False)

    def forward(self, x: Tensor) -> Measured:
        left = F.conv2d(x.permute(0, 3, 1, 2), self.residual, self.bias, stride=PATCH_STRIDE)
        energy = (left * left).sum(1, keepdim=True)  # (batch, 1, rows of patches, columns of patches)
        over = F.conv_transpose2d(energy * energy, self.ones, stride=PATCH_STRIDE)
        missing = [0, x.shape[2] - over.shape[3], 0, x.shape[1] - over.shape[2]]
        where = F.pad(over, missing)[:, 0, :, :, None] + torch.zeros_like(x)
        return Measured(energy.flatten(1).amax(1), where)


class Subspace(nn.Module):
    """Largest mean, over squares, of the squared distance of an image from the space that training images span."""

    center: Tensor
    axes: Tensor

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        size = images.shape[1:3]
        self.cells = Cells(size, [min(side, SUBSPACE_GRID) for side in size], deviations=False)
        rows = self.cells(images)
        center = rows.mean(0)
        _, values, axes = np.linalg.svd((rows - center).double().numpy(), full_matrices=False)
        share = np.cumsum(values**2) / max(float(np.sum(values**2)), _TINY)
        self.register_buffer("center", center)
        self.register_buffer(
            "axes", torch.from_numpy(axes[: int(np.searchsorted(share, SUBSPACE_VARIANCE)) + 1]).float()
        )

    def forward(self, x: Tensor) -> Measured:
        centred = self.cells(x) - self.center
        left = centred - (centred @ self.axes.T) @ self.axes
        squares = left * left
        energy = squares.unflatten(1, (1, *self.cells.grid, -1)).sum(-1)
        half = SUBSPACE_WINDOW // 2
        local = F.avg_pool2d(energy, SUBSPACE_WINDOW, stride=1, padding=half, count_include_pad=False)
        where = squares.unflatten(1, (*self.cells.grid, -1)) * local[:, 0, :, :, None]
        return Measured(local.flatten(1).amax(1), self.cells.spread(where.flatten(1)))


class Ensemble(nn.Module):
    """The members of a kind of data, and how their distances and the autoencoder's error become one score.

    A distance d is taken relative to its median over the validation inputs, d / m. Rows and windows are judged by all
    members together, images by whichever member is surprised:

        rows, windows   sum_i log(1 + d_i / m_i)
        images          log(1 + sum_i (d_i / m_i)^a_i),  a_i = min(1 / s_i, SHARPEST)

    s_i is the standard deviation of log d_i over the validation inputs, by their quartiles. The first is the negative
    logarithm of a product of experts (Hinton 2002) whose tails are those of a log-logistic distribution.
    """

    typical: Tensor
    sharpness: Tensor
    code_scale: Tensor

    def __init__(self, kind: Kind, x: Tensor, codes: Tensor, seed: int) -> None:
        super().__init__()
        self.kind = kind
        x = torch.clamp(x, -_REACH, _REACH)
        self.members = nn.ModuleList(_members(kind, x, seed))
        self.codes: Prototypes | None = None
        self.register_buffer("code_scale", codes.std(0, unbiased=False) + 1e-6)
        if kind == "rows":
            self.codes = Prototypes(codes / self.code_scale, seed)
        count = 1 + len(self.members) + (self.codes is not None)
        self.register_buffer("typical", torch.ones(count, 1))
        self.register_buffer("sharpness", torch.ones(count, 1))

    def measure(self, x: Tensor, code: Tensor) -> list[Measured]:
        """What the members say of inputs and their codes (batch, latent)."""
        x = torch.clamp(x, -_REACH, _REACH)
        found: list[Measured] = [member(x) for member in self.members]
        if self.codes is not None:
            # A code has no columns; its share goes where the row departs from its nearest prototype.
            found.append(Measured(self.codes(code / self.code_scale).distance, found[0].where))
        return found

    def set_units(self, distances: Tensor) -> None:
        """Takes the usual sizes from distances of the validation inputs, (1 + members, inputs)."""
        median, mean = distances.median(-1, keepdim=True).values, distances.mean(-1, keepdim=True)
        # Where most inputs lie on a prototype, the median is 0 and says nothing.
        self.typical = torch.where(median > _TINY, median, torch.where(mean > _TINY, mean, torch.full_like(mean, 1e-3)))
        # By quartiles, since a few strange inputs among them would blunt the member that finds such inputs.
        low, high = torch.log(torch.clamp(distances, min=_TINY)).quantile(torch.tensor([0.25, 0.75]), -1, keepdim=True)
        self.sharpness = torch.clamp(_QUARTILES / torch.clamp(high - low, min=_TINY), max=SHARPEST)

    def join(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """The score (batch,) and what each member adds to it, from distances (1 + members, batch)."""
        ratio = distances / self.typical
        if self.kind != "images":
            shares = torch.log(1 + ratio)
            return shares.sum(0), shares
        surprise = self.sharpness * torch.log(ratio + _TINY)
        highest = torch.clamp(surprise.amax(0), min=0.0)
        powers = torch.exp(surprise - highest)  # of the largest, so that none leaves float32
        total = powers.sum(0)
        score = highest + torch.log(torch.exp(-highest) + total)
        return score, score * powers / torch.clamp(total, min=1e-30)


def _members(kind: Kind, x: Tensor, seed: int) -> list[nn.Module]:
    if kind == "rows":
        return [Prototypes(x, seed)]
    if kind == "windows":
        _, window, columns = x.shape
        cells = [
            Cells((window,), (max(1, min(window, FINEST // columns)),), deviations=False),
            Cells((window,), (2,), deviations=True),
            Cells((window,), (1,), deviations=False),
        ]
        return [Mahalanobis(each, x) for each in cells]
    size = x.shape[1:3]
    grids = [tuple(max(1, min(GRID, side // 4) // coarser) for side in size) for coarser in (1, 2)]
    return [*(Mahalanobis(Cells(size, grid, deviations=True), x) for grid in grids), Patches(x, seed), Subspace(x)]


def _center_and_scale(statistics: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column of (inputs, columns), the latter with a floor."""
    center, scale = statistics.mean(0), statistics.std(0, unbiased=False)
    return center, torch.where(scale < _FLAT, torch.full_like(scale, _FLAT_SCALE), scale)
