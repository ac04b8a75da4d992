"""From a CSV to a split: which columns and rows are taken, and that the parts of the split have nothing in common."""

from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.bundle import Image
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.rows.csv_text import TableFormat
from vae_detect.runtime.rows.tables import read_sample
from vae_detect.training.data.columns import MOST_LEVELS, plan_columns
from vae_detect.training.data.loading import (
    SHARES,
    Selection,
    Split,
    Table,
    choose_columns,
    covered_rows,
    few_texts,
    find_time_column,
    load_images,
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


@pytest.mark.parametrize(
    "selection", [Selection(class_column="q"), Selection(treatments={"q": "log"}), Selection(columns=("a", "q"))]
)
def test_a_missing_class_or_treated_column_is_refused(selection: Selection) -> None:
    with pytest.raises(InputError, match="column 'q' is not in the header: 'a', 'b'"):
        choose_columns(["a", "b"], [["1", "2"]], selection, None, CSV)


def test_the_class_column_is_taken_even_where_others_are_named() -> None:
    selection = Selection(columns=("a",), class_column="c")
    assert choose_columns(["a", "b", "c"], [["1", "2", "3"]], selection, None, CSV) == (["a", "c"], [])


# --- columns of text -------------------------------------------------------------------------------------------------


def texts_of(
    path: Path, selection: Selection = ANY, *, time_column: str | None = None, form: TableFormat = CSV
) -> dict[str, tuple[str, ...]]:
    header, sample = read_sample(path, form)
    return few_texts(path, header, sample, selection, time_column, form)


def test_texts_that_come_up_often_are_the_levels_of_a_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,mode,b\n" + "1,auto,x\n2, manual ,x\n3,auto,x\n4,,x\n" * 7)
    # sorted, without the spaces around them; an empty cell is no text, and one text alone says nothing
    assert texts_of(path) == {"mode": ("auto", "manual")}


@pytest.mark.parametrize(("rows", "taken"), [(19, False), (20, True)])
def test_a_text_must_come_up_ten_times(tmp_path: Path, rows: int, taken: bool) -> None:
    path = write(tmp_path / "a.csv", "a,mode\n" + "".join(f"1,{'on' if i % 2 else 'off'}\n" for i in range(rows)))
    assert texts_of(path) == ({"mode": ("off", "on")} if taken else {})


@pytest.mark.parametrize(("levels", "taken"), [(MOST_LEVELS, True), (MOST_LEVELS + 1, False)])
def test_too_many_texts_are_no_category(tmp_path: Path, levels: int, taken: bool) -> None:
    lines = [f"1,t{i % levels:02}\n" for i in range(20 * levels)]
    found = texts_of(write(tmp_path / "a.csv", "a,mode\n" + "".join(lines)))
    assert len(found.get("mode", ())) == (levels if taken else 0)


def test_a_text_far_down_the_file_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "mode\n" + "on\n" * 1000 + "off\n" * 10)
    assert texts_of(path) == {"mode": ("off", "on")}


def test_numbers_excluded_columns_and_time_stamps_are_no_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "when,a,b,c,\n" + f"{DATE},1,on,x,p\n2026-01-06,2,off,y,q\n" * 20)
    assert texts_of(path, Selection(exclude=("c",)), time_column="when") == {"b": ("off", "on")}
    assert texts_of(path, Selection(columns=("a",)), time_column="when") == {}
    assert texts_of(path, Selection(columns=("a",), class_column="c"), time_column="when") == {"c": ("x", "y")}


def test_numbers_with_a_decimal_comma_are_no_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a;b\n" + "1,5;2\n2,5;3\n" * 20)
    assert texts_of(path, form=TableFormat(delimiter=";", decimal=",")) == {}


def test_texts_are_read_as_their_places(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,mode\n" + "1,manual\n2,auto\n3,off\n" * 10)
    found = load_table(path, ANY, CSV)
    assert found.names == ("a", "mode")
    assert found.texts == {"mode": ("auto", "manual", "off")}
    assert found.values[:3].tolist() == [[1.0, 1.0], [2.0, 0.0], [3.0, 2.0]]
    assert found.notes == []


def test_a_missing_text_is_a_bad_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,mode\n" + "1,on\n2,off\n" * 20 + "3,\n")
    found = load_table(path, ANY, CSV)
    assert len(found.values) == 40
    why = "column 'mode' is empty, expected one of 'off', 'on'"
    assert found.notes == [f"1 of 41 rows left out: a missing or bad cell (first: row 40, {why})"]


def test_texts_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,mode\n" + "1,on\n2,off\n" * 20)
    found = load_table(path, ANY, CSV, numbers_only=True)
    assert (found.names, found.texts) == (("a",), {})
    assert found.notes == ["column 'mode' left out: holds text ('on')"]


def test_a_named_column_of_rare_texts_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,mode\n" + "".join(f"1,t{i}\n" for i in range(50)))
    for selection in (Selection(columns=("a", "mode")), Selection(class_column="mode")):
        with pytest.raises(
            InputError, match=r"'mode' holds text \('t0'\), expected numbers, or 2 to 32 different texts"
        ):
            load_table(path, selection, CSV)


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


# --- statistics ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6))
def test_the_columns_know_the_training_rows_only(seed: int, strange: float) -> None:
    values = np.random.default_rng(seed).normal(size=(100, 2)).astype(np.float32)
    parts = split(table(values), window=1, stride=1, ordered=False, seed=seed)
    before = plan_columns(values[covered_rows(parts.train, 1)], ["a", "b"])
    values[parts.validation], values[parts.calibration] = strange, -strange
    assert plan_columns(values[covered_rows(parts.train, 1)], ["a", "b"]) == before


def test_covered_rows_are_each_counted_once() -> None:
    assert covered_rows(np.array([0, 1, 7]), 3).tolist() == [0, 1, 2, 3, 7, 8, 9]


# --- the split -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(0, 2**31 - 1))
def test_shuffled_rows_are_each_in_one_part(rows: int, seed: int) -> None:
    parts = split(numbered(rows), window=1, stride=1, ordered=False, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    assert [len(part) for part in parts] == pytest.approx([SHARES[part] * rows for part in Split._fields], abs=1)


def test_the_seed_decides_the_shuffle() -> None:
    first, again, other = (split(numbered(200), window=1, stride=1, ordered=False, seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.train, other.train)


def test_an_ordered_split_by_hand() -> None:
    # 400 rows and windows of 10 are two blocks. In the last, rows 200-239 calibrate, 240-259 validate, 260-399 train.
    # The first is turned round: 0-139 train, 140-159 validate, 160-199 calibrate. A tenth of a block is only two
    # windows, so there is no gap, and validation reaches into the training rows beside it.
    parts = split(numbered(400), window=10, stride=1, ordered=True, seed=0)
    assert parts.calibration.tolist() == [*range(160, 191), *range(200, 231)]
    assert parts.validation.tolist() == [*range(131, 151), *range(240, 260)]
    assert parts.train.tolist() == [*range(131), *range(260, 391)]


def test_a_long_recording_has_gaps_of_a_window_between_its_parts() -> None:
    # 1000 rows and windows of 2 are ten blocks of 100: 20 rows calibrate, 10 validate, 70 train, every other block
    # turned round; each part ends in a window that leaves two rows free before the next.
    parts = split(numbered(1000), window=2, stride=1, ordered=True, seed=0)
    last = [[*range(930, 997)], [*range(920, 927)], [*range(900, 917)]]
    turned = [[*range(67)], [*range(70, 77)], [*range(80, 97)]]
    assert [part[part >= 900].tolist() for part in parts] == last
    assert [part[part < 100].tolist() for part in parts] == turned


RECORDINGS = st.integers(1, 600)
BREAKS = st.lists(st.integers(1, 599), max_size=8)


def segments(rows: int, breaks: list[int]) -> NDArray[np.int64]:
    return np.searchsorted(np.unique(breaks), np.arange(rows), side="right").astype(np.int64)


@settings(deadline=None, max_examples=300)
@given(RECORDINGS, st.integers(1, 20), st.integers(1, 5), BREAKS)
def test_calibration_shares_no_row_with_what_was_learnt_from(
    rows: int, window: int, stride: int, breaks: list[int]
) -> None:
    segment = segments(rows, breaks)
    parts = split(numbered(rows, segment), window=window, stride=stride, ordered=True, seed=0)
    assert all(segment[start] == segment[start + window - 1] for part in parts for start in part)  # none spans a break
    train, validation, calibration = (
        set((part[:, None] + np.arange(window)).ravel().tolist()) if len(part) else set() for part in parts
    )
    assert not calibration & (train | validation)
    blocks = max(1, min(10, rows // (20 * window)))
    if 0.1 * rows / blocks >= 4 * window:  # there is a gap, of a window
        assert not validation & train
        owner = {row: name for name, part in enumerate((train, validation, calibration)) for row in part}
        used = sorted(owner)
        assert all(b - a >= window for a, b in pairwise(used) if owner[a] != owner[b])


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
    for starts, share in zip(parts, (SHARES[part] for part in Split._fields), strict=True):
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


# --- images ----------------------------------------------------------------------------------------------------------


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (10, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five grey images, the brighter the later."""
    for number in range(5):
        picture(tmp_path / "images" / f"{number}.png", (40 * number,) * 3)
    return tmp_path / "images"


def test_images_are_read_in_the_order_of_their_names(folder: Path) -> None:
    found = load_images(folder, (8, 12), "grey")
    assert (found.values.shape, found.values.dtype) == ((5, 8, 12, 1), np.dtype(np.uint8))
    assert found.values[:, 0, 0, 0].tolist() == [0, 40, 80, 120, 160]
    assert found.image == Image(8, 12, "grey")
    assert (found.names, found.time_column, found.period_s) == (("grey",), None, None)
    assert found.segment.tolist() == [0] * 5
    assert (found.notes, found.classes, found.class_of) == ([], (), None)


def test_one_number_is_height_and_width(folder: Path) -> None:
    assert load_images(folder, (16,), "colour").image == Image(16, 16, "colour")


@pytest.mark.parametrize(
    ("colour", "asked", "expected"),
    [
        ((200, 50, 50), "auto", "colour"),
        ((100, 110, 120), "auto", "grey"),  # a tint of 20 grey levels is what cameras add
        ((100, 110, 130), "auto", "colour"),
        ((200, 50, 50), "grey", "grey"),
        ((90, 90, 90), "colour", "colour"),
    ],
)
def test_the_mode_is_that_of_the_images_unless_told(
    folder: Path, colour: tuple[int, int, int], asked: str, expected: str
) -> None:
    picture(folder / "9.png", colour)
    found = load_images(folder, (8, 8), asked)
    assert found.image == Image(8, 8, expected)  # type: ignore[arg-type]
    assert found.names == (("grey",) if expected == "grey" else ("red", "green", "blue"))
    if expected == "colour":
        assert found.values[-1, 0, 0].tolist() == list(colour)


def test_of_a_folder_with_train_and_test_only_train_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "good" / "0.png", (10, 10, 10))
    picture(tmp_path / "test" / "broken" / "0.png", (200, 200, 200))
    picture(tmp_path / "1.png", (200, 200, 200))
    assert load_images(tmp_path, (8, 8), "grey").values[:, 0, 0, 0].tolist() == [10]


def test_folders_are_classes_where_they_are_wanted(tmp_path: Path) -> None:
    for number, name in enumerate(["nut/a", "bolt/a", "nut/b", "nut/small/a"]):
        picture(tmp_path / f"{name}.png", (10 * number,) * 3)
    found = load_images(tmp_path, (8, 8), "grey", by_class=True)
    assert found.classes == ("bolt", "nut", "nut/small")
    assert found.class_of is not None
    assert found.values[:, 0, 0, 0].tolist() == [10, 0, 20, 30]  # bolt/a, nut/a, nut/b, nut/small/a
    assert found.class_of.tolist() == [0, 1, 1, 2]


def test_one_folder_is_no_classes(folder: Path) -> None:
    with pytest.raises(InputError, match="recipe cvae takes the folders of images as their classes, expected at least"):
        load_images(folder, (8, 8), "grey", by_class=True)


@pytest.mark.parametrize(("bad", "refused"), [(1, False), (2, True)])
def test_damaged_images_are_left_out_up_to_a_fifth(folder: Path, bad: int, refused: bool) -> None:
    for number in range(bad):
        (folder / f"x{number}.png").write_bytes(b"no image")
    if not refused:
        found = load_images(folder, (8, 8), "auto")
        assert len(found.values) == 5
        assert found.notes == [
            "1 of 6 images left out (first: x0.png is no image: expected PNG, JPEG, BMP, TIFF, WebP or GIF)"
        ]
        return
    with pytest.raises(
        InputError, match=r"2 of 7 images left out \(first: x0\.png .*more than a fifth is too much, mend"
    ):
        load_images(folder, (8, 8), "auto")


def test_a_link_out_of_the_folder_is_not_read(folder: Path, tmp_path: Path) -> None:
    (folder / "z.png").symlink_to(picture(tmp_path / "secret.png", (255, 0, 0)))
    found = load_images(folder, (8, 8), "auto")
    assert len(found.values) == 5
    assert found.notes == ["1 of 6 images left out (first: z.png is a link out of the folder)"]
    assert found.image == Image(8, 8, "grey")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none yet")
    with pytest.raises(InputError, match="holds no image; expected PNG, JPEG"):
        load_images(tmp_path, (8, 8), "auto")


def test_images_that_are_all_the_same_are_noted(folder: Path) -> None:
    for number in range(5):
        picture(folder / f"{number}.png", (0, 0, 0))
    assert load_images(folder, (8, 8), "grey").notes == [
        "all 5 images are the same: whatever differs from them will be an anomaly"
    ]


def test_the_fingerprint_changes_with_a_byte_and_with_a_name(folder: Path) -> None:
    first = load_images(folder, (8, 8), "grey").sha256
    assert load_images(folder, (8, 8), "grey").sha256 == first
    (folder / "4.png").rename(folder / "5.png")
    renamed = load_images(folder, (8, 8), "grey").sha256
    picture(folder / "5.png", (161,) * 3)
    assert len({first, renamed, load_images(folder, (8, 8), "grey").sha256}) == 3


def test_the_fingerprint_of_a_single_image_by_hand(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", (1, 2, 3))
    expected = sha256(b"a.png\0" + path.read_bytes()).hexdigest()
    assert load_images(tmp_path, (8, 8), "grey").sha256 == expected
