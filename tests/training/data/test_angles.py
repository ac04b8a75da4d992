"""Columns of directions, and columns that only look like them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.errors import InputError
from vae_detect.training.data.angles import find_angle
from vae_detect.training.data.columns import plan_columns
from vae_detect.training.data.units import unit_of

Cells = NDArray[np.float64]
N = 2000


def wandering(around: float = 350.0, step: float = 8.0) -> Cells:
    """A direction that goes all round, in degrees without end."""
    return around + np.cumsum(np.random.default_rng(0).normal(0, step, N))


WIND = wandering() % 360
NORTH = np.random.default_rng(1).normal(0, 20, N) % 360
CENTRED = (wandering() + 180) % 360 - 180


def found(name: str, cells: Cells) -> tuple[float, float] | None:
    return find_angle(name, unit_of(name), cells)


@pytest.mark.parametrize(
    "name",
    [
        *("Wind Direction (°)", "wind_dir_deg", "heading", "Azimuth [deg]", "yaw", "Windrichtung", "WindDir_D1_WVT"),
        *(
            "Wind Direction @ 3m [deg from N]",
            "Wa_avg",
            "Ya_avg",
            "Dirección del viento",
            "Direction (deg. true)",
            "Course",
        ),
    ],
)
@pytest.mark.parametrize("cells", [WIND, NORTH, np.random.default_rng(2).permutation(WIND)])
def test_a_direction_by_name_and_range(name: str, cells: Cells) -> None:
    assert found(name, cells) == (0, 360)


def test_from_minus_180_to_180_and_in_radians() -> None:
    assert found("heading", CENTRED) == (-180, 180)
    assert found("yaw [rad]", np.radians(CENTRED)) == pytest.approx((-np.pi, np.pi))
    assert found("wind_direction", np.radians(WIND)) == pytest.approx((0, 2 * np.pi))


def test_a_direction_by_its_values_alone() -> None:
    assert found("c17", WIND) == (0, 360)
    assert found("c17", CENTRED) == (-180, 180)
    assert found("c17", np.radians(CENTRED)) == pytest.approx((-np.pi, np.pi))


ROWS = np.arange(N)
NOISE = np.random.default_rng(3).uniform(0, 360, N)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("c17", NOISE),  # no row is like the one before
        ("c17", ROWS * 7.3 % 360),  # always the same way round, like seconds or a crank
        ("c17", np.where(ROWS // 50 % 2, 357.0, 2.0) + NOISE / 180),  # on and off
        ("c17", np.clip(np.abs(wandering(0)), 0, 360)),
        ("crank angle [deg]", ROWS * 7.3 % 360),
        ("valve angle (°)", NOISE / 4),
        ("blade angle (°)", NOISE / 4),
        ("steering angle", NOISE / 4 - 45),
        ("Temperature (°C)", NOISE),
        ("furnace [deg]", 20 + NOISE * 0.9),
        ("bearing temperature 1", NOISE),
        ("yaw_rate_deg", WIND),
        ("wind direction std (°)", NOISE / 4),
        ("direction", np.sign(NOISE - 180)),
        ("phase current", NOISE),
        ("wind direction", wandering(0)),  # unwound: no range of a compass
        ("sector of direction", np.rint(NOISE / 60)),
    ],
)
def test_what_only_looks_like_a_direction(name: str, cells: Cells) -> None:
    assert found(name, cells) is None


def test_the_statistics_of_a_direction_are_those_of_a_circle() -> None:
    for cells, ends in ((NORTH, (0.0, 360.0)), ((NORTH + 180) % 360 - 180, (-180.0, 180.0))):
        (column,), notes = plan_columns(
            cells.astype(np.float32)[:, None], ["wind_dir"], treatments={"wind_dir": "angle"}
        )
        assert notes == ["taken as angle: wind_dir"]
        assert column.levels == ends
        assert min(column.center, 360 - column.center) == pytest.approx(0, abs=1.5)
        assert column.scale == pytest.approx(20, abs=1)


def test_what_cannot_be_an_angle_is_refused() -> None:
    far = np.array([[0.0], [300.0], [5000.0]], np.float32)
    with pytest.raises(
        InputError, match="'a' holds 5000 and cannot be taken as angle, whose readings are from 0 to 360"
    ):
        plan_columns(far, ["a"], treatments={"a": "angle"})
    with pytest.raises(InputError, match="cannot be taken as angle by a likelihood of values from 0 to 1"):
        plan_columns(far / np.float32(5000), ["a"], treatments={"a": "angle"}, standardise=False)
