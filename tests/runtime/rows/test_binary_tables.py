"""Parquet and Excel: the same cells as the CSV that says the same."""

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xlsxwriter import Workbook

from vae_detect.runtime.errors import InputError, MissingExtraError
from vae_detect.runtime.layout import Declared, Layout, TableFormat
from vae_detect.runtime.rows.binary_tables import sheets_of
from vae_detect.runtime.rows.recognise import recognise
from vae_detect.runtime.rows.tables import read_rows, read_sample

ANY = Layout(declared=Declared())


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    with Workbook(path, {"default_date_format": "yyyy-mm-dd hh:mm:ss"}) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for row, cells in enumerate(rows):
                sheet.write_row(row, 0, cells)
    return path


def test_cells_of_parquet_are_those_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    start = datetime(2026, 1, 5, 12)
    pl.DataFrame(
        {
            "at": [start, start + timedelta(milliseconds=1500)],
            "zoned": pl.Series([start, start]).dt.replace_time_zone("Europe/Berlin"),
            "x": [0.1, None],
            "n": [3, -4],
            "on": [True, False],
            "mode": ["a,b", "é"],
            "past": [timedelta(seconds=90), timedelta(0)],
            "list": [[1], [2]],
        }
    ).write_parquet(path)
    header, rows = read_sample(path, ANY)
    assert header == ["at", "zoned", "x", "n", "on", "mode", "past", "list"]
    berlin = "2026-01-05T11:00:00Z"
    assert rows[0] == ["2026-01-05T12:00:00", berlin, "0.1", "3", "true", "a,b", "90.0", "(List(Int64))"]
    assert rows[1] == ["2026-01-05T12:00:01.500", berlin, "", "-4", "false", "é", "0.0", "(List(Int64))"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_numbers_of_parquet_are_read_back_equal(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    pl.DataFrame({"x": numbers, "y": 1.5}).write_parquet(path)
    (chunk,) = read_rows(path, ["x"], layout=ANY)
    assert chunk.values[:, 0].tolist() == numbers


def test_a_workbook_is_read_below_its_title(tmp_path: Path) -> None:
    when = datetime(2026, 1, 5, 6, 30)
    rows: list[list[Any]] = [
        ["Pump 3"],
        [],
        ["time", "flow", "mode"],
        [when, 1.25, "on"],
        [when + timedelta(minutes=1), 2, "off"],
    ]
    path = workbook(tmp_path / "a.xlsx", Empty=[], Data=rows)
    assert recognise(path, Declared()).header
    header, cells = read_sample(path, ANY)
    assert header == ["time", "flow", "mode"]
    assert cells == [["2026-01-05 06:30:00", "1.25", "on"], ["2026-01-05 06:31:00", "2", "off"]]
    assert sheets_of(path) == ["Empty", "Data"]


def test_what_was_learnt_of_another_file_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"Temp (°C)": [1.5, 2.5], "b": [1.0, 2.0]}).write_parquet(path)
    german = Layout(TableFormat(";", ",", encoding="cp1252"), declared=Declared())
    (chunk,) = read_rows(path, ["Temp (°C)"], layout=german)
    assert chunk.values[:, 0].tolist() == [1.5, 2.5]


@pytest.mark.parametrize(("name", "start"), [("a.parquet", b"PAR1"), ("a.xlsx", b"PK\x03\x04")])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, name: str, start: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(start + b"no more")
    with pytest.raises(InputError, match=rf"{name}: cannot be read as ") as refusal:
        read_sample(path, ANY)
    assert "\n" not in str(refusal.value)


def test_an_empty_workbook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the workbook is empty"):
        read_sample(workbook(tmp_path / "a.xlsx", One=[]), ANY)


@pytest.mark.parametrize(("name", "lacking"), [("a.parquet", "polars"), ("a.xlsx", "fastexcel")])
def test_without_the_extra_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lacking: str
) -> None:
    pl.DataFrame({"x": [1.0]}).write_parquet(tmp_path / "a.parquet")
    workbook(tmp_path / "a.xlsx", One=[["x"], [1]])
    monkeypatch.setitem(sys.modules, lacking, None)
    with pytest.raises(MissingExtraError, match=rf"needs {lacking}: pip install 'vae-detect\[tables\]'"):
        read_sample(tmp_path / name, ANY)
