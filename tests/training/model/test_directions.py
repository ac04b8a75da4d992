"""Angles as points on a circle: the same in torch and numpy, blind to the seam, with the statistics of a circle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.observation import treat, untreat
from vae_detect.training.data.columns import plan_columns
from vae_detect.training.model.transform import Expansion, Transform

CENTRED = Column("a", "°", -30.0, 40.0, "angle", levels=(-180.0, 180.0))
POSITIVE = Column("a", "°", 350.0, 25.0, "angle", levels=(0.0, 360.0))
RADIANS = Column("a", "rad", 1.0, 0.5, "angle", levels=(0.0, 2 * math.pi))


def places(column: Column, *values: float) -> torch.Tensor:
    """What a network sees of these readings, (readings, 2)."""
    return Expansion((column,)).expand(Transform((column,))(torch.tensor(values, dtype=torch.float32)[:, None]))


@pytest.mark.parametrize("column", [CENTRED, POSITIVE])
@pytest.mark.parametrize(("a", "b"), [(0.0, 360.0), (359.9, -0.1), (-180.0, 180.0), (-90.0, 270.0), (-10.7, 349.3)])
def test_readings_of_one_direction_give_the_same_digits(column: Column, a: float, b: float) -> None:
    of_a, of_b = places(column, a, b)
    assert of_a.tolist() == of_b.tolist()


@given(st.sampled_from([CENTRED, POSITIVE, RADIANS]), st.floats(-1, 2))
def test_there_and_back_within_the_range_of_the_training_rows(column: Column, turns: float) -> None:
    low, high = column.levels
    value = turns * (high - low)
    transform, expansion = Transform((column,)), Expansion((column,))
    back = transform.inverse(expansion.collapse(places(column, value))).item()
    assert low - 1e-4 <= back <= high + 1e-4
    off = (back - value) / (high - low)
    assert off - round(off) == pytest.approx(0, abs=2e-6)


@given(st.sampled_from([CENTRED, POSITIVE, RADIANS]), st.floats(-1.5, 2.5))
def test_numpy_does_the_same(column: Column, turns: float) -> None:
    assume(min(abs(turns + 1), abs(turns - 2)) > 1e-6)  # where the usual range ends, float32 rounds to either side
    value = np.float32(turns * (column.levels[1] - column.levels[0]))
    in_torch = Transform((column,)).treat(torch.tensor([[value]])).item()
    away = (in_torch - float(treat(np.array(value, np.float64), column))) / (column.levels[1] - column.levels[0])
    assert min(abs(away), abs(abs(away) - 1)) < 1e-6  # half a turn away either way is the same


def test_untreated_readings_are_within_the_range() -> None:
    assert untreat(np.array([-10.0, 400.0, 180.0]), POSITIVE).tolist() == [350, 40, 180]
    assert untreat(np.array([-190.0, 400.0, 0.0]), CENTRED).tolist() == [170, 40, 0]


def test_the_places_of_training_rows_have_mean_0_and_variance_1() -> None:
    cells = np.random.default_rng(0).normal(355, 30, 5000) % 360
    (column,), _ = plan_columns(cells.astype(np.float32)[:, None], ["wind_dir"], treatments={"wind_dir": "angle"})
    seen = places(column, *cells)
    assert seen.mean(0).numpy() == pytest.approx([0, 0], abs=1e-4)
    assert seen.var(0).mean().item() == pytest.approx(1, abs=1e-3)


def test_the_distance_of_two_directions_does_not_depend_on_the_seam() -> None:
    chords = [torch.dist(*places(POSITIVE, a, b)).item() for a, b in ((355, 5), (85, 95), (175, 185))]
    assert chords == pytest.approx([chords[0]] * 3, rel=1e-5)
    assert torch.dist(*places(POSITIVE, 90, 270)) > torch.dist(*places(POSITIVE, 90, 250))


def test_a_reading_of_no_compass_is_far_and_one_that_is_missing_stays_so() -> None:
    usual, sentinel, infinite, missing = places(POSITIVE, 170.0, -999.0, math.inf, math.nan)
    assert sentinel.abs().max() > 10 * usual.abs().max() / 5
    assert not torch.isfinite(infinite).any()
    assert torch.isnan(missing).all()


def test_the_scale_of_a_place_becomes_that_of_the_angle() -> None:
    """A small step on the circle is as long as that of the angle, whatever its spread."""
    expansion, transform = Expansion((POSITIVE,)), Transform((POSITIVE,))
    step = (places(POSITIVE, 351.0) - places(POSITIVE, 350.0)).abs()[:, 1]
    scale = expansion.collapse(torch.stack([step, step], -1), scales=True) * transform.scale
    assert scale.item() == pytest.approx(1.0, rel=1e-3)
