"""Time stamps, and what their steps say."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
from conftest import ROOT

from vae_detect.runtime.rows.times import Clock, clock_of, is_break, parse_time

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01 00:01:00", 60),
        ("1970-01-02", 86400),
        ("1970-01-01T01:00:00+01:00", 0),
        (" 1970-01-01T00:00:00.25Z ", 0.25),
        ("1970-01-01T00:01:00.0/1970-01-01T00:02:00.0", 60),
        ("2026-03-29T02:30:00", datetime(2026, 3, 29, 2, 30, tzinfo=UTC).timestamp()),
        ("12.5", 12.5),
        ("1767225600", 1767225600),
        ("-1e3", -1000),
        ("1767225600000", 1767225600),
        ("1767225600000.0", 1767225600),
        ("1767225600000000", 1767225600),
        ("1767225600000000000", 1767225600),
        ("19700102", 86400),
        ("197001020001", 86460),
        ("19700102000101", 86461),
        ("20261399", 20261399),  # no date
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


def test_a_time_without_a_zone_is_utc_wherever_the_machine_stands() -> None:
    code = "from vae_detect.runtime.rows.times import parse_time; print(parse_time('1970-01-02T00:00:01'))"
    environment = {**os.environ, "TZ": "America/New_York", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "86401.0\n"


@pytest.mark.parametrize(
    "text", ["", "x", "nan", "inf", "-Infinity", "1e400", "1_0", "\uff11", "2026-13-01", "25:00", "yesterday"]
)
def test_what_is_no_time_is_nan(text: str) -> None:
    assert math.isnan(parse_time(text))


@pytest.mark.parametrize(
    ("times", "period_s"),
    [
        ([0, 10, 20, 30], 10),
        ([0, 10, 20, 3620, 3630], 10),  # a pause does not change it
        ([0, 10, 5, 15, 15, 25], 10),  # nor do steps back, or none
        ([0, math.nan, 20, 30], 15),  # what is unreadable is passed over
        ([5], None),
        ([], None),
        ([3, 2, 1], None),
        ([math.nan, math.nan], None),
    ],
)
def test_the_period_is_the_median_of_the_steps_forward(times: list[float], period_s: float | None) -> None:
    assert clock_of(np.array(times, np.float64)) == (None if period_s is None else Clock(period_s))


def test_rows_follow_each_other_up_to_one_and_a_half_periods() -> None:
    steps = np.array([10, 14.9, 15, 15.1, 0, -10, math.nan])
    assert is_break(steps, 1, Clock(10.0)).tolist() == [False, False, False, True, True, True, False]
    # over a row whose time is unreadable, two periods and a half
    assert is_break(np.array([20.0, 25, 25.1]), np.array([2, 2, 2]), Clock(10.0)).tolist() == [False, False, True]


MORNING = 1767592800.0


def stamps(rows: int, hz: float, stamp_s: float, start: float = MORNING) -> NDArray[np.float64]:
    """Of so many rows a second, cut down to whole stamps."""
    found: NDArray[np.float64] = np.floor((start + (np.arange(rows) + 0.5) / hz) / stamp_s) * stamp_s
    return found


def test_of_rows_that_share_stamps_the_period_is_the_time_of_one_row() -> None:
    assert clock_of(stamps(3000, 10, 1)) == Clock(0.1, 1.0)
    assert clock_of(stamps(3000, 0.1, 60)) == Clock(10.0, 60.0)  # written to the minute
    assert clock_of(stamps(30, 10, 1, MORNING + 0.4)) == Clock(0.1, 1.0)  # the first stamp and the last are cut off
    found = clock_of(stamps(7000, 1.25, 1))  # some stamps of one row, some of two
    assert found is not None
    assert found.period_s == pytest.approx(0.8, rel=1e-3)
    assert found.stamp_s == 1.0


def test_rows_that_share_stamps_are_counted_where_time_goes_on() -> None:
    pieces = [stamps(1000, 10, 1, MORNING + 3600 * hour + 0.07 * hour) for hour in range(24)]
    pieces[7] -= 7200  # the end of summer time
    times = np.concatenate(pieces)
    assert clock_of(times) == Clock(0.1, 1.0)
    times[::7] = math.nan
    found = clock_of(times)
    assert found is not None
    assert found.period_s == pytest.approx(0.1, rel=1e-2)
    assert found.stamp_s == 1.0


def test_a_few_rows_written_twice_change_no_period() -> None:
    times = MORNING + 10 * np.arange(1000.0)
    times[5::20] = times[4::20]
    assert clock_of(times) == Clock(10.0)


def test_rows_of_shared_stamps_follow_each_other_up_to_the_next_stamp() -> None:
    steps = np.array([0, 1, 2, -1, math.nan])
    assert is_break(steps, 1, Clock(0.1, 1.0)).tolist() == [False, False, True, True, False]


@pytest.mark.parametrize(("hz", "stamp_s"), [(10, 1.0), (3, 1.0), (1.25, 1.0), (0.1, 60.0), (2.5, 2.0)])
def test_no_row_of_shared_stamps_is_a_break_but_at_a_gap(hz: float, stamp_s: float) -> None:
    times = stamps(3000, hz, stamp_s)
    times[2000:] += 3 * stamp_s
    clock = clock_of(times)
    assert clock is not None
    assert np.flatnonzero(is_break(np.diff(times), 1, clock)).tolist() == [1999]


def test_what_is_a_gap_may_be_said() -> None:
    steps = np.array([10, 59, 60, 61, 0, -1, math.nan])
    found = is_break(steps, 1, Clock(10.0, max_gap_s=60.0))
    assert found.tolist() == [False, False, False, True, False, True, False]
    assert is_break(np.array([70.0, 71.0]), np.array([2, 2]), Clock(10.0, max_gap_s=60.0)).tolist() == [False, True]
