"""What is said of held-out rows before anything is trained."""

import numpy as np
from numpy.typing import NDArray

from vae_detect.training.data.loading import Table
from vae_detect.training.data.split import split
from vae_detect.training.foresight import foresee
from vae_detect.training.settings.config import TrainConfig


def table_of(values: NDArray[np.float64]) -> Table:
    segment = np.zeros(len(values), np.int64)
    return Table(values.astype(np.float32), ("a", "b"), "time", segment, 60.0, [], "", ordered=True)


def told(values: NDArray[np.float64], window: int) -> str:
    config = TrainConfig(kind="windows" if window > 1 else "rows", window=window)
    table = table_of(values)
    return foresee(table, split(table, window=window, stride=1, ordered=True, seed=0), config)


def test_rows_that_forget_at_once_will_do_and_few_that_hardly_move_will_not() -> None:
    noise = np.random.default_rng(0).normal(size=(1000, 2))
    assert told(noise, 1) == told(noise, 8) == ""
    slow = np.cumsum(noise[:300], axis=0)
    assert "held-out windows of 8 rows are probably too few or too much alike" in told(slow, 8)
    still = np.where(np.arange(2) == 1, 4.0, noise)  # a column that stands still says nothing
    assert told(still, 8) == ""
    holes = noise.copy()
    holes[::9, 0] = np.nan
    assert told(holes, 8) == ""
