"""From a CSV to a table: which columns and rows are taken."""

from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout, Resampling, TableFormat
from vae_detect.runtime.rows.tables import read_sample
from vae_detect.training.data.loading import load_table
from vae_detect.training.data.selection import Selection, choose_columns, few_texts
from vae_detect.training.data.sources import Source
from vae_detect.training.data.suspects import MOST_LEVELS

CSV = Layout()
ANY = Selection()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_of_numbers_are_taken_and_the_others_are_noted() -> None:
    header = ["flow", "state", "empty", "power"]
    sample = [["1", "on", "", "2.5"], ["2", "off", "", "1e3"], ["3", "on", " ", "-4"]]
    names, left_out = choose_columns(header, sample, ANY, (), CSV)
    assert names == ["flow", "power"]
    assert left_out == {"state": "holds text ('on')", "empty": "is empty"}


def test_a_column_that_is_mostly_numbers_is_taken() -> None:
    sample = [["1"], ["2"], ["error"], [""], [""], [""]]  # empty cells say nothing about the kind of column
    assert choose_columns(["flow"], sample, ANY, (), CSV) == (["flow"], {})
    with pytest.raises(InputError):
        choose_columns(["flow"], [["1"], ["error"]], ANY, (), CSV)  # one half is not most


def test_named_columns_keep_the_order_asked_for() -> None:
    selection = Selection(columns=("c", "a"))
    assert choose_columns(["a", "b", "c"], [["1", "2", "3"]], selection, (), CSV) == (["c", "a"], {})


def test_excluded_columns_and_the_time_column_are_no_features() -> None:
    found = choose_columns(["t", "a", "b"], [["1", "2", "3"]], Selection(exclude=("a",)), ("t",), CSV)
    assert found == (["b"], {})


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("on", r"column 'b' holds text \('on'\), expected numbers"), ("", "column 'b' is empty, expected numbers")],
)
def test_a_named_column_must_be_numeric(cell: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        choose_columns(["a", "b"], [["1", cell]], Selection(columns=("a", "b")), (), CSV)


@pytest.mark.parametrize("selection", [Selection(columns=("q",)), Selection(exclude=("q",))])
def test_a_missing_column_is_refused_with_those_present(selection: Selection) -> None:
    with pytest.raises(InputError, match="column 'q' is not in the header: 'a', 'b'"):
        choose_columns(["a", "b"], [["1", "2"]], selection, (), CSV)


@pytest.mark.parametrize("exclude", [("a",), ()])
def test_nothing_to_learn_from_is_refused(exclude: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="no numeric column is left to learn from; the header has 'a', 'b'"):
        choose_columns(["a", "b"], [["1" if exclude else "x", "y"]], Selection(exclude=exclude), (), CSV)


@pytest.mark.parametrize(
    "selection", [Selection(class_column="q"), Selection(treatments={"q": "log"}), Selection(columns=("a", "q"))]
)
def test_a_missing_class_or_treated_column_is_refused(selection: Selection) -> None:
    with pytest.raises(InputError, match="column 'q' is not in the header: 'a', 'b'"):
        choose_columns(["a", "b"], [["1", "2"]], selection, (), CSV)


def test_the_class_column_is_taken_even_where_others_are_named() -> None:
    selection = Selection(columns=("a",), class_column="c")
    assert choose_columns(["a", "b", "c"], [["1", "2", "3"]], selection, (), CSV) == (["a", "c"], {})


# --- columns of text -------------------------------------------------------------------------------------------------


def texts_of(
    path: Path, selection: Selection = ANY, *, time_columns: tuple[str, ...] = (), layout: Layout = CSV
) -> dict[str, tuple[str, ...]]:
    header, sample = read_sample(path, layout)
    return few_texts([Source(path, layout)], header, sample, selection, time_columns, layout)


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
    assert texts_of(path, Selection(exclude=("c",)), time_columns=("when",)) == {"b": ("off", "on")}
    assert texts_of(path, Selection(columns=("a",)), time_columns=("when",)) == {}
    assert texts_of(path, Selection(columns=("a",), class_column="c"), time_columns=("when",)) == {"c": ("x", "y")}


def test_numbers_with_a_decimal_comma_are_no_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a;b\n" + "1,5;2\n2,5;3\n" * 20)
    assert texts_of(path, layout=Layout(TableFormat(delimiter=";", decimal=","))) == {}


def test_texts_are_read_as_their_places(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,mode\n" + "1,manual\n2,auto\n3,off\n" * 10)
    found = load_table(path, ANY, CSV)
    assert found.names == ("a", "mode")
    assert found.texts == {"mode": ("auto", "manual", "off")}
    assert found.values[:3].tolist() == [[1.0, 1.0], [2.0, 0.0], [3.0, 2.0]]
    assert found.notes == []


def test_a_column_with_units_in_its_cells_is_one_of_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "cpu,mem,code\n" + "20.4%,61.5 MiB,3A\n7%,1 GiB,7B\n" * 20)
    found = load_table(path, ANY, CSV)
    assert found.names == ("cpu", "mem", "code")
    assert found.units == {"cpu": "%", "mem": "MiB"}
    assert found.texts == {"code": ("3A", "7B")}
    assert found.values[:2].tolist() == [[np.float32(20.4), 61.5, 0.0], [7.0, 1024.0, 1.0]]


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
    told = "time goes back 1 time: what follows is a recording of its own"
    assert found.notes == ["time stamps: column 'time'", told]


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


def test_a_refusal_is_one_line_whatever_a_column_is_called(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '"a\tb",c\n' + "1,2\n,3\n" * 10)
    with pytest.raises(InputError, match=r"bad are 'a\\tb' 50%; mend the file$"):
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
    found = load_table(path, ANY, Layout(TableFormat(delimiter=";", decimal=",")))
    assert found.values.tolist() == [[1.5, 2.0], [-3.25, 400.0]]
    assert found.notes == ["column 'c' left out: holds text ('1.5')"]  # a point is no decimal mark then


def test_a_file_without_a_header_is_read_by_position(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "1;2,5\n3;4,5\n")
    found = load_table(path, ANY, Layout(TableFormat(delimiter=";", decimal=",", header=False)))
    assert found.names == ("c0", "c1")
    assert found.values.tolist() == [[1.0, 2.5], [3.0, 4.5]]


@pytest.mark.parametrize(
    ("line", "selection", "names"),
    [
        ("1,on", ANY, ("c0",)),
        ("1,2,3", Selection(exclude=("c1",)), ("c0", "c2")),
        ("1,2", Selection(columns=("c1", "c0")), ("c1", "c0")),
    ],
    ids=["text", "excluded", "another order"],
)
def test_without_a_header_columns_are_taken_by_their_place(
    tmp_path: Path, line: str, selection: Selection, names: tuple[str, ...]
) -> None:
    found = load_table(write(tmp_path / "a.csv", f"{line}\n" * 10), selection, Layout(TableFormat(header=False)))
    assert found.names == names
    assert found.values[0].tolist() == [int(line.split(",")[int(name[1])]) for name in names]


def test_without_a_header_the_first_column_may_be_the_time(tmp_path: Path) -> None:
    lines = [f"2026-01-05T00:00:{second:02d},{second}" for second in range(20)]
    found = load_table(write(tmp_path / "a.csv", "\n".join(lines)), ANY, Layout(TableFormat(header=False)))
    assert (found.names, found.time_column, found.period_s) == (("c1",), "c0", 1.0)


def test_a_column_without_a_name_is_left_out() -> None:
    assert choose_columns(["", "a"], [["0", "1.5"]], ANY, (), CSV) == (["a"], {"": "may number the rows"})
    unnamed = ["Unnamed: 0", "a"]
    assert choose_columns(unnamed, [["0", "1.5"]], ANY, (), CSV) == (["a"], {"Unnamed: 0": "may number the rows"})


# --- order -----------------------------------------------------------------------------------------------------------


def test_rows_are_learnt_in_order_of_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    start = datetime(2026, 1, 5)
    lines = [f"{start + timedelta(minutes=row)},{rng.normal():.3f}" for row in range(300)]
    lines[40] = lines[40].partition(",")[0] + ","
    straight = load_table(write(tmp_path / "a.csv", "\n".join(["time,a", *lines])), ANY, CSV)
    for order, told in ((range(299, -1, -1), "turned round"), (rng.permutation(300).tolist(), "sorted")):
        found = load_table(write(tmp_path / "b.csv", "\n".join(["time,a", *(lines[row] for row in order)])), ANY, CSV)
        np.testing.assert_array_equal(found.values, straight.values)
        np.testing.assert_array_equal(found.segment, straight.segment)
        assert found.period_s == 60
        assert any(told in note for note in found.notes)
        assert any(f"row {list(order).index(40)}, column 'a' is empty" in note for note in found.notes)
    both = load_table(write(tmp_path / "c.csv", "\n".join(["time,a", *lines, *lines])), ANY, CSV)
    assert "time goes back 1 time: what follows is a recording of its own" in both.notes
    assert len(both.values) == 2 * len(straight.values)


def test_rows_at_uneven_times_are_brought_to_a_grid(tmp_path: Path) -> None:
    start = datetime(2026, 1, 5)
    lines = [f"{start + timedelta(seconds=20 * row + row % 3)},{row}" for row in range(300)]
    path = write(tmp_path / "a.csv", "\n".join(["time,a", *lines]))
    found = load_table(path, Selection(treatments={"a": "linear"}), Layout(resampling=Resampling(60)))
    np.testing.assert_array_equal(found.values[:, 0], np.arange(1, 300, 3))
    assert (found.period_s, found.layout.resampling) == (60, Resampling(60))


def test_a_table_without_a_single_usable_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n" + "1,2\n3,4,5,6\n" * 50)
    with pytest.raises(InputError, match="100 of 100 rows left out"):
        load_table(path, Selection(), Layout())
