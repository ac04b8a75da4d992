"""Which files names, folders and patterns stand for."""

import os
from pathlib import Path

import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.rows.table_files import Tables, find_tables, is_pattern


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.TSV", "c.txt.gz", "read.me", ".hidden.csv", "~$open.csv", "deep/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_stands_for_the_tables_in_it_and_not_below(folder: Path) -> None:
    found = find_tables(folder)
    assert [path.name for path in found.files] == ["a.TSV", "b.csv", "c.txt.gz"]
    assert found.others == 3
    assert found.describe() == (
        "3 files, each a recording of its own: a.TSV, b.csv, c.txt.gz; 3 other files passed over"
    )


def test_a_pattern_stands_for_what_it_matches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [path.name for path in find_tables(folder / "[bc].*").files] == ["b.csv", "c.txt.gz"]
    monkeypatch.chdir(folder)
    assert find_tables(Path("*/d.csv")).files == [Path("deep/d.csv")]
    with pytest.raises(InputError, match="no file matches"):
        find_tables(folder / "x*.csv")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    odd = folder / "run[1].csv"
    odd.touch()
    assert not is_pattern(odd)
    assert find_tables(odd).files == [odd]


def test_names_stay_in_their_order_and_are_not_looked_for(folder: Path) -> None:
    named = [folder / "z.csv", folder / "b.csv"]
    assert find_tables(named) == Tables(named, 0)
    assert find_tables(folder / "b.csv").describe() == ""
    with pytest.raises(InputError, match=r"b\.csv: is named twice"):
        find_tables([folder / "b.csv", folder])


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match=r"holds no table; expected files that end in \.csv, "):
        find_tables(tmp_path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may list all")
def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    with pytest.raises(InputError, match="cannot be listed"):
        find_tables(tmp_path)
