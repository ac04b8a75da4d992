"""Numbers with their units in one cell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.layout import TableFormat
from vae_detect.runtime.rows.cell_units import in_unit, ratio_of, split_unit, unit_in

PLAIN = TableFormat()


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("20.4%", ("20.4", "%")),
        ("61.9 MiB", ("61.9", "MiB")),
        (" -3,5 °C ", ("-3,5", "°C")),
        ("1e3 m3/h", ("1e3", "m3/h")),
        ("12", None),
        ("M14860", None),
        ("on", None),
        ("2026-01-05", None),
    ],
)
def test_a_number_and_its_unit(cell: str, parts: tuple[str, str] | None) -> None:
    assert split_unit(cell) == parts


@pytest.mark.parametrize(
    ("unit", "wanted", "ratio"),
    [
        ("GiB", "MiB", 1024.0),
        ("kB", "MB", 1e-3),
        ("B", "KiB", 1 / 1024),
        ("kW", "W", 1000.0),
        ("mbar", "mbar", 1.0),
        ("hPa", "Pa", 100.0),
        ("mm", "m", 1e-3),
        ("%", "%", 1.0),
        ("A", "B", None),
        ("B", "bit", None),
        ("bar", "mbar", None),  # no prefix is known of it
    ],
)
def test_units_that_differ_by_a_prefix(unit: str, wanted: str, ratio: float | None) -> None:
    assert ratio_of(unit, wanted) == (None if ratio is None else pytest.approx(ratio, rel=1e-15))


def test_a_cell_in_another_unit_is_no_number() -> None:
    assert in_unit("3 bar", "MiB", PLAIN) == "3 bar"
    assert in_unit("2 GiB", "MiB", PLAIN) == "2048.0"
    assert in_unit("3", "MiB", PLAIN) == "3"
    assert in_unit("x GiB", "MiB", PLAIN) == "x GiB"


@pytest.mark.parametrize(
    ("cells", "unit"),
    [
        (["20.4%", "3%", "", "?"], "%"),
        (["900 KiB", "61.9 MiB", "1.2 GiB", "60 MiB"], "MiB"),
        (["3A", "7B", "2A"], ""),
        (["1 bar", "2", "3"], ""),
        (["on", "off"], ""),
        ([], ""),
    ],
)
def test_the_unit_of_a_column(cells: list[str], unit: str) -> None:
    assert unit_in(cells, PLAIN) == unit


@given(st.floats(-1e6, 1e6), st.sampled_from(["%", "°C", "m3/h", "MiB", "bar"]), st.sampled_from(["", " "]))
def test_what_is_written_with_a_unit_is_read_back(number: float, unit: str, between: str) -> None:
    assert float(in_unit(f"{number!r}{between}{unit}", unit, PLAIN)) == number
    comma = TableFormat(";", ",")
    assert float(in_unit(f"{number!r}{between}{unit}".replace(".", ","), unit, comma)) == number
