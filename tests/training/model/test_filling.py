"""What is expected in missing cells, against the closed form of a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter

from vae_detect.runtime.bundle import Column
from vae_detect.training.model.filling import Filling, resting_values

Floats = NDArray[np.float64]


def numbers(count: int) -> list[Column]:
    return [Column(f"c{place}", "", 0.0, 1.0) for place in range(count)]


def fitted(x: Floats, window: int = 1, most: int = 8) -> Filling:
    filling = Filling(numbers(x.shape[1]), window, most)
    filling.fit(x.astype(np.float32), np.arange(len(x)) > 0)
    return filling


def fill(filling: Filling, x: Floats) -> Floats:
    values = torch.from_numpy(x.astype(np.float32))
    missing = torch.isnan(values)
    return np.asarray(filling(torch.where(missing, 7.0, values), missing).numpy(), np.float64)


@pytest.fixture(scope="module")
def tied() -> Floats:
    """Eight columns of three factors."""
    generator = np.random.default_rng(0)
    factors = generator.standard_normal((4000, 3)) @ generator.standard_normal((3, 8))
    return np.asarray(factors + 0.3 * generator.standard_normal((4000, 8)) + np.arange(8))


def test_missing_cells_are_the_conditional_mean(tied: Floats) -> None:
    filling = fitted(tied)
    mean, scale = tied.mean(0), tied.std(0)
    correlation = 0.98 * np.corrcoef(tied, rowvar=False) + 0.02 * np.eye(8)  # with the share of the identity
    for count in range(1, 6):
        x = tied[count].copy()
        m, o = np.arange(count), np.arange(count, 8)
        z = (x - mean) / scale
        expected = correlation[np.ix_(m, o)] @ np.linalg.solve(correlation[np.ix_(o, o)], z[o])
        x[m] = np.nan
        found = fill(filling, x[None])[0]
        np.testing.assert_array_equal(found[o], tied[count][o].astype(np.float32))
        np.testing.assert_allclose((found[m] - mean[m]) / scale[m], expected, atol=2e-3)


def test_it_is_better_than_the_mean_for_as_many_as_may_be_missing(tied: Floats) -> None:
    generator = np.random.default_rng(1)
    holed = np.where(generator.random(tied.shape) < 0.3, np.nan, tied)
    missing = np.isnan(holed) & (np.isnan(holed).sum(1, keepdims=True) <= 5)
    found = fill(fitted(holed), holed)
    error = ((found - tied) / tied.std(0))[missing]  # of the mean it would be 1
    assert np.sqrt(np.mean(error**2)) < 0.5


def test_a_row_that_lacks_more_than_may_be_missing_is_nan(tied: Floats) -> None:
    filling = fitted(tied, most=2)
    rows = tied[:3].copy()
    rows[0, :2] = rows[1, :3] = np.nan
    found = fill(filling, rows)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[2], rows[2].astype(np.float32))


def test_in_a_window_the_rows_around_a_hole_say_what_was_there() -> None:
    generator = np.random.default_rng(2)
    slow = lfilter([1], [1, -0.99], generator.standard_normal(5000))
    rows = np.column_stack([slow / slow.std(), generator.standard_normal(5000)])
    filling = fitted(rows, window=9, most=1)
    windows = np.lib.stride_tricks.sliding_window_view(rows, 9, axis=0).transpose(0, 2, 1)[::9].copy()
    holed = windows.copy()
    holed[:, 4, 0] = np.nan  # between two neighbours: rho / (1 + rho^2) of their sum
    holed[:, 7, 1] = np.nan  # forgets at once: the mean
    found = fill(filling, holed)
    rho = float(np.corrcoef(rows[1:, 0], rows[:-1, 0])[0, 1])
    between = rho / (1 + rho**2) * (windows[:, 3, 0] + windows[:, 5, 0])
    np.testing.assert_allclose(found[:, 4, 0], between, atol=0.02)
    assert np.abs(found[:, 7, 1]).max() < 0.2


def test_the_newest_row_follows_the_one_before() -> None:
    generator = np.random.default_rng(3)
    rows = lfilter([1], [1, -0.9], generator.standard_normal((5000, 2)), axis=0)
    rows = np.asarray(rows / rows.std(0))
    window = rows[None, :6].copy()
    window[0, -1, 0] = np.nan
    found = fill(fitted(rows, window=6, most=1), window)
    assert found[0, -1, 0] == pytest.approx(0.9 * rows[4, 0], abs=0.1)


def test_one_broken_sensor_does_not_fill_the_others_with_nonsense(tied: Floats) -> None:
    x = tied[:1].copy()
    x[0, 0], x[0, 1] = 1e9, np.nan
    found = fill(fitted(tied), x)[0, 1]
    assert tied[:, 1].min() <= found <= tied[:, 1].max()


def test_a_column_without_a_value_in_the_training_rows_is_filled_with_its_middle() -> None:
    rows = np.column_stack([np.random.default_rng(4).standard_normal(100), np.full(100, np.nan)])
    assert fill(fitted(rows), rows[:1])[0, 1] == 0


def test_the_toll_is_linear_between_the_counts() -> None:
    alone, windows = Filling(numbers(10), 1, most=4), Filling(numbers(10), 3, most=4)
    rows = torch.zeros(4, 3, 10, dtype=torch.bool)
    assert windows.toll(rows).tolist() == [0] * 4
    for each in (alone, windows):
        each.set_tolls([0, 1, 4], [0.0, 0.5, 2.0])
    rows[1, ::2, 0] = rows[2, 1:, 0] = rows[3, :, :2] = True  # single cells, half a column, two columns
    assert windows.toll(rows).tolist() == [0, 0, 0.25, 1.0]
    assert alone.toll(rows[:, 2]).tolist() == [0, 0.5, 0.5, 1.0]


def test_what_says_nothing_of_each_column() -> None:
    columns = [
        Column("x", "", 4.0, 2.0),
        Column("log", "", 0.0, 1.0, "log", knee=2.0),
        Column("on", "", 0.0, 1.0, "binary", levels=(0.0, 1.0)),
        Column("mode", "", 0.0, 1.0, "category", levels=(3.0, 5.0)),
        Column("set", "", 60.0, 0.0, "constant", levels=(60.0,)),
        Column("who", "", 0.0, 1.0, "class", levels=(0.0, 1.0)),
    ]
    assert resting_values(columns) == [4.0, 0.0, 0.0, 3.0, 60.0, -1.0]
