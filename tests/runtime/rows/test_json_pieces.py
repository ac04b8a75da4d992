"""Large bodies of JSON in pieces: the same rows and the same refusals as in one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_detect.runtime.errors import InputError, TooLargeError
from vae_detect.runtime.rows.chunk import joined, refused
from vae_detect.runtime.rows.json_pieces import Pieces
from vae_detect.runtime.rows.json_rows import RowReader
from vae_detect.runtime.rows.pieces import PIECE

READER = RowReader(["a", "b"])


def outcome(body: bytes, size: int | None = None) -> list[list[float]] | str:
    """The rows, or "refused"; in pieces of this size, or at once."""
    try:
        if size is None:
            rows = READER.read(body)
        else:
            pieces = Pieces(body, 2, size=size)
            rows = joined([pieces.read(READER, first, end) for first, end in pieces])
            assert len(rows.values) == len(pieces)
    except InputError:
        return "refused"
    found: list[list[float]] = rows.values.tolist()
    return "refused" if rows.bad else found


CELLS: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1.5, -2, None, "x", '"],["', True, [1, 2], {"a": 1, "b": 2}, [], [[]]]
)
ROW: st.SearchStrategy[Any] = st.one_of(
    st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    st.fixed_dictionaries({"a": st.integers(-9, 9), "b": st.integers(-9, 9)}, optional={"}, {": CELLS, "c": CELLS}),
)


@given(st.lists(ROW, max_size=6), st.lists(st.one_of(ROW, CELLS), max_size=2), st.integers(1, 400), st.booleans())
@settings(max_examples=200, deadline=None)
def test_pieces_hold_what_the_body_holds(rows: list[Any], odd: list[Any], size: int, spaced: bool) -> None:
    for value in (rows, rows + odd, odd + rows, *rows, *odd):
        body = json.dumps(value, indent=1 if spaced else None).encode()
        assert outcome(body, size) == outcome(body)


@pytest.mark.parametrize(
    "body", [b"", b" ", b"[", b"[[1, 2]", b"[[1, 2],]", b"[[1, 2]] x", b"[[1, 2], [01, 2]]", b"[" * 9999]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    for size in (1, PIECE):
        assert outcome(body, size) == outcome(body) == "refused"


def test_a_bad_row_is_named_by_its_place_in_the_body() -> None:
    pieces = Pieces(b'[[1, 2], [3, 4], [5, 6], {"a": 1, "b": "x"}]', 2, size=210)
    assert list(pieces) == [(0, 2), (2, 3), (3, 4)]
    error = refused(pieces.read(READER, 3, 4), len(pieces))
    assert str(error) == "row 3, column 'b' holds 'x', expected a number"
    assert (error.row, error.rows) == (3, 4)


def test_constants_that_are_no_json_harm_only_their_rows() -> None:
    row = b'{"a": 1, "b": %b, "NaN": "x\\\\", "y": "\\" NaN, -Infinity"}'
    constants = [b"NaN", b"2", b"-Infinity", b"Infinity", b'"NaN"', b"3"]
    body = b"[" + b", ".join([row % constant for constant in constants]) + b"]"
    pieces = Pieces(body, 2, size=1)
    found = [pieces.read(READER, first, end) for first, end in pieces]
    assert [rows.values[0, 1] for rows in found if not rows.bad] == [2, 3]
    assert [str(rows.bad[0]) for rows in found if rows.bad] == [
        "column 'b' holds NaN, expected a finite number",
        "column 'b' holds a number beyond the range of float32 (3.4e38)",
        "column 'b' holds a number beyond the range of float32 (3.4e38)",
        "column 'b' holds 'NaN', expected a number",
    ]


def test_numbers_after_rows_are_no_row() -> None:
    pieces = Pieces(b"[[1, 2], [3, 4], 5, 6]", 2, size=204)
    assert list(pieces) == [(0, 2), (2, 4)]
    found = pieces.read(READER, 2, 4)
    assert [*found.bad] == [0, 1]
    assert str(refused(found, 4)) == "row 2 holds 5, expected a row (a list or an object) or a list of rows"


def test_limits_are_told_before_anything_is_read() -> None:
    with pytest.raises(TooLargeError, match="more than 1000000 values"):
        Pieces(b"[" + b"1," * 1_000_000 + b"1]", 2)
    with pytest.raises(TooLargeError, match="holds 100001 rows, expected at most 100000") as error:
        Pieces(b"[" + b"[]," * 100_000 + b"[]]", 2)
    assert error.value.rows == 100_001
    for text in (b'{"a": "%b"}', b'[[1, 2], {"a": "%b"}]'):
        with pytest.raises(TooLargeError, match=f"has [0-9]+ bytes, expected at most {PIECE + 512}"):
            Pieces(text % (b"x" * (PIECE + 512)), 2)
        assert len(Pieces(text % (b"x" * PIECE), 2)) == text.count(b"{") + text.count(b"[1")
