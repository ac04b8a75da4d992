"""A closer look at JSON that is no row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.rows.fields import Field
from vae_detect.runtime.rows.json_problems import MOST_LEVELS, Pairs, is_deep, is_json, problem_of, slow_rows

FIELDS = (Field("a"), Field("mode", texts=("auto",)), Field("kind", texts=("x",), optional=True))


def levels(value: Any) -> int:
    if isinstance(value, dict):
        value = [*value.values()]
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


def nested(opens: list[bool], text: str) -> Any:
    value: Any = text
    for is_list in opens:
        value = [value, 1] if is_list else {text: value, "]": "[" * 70}
    return value


@given(st.lists(st.booleans(), min_size=50, max_size=80), st.text('[]{}"\\a', max_size=5))
def test_depth_is_what_it_is_whatever_stands_in_texts(opens: list[bool], text: str) -> None:
    value = nested(opens, text)
    assert is_deep(json.dumps(value).encode()) == (levels(value) > MOST_LEVELS)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[" * 64, False),
        (b"[" * 65, True),
        (b"[{" * 32 + b"[", True),
        (b"[" * 64 + b"]" * 64, False),
        (b"[" * 65 + b"]" * 65, True),
        (b"[[],[],[]," * 63 + b"1", False),
        (b"[" + b"[]," * 1000 + b"[]]", False),
        (b'["' + b"[" * 1000, True),  # a text that does not end: nothing that could be read either
    ],
)
def test_depth_of_what_is_no_json_too(body: bytes, expected: bool) -> None:
    assert is_deep(body) == expected


def test_rows_are_kept_as_they_were_written() -> None:
    rows, why = slow_rows(b'[[1, -0, -0.0], {"a": 1, "a": 12345678901234567890}]')
    assert why == ""
    assert rows == [[1, 0, 0.0], [("a", 1), ("a", 12345678901234567890)]]
    assert [str(cell) for cell in rows[0]] == ["1", "0", "-0.0"]
    assert isinstance(rows[1], Pairs)
    assert slow_rows(b"[1, 2]")[0] == [[1, 2]]
    assert slow_rows(b"[[1, NaN]]")[1].startswith("is not valid JSON")
    assert slow_rows(b"[" + b"9" * 5000 + b"]")[0] == [[float("inf")]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"x", "is not valid JSON: Expecting value at character 0"),
        (b"\xff", "is not UTF-8 text: invalid start byte at byte 0"),
        (b"1", "holds 1, expected a row"),
        (b"{}", "is empty"),
        (b"[" * 65, "is nested deeper than 64 levels"),
    ],
)
def test_what_holds_no_rows_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        slow_rows(body)


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ({"a": 1, "mode": "auto"}, None, ""),
        ({"a": 10**400, "mode": "auto"}, "a", "holds a number beyond the range of float32 (3.4e38)"),
        ({"a": 10**39, "mode": "auto"}, "a", "holds 1e+39 beyond the range of float32 (3.4e38)"),
        ({"a": [], "mode": "auto"}, "a", "holds a list, expected a number"),
        ({"a": {}, "mode": "auto"}, "a", "holds an object, expected a number"),
        ({"a": False, "mode": "auto"}, "a", "holds false, expected a number"),
        ({"mode": "auto"}, "a", "is missing"),
        ({"a": 1, "mode": 10**400}, "mode", "holds a number, expected one of 'auto'"),
        (Pairs([("a", 1), ("mode", "auto"), ("a", 1)]), "a", "stands in the object more than once"),
        (Pairs([("a", 1), ("mode", "auto"), ("z", 1), ("z", 1)]), None, ""),
        ([1, "auto"], "", "has 2 values, expected 3"),
        ([1, "auto", None], None, ""),
        ("x" * 50, "", "holds '" + "x" * 37 + "...', expected a list or an object"),
    ],
)
def test_the_first_problem_of_a_row(row: Any, column: str | None, reason: str) -> None:
    found = problem_of(row, FIELDS, may_lack=False)
    assert found == (None if column is None else (column, reason))


def test_what_may_lack_is_no_problem() -> None:
    assert problem_of({"mode": None}, FIELDS, may_lack=True) is None
    assert problem_of({"a": "x"}, FIELDS, may_lack=True) == ("a", "holds 'x', expected a number")


def test_a_row_is_json_throughout() -> None:
    assert is_json(Pairs([("a", [1, "\u00e9"])]))
    for odd in (float("nan"), float("inf"), [[float("nan")]], "\ud800"):
        assert not is_json([1, odd])
