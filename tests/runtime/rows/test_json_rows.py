"""JSON rows: read in the model's order, or refused with row and column."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.errors import InputError, TooLargeError
from vae_detect.runtime.rows import json_rows, pieces
from vae_detect.runtime.rows.chunk import refused as refused_for
from vae_detect.runtime.rows.fields import Field
from vae_detect.runtime.rows.json_rows import RowReader
from vae_detect.runtime.rows.pieces import MAX_ROWS, MAX_VALUES

READER = RowReader(["a", "b [m3/h]", 'c "x" \\ \u00e9'])
KEY = b'"c \\"x\\" \\\\ \xc3\xa9"'
MIXED = RowReader(
    [
        "a",
        Field("mode", texts=("auto", "manual")),
        Field("kind", texts=("pump", "fan"), optional=True),
        Field("size", levels=(0.1, 20.0), optional=True),
    ]
)
MAX = 3.4028234663852886e38


def good(reader: RowReader, body: bytes) -> NDArray[np.float32]:
    """The rows of a body, refused for its first bad one."""
    rows = reader.read(body)
    if rows.bad:
        raise refused_for(rows, len(rows.values))
    return rows.values


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[1, 2, 3]", [[1, 2, 3]]),
        (b"[[1, 2, 3]]", [[1, 2, 3]]),
        (b"[[1, 2.5, -3e-2], [4, 5, 6]]", [[1, 2.5, -0.03], [4, 5, 6]]),
        (b'{"b [m3/h]": 2, ' + KEY + b': 3, "a": 1}', [[1, 2, 3]]),
        (b'[{"a": 1, "b [m3/h]": 2, ' + KEY + b": 3}, [4, 5, 6]]", [[1, 2, 3], [4, 5, 6]]),
        (b'[[4, 5, 6], {"\\u0061": 1, "b [m3/h]": 2, ' + KEY + b": 3}]", [[4, 5, 6], [1, 2, 3]]),
        (b'{"a": 1, "b [m3/h]": 2, ' + KEY + b': 3, "id": "a", "on": true, "x": null, "y": [[{}]]}', [[1, 2, 3]]),
        (b" [1,\n2,\t3]\r\n", [[1, 2, 3]]),
        (b"[1e-999, -0, 18446744073709551616]", [[0, 0, 2**64]]),
        (b"[3.4028234663852886e38, -3.4028234663852886e38, 0]", [[MAX, -MAX, 0]]),
    ],
)
def test_rows_are_read_in_the_order_of_the_columns(body: bytes, expected: list[list[float]]) -> None:
    values = good(READER, body)
    assert values.dtype == np.float32
    assert np.array_equal(values, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("body", "rows", "message"),
    [
        (b"", 0, "the body is not valid JSON: Expecting value at character 0"),
        (b"[1, 2", 0, "not valid JSON"),
        (b"[1, 2, 3] x", 0, "not valid JSON"),
        (b"[1, 2, 3,]", 0, "not valid JSON"),
        (b"[01, 2, 3]", 0, "not valid JSON"),
        (b"[+1, 2, 3]", 0, "not valid JSON"),
        (b"\xef\xbb\xbf[1, 2, 3]", 0, "not valid JSON"),
        (b'{"a": 1, "b": "\xff"}', 0, "not UTF-8"),
        ("[1, 2, 3]".encode("utf-16"), 0, "not UTF-8"),
        (b"[" * 100_000, 0, "the body is nested deeper than 64 levels"),
        (b"1", 0, "the body holds 1, expected a row"),
        (b"null", 0, "the body holds null, expected a row"),
        (b"true", 0, "the body holds true, expected a row"),
        (b'"' + b"x" * 1000 + b'"', 0, "the body holds '" + "x" * 37 + "...', expected a row"),
        (b"[]", 0, "the body is empty"),
        (b"{}", 0, "the body is empty"),
        (b"[[]]", 1, "row 0 has 0 values, expected 3"),
        (b"[[], []]", 2, "row 0 has 0 values, expected 3"),
        (b"[1, 2]", 1, "row 0 has 2 values, expected 3"),
        (b"[[1, 2, 3], [1, 2, 3, 4]]", 2, "row 1 has 4 values, expected 3"),
        (b"[[1, 2, 3], 4]", 2, "row 1 holds 4, expected a list or an object"),
        (b"[4, [1, 2, 3]]", 2, "row 0 holds 4, expected a list or an object"),
        (b'[[1, 2, 3], "x"]', 2, "row 1 holds 'x', expected a list or an object"),
        (b"[[[1, 2, 3]]]", 1, "row 0 has 1 values, expected 3"),
        (b"[[1, 2, 3], [1, [2], 3]]", 2, "row 1, column 'b [m3/h]' holds a list, expected a number"),
        (b"[1, {}, 3]", 3, "row 0 holds 1, expected a list or an object"),
        (b"[1, null, 3]", 1, "row 0, column 'b [m3/h]' holds null, expected a number"),
        (b"[1, true, 3]", 1, "row 0, column 'b [m3/h]' holds true, expected a number"),
        (b'[1, "2", 3]', 1, "row 0, column 'b [m3/h]' holds '2', expected a number"),
        (b"[1, NaN, 3]", 1, "row 0, column 'b [m3/h]' holds NaN, expected a finite number"),
        (b"[1, -Infinity, 3]", 1, "row 0, column 'b [m3/h]' holds a number beyond the range of float32"),
        (b"[1, 1e999, 3]", 1, "row 0, column 'b [m3/h]' holds a number beyond the range of float32"),
        (b"[1, " + b"9" * 5000 + b", 3]", 1, "row 0, column 'b [m3/h]' holds a number beyond the range of float32"),
        (b"[3.4028235e38, 2, 3]", 1, "row 0, column 'a' holds 3.4028235e+38 beyond the range of float32"),
        (b'{"a": 1, "b [m3/h]": 2}', 1, "is missing"),
        (b"[{}]", 1, "row 0, column 'a' is missing"),
        (b'[[1, 2, 3], {"a": 1}]', 2, "row 1, column 'b [m3/h]' is missing"),
        (b'{"a": 1, "a": 1, "b [m3/h]": 2, ' + KEY + b": 3}", 1, "column 'a' stands in the object more than once"),
        (b'{"a": 1, "\\u0061": 1, "b [m3/h]": 2, ' + KEY + b": 3}", 1, "stands in the object more than once"),
        (b'{"a": {}, "b [m3/h]": 2, ' + KEY + b": 3}", 1, "row 0, column 'a' holds an object, expected a number"),
        (b'{"a": "\\ud800", "b [m3/h]": 2, ' + KEY + b": 3}", 1, "row 0, column 'a' holds '\\ud800'"),
        (b'{"a": 1, "b [m3/h]": 2, ' + KEY + b': 3, "z": NaN}', 1, "not valid JSON"),
    ],
)
def test_one_bad_cell_refuses_the_request(body: bytes, rows: int, message: str) -> None:
    with pytest.raises(InputError) as refused:
        good(READER, body)
    assert message in str(refused.value)
    assert not isinstance(refused.value, TooLargeError)
    assert refused.value.rows == rows


def test_a_repeated_column_is_found_though_another_object_lacks_one() -> None:
    # Two keys "a" in all for two objects: counting alone does not find this.
    reader = RowReader(["a", "b"])
    with pytest.raises(InputError, match="row 1, column 'a' is missing"):
        good(reader, b'[{"a": 1, "b": 2}, {"b": 2, "x": "a"}]')
    with pytest.raises(InputError, match="row 0, column 'a' stands in the object more than once"):
        good(reader, b'[{"a": 1, "a": 9, "b": 2}, {"b": 2}]')
    assert good(reader, b'{"a": 1, "b": 2, "x": "a"}').tolist() == [[1, 2]]
    with pytest.raises(InputError, match="row 0, column 'a' stands in the object more than once"):
        good(reader, b'{"a": 1, "a": 9, "b": 2, "x": "\\u003a"}')
    for texts in (b'"x": "a:b:c"', b'"x:y": 1', b'"x": "\\n:"', b'"x": {"a": 9}', b'"x": [":"]'):
        assert good(reader, b'[{"a": 1, "b": 2, %b}, [3, 4]]' % texts).tolist() == [[1, 2], [3, 4]]


def test_limits_hold_one_below_and_one_above(monkeypatch: pytest.MonkeyPatch) -> None:
    one = RowReader(["a"])
    assert len(good(one, b"[" + b",".join([b"[1]"] * MAX_ROWS) + b"]")) == MAX_ROWS
    with pytest.raises(TooLargeError, match="100001 rows") as refused:
        good(one, b"[" + b",".join([b"[1]"] * (MAX_ROWS + 1)) + b"]")
    assert refused.value.rows == MAX_ROWS + 1
    with pytest.raises(TooLargeError, match="more than 1000000 values"):
        good(one, b"[" + b"[]," * MAX_VALUES + b"[]]")
    monkeypatch.setattr(json_rows, "MAX_VALUES", 5000)
    monkeypatch.setattr(pieces, "MAX_VALUES", 5000)  # a reader of a million columns takes seconds to make
    wide = RowReader([f"c{i}" for i in range(5000)])
    assert good(wide, b"[" + b",".join([b"1"] * 5000) + b"]").shape == (1, 5000)
    with pytest.raises(TooLargeError, match="more than 5000 values"):
        good(wide, b"[" + b",".join([b"1"] * 5001) + b"]")


@given(st.binary(max_size=40) | st.text('[]{},:"\\ab0123456789.eE+-ntrufalsN \u00e9', max_size=40).map(str.encode))
def test_any_bytes_are_rows_or_refused(body: bytes) -> None:
    reader = RowReader(["a", "b"])
    values, refused = np.zeros((1, 2), np.float32), InputError("")
    try:
        values = good(reader, body)
    except InputError as error:
        refused = error
    assert not isinstance(refused, TooLargeError)
    assert len(str(refused)) < 500
    assert values.shape[1] == 2
    assert np.isfinite(values).all()


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1)
)
def test_lists_and_objects_read_the_same(rows: list[list[float]]) -> None:
    reader = RowReader(["a", "b"])
    lists = good(reader, str(rows).encode())
    objects = good(reader, str([{"b": b, "a": a} for a, b in rows]).replace("'", '"').encode())
    assert np.array_equal(lists, np.array(rows, np.float32))
    assert np.array_equal(objects, lists)


# --- text and classes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'[1, "manual", "fan", 20]', [[1, 1, 1, 20]]),
        (b'[[1, "auto", null, null], [2, "manual", "pump", 0.1]]', [[1, 0, -1, -1], [2, 1, 0, 0.1]]),
        (b'{"a": 1, "mode": "auto", "kind": "fan", "size": 20}', [[1, 0, 1, 20]]),
        (b'{"mode": "manual", "a": 1}', [[1, 1, -1, -1]]),
        (b'{"mode": "manual", "a": 1, "kind": null, "size": null}', [[1, 1, -1, -1]]),
        (b'[{"mode": "auto", "a": 1, "kind": "fan"}, {"mode": "auto", "a": 2}]', [[1, 0, 1, -1], [2, 0, -1, -1]]),
        (b'[{"mode": "auto", "a": 1}, [2, "manual", null, 20]]', [[1, 0, -1, -1], [2, 1, -1, 20]]),
        (b'{"a": 1, "mode": "\\u0061uto", "x": "kind"}', [[1, 0, -1, -1]]),
    ],
)
def test_texts_and_classes_are_read_as_numbers(body: bytes, expected: list[list[float]]) -> None:
    values = good(MIXED, body)
    assert values.dtype == np.float32
    assert np.array_equal(values, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'[1, "Auto", null, null]', "row 0, column 'mode' holds 'Auto', expected one of 'auto', 'manual'"),
        (b"[1, 0, null, null]", "row 0, column 'mode' holds 0, expected one of 'auto', 'manual'"),
        (b"[1, null, null, null]", "row 0, column 'mode' holds null, expected one of 'auto', 'manual'"),
        (b"[1, true, null, null]", "row 0, column 'mode' holds true, expected one of 'auto', 'manual'"),
        (b'[[1, ["auto"], null, null]]', "row 0, column 'mode' holds a list, expected one of"),
        (b'[1, "auto", "", null]', "row 0, column 'kind' holds '', expected one of 'pump', 'fan'"),
        (b'[1, "auto", -1, null]', "row 0, column 'kind' holds -1, expected one of 'pump', 'fan'"),
        (b'[1, "auto", null, -1]', "row 0, column 'size' holds -1, expected one of 0.1, 20"),
        (b'[1, "auto", null, "20"]', "row 0, column 'size' holds '20', expected one of 0.1, 20"),
        (b'[1, "auto", null, true]', "row 0, column 'size' holds true, expected one of 0.1, 20"),
        (b'[1, "auto", null, NaN]', "row 0, column 'size' holds a number, expected one of 0.1, 20"),
        (b'[1, "auto", null, 1e39]', "row 0, column 'size' holds 1e+39, expected one of 0.1, 20"),
        (b'["1", "auto", null, null]', "row 0, column 'a' holds '1', expected a number"),
        (b'[null, "auto", null, null]', "row 0, column 'a' holds null, expected a number"),
        (b'[1e39, "auto", null, null]', "row 0, column 'a' holds 1e+39 beyond the range of float32"),
        (b'[1, "auto", "fan"]', "row 0 has 3 values, expected 4"),
        (b"[]", "the body is empty"),
        (b"[[]]", "row 0 has 0 values, expected 4"),
        (b'[[1, "auto", null, null], "x"]', "row 1 holds 'x', expected a list or an object"),
        (b'[[1, "auto", null, null], 4]', "row 1 holds 4, expected a list or an object"),
        (b'[[1, "auto", null, null], null]', "row 1 holds null, expected a list or an object"),
        (b'{"a": 1, "kind": "fan"}', "row 0, column 'mode' is missing"),
        (b'{"a": "1", "mode": "auto"}', "row 0, column 'a' holds '1', expected a number"),
        (b'{"a": 1, "mode": "auto", "kind": {}}', "row 0, column 'kind' holds an object, expected one of"),
        (b'{"a": 1, "mode": "auto", "mode": "auto"}', "column 'mode' stands in the object more than once"),
        (
            b'[{"a": 1, "mode": "auto", "kind": "fan", "kind": "fan"}, {"a": 1, "mode": "auto"}]',
            "row 0, column 'kind' stands in the object more than once",
        ),
    ],
)
def test_another_text_or_class_refuses_the_request(body: bytes, message: str) -> None:
    with pytest.raises(InputError) as refused:
        good(MIXED, body)
    assert message in str(refused.value)


_CELLS = st.sampled_from([b"1", b'"auto"', b'"fan"', b"null", b"20", b"true", b"[]", b"{}", b'"x"', b"1e999"])
_ROWS = st.lists(_CELLS, max_size=5).map(lambda cells: b"[" + b",".join(cells) + b"]")
_NAMED = st.lists(st.tuples(st.sampled_from([b'"a":', b'"mode":', b'"kind":', b'"x":']), _CELLS), max_size=5).map(
    lambda cells: b"{" + b",".join(name + cell for name, cell in cells) + b"}"
)


@given(st.lists(_ROWS | _NAMED | _CELLS, max_size=3).map(lambda rows: b"[" + b",".join(rows) + b"]"))
def test_any_mixture_of_texts_is_rows_or_refused(body: bytes) -> None:
    problem, values = "", np.zeros((1, 4), np.float32)
    try:
        values = good(MIXED, body)
    except InputError as refused:
        problem = str(refused)
    assert "expected rows of finite numbers" not in problem  # the diagnosis found what is wrong
    assert "not valid JSON: not" not in problem
    assert values.shape[1] == 4
    assert np.isfinite(values).all()


# --- lines -----------------------------------------------------------------------------------------------------------


def test_a_line_is_one_row() -> None:
    rows = RowReader(["a", "b"]).read_lines([b'{"b": 2, "a": 1}'], first=7)
    assert (rows.first, rows.values.tolist(), rows.bad, rows.times) == (7, [[1, 2]], {}, None)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"[1, true]", "column 'b' holds true, expected a number"),
        (b"[1]", "has 1 values, expected 2"),
        (b"[[1, 2], [3, 4]]", "holds 2 rows, expected one a line"),
        (b"online", "is not valid JSON: Expecting value at character 0"),
    ],
)
def test_a_line_that_is_no_row_is_a_bad_row(line: bytes, why: str) -> None:
    rows = RowReader(["a", "b"]).read_lines([line], first=7)
    assert (rows.first, rows.values.shape) == (7, (1, 2))
    assert np.isnan(rows.values).all()
    assert str(rows.bad[0]) == why


FLAG = Column("on", "", 0.0, 1.0, "binary", levels=(0.0, 1.0))
WORDS = Column("ok", "", 0.0, 1.0, "category", levels=(0.0, 1.0), texts=("False", "True"))


def test_truth_values_are_what_they_were_in_training() -> None:
    reader = RowReader([FLAG, Column("x", "", 0.0, 1.0), WORDS])
    body = b'[[true, 2, true], [false, 3, "TRUE"], [1, 4, "False"], {"on": true, "x": 5, "ok": false}]'
    assert good(reader, body).tolist() == [[1, 2, 1], [0, 3, 1], [1, 4, 0], [1, 5, 0]]
    assert good(RowReader([FLAG, "x"]), b"[true, 2]").tolist() == [[1, 2]]
    assert good(RowReader([FLAG, "x"]), b'{"x": 2, "on": false}').tolist() == [[0, 2]]
    for odd, message in (
        (b"[true, true, true]", "row 0, column 'x' holds true, expected a number"),
        (b'["true", 1, true]', "row 0, column 'on' holds 'true', expected a number"),
        (b'{"on": true, "on": true, "x": 1, "ok": true}', "'on' stands in the object more than once"),
        (b"[true]", "has 1 values, expected 3"),
    ):
        with pytest.raises(InputError, match=message):
            good(reader, odd)


def test_cells_that_may_be_missing_are_nan() -> None:
    who = Column("who", "", 0.0, 1.0, "class", levels=(0.0, 1.0))
    reader = RowReader(["x", "y", FLAG, WORDS, who], most_missing=1)
    lists = b'[[null, 2, true, "True", 1], [1, 2, null, "True", 0], [1, 2, 0, null, null]]'
    objects = b"""[{"y": 2, "on": 1, "ok": "True", "who": 1}, {"x": 1, "y": 2, "ok": true, "who": 0},
        {"x": 1, "y": 2, "on": 0}]"""
    expected = [[np.nan, 2, 1, 1, 1], [1, 2, np.nan, 1, 0], [1, 2, 0, np.nan, -1]]
    for body in (lists, objects):
        np.testing.assert_array_equal(good(reader, body), np.array(expected, np.float32))
    np.testing.assert_array_equal(
        good(reader, lists[1:-1].split(b"], ")[0] + b"]")[0], np.array(expected[0], np.float32)
    )
    for odd, message in (
        (b"[null, null, 1, true, 1]", "row 0 misses 2 of 5 cells, at most 1 can be filled: 'x', 'y'"),
        (b'{"x": "1", "y": 2, "on": 1, "ok": true}', "column 'x' holds '1', expected a number"),
        (b"[true, 2, 1, true, 1]", "column 'x' holds true, expected a number"),
        (b"[[1, 2, 1, true, 1], [1, true, 1, true, 1]]", "row 1, column 'y' holds true, expected a number"),
        (b"[1, 2, 1, true]", "has 4 values, expected 5"),
        (b"[1e39, 2, null, true, 1]", "beyond the range of float32"),
    ):
        with pytest.raises(InputError, match=message):
            good(reader, odd)
    with pytest.raises(InputError, match="column 'x' holds null, expected a number"):
        good(RowReader(["x", "y"]), b"[null, 2]")


def test_numbers_alone_may_be_missing() -> None:
    reader = RowReader(["x", "y", "z"], most_missing=1)
    np.testing.assert_array_equal(good(reader, b'[{"x": 1, "z": 3}]'), np.array([[1, np.nan, 3]], np.float32))
    with pytest.raises(InputError, match="'x' stands in the object more than once"):
        good(reader, b'{"x": 1, "x": 2, "z": 3}')
    with pytest.raises(InputError, match="column 'y' holds true"):
        good(reader, b"[[1, true, null]]")
