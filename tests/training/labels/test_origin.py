"""Labels from a column, from a file of them and from ranges of time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Declared, Layout, TableFormat
from vae_detect.training.labels.origin import read_labels

CSV = Layout()


def label(data: Path, where: str, rows: int, layout: Layout = CSV) -> list[int]:
    return list(read_labels(data, where, layout)(rows, None))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_labels_from_a_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "v,label\n1,0\n2,1\n3, 1.0 \n4,0.0\n5,1\n")
    assert label(path, "label", 5) == [0, 1, 1, 0, 1]


@pytest.mark.parametrize("text", ["is_bad\n0\n1\n", "0\n1\n", "time;label;x\n1;normal;4,5\n2;fault;4,7\n"])
def test_labels_from_a_file_which_is_recognised(tmp_path: Path, text: str) -> None:
    # the data may be written otherwise: its format is not that of the labels
    data = write(tmp_path / "a.csv", "v;label\n1,5;1\n2,5;0\n")
    labels = write(tmp_path / "labels.csv", text)
    assert label(data, str(labels), 2, Layout(TableFormat(delimiter=";", decimal=","))) == [0, 1]


def test_a_column_of_the_data_wins_over_a_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("label"), "is_bad\n0\n1\n")
    write(Path("none"), "is_bad\n1\n1\n")
    write(Path("a.csv"), "v,label\n1,1\n2,0\n")
    assert label(Path("a.csv"), "label", 2) == [1, 0]
    assert label(Path("a.csv"), "./label", 2) == [0, 1]
    assert label(Path("a.csv"), "none", 2) == [1, 1]
    Path("none").unlink()
    assert label(Path("a.csv"), "none", 2) == [0, 0]


def test_ranges_of_time(tmp_path: Path) -> None:
    data = write(tmp_path / "a.csv", "v\n1\n")
    log = write(tmp_path / "log.csv", "from;to;who\n10;20;Ann, who knows\n")
    times, said = np.array([5.0, 10.0, 15.0, 21.0]), list[str]()
    found = read_labels(data, str(log), Layout(declared=Declared()), say=said.append)
    assert found(4, times).tolist() == [0, 1, 1, 0]
    assert said == [f"labels in {log}: 2 of 4 rows lie in 1 ranges of time"]
    assert read_labels(data, str(log), CSV, partly=True)(4, times).tolist() == [-1, 1, 1, -1]


def test_ranges_with_words_and_keys(tmp_path: Path) -> None:
    data = write(tmp_path / "a.csv", "v,machine\n1,p\n2,q\n3, p \n")
    events = write(tmp_path / "labels.csv", "start,end,label,key\n5,10,fault,p\n5,10,false alarm,q\n")
    times, keyed = np.array([5.0, 6.0, 11.0]), Layout(key="machine")
    assert read_labels(data, str(events), keyed, partly=True)(3, times).tolist() == [1, 0, -1]
    with pytest.raises(InputError, match=r"labels.csv: is about 2 keys, 'p', 'q', and the recording has no column"):
        read_labels(data, str(events), CSV)
    write(events, "start,end,label,key\n5,10,false alarm,p\n")
    assert read_labels(data, str(events), CSV, partly=True)(3, times).tolist() == [0, 0, -1]


def test_labels_that_are_missing_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "v,label\n1,0\n")
    with pytest.raises(InputError, match="column 'truth' is missing; the header has 'v', 'label'"):
        read_labels(path, "truth", CSV)
    labels = write(tmp_path / "labels.csv", "row,is_bad\n0,1\n")
    with pytest.raises(InputError, match=r"labels\.csv: is no file of labels; expected one .* found 'row', 'is_bad'"):
        read_labels(path, str(labels), CSV)


def test_another_number_of_labels_is_refused(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "a.csv", "v,label\n1,0\n2,1\n"), "label", CSV)
    with pytest.raises(InputError, match=r"2 labels in .*a\.csv for 3 rows"):
        labels(3, None)
