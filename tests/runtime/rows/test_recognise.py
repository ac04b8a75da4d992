"""How a text table is written, recognised from its first lines."""

import csv
import io
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Declared, Layout, TableFormat
from vae_detect.runtime.rows.recognise import describe_format, recognise
from vae_detect.runtime.rows.tables import read_rows, read_sample

NOTHING = Declared()

ABOUT = "".join(f"# {line}. what is told; of column {line}\n" for line in range(31)) + "#\n"
WIDE = "depths,2,0.5,3,4,5,6\nweeks,3,first,7,8\n"
"""What stands above tables: more comments than rows, and lines wider than the table."""


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("a,b\n1,2\n3,4\n", TableFormat()),
        ("a;b\n1,5;2,5\n3;4,5\n", TableFormat(";", ",")),
        ("a;b\n1.5;2\n3;4\n", TableFormat(";")),
        ("a\tb\n1\t2\n3\t4\n", TableFormat("\t")),
        ("a|b\n1|2\n3|4\n", TableFormat("|")),
        ("a b\n 1   2\n 3   4\n", TableFormat(" ")),
        ("  1.0e+00  2.5\n  3.0e+00  4.5\n", TableFormat(" ", header=False)),
        ("1,?,3\n4,5,6\n7,8,\n", TableFormat(header=False)),
        ("sep=;\na;b\n1;2\n3;4\n", TableFormat(";", skip=1)),
        ("Station 7, north\nmade by a logger\n\na,b,c\n1,2,3\n4,5,6\n7,8,9\n", TableFormat(skip=3)),
        ("# a comment, with a comma\n# and another\na,b,c\n1,2,3\n4,5,6\n7,8,9\n", TableFormat(skip=2)),
        ("# a,b,c\n1,2,3\n4,5,6\n", TableFormat(comment="#")),
        (f"{ABOUT}# a;b;c\n1;2;3\n4;5;6\n", TableFormat(";", skip=32, comment="#")),
        (f"{ABOUT}# a;b\n# s;m\n1;2\n4;5\n", TableFormat(";", skip=32, below=1, comment="#")),
        (f"site,x\n{WIDE}notes,of\n1,2,3,4\n4,5,6,7\n7,8,9,9\n", TableFormat(header=False, skip=4)),
        (f"site,x\n{WIDE}notes,of\na,b,c,d\n1,2,3,4\n4,5,6,7\n7,8,9,9\n", TableFormat(skip=4)),
        ('"#","a","b"\n1,2,3\n4,5,6\n7,8,9\n', TableFormat()),
        ('"a","b","c"\n"1",2,3,4\n"2",5,6,7\n"3",5,6,7\n', TableFormat(row_names=True)),
        ("#kind,no,no,yes\n#type,text,long,text\n,a,b,c\n,1,2,x\n,3,4,x\n", TableFormat(skip=2)),
        ("Logger\t\nDate\t1\t2\n***End***\t\t\na\tb\tc\n1\t2\t3\n4\t5\t6\n", TableFormat("\t", skip=3)),
        ("x\ta\tComment\n0\t1\n1\t2\n2\t5\n", TableFormat("\t", unfilled=1)),
        ("a;b;c\n1;2\n3;4\n5;6;7\n", TableFormat(";")),  # some rows have it
        ("a;b\n11,8°C;1,5 bar\n12,1°C;1,6 bar\n", TableFormat(";", ",")),
        ('"a","b\n(C)","c\n(bar)"\n1,2,3\n4,5,6\n', TableFormat()),
        ('"made by\nus",2026\n\na,b,c\n1,2,3\n4,5,6\n7,8,9\n', TableFormat(skip=3)),
        ('a,b 5"\n1,2\n3,4\n5,6\n', TableFormat()),  # inches
        ("time,a\n2026-01-05T00:00,off\n2026-01-05T00:01,2\n2026-01-05T00:02,2\n", TableFormat()),
        ("a;b\n[bar];[m]\n1;2\n3;4\n5;6\n", TableFormat(";", below=1)),
        ('"a" "b"\n"1" 2 3\n"2" 4 5\n"3" 6 7\n', TableFormat(" ", row_names=True)),
        ('time,a\n2026-01-05 00:00:00,"1,5"\n2026-01-05 00:01:00,"2,25"\n', TableFormat(",", ",")),
        ("a;b\n1.234,5;2\n2.345,25;3,5\n", TableFormat(";", ",", thousands=".")),
        ("time,a\n2026-01-05,1\n2026-01-06,2\n", TableFormat()),
        ("a,mode\n1,-\n2,on\n", TableFormat()),
        ("a\n1.5\n2.5\n", TableFormat()),
        ("Zeit;Temp (°C)\n1;2,5\n2;3,5\n".encode("cp1252"), TableFormat(";", ",", encoding="cp1252")),
        ("a,b\n1,2\n".encode("utf-16"), TableFormat(encoding="utf-16")),
        ("a,b\n1,2\n3,4\n".encode("utf-16-le"), TableFormat(encoding="utf-16-le")),
        ("\ufeffTemp °C,b\n1,2\n", TableFormat()),
    ],
)
def test_forms_are_recognised(tmp_path: Path, content: str | bytes, form: TableFormat) -> None:
    assert recognise(written(tmp_path / "a.csv", content), NOTHING) == form


def test_a_name_over_several_lines_is_one(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", '"day","temp\n(C)"\n2026-01-05,2\n2026-01-06,3\n')
    assert read_sample(path, Layout(format=recognise(path, NOTHING)))[0] == ["day", "temp (C)"]


def test_the_last_names_may_have_no_cells(tmp_path: Path) -> None:
    path = written(tmp_path / "a.lvm", "x\ta\tComment\n" + "0,5\t1,5\n" * 20 + "0,7\t2,5\t\n0,7\t2,5\tlate\n")
    layout = Layout(format=recognise(path, NOTHING))
    assert read_sample(path, layout)[0] == ["x", "a"]
    chunks = list(read_rows(path, ["x", "a"], layout=layout))
    assert chunks[0].values[20].tolist() == np.array([0.7, 2.5], np.float32).tolist()
    assert {row: str(cell) for row, cell in chunks[0].bad.items()} == {21: "has 3 cells, expected 2"}


def test_what_is_declared_wins(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "a;b\n1,5;2\n3,5;4\n")
    whole = written(tmp_path / "whole.csv", "a;b\n1;2\n3;4\n")
    assert recognise(whole, Declared(decimal=",")) == TableFormat(";", ",")
    assert recognise(path, Declared(delimiter=",")).delimiter == ","
    assert recognise(path, Declared(encoding="cp1252")).encoding == "cp1252"
    assert not recognise(path, Declared(header=False)).header


def test_a_number_of_two_readings_is_asked_about(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'a,b\n"1,234","5,678"\n"2,345","6,789"\n')
    with pytest.raises(InputError, match=r"'1,234' may be 1.234 or 1234; say --decimal ',' or --decimal \."):
        recognise(path, NOTHING)
    assert recognise(path, Declared(decimal=",")).decimal == ","


def test_a_file_written_like_the_recording_is_taken_so_and_another_is_recognised(tmp_path: Path) -> None:
    like = TableFormat(";", ",")
    whole = written(tmp_path / "whole.csv", "a;b\n1;2\n3;4\n")  # nothing in it tells of the decimal mark
    assert recognise(whole, NOTHING, like=like, wanted=["a", "b"]) == like
    other = written(tmp_path / "other.csv", "b,a\n1.5,2\n3.5,4\n")
    assert recognise(other, NOTHING, like=like, wanted=["a", "b"]) == TableFormat()
    points = written(tmp_path / "points.csv", "a;b\n1.5;2\n3.5;4\n")
    assert recognise(points, NOTHING, like=like, wanted=["a", "b"]) == TableFormat(";")


def test_the_header_is_where_the_wanted_columns_stand(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "x,y\nlong title,of two cells\na,b\n1,2\n3,4\n")
    assert recognise(path, NOTHING, wanted=["a", "b"]).skip == 2


def test_a_file_with_a_header_is_no_headless_one(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "c0,c1\n1,2\n3,4\n5,6\n")
    assert recognise(path, NOTHING, like=TableFormat(" ", header=False), wanted=["c0", "c1"]) == TableFormat()
    path = written(tmp_path / "b.dat", "1 2\n3 4\n5 6\n")
    assert recognise(path, NOTHING, like=TableFormat(" ", header=False), wanted=["c0", "c1"]) == TableFormat(
        " ", header=False
    )


def test_prose_is_no_table(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.txt", 'Terms\n\n   1. What it says.\n\n      "Work" shall mean, here and there, all.\n'
    )
    with pytest.raises(InputError, match="no numeric column"):
        recognise(path, NOTHING)
    assert recognise(path, NOTHING, wanted=["a"]).delimiter == ","  # then the columns are missed, which says more


def test_a_form_in_words() -> None:
    assert describe_format(TableFormat(";", ",", skip=2, below=1, encoding="cp1252")) == (
        "CP1252, cells between semicolons, decimal comma, a header after 2 lines, 1 line of units below it"
    )


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, list[str], list[list[float]], str]:
    """A table in a random form: its bytes, names and numbers, and the form for a failure to show."""
    width, rows = draw(st.integers(2, 5)), draw(st.integers(6, 20))
    names = [f"{draw(st.sampled_from(['flow', 'Temp °C', 'p, abs', 'x']))}{place}" for place in range(width)]
    number = st.integers(-99_999, 99_999).map(lambda whole: whole / 1000 + 0.0001)
    values = [[draw(number) for _ in range(width)] for _ in range(rows)]
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    decimal = draw(st.sampled_from([".", "."] if delimiter == "," else [".", ","]))
    preamble = draw(st.sampled_from(["", "", "a title\n\n", "# made by a logger\n# on Monday\n", f"sep={delimiter}\n"]))
    tail = draw(st.sampled_from(["", "", delimiter, delimiter * 3]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    out = io.StringIO()
    is_quoted = draw(st.booleans())
    quoting: Literal[0, 1] = csv.QUOTE_ALL if is_quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    has_header = draw(st.integers(0, 3)) > 0
    writer.writerows(
        [*([names] if has_header else []), *[[f"{value:.4f}".replace(".", decimal) for value in row] for row in values]]
    )
    text = preamble + "".join(f"{line}{tail}\n" for line in out.getvalue().splitlines())
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    form = f"{delimiter!r} {decimal!r} {encoding} {preamble!r} {tail!r} header {has_header}"
    return text.replace("\n", end).encode(encoding), names if has_header else [], values, form


@settings(max_examples=150, deadline=None)
@given(tables())
def test_a_table_in_any_form_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, table: tuple[bytes, list[str], list[list[float]], str]
) -> None:
    content, names, values, _ = table
    path = written(tmp_path_factory.mktemp("forms") / "a.csv", content)
    form = recognise(path, NOTHING)
    layout = Layout(form)
    found = [name for name in read_sample(path, layout)[0] if name][: len(values[0])]
    assert found == (names or [f"c{place}" for place in range(len(values[0]))])
    read = list(read_rows(path, found, layout=layout))
    assert not any(chunk.bad for chunk in read)
    np.testing.assert_array_equal(np.concatenate([chunk.values for chunk in read]), np.array(values, np.float32))


def test_a_pipe_is_read_as_the_layout_says_without_a_look(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.csv", "a;b\n1,5;2\n")
    layout = Layout(TableFormat(";", ","), declared=NOTHING)
    (rows,) = read_rows(whole, ("a", "b"), layout=layout)
    assert rows.values.tolist() == [[1.5, 2]]
