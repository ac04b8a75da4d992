"""Long tables are read as the wide ones that say the same."""

from pathlib import Path

from vae_detect.runtime.layout import Declared, Layout, Long, Stamps
from vae_detect.runtime.rows.long_tables import as_wide, is_long
from vae_detect.runtime.rows.tables import read_rows

LONG = Layout(stamps=Stamps("time"), long=Long("sensor", "value"))


def test_times_become_rows_and_names_columns() -> None:
    rows = [
        ["0", "a", "1"],
        ["0", "b", "2"],
        ["1", "b", "3"],
        ["0", "a ", "9"],  # the last of several
        ["1", "c", ""],
        ["2", "", "5"],  # no name
        ["2", "a"],  # too short
    ]
    assert as_wide(["time", "sensor", "value"], rows, LONG) == (
        ["time", "a", "b", "c"],
        [["0", "9", "2", ""], ["1", "", "3", ""]],
    )


def test_a_row_is_of_a_time_and_a_key() -> None:
    layout = Layout(stamps=Stamps("day", "hour"), long=Long("n", "v"), key="unit")
    rows = [["x", "8", "u1", "a", "d", "1"], ["y", "8", "u2", "a", "d", "2"], ["z", "9", "u1", "a", "d", "3"]]
    assert as_wide(["other", "hour", "unit", "n", "day", "v"], rows, layout) == (
        ["day", "hour", "unit", "a"],
        [["d", "8", "u1", "1"], ["d", "8", "u2", "2"], ["d", "9", "u1", "3"]],
    )


def test_only_a_table_with_both_columns_and_known_times_is_long() -> None:
    assert is_long(["time", "sensor", "value"], LONG)
    assert not is_long(["time", "a", "value"], LONG)
    assert not is_long(None, LONG)
    assert not is_long(["time", "sensor", "value"], Layout(long=LONG.long))
    assert not is_long(["time", "sensor", "value"], Layout(stamps=LONG.stamps))


def test_a_long_file_is_read_like_a_wide_one(tmp_path: Path) -> None:
    long, wide = tmp_path / "long.csv", tmp_path / "wide.csv"
    long.write_text("value;sensor;time\n1,5;a;0\n2,5;b;0\n?;a;1\n4,5;b;1\n")
    wide.write_text("time,a,b\n0,1.5,2.5\n1,?,4.5\n")
    layout = Layout(declared=Declared(), stamps=LONG.stamps, long=LONG.long)
    found, expected = (next(read_rows(path, ["a", "b"], layout=layout)) for path in (long, wide))
    assert found.values.tolist()[0] == expected.values.tolist()[0] == [1.5, 2.5]
    assert found.bad == expected.bad
    assert found.times is not None
    assert found.times.tolist() == [0, 1]
