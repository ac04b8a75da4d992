"""Which columns to leave out when too many rows lack something."""

from pathlib import Path

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.training.data.holes import Holes
from vae_detect.training.data.loading import load_table
from vae_detect.training.data.selection import Selection

CSV = Layout()


def holes(**rows_without: range) -> Holes:
    """Of 100 rows, those that lack a cell, by column."""
    cells = np.zeros((100, len(rows_without)), np.bool_)
    for place, rows in enumerate(rows_without.values()):
        cells[rows, place] = True
    return Holes(list(rows_without), cells)


def test_only_the_columns_that_it_takes_are_to_be_left_out() -> None:
    found = holes(a=range(90), b=range(50), c=range(15), d=range(10, 20), e=range(0))
    assert not found.are_few
    # Without a and b, rows 0 to 19 lack something: a fifth.
    assert (
        found.describe()
        == "missing or bad are 'a' 90%, 'b' 50%, 'c' 15%, 'd' 10%; mend the file or --exclude a,b or --max-missing 0.4"
    )


def test_rows_without_anything_are_no_damage() -> None:
    found = holes(a=range(60), b=range(60))
    assert (found.blank, found.are_few) == (60, True)
    # Of the 40 that are left 8 are a fifth, and 9 are more.
    assert holes(a=range(68), b=range(60)).are_few
    assert not holes(a=range(69), b=range(60)).are_few


def test_where_every_column_lacks_too_much_none_is_proposed() -> None:
    assert holes(a=range(50), b=range(50, 100)).describe().endswith("; mend the file")
    assert holes(a=range(50)).describe() == "missing or bad are 'a' 50%; mend the file"


def test_one_bad_sensor_is_named_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{row},{'?' if row % 2 else row},{'x' if row % 20 == 0 else row}" for row in range(100)]
    path.write_text("\n".join(["a,b,c", *rows]))
    remedy = r"mend the file or --exclude b or --max-missing 0\.1$"
    with pytest.raises(InputError, match=rf"missing or bad are 'b' 50%, 'c' 5%; {remedy}"):
        load_table(path, Selection(max_missing=0), CSV)
    found = load_table(path, Selection(), CSV)
    assert (len(found.values), found.layout.most_missing) == (95, 1)
    assert np.isnan(found.values).sum(axis=0).tolist() == [0, 50, 0]
    assert found.notes[-2:] == [
        "cells are missing in 50 of 100 rows: up to 1 of the 3 cells of a row are filled with what is expected there; "
        "--max-missing 0 leaves such rows out",
        "5 of 100 rows left out: too many missing cells, or bad ones (first: row 0, column 'c' holds 'x', expected a "
        "number)",
    ]


def test_where_hardly_a_row_misses_anything_such_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{row % 7},{'' if row == 5 else row % 3},{row % 5}" for row in range(100)]
    path.write_text("\n".join(["a,b,c", *rows]))
    found = load_table(path, Selection(), CSV)
    assert (len(found.values), found.layout.most_missing) == (99, 0)
    asked = load_table(path, Selection(max_missing=0.2), CSV)
    assert (len(asked.values), asked.layout.most_missing) == (100, 1)


def test_a_column_that_holds_next_to_nothing_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"{row % 7},{row % 3 if row < 15 else ''},{row % 5}" for row in range(100)]
    path.write_text("\n".join(["a,b,c", *rows]))
    found = load_table(path, Selection(), CSV)
    assert (found.names, len(found.values), found.layout.most_missing) == (("a", "c"), 100, 0)
    assert "column 'b' left out: it holds no value in 85% of the rows" in found.notes
    assert load_table(path, Selection(columns=("a", "b", "c"), max_missing=0.2), CSV).names == ("a", "b", "c")


def test_rows_in_which_nothing_was_recorded_are_gaps(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = ["?,?" if 20 <= row < 80 else f"{row % 7},{row % 5}" for row in range(100)]
    path.write_text("\n".join(["a,b", *rows]))
    found = load_table(path, Selection(), CSV)
    assert len(found.values) == 40
    assert found.notes[-1].endswith("in 60 of them nothing was recorded")
    assert found.segment[19] != found.segment[20]


@pytest.mark.parametrize(("empty", "taken"), [(300, True), (1400, False)])
def test_a_sensor_that_came_late_is_kept(tmp_path: Path, empty: int, taken: bool) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["a,late", *[f"{row % 7},{'' if row < empty else row % 5}" for row in range(1600)]]))
    found = load_table(path, Selection(), CSV)
    assert found.names == (("a", "late") if taken else ("a",))
    assert len(found.values) == (1600 - empty if taken else 1600)


def test_columns_that_all_hold_next_to_nothing_are_not_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [",".join("1" if row % 6 == place else "" for place in range(6)) for row in range(60)]
    path.write_text("\n".join(["a,b,c,d,e,f", *rows]))
    with pytest.raises(InputError, match="60 of 60 rows left out"):
        load_table(path, Selection(), CSV)


def test_a_single_column_with_holes_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["a,who", *[f"{row if row % 2 else ''},x" for row in range(20)]]))
    with pytest.raises(InputError, match=r"10 of 20 rows left out: .* more than a fifth is too much"):
        load_table(path, Selection(columns=("a",)), CSV)
