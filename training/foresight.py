"""Whether held-out rows will do for a promise of false alarms, told from the data before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..runtime.errors import InputError
from .calibration import dependence_rows, supported_rate
from .data.split import is_ordered

if TYPE_CHECKING:
    from .data.loading import Table
    from .data.split import Split
    from .settings.config import TrainConfig


def foresee(table: Table, parts: Split, config: TrainConfig) -> str:
    """Why calibration will probably refuse these held-out inputs, "" where it will not.

    The scores are not known yet. In their place is how far each input lies from the mean of the training rows: where a
    recording moves so slowly that this supports no rate, the scores hardly do.
    """
    rows = np.asarray(table.values, np.float64)
    learnt = rows[parts.train]
    center, spread = np.nanmean(learnt, axis=0), np.nanstd(learnt, axis=0)
    far = np.mean(np.nan_to_num((rows - center) / np.where(spread > 0, spread, 1.0)) ** 2, axis=1)
    summed = np.concatenate([[0.0], np.cumsum(far)])
    window = config.window if config.kind == "windows" else 1
    scores = (summed[parts.calibration + window] - summed[parts.calibration]) / window
    run = dependence_rows(config.window, ordered=is_ordered(config.kind, table))
    try:
        supported_rate(scores, dependence_rows=run)
    except InputError:
        what = f"windows of {window} rows" if window > 1 else "rows"
        return (
            f"{len(scores)} held-out {what} are probably too few or too much alike to promise any false-alarm rate, "
            "which would show at the end of training: record more"
        )
    return ""
