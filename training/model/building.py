"""The network before its training, and what of its score is fitted once it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...runtime.bundle import Calibration, Column
from ...runtime.rows.fields import UNKNOWN
from ...runtime.scoring.framing import windows_at
from ..data.columns import columns_of
from ..data.loading import Table
from ..data.selection import Selection
from ..data.split import Split, covered_rows
from ..settings.config import TrainConfig
from .autoencoder import Autoencoder
from .ensemble import FITTED_INPUTS, FITTED_VALUES, Ensemble
from .filling import Filling

_MOST_TOLLS = 8
"""Counts of missing cells for which it is measured how much they add to the score, beside none."""

_OUTWEIGHED, _DEAREST = 1e3, 1e33  # labels may lower a score a hundredfold; a hundred thousand cells stay in float32


def build(table: Table, parts: Split, config: TrainConfig, selection: Selection) -> tuple[Autoencoder, list[str]]:
    """The network before training, with the statistics of the training inputs, and notes on the columns."""
    columns, notes = columns_of(table, parts, config, selection)
    with torch.random.fork_rng(devices=[]):  # layers draw their weights from the global generator
        torch.manual_seed(config.seed)
        model = Autoencoder(config, columns, table.image, _class_frequencies(columns, table, parts))
    if table.layout.most_missing:
        _fit_filling(model, table, parts)
    if model.statistics is not None:
        x = torch.from_numpy(_inputs(model, table.values, sample_starts(parts.train, model)))
        model.statistics.fit(model.expansion.expand(model.standardise(x)))
    return model, notes


def _fit_filling(model: Autoencoder, table: Table, parts: Split) -> None:
    """Fits what is expected in missing cells to the training rows, before anything else is: it is what all else sees.

    Of flags and categories it is the commonest level.
    """
    rows = covered_rows(parts.train, model.config.window)
    values = table.values[rows].astype(np.float32, copy=False)
    model.filling = Filling(model.columns, model.config.window, table.layout.most_missing)
    for place, column in enumerate(model.columns):
        levels, counts = np.unique(values[~np.isnan(values[:, place]), place], return_counts=True)
        if column.treatment in ("binary", "category") and len(levels):
            model.filling.rest[place] = float(levels[counts.argmax()])
    follows = (np.diff(rows, prepend=-1) == 1) & (np.diff(table.segment[rows], prepend=-1) == 0)
    with torch.no_grad():
        standardised, missing = model.transformed(torch.from_numpy(values))
        assert missing is not None
        model.filling.fit(standardised.masked_fill(missing, float("nan")).numpy(), follows)


def _class_frequencies(columns: tuple[Column, ...], table: Table, parts: Split) -> list[float]:
    """Share of each class among the training rows or images; nothing where there are no classes."""
    counts: list[int] = []
    for position, column in enumerate(columns):
        if column.treatment == "class":
            rows = table.values[parts.train, position]
            counts = [int((rows == level).sum()) for level in column.levels]
    if table.class_of is not None:
        counts = np.bincount(table.class_of[parts.train], minlength=len(table.classes)).tolist()
    # One more of each, so that a class that is in the file but not in this part is not ruled out.
    return [(count + 1) / (sum(counts) + len(counts)) for count in counts]


def settle(model: Autoencoder, values: NDArray[Any], parts: Split) -> None:
    """Fits what of the score is not learned by gradient, once the network is trained.

    The lowest free energy of the training inputs becomes the zero of the score, where that is what the score is. The
    members of an ensemble are fitted to training inputs, their usual sizes taken from validation inputs.
    """
    if model.ingredients.score == "free-energy":
        lowest = min(float(scores.min()) for scores in scores_along(model, values, parts.train))
        model.energy_offset.fill_(lowest)
    if model.ingredients.score == "joined":
        _fit_ensemble(model, values, parts)


def _fit_ensemble(model: Autoencoder, values: NDArray[Any], parts: Split) -> None:
    """Fits the members to training inputs, takes their usual sizes from validation inputs, then fits them to both."""

    def fitted(starts: NDArray[np.int64]) -> Ensemble:
        x = torch.from_numpy(_inputs(model, values, sample_starts(starts, model)))
        codes = torch.cat([model.encode(model.see(part)).mean for part in x.split(1024)])
        return Ensemble(model.config.kind, model.expansion.expand(model.standardise(x)), codes, model.config.seed)

    held = torch.from_numpy(_inputs(model, values, sample_starts(parts.validation, model)))
    with torch.no_grad():
        model.ensemble = fitted(parts.train)
        distances = torch.cat([model.distances(part) for part in held.split(1024)], -1)
        model.ensemble = fitted(np.concatenate([parts.train, parts.validation]))
        model.ensemble.set_units(distances)


def fit_tolls(model: Autoencoder, values: NDArray[Any], parts: Split) -> None:
    """Takes columns out of validation inputs, and lets the score fall by as much as it rises by that.

    What counts is how high the highest of them score: the mean over a few quantiles. The threshold is set before: the
    scores that set it are not lowered, so that those of inputs without missing cells keep the promise in any case.
    """
    filling = model.filling
    if filling is None:
        return
    x = _inputs(model, values, sample_starts(parts.validation, model)).astype(np.float32, copy=False)
    missing = np.isnan(x)
    lacking = missing if x.ndim == 2 else missing.any(axis=1)
    # Columns that lack something go first, so that a row lacks no more than is meant.
    order = np.random.default_rng(model.config.seed).random(lacking.shape) - lacking
    rank = order.argsort(axis=1).argsort(axis=1)
    ranks = rank if x.ndim == 2 else rank[:, None]
    counts = np.unique(np.linspace(0, filling.most, min(filling.most, _MOST_TOLLS) + 1).astype(int)).tolist()
    levels = (0.9, 0.95, 1 - max(0.02, 3 / len(x)))

    def highest(count: int) -> NDArray[np.float64]:
        scores = reference_scores(model, np.where(ranks < count, np.float32(np.nan), x))
        return np.quantile(scores[np.isfinite(scores)], levels) if np.isfinite(scores).any() else np.zeros(len(levels))

    usual = highest(0)
    tolls = np.maximum.accumulate([max(0.0, float(np.mean(highest(count) - usual))) for count in counts])
    filling.set_tolls(counts, tolls.tolist())


def price_departures(model: Autoencoder, scores: NDArray[np.floating], calibration: Calibration) -> None:
    """Lets one reading that is not its column's constant outweigh all that normal inputs score, and the threshold."""
    span = calibration.knot_scores[-1] - float(scores.min())
    model.departure_cost.fill_(min(max(_OUTWEIGHED * span, 1.0), _DEAREST))


def sample_starts(starts: NDArray[np.int64], model: Autoencoder) -> NDArray[np.int64]:
    """As many of these inputs, evenly along the recording, as an ensemble is fitted to."""
    most = min(FITTED_INPUTS, max(100, FITTED_VALUES // int(np.prod(model.input_shape))))
    chosen: NDArray[np.int64] = starts[np.linspace(0, len(starts) - 1, min(len(starts), most)).astype(int)]
    return chosen


def reference_scores(model: Autoencoder, x: NDArray[Any]) -> NDArray[np.float32]:
    """Scores (inputs,) that the trained network gives in torch."""
    batch = max(32, 4096 // model.cells)
    with torch.no_grad():
        parts = [
            model.terms(torch.from_numpy(x[i : i + batch]), model.noise).score.numpy() for i in range(0, len(x), batch)
        ]
    return np.concatenate(parts)


def scores_along(model: Autoencoder, values: NDArray[Any], starts: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """The scores of the inputs that begin at these rows, a part at a time."""
    # In parts, since windows gathered all at once are the recording many times over.
    for part in np.array_split(starts, -(-len(starts) // 4096)):
        yield reference_scores(model, _inputs(model, values, part))


def without_class(model: Autoencoder, rows: NDArray[Any]) -> NDArray[Any]:
    """Rows or windows (..., features) as they are read where nobody knows the class."""
    copy = rows.copy()
    copy[..., model.expansion.classes] = UNKNOWN
    return copy


def _inputs(model: Autoencoder, values: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    """The inputs that begin at these rows, raw units."""
    return windows_at(values, starts + model.config.window - 1, model.config.window)
