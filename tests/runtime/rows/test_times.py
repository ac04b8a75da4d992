"""Time stamps, and what their steps say."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from conftest import ROOT

from vae_detect.runtime.rows.times import is_break, parse_time, period_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01 00:01:00", 60),
        ("1970-01-02", 86400),
        ("1970-01-01T01:00:00+01:00", 0),
        (" 1970-01-01T00:00:00.25Z ", 0.25),
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
    assert period_of(np.array(times, np.float64)) == period_s


def test_rows_follow_each_other_up_to_one_and_a_half_periods() -> None:
    steps = np.array([10, 14.9, 15, 15.1, 0, -10, math.nan])
    assert is_break(steps, 1, 10.0).tolist() == [False, False, False, True, True, True, False]
    # over a row whose time is unreadable, two periods and a half
    assert is_break(np.array([20.0, 25, 25.1]), np.array([2, 2, 2]), 10.0).tolist() == [False, False, True]
