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
from ..data.split import Split
from ..settings.config import TrainConfig
from .autoencoder import Autoencoder
from .ensemble import FITTED_INPUTS, FITTED_VALUES, Ensemble

_OUTWEIGHED, _DEAREST = 1e3, 1e33  # labels may lower a score a hundredfold; a hundred thousand cells stay in float32


def build(table: Table, parts: Split, config: TrainConfig, selection: Selection) -> tuple[Autoencoder, list[str]]:
    """The network before training, with the statistics of the training inputs, and notes on the columns."""
    columns, notes = columns_of(table, parts, config, selection)
    with torch.random.fork_rng(devices=[]):  # layers draw their weights from the global generator
        torch.manual_seed(config.seed)
        model = Autoencoder(config, columns, table.image, _class_frequencies(columns, table, parts))
    if model.statistics is not None:
        x = torch.from_numpy(_inputs(model, table.values, sample_starts(parts.train, model)))
        model.statistics.fit(model.expansion.expand(model.standardise(x)))
    return model, notes


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
