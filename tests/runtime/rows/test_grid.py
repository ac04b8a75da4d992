"""Rows brought to a grid of time; the means are worked out by hand."""

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Resampling
from vae_detect.runtime.rows.cells import BadCell
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.rows.grid import resampled

TIMES = np.array([0, 20, 59, np.nan, 61, 180, 190, 300])
VALUES = np.array([[1, 0], [2, 1], [6, 0], [np.nan, np.nan], [5, 1], [7, 0], [np.nan, 1], [4, 1]], np.float32)
BAD = {3: BadCell("a", "is empty"), 7: BadCell("a", "is odd")}


def pieces(size: int) -> list[Rows]:
    return [
        Rows(
            first,
            VALUES[first : first + size],
            {row - first: why for row, why in BAD.items() if first <= row < first + size},
            TIMES[first : first + size],
        )
        for first in range(0, len(TIMES), size)
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(
    ("how", "expected"),
    [("mean", [[3, 0], [5, 1], [7, 1], [np.nan, np.nan]]), ("last", [[6, 0], [5, 1], [np.nan, 1], [np.nan, np.nan]])],
)
def test_a_period_is_one_row_however_the_rows_come(size: int, how: str, expected: list[list[float]]) -> None:
    found = list(resampled(pieces(size), Resampling(60, "last" if how == "last" else "mean"), np.array([True, False])))
    np.testing.assert_array_equal(np.concatenate([rows.values for rows in found]), np.array(expected, np.float32))
    assert np.concatenate([rows.times for rows in found if rows.times is not None]).tolist() == [0, 60, 180, 300]
    assert {rows.first + index: why for rows in found for index, why in rows.bad.items()} == {3: BAD[7]}
    assert [rows.first for rows in found] == np.cumsum([0, *(len(rows.values) for rows in found)])[:-1].tolist()


def test_without_times_there_is_no_grid() -> None:
    with pytest.raises(InputError, match="has no time stamps"):
        list(resampled([Rows(0, VALUES, {}, None)], Resampling(60), np.array([True, False])))
    assert list(resampled([], Resampling(60), np.array([True, False]))) == []
