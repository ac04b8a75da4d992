"""Columns as they are named on a command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.layout import Declared, Layout
from vae_detect.training.data.loading import survey
from vae_detect.training.data.selection import Selection, split_names

HEADER = ["time", "Temp, C", "flow", "a,b,c", "a", "x y", '"quoted"', "b,c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flow", ["flow"]),
        ("Temp, C", ["Temp, C"]),
        ("Temp, C,flow", ["Temp, C", "flow"]),
        (" flow , Temp, C ", ["flow", "Temp, C"]),
        ('"Temp, C",flow', ["Temp, C", "flow"]),
        ("a,b,c,a", ["a,b,c", "a"]),  # the longest name
        ("a,flow,b,c", ["a", "flow", "b,c"]),
        ("x y,a", ["x y", "a"]),
        ('"quoted",flow', ['"quoted"', "flow"]),
        ("Temp,flow", ["Temp", "flow"]),  # no such column, which is said where it is looked for
        ("pressure", ["pressure"]),
    ],
)
def test_names_between_commas(text: str, expected: list[str]) -> None:
    assert split_names(text, HEADER) == expected


@given(st.lists(st.text(st.characters(exclude_characters='"'), min_size=1).map(str.strip).filter(bool), unique=True))
def test_any_name_of_the_header_names_its_column(header: list[str]) -> None:
    assert [split_names(name, header) for name in header] == [[name] for name in header]


def test_a_selection_may_repeat_an_option() -> None:
    found = Selection(columns=("Temp, C", "flow,a"), exclude=("b,c,x y",)).named_in(HEADER)
    assert found == Selection(columns=("Temp, C", "flow", "a"), exclude=("b,c", "x y"))


def test_a_name_that_stands_there_twice_and_times_without_a_date_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{minute % 6}0:00.0,{minute % 7},{minute % 5},{minute % 3}" for minute in range(100)]
    path.write_text("\n".join(["time,temp,Year,Year", *rows]) + "\n")
    found = survey(path, Selection(), Layout(declared=Declared()))
    assert found.names == ["temp"]
    assert found.left_out == {
        "time": "holds times of day without a date ('00:00.0')",
        "Year": "stands in the header more than once",
    }
    shift = path.read_text().replace("time,", "shift,")
    path.write_text(shift)
    assert survey(path, Selection(), Layout(declared=Declared())).names == ["shift", "temp"]
