"""Units in headers, and words that are none."""

import numpy as np
import pytest

from vae_detect.training.data.columns import plan_columns
from vae_detect.training.data.units import unit_of


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Temp [°C]", "°C"),
        ("anything [of its own]", "of its own"),
        ("Temp (°C)", "°C"),
        ("Wind Direction (°)", "°"),
        ("flow (m3/h)", "m3/h"),
        ("humidity (%)", "%"),
        ("Temperature (C)", "°C"),
        ("temp_c", "°C"),
        ("temp_deg_c", "°C"),
        ("pressure_bar", "bar"),
        ("speed_rpm", "rpm"),
        ("power_kw", "kW"),
        ("x_mm_s", "mm/s"),
        ("flow_l_min", "l/min"),
        ("wind_dir_deg", "°"),
        ("load_pct", "%"),
        ("cpu_percent", "%"),
        ("motor_current_a", "A"),
        ("Wind speed m/s", "m/s"),
    ],
)
def test_a_unit_by_name(name: str, unit: str) -> None:
    assert unit_of(name) == unit


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "_",
            "power",
            "kW",
            "rpm",
            "valve (open)",
            "Temp, C (LGR S/N: 123)",
            "Phase (A)",
            "Pump (C)",
            "item (no)",
        ),
        *("level_min", "x_max", "state_v", "pump_a", "q_s", "I/O", "S/N", "bus A/C", "power_mw", "line in"),
    ],
)
def test_an_ordinary_word_is_no_unit(name: str) -> None:
    assert unit_of(name) == ""


@pytest.mark.parametrize("name", ["load [%]", "load (%)", "load_pct", "load_percent"])
def test_a_percentage_is_one_however_it_is_written(name: str) -> None:
    columns, _ = plan_columns(np.array([[0.5], [40.0], [99.5]], np.float32), [name])
    assert columns[0].treatment == "logit"
