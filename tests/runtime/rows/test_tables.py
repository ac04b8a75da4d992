"""What a number is, which column it belongs to, and which files are none of ours."""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Declared, Layout, Stamps, TableFormat
from vae_detect.runtime.rows.cells import BadCell, bad_reason
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.rows.fields import Field
from vae_detect.runtime.rows.tables import ColumnReader, read_column, read_rows, read_sample

CSV = Layout()
TIMED = Layout(stamps=Stamps("t"))
FLOAT32_MAX = float(np.finfo(np.float32).max)
WANTED = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def read(path: Path, content: str | bytes, columns: tuple[str | Field, ...] = ("a", "b"), **options: Any) -> Rows:
    """All rows of a file with this content, joined."""
    path = path / "rows.csv" if path.is_dir() else path
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    options.setdefault("layout", CSV)
    chunks = list(read_rows(path, columns, **options))
    bad = {chunk.first + index: why for chunk in chunks for index, why in chunk.bad.items()}
    values = np.concatenate([chunk.values for chunk in chunks]) if chunks else np.empty((0, len(columns)), np.float32)
    times = [chunk.times for chunk in chunks if chunk.times is not None]
    return Rows(0, values, bad, np.concatenate(times) if times else None)


# --- cells -----------------------------------------------------------------------------------------------------------

BAD_CELLS = [
    ("NaN", "holds 'NaN', expected a finite number"),
    ("-nan", "holds '-nan', expected a finite number"),
    ("inf", "holds 'inf', expected a finite number"),
    ("-Infinity", "holds '-Infinity', expected a finite number"),
    ("", "is empty"),
    ("  ", "is empty"),
    ('""', "is empty"),
    ("NA", "holds 'NA', expected a number"),
    ("null", "holds 'null', expected a number"),
    ("text", "holds 'text', expected a number"),
    ('"1,5"', "holds '1,5', expected a number"),
    ("1_0", "holds '1_0', expected a number in plain digits"),
    ("0x1A", "holds '0x1A', expected a number"),
    ("\u0661\u0662", "holds '\u0661\u0662', expected a number in plain digits"),
    ("\uff11", "holds '\uff11', expected a number in plain digits"),
    ("\u22121", "holds '\u22121', expected a number"),
    ("\u00a01", "holds '\\xa01', expected a number in plain digits"),
    ("1\u2009", "holds '1\\u2009', expected a number in plain digits"),
    ("\x1f1", "holds '\\x1f1', expected a number"),
    ("1\0", "holds '1\\x00', expected a number"),
    ("True", "holds 'True', expected a number"),
    ("2026-01-01", "holds '2026-01-01', expected a number"),
    ("12:30", "holds '12:30', expected a number"),
    ("1e39", "holds '1e39', beyond the range of float32 (3.4e38)"),
    ("-3.5e38", "holds '-3.5e38', beyond the range of float32 (3.4e38)"),
    ("1e400", "holds '1e400', beyond the range of float32 (3.4e38)"),
    ("--5", "holds '--5', expected a number"),
    ("1 2", "holds '1 2', expected a number"),
    ("1.2.3", "holds '1.2.3', expected a number"),
    ("5%", "holds '5%', expected a number without a unit"),
    ("x" * 100, "holds '" + "x" * 37 + "...', expected a number"),
]


@pytest.mark.parametrize(("cell", "reason"), BAD_CELLS)
def test_a_bad_cell_takes_only_its_row_down(tmp_path: Path, cell: str, reason: str) -> None:
    for where in range(3):
        lines = ["1,2", "3,4", "5,6"]
        lines[where] = f"{lines[where][0]},{cell}"
        rows = read(tmp_path, "a,b\n" + "\n".join(lines) + "\n")
        assert rows.bad == {where: BadCell("b", reason)}
        assert str(rows.bad[where]) == f"column 'b' {reason}"
        assert np.isnan(rows.values[where]).all()
        assert np.delete(rows.values, where, 0).tolist() == [row for i, row in enumerate(WANTED) if i != where]


GOOD_CELLS = [
    ("0", 0.0),
    ("-0.0", -0.0),
    ("+7", 7.0),
    (" 1.5 ", 1.5),
    ('"1.5"', 1.5),
    (".5", 0.5),
    ("5.", 5.0),
    ("1e3", 1000.0),
    ("1E-3", 0.001),
    ("1e-400", 0.0),
    ("0012", 12.0),
    ("3.4028234663852886e38", FLOAT32_MAX),
    ("-3.4028234663852886e38", -FLOAT32_MAX),
]


@pytest.mark.parametrize(("cell", "value"), GOOD_CELLS)
def test_a_good_cell_is_the_nearest_float32(tmp_path: Path, cell: str, value: float) -> None:
    rows = read(tmp_path, f"a,b\n1,{cell}\n")
    assert rows.bad == {}
    assert rows.values.tobytes() == np.array([[1, value]], np.float32).tobytes()


@settings(deadline=None)
@given(st.text(max_size=12) | st.from_regex(r"\s?[-+]?\d{0,3}[._e,x]?\d{0,3}\s?", fullmatch=True))
def test_any_cell_is_a_finite_float32_or_has_a_reason(cell: str) -> None:
    reader = ColumnReader(["a"], ["a"], layout=CSV, source="rows.csv")
    rows = reader.parse(0, [[cell]])
    assert (bad_reason(cell) == "") == bool(np.isfinite(rows.values[0, 0])) == (not rows.bad)
    if not rows.bad:
        assert rows.values[0, 0] == np.float32(float(cell))


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_every_float32_is_read_back(value: float) -> None:
    reader = ColumnReader(["a"], ["a"], layout=CSV, source="rows.csv")
    assert reader.parse(0, [[repr(value)]]).values.tobytes() == np.float32(value).tobytes()


def test_rows_with_too_few_and_too_many_cells(tmp_path: Path) -> None:
    rows = read(tmp_path, "a,b\n1,2\n3\n3,4,5\n5,6\n")
    assert rows.bad == {1: BadCell("", "has 1 cells, expected 2"), 2: BadCell("", "has 3 cells, expected 2")}
    assert str(rows.bad[1]) == "has 1 cells, expected 2"
    assert rows.values[[0, 3]].tolist() == [[1, 2], [5, 6]]


def test_the_first_bad_column_is_named_in_the_order_asked_for(tmp_path: Path) -> None:
    assert read(tmp_path, "a,b\nx,y\n", ("b", "a")).bad == {0: BadCell("b", "holds 'y', expected a number")}


# --- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\n3,4\n5,6\n",
        "b,a\n2,1\n4,3\n6,5\n",
        "note,b,t,a\nx,2,0,1\ny,4,0,3\n,6,0,5\n",
        "note,note,a,b\nx,y,1,2\nx,y,3,4\nx,y,5,6\n",  # a repeated column that nobody asks for
        " a , b\n1,2\n3,4\n5,6\n",
        '"a","b"\n"1","2"\n"3","4"\n"5","6"\n',
        "a,b\n1,2\n3,4\n5,6",
        "a,b\r\n1,2\r\n3,4\r\n5,6\r\n",
        "a,b\r1,2\r3,4\r5,6\r",
        "\n\na,b\n\n1,2\n\n\n3,4\n5,6\n\n\n",
        "a,b\n1,2\n   \n3,4\n\t\n5,6\n",
        "\ufeffa,b\n1,2\n3,4\n5,6\n",
        '\ufeff"a","b"\r\n1,2\r\n3,4\r\n5,6',
        "a,b\n1,2\n3,4\n5,6\n".encode("utf-16"),
        b"\xfe\xff" + "a,b\r1,2\r3,4\r5,6".encode("utf-16-be"),
        "a,b\n1,2\n3,4\n5,6\n".encode("utf-32"),
        "a,b,,\n1,2,,\n3,4\n5,6,,,,,\n",
        'a, "b"\n1, "2"\n3, 4\n5, 6\n',
        gzip.compress("a,b\n1,2\n3,4\n5,6\n".encode("utf-16"), mtime=0),
        gzip.compress(b"a,b\n1,2\n3,4\n5,6\n", mtime=0),
        gzip.compress(b"\xef\xbb\xbfa,b\r\n1,2\r\n", mtime=0) + gzip.compress(b"3,4\r\n5,6", mtime=0),
    ],
)
def test_these_files_hold_the_same_rows(tmp_path: Path, content: str | bytes) -> None:
    rows = read(tmp_path, content)
    assert rows.values.tolist() == WANTED
    assert rows.bad == {}
    assert rows.times is None


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("1,2\n3,4\n5,6\n", Layout(TableFormat(header=False))),
        ("a;b\n1;2\n3;4\n5;6\n", Layout(TableFormat(";"))),
        ("a;b\n1,0;2\n3;4,\n5,0e0;6\n", Layout(TableFormat(";", ","))),
        ("a\tb\n1\t2\n3\t4\n5\t6\n", Layout(TableFormat("\t"))),
        ("a|b\n1|2\n3|4\n5|6\n", Layout(TableFormat("|"))),
        ("\ufeff1;2\r\n3;4\r\n5;6", Layout(TableFormat(";", ",", header=False))),
        ("a b\n1 2\n 3 \t 4\n5\t6 \n", Layout(TableFormat(" "))),
        ('"a","b"\n"1,0","2"\n3,"4,00"\n5,6\n', Layout(TableFormat(",", ","))),
        ("sep=;\r\n\r\na;b\r\n[s];[m]\r\n1;2\r\n3;4\r\n5;6", Layout(TableFormat(";", skip=2, below=1))),
        ("# a b\n1 2\n3 4\n5 6\n", Layout(TableFormat(" ", comment="#"))),
        ("%a,b\n1,2\n3,4\n5,6\n", Layout(TableFormat(comment="%"))),
        ("x a b\nr 1 2\nr 3 4\nr 5 6\n", Layout(TableFormat(" "))),
        ("a b\nr 1 2\nr 3 4\nr 5 6\n", Layout(TableFormat(" ", row_names=True))),
    ],
)
def test_declared_formats(tmp_path: Path, content: str, form: Layout) -> None:
    rows = read(tmp_path, content, layout=form)
    assert (rows.values.tolist(), rows.bad) == (WANTED, {})


def test_a_decimal_comma_excludes_the_point(tmp_path: Path) -> None:
    rows = read(tmp_path, "a;b\n1,5;2.5\n1.234,5;1\n1,5;x,y\n1,5;2,5\n", layout=Layout(TableFormat(";", ",")))
    assert rows.bad == {
        0: BadCell("b", "holds '2.5', expected a decimal comma"),
        1: BadCell("a", "holds '1.234,5', expected a number"),
        2: BadCell("b", "holds 'x,y', expected a number"),
    }
    assert rows.values[3].tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,c\n1,2\n", "column 'b' is missing; the header has 'a', 'c'$"),
        ("A,b\n1,2\n", "column 'a' is missing; the header has 'A', 'b'$"),
        ("x,y\n1,2\n", "columns 'a', 'b' are missing"),
        ("a,b,a\n1,2,1\n", "column 'a' stands in the header more than once"),
        ("a,b, b\n1,2,1\n", "column 'b' stands in the header more than once"),
        ("1,2\n3,4\n", "the first row holds only numbers, expected column names; pass --no-header"),
        ("2026-01-01,1,2\n2026-01-02,3,4\n", "columns 'a', 'b' are missing; the header has '2026-01-01', '1', '2'"),
        ("a;b\n1;2\n", "that seems to be separated by ';'; pass --delimiter"),
        ("a\tb\n1\t2\n", r"that seems to be separated by '\\t'; pass --delimiter"),
        ("a|b\n1|2\n", r"that seems to be separated by '\|'; pass --delimiter"),
        ("", "the file is empty, expected a header and rows"),
        ("\n\n", "the file is empty"),
        ("\ufeff", "the file is empty"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
        (
            'a,b\n1,2\n"3,4\n5,6\n',
            "line 3: unexpected end of data; the row goes on to line 4: a quote opened on",
        ),
        ("a,b\n" + 99 * "1,2\n" + '"3,4\n' + 99 * "5,6\n" + '7,"8"\n', "line 101: .* the row goes on to line 201"),
        ("a,b\n" + "1" * (1 << 20) + ",2\n", "line 2: the line is longer than 1 MiB$"),
        (gzip.compress(b"a,b\n1,2\n" + b"1" * (1 << 24), mtime=0), "line 3: the line is longer than 1 MiB$"),
        ('a,b\n1,2\n"3,4\n' + (1 << 18) * "5,6\n", "line 3: the row is longer than 1 MiB; the row goes on to line"),
        (b"a\xe9,b\n1,2\n", r"line 1: the header holds 'a\\xe9', which is not UTF-8; pass --encoding"),
        ('a,b\n"1"5,2\n', "line 2: ',' expected after '\"'"),
        ("a,b\n1,2\n".encode("utf-16-le"), "columns 'a', 'b' are missing"),
        (b"PAR1\x15\x04\x15", "cannot be read as Parquet: "),
        (b"PK\x03\x04\x14\x00", "cannot be read as an Excel workbook: "),
        (b"\x89PNG\r\n\x1a\n", "this is a PNG image"),
        (bytes(range(128, 256)) * 10, "not UTF-8"),
        (bytes(1000), "columns 'a', 'b' are missing"),
        (gzip.compress(b"a,b\n" + 999 * b"1,2\n", mtime=0)[:-12], "damaged gzip file: Compressed file ended before"),
        (gzip.compress(b"a,b\n" + 999 * b"1,2\n", mtime=0)[:-8] + bytes(8), "damaged gzip file: CRC check failed"),
        (gzip.compress(b"a,b\n", mtime=0)[:10] + b"\xff" * 50, "damaged gzip file: Error -3 while decompressing"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0) + b"more", "damaged gzip file: Not a gzipped file"),
    ],
)
def test_these_files_are_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "rows.csv"))
    assert len(str(caught.value)) < len(str(tmp_path)) + 300  # bytes(1000) is one name of a thousand letters


def test_many_missing_columns_are_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"columns '0', '1', '2', '3', '4' and 3 more are missing"):
        read(tmp_path, "a\n1\n", tuple("01234567"))


def test_a_header_only_has_no_rows(tmp_path: Path) -> None:
    assert len(read(tmp_path, "a,b\n").values) == 0


def test_without_a_header_the_first_row_is_a_row(tmp_path: Path) -> None:
    rows = read(tmp_path, "1,2,3\n4,5\nx,y\n", layout=Layout(TableFormat(header=False)))
    assert rows.bad[0] == BadCell("", "has 3 cells, expected 2")
    assert rows.values[1].tolist() == [4, 5]
    assert rows.bad[2] == BadCell("a", "holds 'x', expected a number")


@pytest.mark.parametrize("name", ["pümpe 7 ✓.csv", "日本.csv", "no suffix", "a'b\"c.csv", "rows.csv.gz"])
def test_any_file_name(tmp_path: Path, name: str) -> None:
    assert read(tmp_path / name, "a,b\n1,2\n3,4\n5,6\n").values.tolist() == WANTED


def test_column_names_may_hold_anything(tmp_path: Path) -> None:
    columns = ("flow [m³/h]", 'a "quoted", name', "温度")
    text = io.StringIO()
    csv.writer(text).writerows([columns, (1, 2, 3)])
    assert read(tmp_path, text.getvalue(), columns).values.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("name", ["absent.csv", ""])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r": (no such file|is a folder, expected a file)$"):
        list(read_rows(tmp_path / name, ("a",), layout=CSV))


def test_a_byte_that_is_no_utf8_harms_only_its_own_cell(tmp_path: Path) -> None:
    content = b"a,note,b\n1,caf\xe9,2\n3\xb0,x,4\n5," + b"y" * 140_000 + b",6\n"
    rows = read(tmp_path, content)
    assert rows.values[[0, 2]].tolist() == [[1, 2], [5, 6]]
    assert list(rows.bad) == [1]
    assert str(rows.bad[1]).startswith(r"column 'a' holds '3\xb0', which is not UTF-8; pass --encoding")
    texts = read(tmp_path, b"a,b\n1,m\xfcde\n2,wach\n", ("a", Field("b", texts=("müde", "wach"))))
    assert r"column 'b' holds 'm\xfcde', which is not UTF-8" in str(texts.bad[0])
    assert texts.values[1].tolist() == [2, 1]


def test_a_pipe_is_read_where_once_is_enough(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for content in (b"a,b\n1,2\n", gzip.compress(b"a,b\n1,2\n", mtime=0)):
        writer = threading.Thread(target=pipe.write_bytes, args=(content,))
        writer.start()
        (rows,) = read_rows(pipe, ("a", "b"), layout=CSV, stream=True)
        writer.join()
        assert rows.values.tolist() == [[1, 2]]
    with pytest.raises(InputError, match=r"pipe: is a pipe, expected a file; it is read more than once"):
        read_sample(pipe, CSV)
    with pytest.raises(InputError, match=r"^/dev/zero: is a device, expected a file$"):
        list(read_rows(Path("/dev/zero"), ("a",), layout=CSV, stream=True))


def test_the_columns_that_are_not_wanted_are_told_before_the_first_chunk(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("note,t,b,a,extra\nx,0,2,1,y\n")
    told: list[list[str]] = []
    next(read_rows(path, ("a", "b"), layout=TIMED, unused=told.append))
    assert told == [["note", "extra"]]
    list(read_rows(path, ("a", "b", "c", "d", "e"), layout=Layout(TableFormat(header=False)), unused=told.append))
    assert len(told) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ""}, "delimiter is '', expected one character"),
        ({"delimiter": ",,"}, "delimiter is ',,'"),
        ({"delimiter": '"'}, "delimiter is '\"'"),
        ({"delimiter": "\n"}, "delimiter is"),
        ({"decimal": "'"}, 'decimal is "\'", expected . or ,'),
        ({"encoding": "cp1253x"}, "encoding is 'cp1253x', which is not known; expected one like utf-8"),
        ({"encoding": "hex"}, "encoding is 'hex', which is not known"),
    ],
)
def test_formats_that_make_no_sense_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Layout(TableFormat(**options))  # type: ignore[arg-type]


# --- text and classes ------------------------------------------------------------------------------------------------

MODE = Field("mode", texts=("auto", "manual", "off"))
KIND = Field("kind", texts=("pump", "fan"), optional=True)
SIZE = Field("size", levels=(0.1, 1.0, 20.0), optional=True)


def test_a_text_is_read_as_its_place(tmp_path: Path) -> None:
    rows = read(tmp_path, 'mode,a\nauto,1\n off ,2\n"manual",3\n', ("a", MODE))
    assert (rows.values.tolist(), rows.bad) == ([[1, 0], [2, 2], [3, 1]], {})


def test_a_class_may_be_unknown(tmp_path: Path) -> None:
    rows = read(tmp_path, "size,kind,a\n0.1,fan,1\n, ,2\n1,,3\n 2e1 ,pump,4\n", ("a", KIND, SIZE))
    expected = np.array([[1, 1, 0.1], [2, -1, -1], [3, -1, 1], [4, 0, 20]], np.float32)
    assert rows.bad == {}
    assert np.array_equal(rows.values, expected)


def test_a_class_may_be_absent_from_the_header(tmp_path: Path) -> None:
    rows = read(tmp_path, "mode,a\nauto,1\nx,2\noff,3\n", (KIND, MODE, "a", SIZE))
    assert rows.values[[0, 2]].tolist() == [[-1, 0, 1, -1], [-1, 2, 3, -1]]
    assert np.isnan(rows.values[1]).all()
    assert list(rows.bad) == [1]
    with pytest.raises(InputError, match="column 'mode' is missing"):
        read(tmp_path, "a\n1\n", (KIND, MODE, "a"))
    with pytest.raises(InputError, match="column 'kind' stands in the header more than once"):
        read(tmp_path, "kind,kind\nfan,fan\n", (KIND,))


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ("1,Auto,fan,1", "mode", "holds 'Auto', expected one of 'auto', 'manual', 'off'"),
        ("1,,fan,1", "mode", "is empty, expected one of 'auto', 'manual', 'off'"),
        ("1, ,fan,1", "mode", "is empty, expected one of 'auto', 'manual', 'off'"),
        ("1,0,fan,1", "mode", "holds '0', expected one of 'auto', 'manual', 'off'"),
        ("1,0.0,fan,1", "mode", "holds '0.0', expected one of 'auto', 'manual', 'off'"),
        ("1,auto,-1,1", "kind", "holds '-1', expected one of 'pump', 'fan'"),
        (f"1,auto,{'x' * 100},1", "kind", "holds '" + "x" * 37 + "...', expected one of 'pump', 'fan'"),
        ("1,auto,fan,-1", "size", "holds '-1', expected one of 0.1, 1, 20"),
        ("1,auto,fan,0.10001", "size", "holds '0.10001', expected one of 0.1, 1, 20"),
        ("1,auto,fan,nan", "size", "holds 'nan', expected one of 0.1, 1, 20"),
        ("1,auto,fan,1e39", "size", "holds '1e39', expected one of 0.1, 1, 20"),
        ("1,auto,fan,1_0", "size", "holds '1_0', expected one of 0.1, 1, 20"),
        ("auto,auto,fan,1", "a", "holds 'auto', expected a number"),
        ("1,auto,fan", "", "has 3 cells, expected 4"),
    ],
)
def test_another_text_or_class_is_a_bad_cell(tmp_path: Path, line: str, column: str, reason: str) -> None:
    rows = read(tmp_path, f"a,mode,kind,size\n2,off,,\n{line}\n", ("a", MODE, KIND, SIZE))
    assert rows.bad == {1: BadCell(column, reason)}
    assert rows.values[0].tolist() == [2, 2, -1, -1]
    assert np.isnan(rows.values[1]).all()


def test_a_decimal_comma_leaves_text_alone(tmp_path: Path) -> None:
    texts = Field("a", texts=("1,5", "1.5"))
    rows = read(tmp_path, "a;size\n1.5;0,1\n1,5;20\n1,5;0.1\n", (texts, SIZE), layout=Layout(TableFormat(";", ",")))
    assert rows.values[:2].tolist() == [[1, np.float32(0.1)], [0, 20]]
    assert rows.bad == {2: BadCell("size", "holds '0.1', expected one of 0.1, 1, 20")}


def test_without_a_header_a_class_has_its_place(tmp_path: Path) -> None:
    rows = read(tmp_path, "1,fan\n2,\n3\n", ("a", KIND), layout=Layout(TableFormat(header=False)))
    assert rows.values[:2].tolist() == [[1, 1], [2, -1]]
    assert rows.bad == {2: BadCell("", "has 1 cells, expected 2")}


@settings(deadline=None)
@given(st.lists(st.sampled_from(["auto", "off", "", "x", "1", " manual "]), min_size=1, max_size=8))
def test_rows_of_text_are_read_the_same_together_and_alone(cells: list[str]) -> None:
    reader = ColumnReader(["mode", "a"], ["a", MODE], layout=CSV, source="rows.csv")
    together = reader.parse(0, [[cell, "1"] for cell in cells])
    alone = [reader.parse(0, [[cell, "1"]]) for cell in cells]
    np.testing.assert_array_equal(together.values, np.concatenate([rows.values for rows in alone]))
    assert together.bad == {i: rows.bad[0] for i, rows in enumerate(alone) if rows.bad}


# --- chunks ----------------------------------------------------------------------------------------------------------

MIXED = "t,b,a\n0,2,1\n10,x,3\n\n20,6\nlater,8,7\n40,10,9\n50,,11\n60,14,13\n"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk_rows=st.integers(1, 10))
def test_any_chunk_size_gives_the_same_rows(tmp_path: Path, chunk_rows: int) -> None:
    whole = read(tmp_path, MIXED, layout=TIMED)
    chunked = read(tmp_path, MIXED, layout=TIMED, chunk_rows=chunk_rows)
    assert chunked.values.tobytes() == whole.values.tobytes()
    assert chunked.bad == whole.bad
    assert chunked.times is not None
    np.testing.assert_array_equal(chunked.times, [0, 10, 20, math.nan, 40, 50, 60])
    firsts = [chunk.first for chunk in read_rows(tmp_path / "rows.csv", ("a", "b"), layout=CSV, chunk_rows=chunk_rows)]
    assert firsts == list(range(0, 7, chunk_rows))


def test_the_default_chunks_join_without_a_seam(tmp_path: Path) -> None:
    lines = "".join(f"{i},{i + 0.5}\n" for i in range(2500))
    assert read(tmp_path, "a,b\n" + lines).values[:, 1].tolist() == [i + 0.5 for i in range(2500)]


# --- samples and columns ---------------------------------------------------------------------------------------------


def test_sample_and_column(tmp_path: Path) -> None:
    read(tmp_path, MIXED, layout=TIMED)
    path = tmp_path / "rows.csv"
    assert read_sample(path, CSV, rows=2) == (["t", "b", "a"], [["0", "2", "1"], ["10", "x", "3"]])
    assert read_column(path, "a", CSV) == ["1", "3", "", "7", "9", "11", "13"]
    with pytest.raises(InputError, match="column 'c' is missing"):
        read_column(path, "c", CSV)
    path.write_text("1,2\n3,4\n")
    assert read_sample(path, Layout(TableFormat(header=False))) == (["c0", "c1"], [["1", "2"], ["3", "4"]])
    assert read_column(path, "c1", Layout(TableFormat(header=False))) == ["2", "4"]
    path.write_text("a,b\n")
    with pytest.raises(InputError, match="no rows after the header"):
        read_sample(path, CSV)


def test_the_reader_finds_the_time_column() -> None:
    reader = ColumnReader(["x", "b", "t", "a"], ["a", "b"], layout=TIMED, source="rows.csv")
    times = reader.parse(0, [["0", "1", "90", "2"]]).times
    assert times is not None
    assert times.tolist() == [90]
    assert reader.width == 4
    absent = ColumnReader(["b", "a"], ["a", "b"], layout=TIMED, source="rows.csv")
    assert absent.parse(0, [["1", "2"]]).times is None


def test_a_repeated_time_column_is_refused() -> None:
    with pytest.raises(InputError, match="'t' stands in the header more than once"):
        ColumnReader(["t", "a", "t"], ["a"], layout=TIMED, source="rows.csv")


def test_truth_values_of_a_flag_are_0_and_1_in_any_case(tmp_path: Path) -> None:
    fields = (Field("on", flag=True), Field("ok", texts=("False", "True")), Field("x"))
    rows = read(
        tmp_path, "on,ok,x\ntrue,true,1\n0,False,2\nFALSE,TRUE,3\nTrue,True,x\n2,yes,5\nTrue,True,True\n", fields
    )
    assert rows.values[:3].tolist() == [[1, 1, 1], [0, 0, 2], [0, 1, 3]]
    assert rows.bad == {
        3: BadCell("x", "holds 'x', expected a number"),
        4: BadCell("ok", "holds 'yes', expected one of 'False', 'True'"),
        5: BadCell("x", "holds 'True', expected a number"),
    }


# --- time stamps -----------------------------------------------------------------------------------------------------


def timed(path: Path, stamps: Stamps, **declared: Any) -> list[float]:
    chunks = read_rows(path, ["a"], layout=Layout(declared=Declared(**declared), stamps=stamps))
    times = [chunk.times for chunk in chunks if chunk.times is not None]
    found: list[float] = np.concatenate(times).tolist()
    return found


def test_a_date_and_a_time_of_day_in_two_columns_are_one_stamp(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,a,d\n00:01,1,02.01.1970\n00:02,1,13.01.1970\n")
    assert timed(path, Stamps("d", "t", "%d.%m.%Y %H:%M")) == [86460, 12 * 86400 + 120]
    path.write_text("t,a,d\n00:01,1,01/02/1970\n00:02,1,01/13/1970\n")  # in another form
    assert timed(path, Stamps("d", "t", "%d.%m.%Y %H:%M")) == [31 * 86400 + 60 - 30 * 86400, 12 * 86400 + 120]


def test_a_time_of_day_beside_the_date_belongs_to_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,clock,a\n1970-01-02,00:01,1\n1970-01-02,00:02,1\n")
    assert timed(path, Stamps("t")) == [86460, 86520]
    path.write_text("t,a,b\n1970-01-02,1,06.00\n1970-01-03,1,07.00\n")  # a number is no time of day
    assert timed(path, Stamps("t")) == [86400, 2 * 86400]


def test_stamps_of_another_form_than_those_of_the_recording_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,a\n1000,1\n2000,1\n1767592800000,1\n")
    assert timed(path, Stamps("t")) == [1000, 2000, 1767592800000]
    path.write_text("t,a\n1767592800000,1\n1767592801000,1\n")
    assert timed(path, Stamps("t")) == [1767592800, 1767592801]


def test_days_that_are_no_months_decide_over_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,a\n" + "".join(f"01/{day:02}/1970,1\n" for day in range(2, 14)))
    assert timed(path, Stamps("t", pattern="%d/%m/%Y")) == [86400 * day for day in range(1, 13)]
    path.write_text("t,a\n01/02/1970,1\n01/03/1970,1\n")  # nothing decides, so they are as in the recording
    assert timed(path, Stamps("t", pattern="%d/%m/%Y")) == [86400 * 31, 86400 * 59]
    assert timed(path, Stamps("t", pattern="%m/%d/%Y")) == [86400, 86400 * 2]
    assert timed(path, Stamps("t", pattern="%m/%d/%Y"), time_format="%m/%d/%Y") == [86400, 86400 * 2]


def test_columns_without_a_header_stand_at_their_places(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2,3,4\n5,6,7,8\n5,6,7\n")
    (rows,) = read_rows(path, ("c2", "c1"), layout=Layout(TableFormat(header=False)))
    assert rows.values[:2].tolist() == [[3, 2], [7, 6]]
    assert rows.bad == {2: BadCell("", "has 3 cells, expected 4")}


def test_named_columns_without_a_header_stand_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2\n5,6\n")
    (rows,) = read_rows(path, ("flow", "c1"), layout=Layout(TableFormat(header=False)))
    assert rows.values.tolist() == [[1, 2], [5, 6]]
