"""Stamps in several columns, a number in each."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.rows.date_parts import PATTERNS, read_parts


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 12, 31)), st.sampled_from(sorted(PATTERNS)))
def test_any_moment_is_read_back(moment: datetime, pattern: str) -> None:
    moment = moment.replace(microsecond=0)
    if "%S" not in pattern:
        moment = moment.replace(second=0)
    if "%M" not in pattern:
        moment = moment.replace(minute=0)
    if "%H" not in pattern:
        moment = moment.replace(hour=0)
    plain = [str(int(moment.strftime(part))) for part in pattern.split()]
    cells = [moment.strftime(pattern), " ".join(plain), " ".join(f"{part}.0" for part in plain)]
    assert read_parts(cells, pattern).tolist() == 3 * [moment.replace(tzinfo=UTC).timestamp()]


@pytest.mark.parametrize(
    ("cell", "pattern"),
    [
        *(("2026 2 29", "%Y %m %d"), ("2025 366", "%Y %j"), ("2026 13 1", "%Y %m %d"), ("2026 1 0", "%Y %m %d")),
        *(("26 1 1", "%Y %m %d"), ("2026 1 1 25", "%Y %m %d %H"), ("2026 1 1 61", "%Y %m %d %H%M")),
        *(("2026 1 1", "%Y %m %d %H"), ("2026 1 x 0", "%Y %m %d %H"), ("2026 1 1.5 0", "%Y %m %d %H"), ("", "%Y %j")),
        *(
            ("inf 1 1 inf", "%Y %m %d %H"),
            ("2026 1 1 1e999", "%Y %m %d %H%M"),
            ("2026 1 1 nan", "%Y %m %d %H"),
            ("2026 1 1 1_0", "%Y %m %d %H"),
        ),
    ],
)
def test_what_is_no_time_is_not_read(cell: str, pattern: str) -> None:
    found = read_parts([cell, " ".join("2024" if part == "%Y" else "1" for part in pattern.split())], pattern)
    assert math.isnan(found[0])
    assert found[1] >= datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def test_an_hour_may_be_the_24th() -> None:
    assert read_parts(["2026 12 31 24"], "%Y %m %d %H") == datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    assert read_parts(["2026 60 930"], "%Y %j %H%M") == datetime(2026, 3, 1, 9, 30, tzinfo=UTC).timestamp()
