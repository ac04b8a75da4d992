"""Local time to UTC; what is right comes from Python's own zones."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Stamps
from vae_detect.runtime.rows.forms import StampColumn
from vae_detect.runtime.rows.zones import ZoneClock, check_zone, names_zone


def year(zone: str, step: timedelta) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A year in UTC, and what a clock of the zone shows."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [start + row * step for row in range(int(timedelta(days=365) / step))]
    shown = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=UTC).timestamp() for moment in moments]
    return np.array([moment.timestamp() for moment in moments]), np.array(shown)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize("minutes", [15, 60])
def test_a_year_of_local_time_is_read_back(zone: str, minutes: int) -> None:
    utc, shown = year(zone, timedelta(minutes=minutes))
    np.testing.assert_array_equal(ZoneClock(zone).to_utc(shown), utc)
    np.testing.assert_array_equal(ZoneClock(zone).to_utc(shown[::-1]), utc[::-1])  # newest first
    clock = ZoneClock(zone)
    np.testing.assert_array_equal(np.concatenate([clock.to_utc(part) for part in np.split(shown, [5, 6, 99])]), utc)
    if minutes == 15:  # rows may share stamps; of whole hours nobody could tell
        several = np.repeat(shown, 3)
        np.testing.assert_array_equal(ZoneClock(zone).to_utc(several), np.repeat(utc, 3))


def test_row_by_row_time_goes_on_too() -> None:
    utc, shown = year("Europe/Berlin", timedelta(hours=1))
    clock = ZoneClock("Europe/Berlin")
    np.testing.assert_array_equal([clock.to_utc(shown[row : row + 1])[0] for row in range(len(shown))], utc)


def test_an_hour_that_does_not_exist_is_that_of_winter_time() -> None:
    shown = datetime(2026, 3, 29, 2, 30, tzinfo=UTC).timestamp()
    expected = datetime(2026, 3, 29, 1, 30, tzinfo=UTC).timestamp()
    assert ZoneClock("Europe/Berlin").to_utc(np.array([shown, np.nan]))[0] == expected


def test_times_of_no_date_are_let_through() -> None:
    assert np.isnan(ZoneClock("Europe/Berlin").to_utc(np.array([np.nan]))).all()
    assert np.isfinite(ZoneClock("Europe/Berlin").to_utc(np.array([1e15]))).all()


def test_stamps_that_name_their_zone_are_not_moved() -> None:
    column = StampColumn(Stamps("t", zone="Europe/Berlin"))
    cells = ["2026-01-05 06:00", "2026-01-05 06:00Z", "2026-01-05T06:00:00+02:00", "2026-01-05"]
    hour = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
    assert column.read(cells).tolist() == [hour + 5 * 3600, hour + 6 * 3600, hour + 4 * 3600, hour - 3600]
    assert StampColumn(Stamps("t", pattern="s", zone="Europe/Berlin")).read(["5"]).tolist() == [5]


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        ("2026-01-05 06:00 UTC", True),
        ("2026-01-05T06:00:00-0500", True),
        ("20260105T060000Z", True),
        ("2026-01-05 06:00:00.5+01", True),
        ("2026-01-05", False),
        ("05-01-2026 06:00", False),
        ("06:00 PM", False),
    ],
)
def test_a_stamp_may_name_its_zone(cell: str, named: bool) -> None:
    assert names_zone(cell) is named


@pytest.mark.parametrize("zone", ["Nowhere/City", "", "../etc/passwd", "Europe", "/etc"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(InputError, match="is not known here"):
        check_zone(zone)
