"""Several machines in one file: found where nobody named the key, kept apart where somebody did."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Declared, Layout, Long
from vae_detect.training.data.loading import Table, load_table, survey
from vae_detect.training.data.look import look
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.split import split
from vae_detect.training.settings.config import TrainConfig
from vae_detect.training.train import train

ANY = Layout(declared=Declared())
KEYED = Layout(declared=Declared(), key="machine")


def lines_of(machine: str, offset: float, rows: int = 100) -> list[str]:
    rng = np.random.default_rng(ord(machine[-1]))
    steps = np.cumsum(rng.normal(0, 0.1, rows))
    return [f"{60 * row},{machine},{offset + steps[row]:.3f},{row + 1}" for row in range(rows)]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(["time,machine,temp,No", *lines]) + "\n")
    return path


@pytest.fixture
def interleaved(tmp_path: Path) -> Path:
    machines = [lines_of("A", 20), lines_of("B", 60), lines_of("C", 5)]
    return write(tmp_path / "turns.csv", [line for lines in zip(*machines, strict=True) for line in lines])


@pytest.fixture
def one_after_the_other(tmp_path: Path) -> Path:
    return write(tmp_path / "blocks.csv", [*lines_of("A", 20), *lines_of("B", 60), *lines_of("C", 5)])


@pytest.mark.parametrize("data", ["interleaved", "one_after_the_other"])
def test_the_key_is_proposed_where_time_goes_back_but_for_it(data: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(data)
    assert survey(path, Selection(), ANY).key == "machine"
    looked, _ = look(path, Selection(), ANY, {})
    assert looked.options == {"--key": "machine"}
    assert any("several machines share the file; --key machine" in note for note in looked.notes)


def test_numbers_may_be_keys_and_a_switch_is_none(tmp_path: Path) -> None:
    turns = [line for row in zip(lines_of("1", 10), lines_of("2", 10), strict=True) for line in row]
    assert survey(write(tmp_path / "a.csv", turns), Selection(treatments={"No": "linear"}), ANY).key == "machine"
    switched = [f"{60 * row},{'on' if row % 7 < 3 else 'off'},{row % 11},1" for row in range(100)]
    assert survey(write(tmp_path / "b.csv", switched), Selection(), ANY).key is None
    shared = [f"{row // 2},{'on' if row % 7 < 3 else 'off'},{row % 11},1" for row in range(100)]
    assert survey(write(tmp_path / "c.csv", shared), Selection(), ANY).key is None


def test_mixed_windows_are_refused_with_the_cause(interleaved: Path, tmp_path: Path) -> None:
    config = TrainConfig(kind="windows", window=4, epochs=1)
    with pytest.raises(InputError, match=r"turns\.csv: time goes back or repeats.*--key machine keeps them apart"):
        train(interleaved, tmp_path / "a.onnx", config, selection=Selection(), layout=ANY)
    assert replace(config, kind="rows", window=1)


def same(a: Table, b: Table) -> bool:
    return np.array_equal(a.values, b.values) and np.array_equal(a.segment, b.segment)


def test_a_keyed_table_is_that_of_a_file_for_each(interleaved: Path, tmp_path: Path) -> None:
    offsets = {"A": 20, "B": 60, "C": 5}
    files = [write(tmp_path / f"{machine}.csv", lines_of(machine, offset)) for machine, offset in offsets.items()]
    found = load_table(interleaved, Selection(), KEYED)
    apart = load_table(files, Selection(exclude=("machine",)), ANY)
    assert found.names == ("temp",)  # No begins anew with each machine, and is a counter all the same
    assert same(found, apart)
    assert (found.period_s, found.stamp_s) == (60, 0)
    assert found.layout.key == "machine"
    assert found.notes[0] == "3 recordings, one for each 'machine': 'A', 'B', 'C'"
    parts = [split(table, window=4, stride=1, ordered=True, seed=0) for table in (found, apart)]
    assert all(np.array_equal(a, b) for a, b in zip(*parts, strict=True))


def test_the_key_may_be_a_feature_too(interleaved: Path) -> None:
    found = load_table(interleaved, Selection(treatments={"machine": "category"}), KEYED)
    assert found.texts == {"machine": ("A", "B", "C")}
    assert found.values[[0, 100, 200], 0].tolist() == [0, 1, 2]


def test_a_bad_row_is_named_by_its_place_in_the_file(tmp_path: Path) -> None:
    lines = [line for row in zip(lines_of("A", 20), lines_of("B", 60), strict=True) for line in row]
    lines[31] = "900,B,?,16"
    lines[32] = "960,,20,17"
    found = survey(write(tmp_path / "a.csv", lines), Selection(), KEYED)
    assert [(found.read.place(row), why.column) for row, why in found.read.bad.items()] == [
        ("row 31", "temp"),
        ("row 32", "machine"),
    ]


def test_a_key_that_is_missing_is_refused(interleaved: Path) -> None:
    with pytest.raises(InputError, match="'unit' is not in the header"):
        load_table(interleaved, Selection(), Layout(declared=Declared(), key="unit"))


# --- long tables -----------------------------------------------------------------------------------------------------


@pytest.fixture
def long_and_wide(tmp_path: Path) -> tuple[Path, Path]:
    values = np.cumsum(np.random.default_rng(0).normal(0, 0.1, (120, 2)), axis=0).round(3)
    wide = ["time,a,b", *(f"{60 * row},{a},{b}" for row, (a, b) in enumerate(values.tolist()))]
    long = ["time,sensor,value"]
    for row, (a, b) in enumerate(values.tolist()):
        long += [f"{60 * row},a,{a}", f"{60 * row},b,{b}"]
    for name, lines in (("long", long), ("wide", wide)):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "long.csv", tmp_path / "wide.csv"


def test_a_long_table_is_recognised_and_learnt_from_as_the_wide_one(long_and_wide: tuple[Path, Path]) -> None:
    long, wide = long_and_wide
    looked, found = look(long, Selection(), ANY, {})
    assert looked.options == {"--long": "sensor,value"}
    assert found.mixture.startswith("each time has a row for each 'sensor' ('a', 'b'): this is a long table; --long")
    as_long = replace_long(ANY)
    assert same(load_table(long, Selection(), as_long), load_table(wide, Selection(), ANY))
    again, _ = look(long, Selection(), as_long, {})
    assert again.rows == 120
    assert "  long    a column for each 'sensor'" in again.describe()


def replace_long(layout: Layout, name: str = "sensor") -> Layout:
    return Layout(declared=layout.declared, long=Long(name, "value"))


def test_columns_that_are_missing_and_no_times_are_refused(long_and_wide: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--long: 'tag' is not in the header"):
        load_table(long_and_wide[0], Selection(), replace_long(ANY, "tag"))
    timeless = tmp_path / "timeless.csv"
    timeless.write_text("sensor,value\n" + "a,1\nb,2\n" * 20)
    with pytest.raises(InputError, match="--long needs the times"):
        load_table(timeless, Selection(), replace_long(ANY))


def runs_of(lengths: list[int], *, header: str = "unit,cycle,temp,flow") -> str:
    rng = np.random.default_rng(0)
    rows = [
        f"{unit},{cycle},{20 + rng.normal():.3f},{5 + rng.normal():.3f}"
        for unit, length in enumerate(lengths, start=7)
        for cycle in range(1, length + 1)
    ]
    return "\n".join([header, *rows]) + "\n"


def test_without_time_stamps_the_key_is_that_for_which_rows_are_counted_anew(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(runs_of([60, 45, 80, 50, 55]))
    looked, found = look(path, Selection(), ANY, {})
    assert found.key == "unit"
    assert looked.options == {"--key": "unit"}
    assert not any("--exclude" in note for note in looked.notes)
    assert any(
        "rows are counted anew for each 'unit': several machines share the file" in note for note in looked.notes
    )
    keyed = load_table(path, Selection(), replace_key("unit"))
    assert keyed.names == ("temp", "flow")  # the number of the cycle comes again in no later one
    assert keyed.recording is not None
    assert np.unique(keyed.recording).tolist() == [0, 1, 2, 3, 4]


def replace_key(name: str) -> Layout:
    return Layout(declared=Declared(), key=name)


@pytest.mark.parametrize("header", ["day,hour,temp,flow", "month,day,temp,flow", "unit,min,temp,flow"])
def test_hours_of_a_day_are_no_key(tmp_path: Path, header: str) -> None:
    path = tmp_path / "days.csv"
    path.write_text(runs_of([24] * 12, header=header))
    assert survey(path, Selection(), ANY).key is None


def test_constant_columns_beside_a_value_do_not_hide_a_long_table(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    lines = [f"{60 * row},{name},{row % 7}.{row % 5},1" for row in range(100) for name in ("T1", "P1")]
    path.write_text("\n".join(["time,VarName,VarValue,Validity", *lines]) + "\n")
    looked, _ = look(path, Selection(), ANY, {})
    assert looked.options == {"--long": "VarName,VarValue"}


def test_a_counter_that_only_skips_some_is_not_counted_anew(tmp_path: Path) -> None:
    path = tmp_path / "lots.csv"
    rows = [f"{lot},{100 * lot + piece},{piece % 7},{piece % 5}" for lot in range(6) for piece in range(60)]
    path.write_text("\n".join(["lot,piece,temp,flow", *rows]) + "\n")
    assert survey(path, Selection(), ANY).key is None
