"""Columns that say nothing of later rows: which are left out, and which are not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout, TableFormat
from vae_detect.training.data.loading import load_table
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.suspects import (
    Suspects,
    counts_rows,
    find_suspects,
    is_counter,
    is_label,
    is_passing,
)

Cells = list[str] | NDArray[np.float64]

CSV = Layout()
ROWS = 400


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def write(path: Path, columns: Mapping[str, Cells]) -> Path:
    cells = [[f"{cell:.10g}" if isinstance(cell, float) else str(cell) for cell in each] for each in columns.values()]
    path.write_text("\n".join([",".join(columns), *map(",".join, zip(*cells, strict=True))]) + "\n")
    return path


def signals(rows: int = ROWS) -> dict[str, Cells]:
    """Two columns to learn from, whatever stands beside them."""
    return {"temp": rng(1).normal(20, 1, rows), "flow": rng(2).normal(5, 1, rows)}


def stamps(rows: int = ROWS) -> list[str]:
    return [f"2026-01-05T{row // 60:02}:{row % 60:02}:00" for row in range(rows)]


# --- counters --------------------------------------------------------------------------------------------------------

COUNTERS = {
    "row numbers": np.arange(3000.0),
    "falling": 5000 - np.arange(3000.0),
    "gaps": np.cumsum(rng().integers(1, 4, 3000)).astype(float),
    "a jump over a week without a recording": np.arange(3000.0) + 1e6 * (np.arange(3000) > 1000),
    "an energy meter": 81234 + np.cumsum(rng().uniform(0.5, 1.5, 3000)),
    "an energy meter of whole kWh, often standing": np.floor(np.cumsum(rng().uniform(0, 0.1, 3000))),
    "a lot of 50 rows each": np.arange(3000.0) // 50 + 700,
    "a few lots": np.arange(3000.0) // 500,
    "days as numbers": 20260105.0 + np.arange(3000) // 720,
    "two days as numbers": 20260130.0 + np.arange(3000) // 1600,
    "seconds since 1970": 1.7e9 + np.arange(3000.0),
    "seconds since 1970, a quarter of an hour of them": 1.7e9 + np.arange(900.0),
    "wrong readings": np.where(rng(3).random(3000) < 0.005, 0, np.arange(3000) + 1000.0),
}

KEPT = {
    "noise": rng().normal(size=3000),
    "a constant": np.full(3000, 60.0),
    "a flag thrown once": (np.arange(3000) > 1500).astype(float),
    "setpoints": np.repeat([60.0, 70.0, 80.0, 90.0, 100.0, 110.0], 500),
    "a slow warm-up with noise": 80 - 60 * np.exp(-np.arange(3000) / 1500) + rng().normal(0, 0.1, 3000),
    "a warm-up without noise": 80 - 60 * np.exp(-np.arange(3000) / 300),
    "a warm-up in half degrees": np.round(2 * (80 - 60 * np.exp(-np.arange(3000) / 300))) / 2,
    "ramps that reset": np.arange(3000.0) % 500,
    "one reset": np.arange(3000.0) % 2000,
    "hours of the day": np.arange(3000.0) // 60 % 24,
    "a drift with noise": np.arange(3000) / 1000 + rng().normal(0, 0.1, 3000),
    "standing for the last third": np.minimum(np.arange(3000.0), 2000),
    "a few rows": np.arange(15.0),
}


@pytest.mark.parametrize("kind", COUNTERS)
def test_counters(kind: str) -> None:
    assert is_counter(COUNTERS[kind].astype(np.float32))


@pytest.mark.parametrize("kind", KEPT)
def test_no_counters(kind: str) -> None:
    assert not is_counter(KEPT[kind].astype(np.float32))


@given(
    seed=st.integers(0, 9999),
    rows=st.integers(100, 2000),
    start=st.floats(-1e5, 1e5),
    step=st.floats(0.1, 100),
    ties=st.floats(0, 0.7),
    falls=st.booleans(),
)
def test_whatever_rises_evenly_is_a_counter(
    seed: int, rows: int, start: float, step: float, ties: float, falls: bool
) -> None:
    random = np.random.default_rng(seed)
    steps = random.uniform(0.5, 1.5, rows) * step * (random.random(rows) >= ties)
    assert is_counter((start + np.cumsum(-steps if falls else steps)).astype(np.float32))


@given(seed=st.integers(0, 9999), rows=st.integers(100, 2000), slope=st.floats(-3, 3), noise=st.floats(1, 10))
def test_what_also_goes_back_is_no_counter(seed: int, rows: int, slope: float, noise: float) -> None:
    random = np.random.default_rng(seed)
    cells = slope * np.arange(rows) / rows + random.normal(0, noise, rows)
    assert not is_counter(cells.astype(np.float32))


def test_a_sorted_column_does_not_count_the_rows() -> None:
    assert counts_rows(np.arange(3000.0))
    assert counts_rows(np.arange(3000.0) // 50)
    assert counts_rows(np.round(np.arange(3000.0) / 60, 2))  # hours, in which a minute is 0.01 or 0.02
    assert counts_rows(0.1 * np.arange(3000.0) + rng().normal(0, 0.005, 3000))
    for drawn in (rng().uniform(size=3000), rng().normal(size=3000), rng().integers(0, 100, 3000).astype(float)):
        assert not counts_rows(np.sort(drawn))


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "passing"),
    [
        (["2026-01-05"] * 50 + ["2026-01-06"] * 50, True),
        (["2026-01-05", "2026-01-06"] * 50, True),  # dates are past in any order
        (["05.01.2026"] * 50 + ["06.01.2026"] * 50, True),
        (["lot A"] * 40 + ["lot B"] * 30 + ["lot C"] * 30, True),
        (["run_1.csv"] * 50 + ["run_2.csv"] * 50, True),
        (["Jan"] * 20 + ["Feb"] * 40 + ["Mar"] * 40 + ["Apr"] * 40 + ["Jan"], True),  # a row out of place
        (["January"] * 50 + ["February"] * 50, True),
        (["auto"] * 90 + ["manual"] * 10, False),  # a switch, thrown once
        (["auto"] * 40 + ["manual"] * 20 + ["auto"] * 40, False),
        (["Mon"] * 20 + ["Tue"] * 20 + ["Wed"] * 20 + ["Mon"] * 20 + ["Tue"] * 20 + ["Wed"] * 20, False),
        (["A", "B", "C"] * 30, False),
    ],
)
def test_texts_that_do_not_come_again(cells: list[str], passing: bool) -> None:
    texts = sorted(set(cells))
    assert is_passing(np.array([texts.index(cell) for cell in cells], np.float32), texts) == passing


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *(
            "label",
            "Labels",
            "is_anomaly",
            "isAnomaly",
            "anomaly",
            "anomalous",
            "outlier",
            "fault",
            "Faulty",
            "failure",
        ),
        *("Machine failure", "attack", "Normal/Attack", "target", "class", "Class", "y", "changepoint", "change-point"),
        *("normal", "is_fault", "Faulty", "pump.label"),
    ],
)
def test_names_of_labels(name: str) -> None:
    assert is_label(name)


@pytest.mark.parametrize("name", ["flow", "y_position", "y [mm]", "fault_code", "normal_force", "class_size", "", "°C"])
def test_names_of_no_labels(name: str) -> None:
    assert not is_label(name)


# --- what is loaded --------------------------------------------------------------------------------------------------


def test_each_reason_is_a_line(tmp_path: Path) -> None:
    columns: dict[str, Cells] = {
        "time": stamps(),
        "id": np.arange(float(ROWS)),
        "lot": [f"L{row // 50}" for row in range(ROWS)],
        "kwh": np.cumsum(rng().uniform(0.5, 1.5, ROWS)),
        "label": ["0"] * ROWS,
        **signals(),
    }
    path = write(tmp_path / "a.csv", columns)
    found = load_table(path, Selection(), CSV)
    assert found.names == ("temp", "flow")
    assert (found.texts, found.values.shape) == ({}, (ROWS, 2))
    assert found.notes == [
        "time stamps: column 'time'",
        "left out, since it only rises or falls, like a counter, and later rows lie beyond: 'id', 'kwh'; "
        "--treat 'id=linear' keeps it",
        "left out, since its texts do not come again, like dates or lots: 'lot'; --treat 'lot=category' keeps it",
        "left out, since it is named like a label and is the same in every row: 'label'; "
        "--treat 'label=constant' keeps it",
    ]


@pytest.mark.parametrize(
    "selection",
    [
        Selection(columns=("id", "lot", "label", "temp", "flow")),
        Selection(treatments={"id": "linear", "lot": "category", "label": "constant"}),
    ],
)
def test_what_the_user_names_is_kept(tmp_path: Path, selection: Selection) -> None:
    columns: dict[str, Cells] = {
        "id": np.arange(float(ROWS)),
        "lot": [f"L{row // 50}" for row in range(ROWS)],
        "label": ["0"] * ROWS,
    }
    found = load_table(write(tmp_path / "a.csv", columns | signals()), selection, CSV)
    assert (found.names, found.notes) == (("id", "lot", "label", "temp", "flow"), [])


def test_a_bad_cell_in_a_column_left_out_does_no_harm(tmp_path: Path) -> None:
    number = [str(row) if row % 2 else "" for row in range(ROWS)]
    found = load_table(write(tmp_path / "a.csv", {"id": number} | signals()), Selection(), CSV)
    assert (found.names, found.values.shape) == (("temp", "flow"), (ROWS, 2))
    assert not any("bad cell" in note for note in found.notes)


def test_where_nothing_else_is_left_the_columns_are_kept(tmp_path: Path) -> None:
    found = load_table(write(tmp_path / "a.csv", {"id": np.arange(float(ROWS))}), Selection(), CSV)
    assert found.names == ("id",)
    assert found.notes == [
        "better left out, since it only rises or falls, like a counter, and later rows lie beyond: 'id'; kept, since "
        "no other column is left"
    ]


def test_without_a_header_columns_are_left_out_by_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", {"id": np.arange(float(ROWS))} | signals())
    path.write_text(path.read_text().partition("\n")[2])
    found = load_table(path, Selection(), Layout(TableFormat(header=False)))
    assert found.names == ("c1", "c2")
    assert found.notes[0].endswith("'c0'; --treat 'c0=linear' keeps it")


@pytest.mark.parametrize("order", ["none", "times", "neighbours"])
def test_the_column_by_which_a_table_is_sorted_is_kept_unless_rows_have_an_order(tmp_path: Path, order: str) -> None:
    temp = np.sin(np.arange(ROWS) / 20) if order == "neighbours" else rng(1).normal(20, 1, ROWS)
    columns: dict[str, Cells] = {"flow": np.sort(rng().uniform(5, 9, ROWS)), "temp": temp}
    path = write(tmp_path / "a.csv", {"time": stamps(), **columns} if order == "times" else columns)
    found = load_table(path, Selection(), CSV)
    assert found.names == (("flow", "temp") if order == "none" else ("temp",))
    if order == "none":
        assert found.notes == [
            "only rising or falling, as where rows are sorted by it: 'flow'; if it is a counter, --exclude flow"
        ]


@pytest.mark.parametrize("cells", [("0", "1"), ("normal", "attack")])
def test_the_user_is_warned_of_labels_that_vary(tmp_path: Path, cells: tuple[str, str]) -> None:
    labels = [cells[row % 5 == 0] for row in range(ROWS)]
    found = load_table(write(tmp_path / "a.csv", {"label": labels, **signals()}), Selection(), CSV)
    assert found.names == ("label", "temp", "flow")
    assert found.notes == [
        "named or set like labels: 'label'; if that says what is normal, --exclude label, or the detector is told the "
        "answers"
    ]


def test_flags_that_are_set_where_a_label_is_tell_why() -> None:
    rows = np.arange(ROWS)
    label, other = rows % 20 == 0, rows % 20 == 1
    cause = label & (rows % 40 == 0)
    values = np.stack([label, cause, other, rows % 2], axis=1).astype(np.float32)
    found = find_suspects(values, ["failure", "TWF", "valve", "mode"], {}, None)
    assert found.labels == ["failure", "TWF"]


def test_numbers_of_many_values_are_no_labels(tmp_path: Path) -> None:
    found = load_table(write(tmp_path / "a.csv", {"y": rng().normal(size=ROWS)} | signals()), Selection(), CSV)
    assert (found.names, found.notes) == (("y", "temp", "flow"), [])


def test_nothing_usable_is_still_refused(tmp_path: Path) -> None:
    columns: dict[str, Cells] = {
        name: ["x" if row % 3 == place else "1" for row in range(21)] for place, name in enumerate("abc")
    }
    path = write(tmp_path / "a.csv", columns)
    with pytest.raises(InputError, match="21 of 21 rows left out"):
        load_table(path, Selection(), CSV)


# --- one flag of several ---------------------------------------------------------------------------------------------


def one_of(*names: str) -> dict[str, Cells]:
    """Flags of which one is set in each row."""
    chosen = rng(5).integers(0, len(names), ROWS)
    return {name: (chosen == place).astype(float) for place, name in enumerate(names)}


def suspects_of(columns: Mapping[str, Cells]) -> Suspects:
    values = np.stack([np.asarray(cells, np.float32) for cells in columns.values()], axis=1)
    return find_suspects(values, list(columns), {}, None)


def test_classes_that_name_faults_are_labels_and_others_are_told_of() -> None:
    faults = one_of("Scratch_Fault", "Dirt_Fault", "Other")
    assert suspects_of(signals() | faults).labels == [*faults]
    assert suspects_of(signals() | one_of("normal", "leaking", "blocked")).labels == ["normal", "leaking", "blocked"]
    modes = one_of("idle", "run", "stop", "clean")
    found = suspects_of(modes | signals())
    assert (found.labels, found.choices) == ([], (("idle", "run", "stop", "clean"),))
    assert found.describe(kept="") == [
        "one of 'idle', 'run', 'stop', 'clean' is set in each row, as where classes are spelt out; if that says what "
        "is normal, --exclude idle,run,stop,clean"
    ]


def test_flags_of_which_none_or_several_may_be_set_are_no_classes() -> None:
    pumps = {name: (rng(seed).random(ROWS) < 0.4).astype(float) for seed, name in enumerate(("p1", "p2", "p3"))}
    assert suspects_of(signals() | pumps).choices == ()
    assert suspects_of(signals() | one_of("steel A", "steel B")).choices == ()  # the second is the first turned round
    seldom = {name: np.where(np.arange(ROWS) == 7, 0.0, cells) for name, cells in one_of("a", "b", "c").items()}
    assert suspects_of(signals() | seldom).choices == ()
    assert suspects_of(pumps | one_of("a", "b", "c") | signals()).choices == (("a", "b", "c"),)


def test_texts_of_which_one_says_normal_are_labels(tmp_path: Path) -> None:
    states = {
        "state": ["NORMAL", "BROKEN", "NORMAL", "RECOVERING"] * (ROWS // 4),
        "mode": ["auto", "hand"] * (ROWS // 2),
    }
    notes = load_table(write(tmp_path / "a.csv", {"time": stamps(), **signals(), **states}), Selection(), CSV).notes
    assert any("named or set like labels: 'state';" in note for note in notes)
