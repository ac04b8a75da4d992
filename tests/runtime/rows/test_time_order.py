"""The order of rows in time."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.rows.cells import BadCell
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.rows.time_order import describe_order, in_time_order, order_of, refuse_disorder, rows_in_order

MINUTES = 60 * np.arange(300.0)
RNG = np.random.default_rng(0)
LATE = np.concatenate([MINUTES[:50], MINUTES[51:60], MINUTES[50:51], MINUTES[60:]])
MONTHS = np.concatenate([MINUTES[100:200], MINUTES[:100], MINUTES[200:]])
LOGGERS = np.concatenate([MINUTES, MINUTES, MINUTES + 20])
AUTUMN = np.concatenate([MINUTES[:200], MINUTES[140:]])


@pytest.mark.parametrize(
    ("times", "order"),
    [
        (MINUTES, "forward"),
        (np.repeat(MINUTES, 3), "forward"),
        (np.where(np.arange(300) % 7, MINUTES, np.nan), "forward"),
        (MINUTES[:1], "forward"),
        (MINUTES[::-1], "backward"),
        (np.repeat(MINUTES[::-1], 3), "backward"),
        (np.concatenate([MINUTES[::-1], MINUTES[::-1]]), "backward"),
        (RNG.permutation(MINUTES), "shuffled"),
        (LATE, "shuffled"),  # one row came late
        (MONTHS, "shuffled"),  # pieces of one recording in another order
        (LOGGERS, "stretches"),
        (AUTUMN, "stretches"),  # an hour that comes twice
    ],
)
def test_the_order_of_rows_is_seen(times: NDArray[np.float64], order: str) -> None:
    assert order_of(times) == order
    found = times[rows_in_order(times, order_of(times))]
    if order in ("forward", "stretches"):
        np.testing.assert_array_equal(found, times)
    elif order == "shuffled":
        assert (np.diff(found) >= 0).all()
    else:
        np.testing.assert_array_equal(found, times[::-1])


def test_a_row_without_a_time_stays_behind_its_neighbour() -> None:
    times = np.array([np.nan, 30, 20, np.nan, 10])
    assert rows_in_order(times, "shuffled").tolist() == [0, 4, 2, 3, 1]


def test_what_is_done_is_told() -> None:
    assert describe_order("forward", MINUTES) == ""
    assert describe_order("stretches", LOGGERS) == "time goes back 2 times: what follows is a recording of its own"
    assert "turned round" in describe_order("backward", MINUTES)
    assert "sorted" in describe_order("shuffled", MINUTES)


def chunks(times: NDArray[np.float64] | None, bad: int = 17) -> list[Rows]:
    values = np.arange(300, dtype=np.float32)[:, None]
    return [
        Rows(
            first,
            values[first : first + 100],
            {bad - first: BadCell("a", "is empty")} if first <= bad < first + 100 else {},
            None if times is None else times[first : first + 100],
        )
        for first in (0, 100, 200)
    ]


def test_rows_in_order_are_passed_on_one_chunk_at_a_time() -> None:
    for times in (MINUTES, None, LOGGERS):
        ordered = in_time_order(iter(pieces := chunks(times)))
        assert ordered.numbers is None
        assert [rows is piece for rows, piece in zip(ordered.chunks, pieces, strict=True)] == [True] * 3
    assert list(in_time_order([]).chunks) == []


@pytest.mark.parametrize("times", [MINUTES[::-1], np.random.default_rng(1).permutation(MINUTES)])
def test_other_rows_come_in_order_of_time_with_their_numbers(times: NDArray[np.float64]) -> None:
    ordered = in_time_order(chunks(times))
    rows = list(ordered.chunks)
    assert ordered.numbers is not None
    np.testing.assert_array_equal(np.concatenate([each.times for each in rows if each.times is not None]), MINUTES)
    np.testing.assert_array_equal(np.concatenate([each.values[:, 0] for each in rows]), ordered.numbers)
    found = [each.number(index) for each in rows for index in each.bad]
    assert found == [17]


def test_disorder_is_refused_where_windows_need_order() -> None:
    refuse_disorder(chunks(MINUTES)[0], "a.csv")
    with pytest.raises(InputError, match=r"a\.csv: rows do not stand in order of time"):
        refuse_disorder(chunks(MINUTES[::-1])[0], "a.csv")
