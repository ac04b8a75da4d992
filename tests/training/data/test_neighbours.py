"""Whether neighbouring rows follow each other, against SciPy."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from vae_detect.training.data import neighbours


@pytest.mark.parametrize("step", [0.5, 0.7, 2.0])
def test_order_is_evident_from_a_rank_correlation_of_0_8(step: float) -> None:
    row = np.arange(400)
    values = np.sin(row / 3) + np.random.default_rng(1).normal(0, step, size=400)
    smooth = np.column_stack([np.convolve(values, np.ones(4) / 4, "same"), np.full(400, 3.0), np.full(400, np.nan)])
    found = spearmanr(smooth[1:, 0], smooth[:-1, 0]).statistic
    assert neighbours.is_evident(smooth, np.zeros(400, np.int64)) == (found >= 0.8)
    assert not neighbours.is_evident(smooth[:, 1:], np.zeros(400, np.int64))


def test_a_table_whose_rows_are_sensors_lies_on_its_side() -> None:
    rng = np.random.default_rng(0)
    sensors = np.array([[0.25], [3650.0], [42.0], [120.0]]) * (1 + 0.01 * rng.normal(size=(4, 50)))
    assert neighbours.lies_on_its_side(sensors)
    assert not neighbours.lies_on_its_side(sensors.T)
    cycles = 40 + 5 * np.sin(np.linspace(0, 6, 50)) + rng.normal(size=(20, 1))  # of which each has a row
    assert not neighbours.lies_on_its_side(cycles)
    assert not neighbours.lies_on_its_side(np.array([[1.0, 2.0, 3.0]]))
