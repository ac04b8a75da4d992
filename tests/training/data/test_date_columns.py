"""Dates in several columns."""

from datetime import datetime, timedelta

import pytest

from vae_detect.runtime.layout import Stamps
from vae_detect.training.data.date_columns import find_parts, parts_named, spare_parts


def rows_of(
    pattern: str, step: timedelta, extra: str = "7.5", start: datetime = datetime(2026, 1, 30)
) -> list[list[str]]:
    """Rows whose first cells are the parts of a date, and the last a value."""
    return [[*(start + row * step).strftime(pattern).split(), extra] for row in range(100)]


HOURLY = rows_of("%Y %m %d %H", timedelta(hours=1))


@pytest.mark.parametrize(
    ("header", "columns", "pattern"),
    [
        (["year", "month", "day", "hour", "a"], ("year", "month", "day", "hour"), "%Y %m %d %H"),
        (["YYYY", "MM", "DD", "HH", "a"], ("YYYY", "MM", "DD", "HH"), "%Y %m %d %H"),
        (["Jahr", "Monat", "Tag", "Stunde", "a"], ("Jahr", "Monat", "Tag", "Stunde"), "%Y %m %d %H"),
        (["Year", "Month", "Day", "other", "a"], ("Year", "Month", "Day"), "%Y %m %d"),
        (["c0", "c1", "c2", "c3", "c4"], ("c0", "c1", "c2", "c3"), "%Y %m %d %H"),
    ],
)
def test_year_to_hour_are_found(header: list[str], columns: tuple[str, ...], pattern: str) -> None:
    assert find_parts(header, HOURLY) == Stamps(columns[0], pattern=pattern, others=columns[1:])


def test_in_whatever_order_the_columns_stand() -> None:
    header, rows = ["hour", "day", "month", "year", "a"], [[*row[3::-1], row[4]] for row in HOURLY]
    found = Stamps("year", pattern="%Y %m %d %H", others=("month", "day", "hour"))
    assert find_parts(header, rows) == found
    assert parts_named(header, ["day", "hour", "year", "month"]) == found
    assert parts_named(header, ["day", "hour", "a"]) is None


@pytest.mark.parametrize(
    ("pattern", "step", "found"),
    [
        ("%Y %j %m %d %H %M", timedelta(minutes=1), "%Y %m %d %H %M"),
        ("%Y %m %d %H %M %S", timedelta(seconds=10), "%Y %m %d %H %M %S"),
        ("%Y %j %H%M", timedelta(minutes=15), "%Y %j %H%M"),
        ("%Y %m %d", timedelta(days=1), "%Y %m %d"),
    ],
)
def test_without_a_header_the_numbers_must_go_on_as_dates(pattern: str, step: timedelta, found: str) -> None:
    rows = rows_of(pattern, step)
    stamps = find_parts([f"c{at}" for at in range(len(rows[0]))], rows)
    assert stamps is not None
    assert stamps.pattern == found
    assert find_parts([f"c{at}" for at in range(len(rows[0]))], rows[::-1]) is None  # they may be anything


def test_hours_and_minutes_in_one_number_may_be_called_anything() -> None:
    rows = rows_of("%Y %j %H%M", timedelta(minutes=15))
    assert find_parts(["Year", "DOY", "MST", "a"], rows) == Stamps("Year", pattern="%Y %j %H%M", others=("DOY", "MST"))
    days = rows_of("%Y %j", timedelta(days=1), "930")
    assert find_parts(["Year", "DOY", "flow"], days) == Stamps("Year", pattern="%Y %j", others=("DOY",))


def test_a_part_that_is_none_is_not_taken() -> None:
    header = ["year", "month", "day", "min", "max"]
    rows = [[*row[:3], f"{-3 + at * 0.1:.1f}", "9"] for at, row in enumerate(rows_of("%Y %m %d", timedelta(days=1)))]
    assert find_parts(header, rows) == Stamps("year", pattern="%Y %m %d", others=("month", "day"))
    header = ["year", "month", "day", "hour", "min"]
    rows = [[*row[:4], f"{3 + at * 0.17:.2f}"] for at, row in enumerate(HOURLY)]
    assert find_parts(header, rows) == Stamps("year", pattern="%Y %m %d %H", others=("month", "day", "hour"))


def test_a_month_alone_is_no_date() -> None:
    assert find_parts(["month", "hour", "a"], [["1", "2", "3"]] * 9) is None
    assert find_parts(["year", "month", "day", "a"], [["model 3", "2", "3", "1"]] * 9) is None


def test_a_date_that_stands_there_twice_is_spare() -> None:
    header = ["when", "year", "month", "day", "hour", "a"]
    rows = [[f"{row[0]}-{row[1]}-{row[2]}T{row[3]}:00", *row] for row in HOURLY]
    assert spare_parts(header, rows, Stamps("when")) == ("year", "month", "day", "hour")
    assert spare_parts(header, rows, None) == ()
    assert spare_parts(header, rows, find_parts(header, rows)) == ()
