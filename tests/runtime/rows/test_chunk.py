"""Chunks of rows: put together, and refused for their first bad row."""

from __future__ import annotations

from typing import Any

import numpy as np

from vae_detect.runtime.rows.cells import BadCell
from vae_detect.runtime.rows.chunk import Rows, joined, refused


def rows(first: int, *values: float, **others: Any) -> Rows:
    array = np.array(values, np.float32)[:, None]
    return Rows(first, array, {}, None)._replace(**others)


def test_chunks_that_follow_each_other_are_one() -> None:
    why = BadCell("a", "is missing")
    whole = joined(
        [
            rows(5, 1, 2, times=np.array([10.0, 11.0])),
            rows(7, np.nan, bad={0: why}),
            rows(8, 4, keys=["x"], times=np.array([13.0])),
        ]
    )
    assert whole.first == 5
    np.testing.assert_array_equal(whole.values, np.array([[1], [2], [np.nan], [4]], np.float32))
    assert whole.bad == {2: why}
    np.testing.assert_array_equal(whole.times, [10, 11, np.nan, 13])
    assert whole.keys == ["", "", "", "x"]


def test_what_no_chunk_has_the_whole_has_not() -> None:
    whole = joined([rows(0, 1), rows(1, 2)])
    assert (whole.times, whole.keys, whole.bad) == (None, None, {})
    one = rows(3, 1)
    assert joined([one]) is one


def test_the_first_bad_row_is_named_by_its_number() -> None:
    chunk = rows(5, 1, 2, 3, bad={2: BadCell("", "holds 4, expected a list"), 1: BadCell("a", "is missing")})
    error = refused(chunk, 9)
    assert str(error) == "row 6, column 'a' is missing"
    assert (error.row, error.column, error.rows) == (6, "a", 9)
    del chunk.bad[1]
    assert str(refused(chunk, 9)) == "row 7 holds 4, expected a list"
