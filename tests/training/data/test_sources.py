"""Several files: the columns that they share, and how each is written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Declared, Layout, TableFormat
from vae_detect.runtime.opening import digest
from vae_detect.training.data.loading import load_table
from vae_detect.training.data.look import look
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.sources import Sample, Source, read_texts, sample_of

CSV, ANY = Layout(), Selection()
RECOGNISED = Layout(declared=Declared())


def files(folder: Path, *texts: str) -> list[Path]:
    paths = [folder / f"{letter}.csv" for letter, _ in zip("abcdef", texts, strict=False)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


def sources(paths: Sequence[Path]) -> list[Source]:
    return [Source(path, CSV) for path in paths]


def test_columns_are_found_by_name_in_every_file(tmp_path: Path) -> None:
    found = sample_of(sources(files(tmp_path, "x,y,z\n1,2,3\n", "z,w,x\n6,5,4\n", "x,z\n7,8\n")))
    assert found == Sample(
        ["x", "z"],
        [["1", "3"], ["4", "6"], ["7", "8"]],
        {"y": "is not in b.csv, c.csv", "w": "is not in a.csv, c.csv"},
    )


def test_files_without_a_common_column_are_refused_with_what_they_have(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column in common: a\.csv has 'x', 'y'; b\.csv has 'z'"):
        sample_of(sources(files(tmp_path, "x,y\n1,2\n", "z\n3\n")))


def test_texts_come_from_all_files(tmp_path: Path) -> None:
    assert read_texts(sources(files(tmp_path, "x,m\n1,on\n", "m,x\noff,2\n")), "m") == ["on", "off"]


def rows(start: int, stop: int, period_s: int = 1) -> str:
    return "".join(f"{period_s * row},{row},{('on', 'off')[row // 3 % 2]}\n" for row in range(start, stop))


def test_each_file_is_a_recording_of_its_own(tmp_path: Path) -> None:
    paths = files(tmp_path, "time,x,m\n" + rows(0, 20), "time,x,m\n" + rows(20, 30) + "30,?,on\n" + rows(31, 35))
    found = load_table(paths, Selection(treatments={"x": "linear"}), CSV)
    assert found.recording is not None
    assert found.recording.tolist() == [0] * 20 + [1] * 14
    assert found.segment.tolist() == [0] * 20 + [1] * 10 + [2] * 4  # though time goes on from file to file
    assert (found.period_s, found.texts) == (1, {"m": ("off", "on")})
    assert found.notes[0] == "2 files, each a recording of its own: a.csv, b.csv"
    assert any("first: b.csv, row 10, column 'x' holds '?'" in note for note in found.notes)
    assert found.sha256 == digest(*paths) != digest(paths[0])


def test_files_may_be_written_in_other_ways_and_orders(tmp_path: Path) -> None:
    plain = [f"{0.5 * row},{row % 7}" for row in range(40)]
    german = [";".join(reversed(line.split(","))).replace(".", ",") for line in plain]
    paths = files(tmp_path, "\n".join(["a,b", *plain]), "\n".join(["b;a", *german]))
    found = load_table(paths, Selection(treatments={"a": "linear"}), RECOGNISED)
    assert found.names == ("a", "b")
    assert np.array_equal(found.values[:40], found.values[40:])
    assert found.layout.format == TableFormat()
    assert any(note.startswith("text: UTF-8, cells between commas, decimal point") for note in found.notes)


def test_the_period_is_that_of_the_longest_recording(tmp_path: Path) -> None:
    head = "time,x,m\n"
    found = load_table(
        files(tmp_path, head + rows(0, 12, 60), head + rows(0, 40), head + rows(0, 12, 60)),
        Selection(treatments={"x": "linear"}),
        CSV,
    )
    assert found.period_s == 1
    assert len(set(found.segment.tolist())) == 25  # minutes are gaps among seconds


def test_looking_counts_no_gap_between_files(tmp_path: Path) -> None:
    head = "time,x,m\n"
    folder = tmp_path / "log"
    folder.mkdir()
    files(folder, head + rows(0, 50), head + rows(5000, 5050))
    looked, _ = look(folder, Selection(treatments={"x": "linear"}), RECOGNISED, {})
    assert looked.times is not None
    assert (looked.rows, looked.times.gaps, looked.times.regular) == (100, 0, 1.0)
    assert looked.command == f"vae-detect train {folder} --out log.onnx"
    assert looked.files == (str(folder / "a.csv"), str(folder / "b.csv"))


def test_files_without_a_header_share_their_places(tmp_path: Path) -> None:
    numbers = "".join(f"{row % 5},{row % 3}\n" for row in range(30))
    layout = Layout(TableFormat(header=False))
    found = load_table(files(tmp_path, numbers, numbers), Selection(exclude=("c0",)), layout)
    assert found.names == ("c1",)
    assert found.values[:4, 0].tolist() == [0, 1, 2, 0]
