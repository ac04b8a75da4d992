"""From a CSV to a split: which columns and rows are taken, and that the parts of the split have nothing in common."""

from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.tables import TableFormat
from vae_detect.training.data import (
    SHARES,
    Scaling,
    Selection,
    Split,
    Table,
    choose_columns,
    covered_rows,
    describe_columns,
    find_time_column,
    fit_scaling,
    load_table,
    split,
)

CSV = TableFormat()
ANY = Selection()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def table(values: NDArray[np.float32], segment: NDArray[np.int64] | None = None) -> Table:
    rows, features = values.shape
    names = tuple(f"f{i}" for i in range(features))
    return Table(values, names, None, np.zeros(rows, np.int64) if segment is None else segment, None, [], "")


def numbered(rows: int, segment: NDArray[np.int64] | None = None) -> Table:
    """One column that counts the rows."""
    return table(np.arange(rows, dtype=np.float32)[:, None], segment)


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_of_numbers_are_taken_and_the_others_are_noted() -> None:
    header = ["flow", "state", "empty", "power"]
    sample = [["1", "on", "", "2.5"], ["2", "off", "", "1e3"], ["3", "on", " ", "-4"]]
    names, notes = choose_columns(header, sample, ANY, None, CSV)
    assert names == ["flow", "power"]
    assert notes == ["column 'state' left out: holds text ('on')", "column 'empty' left out: is empty"]


def test_a_column_that_is_mostly_numbers_is_taken() -> None:
    sample = [["1"], ["2"], ["error"], [""], [""], [""]]  # empty cells say nothing about the kind of column
    assert choose_columns(["flow"], sample, ANY, None, CSV) == (["flow"], [])
    with pytest.raises(InputError):
        choose_columns(["flow"], [["1"], ["error"]], ANY, None, CSV)  # one half is not most


def test_named_columns_keep_the_order_asked_for() -> None:
    selection = Selection(columns=("c", "a"))
    assert choose_columns(["a", "b", "c"], [["1", "2", "3"]], selection, None, CSV) == (["c", "a"], [])


def test_excluded_columns_and_the_time_column_are_no_features() -> None:
    names, notes = choose_columns(["t", "a", "b"], [["1", "2", "3"]], Selection(exclude=("a",)), "t", CSV)
    assert (names, notes) == (["b"], [])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("on", r"column 'b' holds text \('on'\), expected numbers"), ("", "column 'b' is empty, expected numbers")],
)
def test_a_named_column_must_be_numeric(cell: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        choose_columns(["a", "b"], [["1", cell]], Selection(columns=("a", "b")), None, CSV)


@pytest.mark.parametrize("selection", [Selection(columns=("q",)), Selection(exclude=("q",))])
def test_a_missing_column_is_refused_with_those_present(selection: Selection) -> None:
    with pytest.raises(InputError, match="column 'q' is not in the header: 'a', 'b'"):
        choose_columns(["a", "b"], [["1", "2"]], selection, None, CSV)


@pytest.mark.parametrize("exclude", [("a",), ()])
def test_nothing_to_learn_from_is_refused(exclude: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="no numeric column is left to learn from; the header has 'a', 'b'"):
        choose_columns(["a", "b"], [["1" if exclude else "x", "y"]], Selection(exclude=exclude), None, CSV)


def test_units_stand_in_brackets_at_the_end() -> None:
    names = ["flow [m3/h]", "power", "temp [ °C ] ", "a [b] c", "[bar]"]
    scaling = Scaling(np.arange(5, dtype=np.float32), np.full(5, 2, np.float32))
    columns = describe_columns(names, scaling)
    assert [column.unit for column in columns] == ["m3/h", "", "°C", "", "bar"]
    assert [column.name for column in columns] == names
    assert (columns[3].center, columns[3].scale) == (3.0, 2.0)


# --- time stamps -----------------------------------------------------------------------------------------------------

DATE = "2026-01-05T00:00:00"


@pytest.mark.parametrize(
    ("header", "row", "named", "expected"),
    [
        (["flow", "Timestamp"], ["1", DATE], None, "Timestamp"),  # by name, anywhere
        (["flow", "ts"], ["1", "1700000000"], None, "ts"),  # by name, as a number
        (["when", "flow"], [DATE, "1"], None, "when"),  # by content, as the first column
        (["when", "flow"], ["2026-01-05 00:00:00+01:00", "1"], None, "when"),
        (["flow", "when"], ["1", DATE], None, None),  # by content, but not first
        (["count", "flow"], ["1", "2"], None, None),  # numbers under another name are numbers
        (["time", "flow"], ["noon", "1"], None, None),  # the name alone does not make a time
        (["flow", "when"], ["1", DATE], "when", "when"),  # as told
        (["ts", "other"], ["1", "2"], "other", "other"),  # as told, against the name
        (["flow"], ["1"], None, None),
    ],
)
def test_the_time_column_is_found(header: list[str], row: list[str], named: str | None, expected: str | None) -> None:
    assert find_time_column(header, [row, row], named) == expected


def test_a_missing_time_column_is_refused() -> None:
    with pytest.raises(InputError, match="time column 'when' is not in the header: 'a', 'b'"):
        find_time_column(["a", "b"], [["1", "2"]], "when")


def test_time_stamps_that_never_go_forward_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"time,flow\n{DATE},1\n{DATE},2\n")
    with pytest.raises(InputError, match="the time stamps never go forward; name the right column with --time-column"):
        load_table(path, ANY, CSV)


def test_period_and_segments_come_from_the_time_stamps(tmp_path: Path) -> None:
    # steps of 10 s, jitter of less than half a step, a gap, a step back
    seconds = [0, 10, 20, 34, 40, 60, 70, 65, 75]
    start = datetime(2026, 1, 5)
    lines = [f"{start + timedelta(seconds=s)},{i}\n" for i, s in enumerate(seconds)]
    found = load_table(write(tmp_path / "a.csv", "time,flow\n" + "".join(lines)), ANY, CSV)
    assert (found.time_column, found.names, found.period_s) == ("time", ("flow",), 10.0)
    # 40 -> 60 is more than 1.5 steps; 70 -> 65 goes back
    assert found.segment.tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2]
    assert found.notes == ["time stamps: column 'time'"]


# --- rows ------------------------------------------------------------------------------------------------------------


def test_values_are_as_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,name,b\n1,x,2.5\n-3,y,4e2\n")
    found = load_table(path, ANY, CSV)
    assert found.values.dtype == np.float32
    assert found.values.tolist() == [[1.0, 2.5], [-3.0, 400.0]]
    assert (found.names, found.time_column, found.period_s) == (("a", "b"), None, None)
    assert found.sha256 == sha256(path.read_bytes()).hexdigest()


def test_bad_rows_are_left_out_counted_and_end_a_segment(tmp_path: Path) -> None:
    cells = [str(i) for i in range(20)]
    cells[5], cells[6], cells[11] = "", "nan", "1,5"
    path = write(tmp_path / "a.csv", "a,b\n" + "".join(f'7,"{cell}"\n' for cell in cells))
    found = load_table(path, ANY, CSV)
    assert found.values[:, 1].tolist() == [0, 1, 2, 3, 4, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19]
    # a segment ends at each bad row, so that no window spans one
    assert np.flatnonzero(np.diff(found.segment)).tolist() == [4, 8]
    expected = "3 of 20 rows left out: a missing or bad cell (first: row 5, column 'b' is empty)"
    assert found.notes == [expected]


def test_bad_cells_in_a_column_that_is_not_used_do_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b\n" + "1,\n" * 10)
    assert len(load_table(path, ANY, CSV).values) == 10


@pytest.mark.parametrize(("bad", "refused"), [(4, False), (5, True)])
def test_more_than_a_fifth_of_bad_rows_is_refused(tmp_path: Path, bad: int, refused: bool) -> None:
    path = write(tmp_path / "a.csv", "a,b\n" + "1,2\n" * (20 - bad) + "1,\n" * bad)
    if not refused:
        assert len(load_table(path, ANY, CSV).values) == 16
        return
    with pytest.raises(InputError, match=r"5 of 20 rows left out: .*row 15, column 'b' is empty.*more than a fifth"):
        load_table(path, ANY, CSV)


def test_bad_rows_are_numbered_over_the_whole_file(tmp_path: Path) -> None:
    # more than one chunk of reading
    path = write(tmp_path / "a.csv", "a\n" + "1\n" * 1500 + "x\n" + "1\n" * 700)
    found = load_table(path, ANY, CSV)
    assert "row 1500, column 'a' holds 'x'" in found.notes[0]
    assert len(found.values) == 2200
    assert np.flatnonzero(np.diff(found.segment)).tolist() == [1499]


def test_a_decimal_comma_makes_a_number_where_it_is_declared(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a;b;c\n1,5;2;1.5\n-3,25;4e2;2.5\n")
    found = load_table(path, ANY, TableFormat(delimiter=";", decimal=","))
    assert found.values.tolist() == [[1.5, 2.0], [-3.25, 400.0]]
    assert found.notes == ["column 'c' left out: holds text ('1.5')"]  # a point is no decimal mark then


def test_a_file_without_a_header_is_read_by_position(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "1;2,5\n3;4,5\n")
    found = load_table(path, ANY, TableFormat(delimiter=";", decimal=",", header=False))
    assert found.names == ("c0", "c1")
    assert found.values.tolist() == [[1.0, 2.5], [3.0, 4.5]]


@pytest.mark.parametrize(
    ("line", "selection", "culprit"),
    [
        (f"{DATE},1", ANY, "c0"),
        ("1,on", ANY, "c1"),
        ("1,2,3", Selection(exclude=("c1",)), "c1"),
        ("1,2", Selection(columns=("c1", "c0")), "c0"),
    ],
    ids=["time stamps", "text", "excluded", "another order"],
)
def test_without_a_header_every_column_must_be_a_feature(
    tmp_path: Path, line: str, selection: Selection, culprit: str
) -> None:
    # Columns that are left out have no name to leave them out by when the detector scores such a file.
    path = write(tmp_path / "a.csv", f"{line}\n" * 10)
    with pytest.raises(InputError, match=rf"a\.csv: .*'{culprit}'.*header"):
        load_table(path, selection, TableFormat(header=False))


# --- scaling ---------------------------------------------------------------------------------------------------------


def test_scaling_by_hand() -> None:
    values = np.array([[1, 10], [3, 10], [100, 999]], np.float32)
    scaling, notes = fit_scaling(table(values), np.array([0, 1]), standardise=True)
    # column 0: mean 2, standard deviation 1; column 1 is constant while training, so its scale is its value
    assert scaling.center.tolist() == [2.0, 10.0]
    assert scaling.scale.tolist() == [1.0, 10.0]
    assert notes == ["constant while training, kept so that a change shows: f1"]


@pytest.mark.parametrize(("value", "scale"), [(0.0, 1.0), (-5.0, 5.0), (0.25, 0.25), (1e-8, 1e-8)])
def test_the_scale_of_a_constant_column(value: float, scale: float) -> None:
    values = np.full((50, 1), value, np.float32)
    scaling, notes = fit_scaling(table(values), np.arange(50), standardise=True)
    assert scaling.center.tolist() == pytest.approx([value], rel=1e-6)
    assert scaling.scale.tolist() == pytest.approx([scale], rel=1e-6)
    assert len(notes) == 1


def test_binary_data_is_not_standardised() -> None:
    values = np.array([[0, 1], [1, 1]], np.float32)
    scaling, notes = fit_scaling(table(values), np.arange(2), standardise=False)
    assert (scaling.center.tolist(), scaling.scale.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert len(notes) == 1  # a constant column is told all the same


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6))
def test_scaling_knows_the_training_rows_only(seed: int, strange: float) -> None:
    values = np.random.default_rng(seed).normal(size=(100, 2)).astype(np.float32)
    parts = split(table(values), window=1, stride=1, ordered=False, seed=seed)
    before, _ = fit_scaling(table(values), parts.train, standardise=True)
    values[parts.validation], values[parts.calibration] = strange, -strange
    after, _ = fit_scaling(table(values), parts.train, standardise=True)
    assert before.center.tolist() == after.center.tolist()
    assert before.scale.tolist() == after.scale.tolist()


def test_covered_rows_are_each_counted_once() -> None:
    assert covered_rows(np.array([0, 1, 7]), 3).tolist() == [0, 1, 2, 3, 7, 8, 9]


# --- the split -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(0, 2**31 - 1))
def test_shuffled_rows_are_each_in_one_part(rows: int, seed: int) -> None:
    parts = split(numbered(rows), window=1, stride=1, ordered=False, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    assert [len(part) for part in parts] == pytest.approx([share * rows for share in SHARES.values()], abs=1)


def test_the_seed_decides_the_shuffle() -> None:
    first, again, other = (split(numbered(200), window=1, stride=1, ordered=False, seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.train, other.train)


def test_an_ordered_split_by_hand() -> None:
    # 100 rows and windows of 5 are one block: rows 0-69, 70-79, 80-99. An input of a part must leave 5 rows free
    # before the next part begins: the last training window is 60..64, the only one to validate is 70..74.
    parts = split(numbered(100), window=5, stride=1, ordered=True, seed=0)
    assert parts.train.tolist() == list(range(61))
    assert parts.validation.tolist() == [70]
    assert parts.calibration.tolist() == list(range(80, 91))


RECORDINGS = st.integers(1, 600)
BREAKS = st.lists(st.integers(1, 599), max_size=8)


def segments(rows: int, breaks: list[int]) -> NDArray[np.int64]:
    return np.searchsorted(np.unique(breaks), np.arange(rows), side="right").astype(np.int64)


@settings(deadline=None, max_examples=300)
@given(RECORDINGS, st.integers(1, 20), st.integers(1, 5), BREAKS)
def test_no_two_parts_of_ordered_data_come_within_a_window_of_each_other(
    rows: int, window: int, stride: int, breaks: list[int]
) -> None:
    segment = segments(rows, breaks)
    parts = split(numbered(rows, segment), window=window, stride=stride, ordered=True, seed=0)
    owner = np.full(rows, -1)
    for number, starts in enumerate(parts):
        for start in starts:
            assert segment[start] == segment[start + window - 1]  # no window spans a break
            assert set(owner[start : start + window]) <= {-1, number}
            owner[start : start + window] = number
    used = np.flatnonzero(owner >= 0)
    changes = np.flatnonzero(np.diff(owner[used]))
    # From the last row of one part to the first of the next is at least a window.
    assert all(used[i + 1] - used[i] >= window for i in changes)


@settings(deadline=None)
@given(RECORDINGS, st.integers(1, 20), st.integers(2, 7))
def test_the_stride_thins_training_only(rows: int, window: int, stride: int) -> None:
    every = split(numbered(rows), window=window, stride=1, ordered=True, seed=0)
    thinned = split(numbered(rows), window=window, stride=stride, ordered=True, seed=0)
    assert thinned.train.tolist() == every.train[::stride].tolist()
    assert thinned.validation.tolist() == every.validation.tolist()
    assert thinned.calibration.tolist() == every.calibration.tolist()


@pytest.mark.parametrize(("rows", "window"), [(20_000, 1), (20_000, 10), (5_000, 3)])
def test_the_shares_are_about_right_and_every_part_spans_the_recording(rows: int, window: int) -> None:
    parts = split(numbered(rows), window=window, stride=1, ordered=True, seed=0)
    for starts, share in zip(parts, SHARES.values(), strict=True):
        # Each of 10 blocks loses at most two windows at the end of each part.
        assert 0 <= share * rows - len(starts) <= 10 * 2 * window + 10
        blocks = np.unique(starts * 10 // rows)
        assert blocks.tolist() == list(range(10))


@pytest.mark.parametrize("rows", [1, 4])
def test_a_recording_shorter_than_a_window_has_no_inputs(rows: int) -> None:
    parts = split(numbered(rows), window=5, stride=1, ordered=True, seed=0)
    assert [len(part) for part in parts] == [0, 0, 0]


def test_twenty_windows_are_enough_for_every_part() -> None:
    for window in (2, 5, 30):
        parts: Split = split(numbered(20 * window), window=window, stride=1, ordered=True, seed=0)
        assert all(len(part) for part in parts)


def test_a_damaged_stamp_does_not_make_the_clock_a_feature() -> None:
    sample = [["100", "1"], ["oops", "2"], ["", "3"], ["120", "4"]]
    assert find_time_column(["timestamp", "a"], sample, None) == "timestamp"
    assert find_time_column(["sensor", "a"], sample, None) is None  # numbers are no dates
    assert find_time_column(["when", "a"], [["2026-01-05", "1"], ["?", "2"], ["2026-01-06", "3"]], None) == "when"


def test_a_column_without_a_name_is_left_out() -> None:
    names, notes = choose_columns(["", "a"], [["0", "1.5"]], ANY, None, CSV)
    assert (names, notes) == (["a"], ["a column without a name left out"])
