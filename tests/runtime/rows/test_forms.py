"""Which form the time stamps of a column have."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Stamps
from vae_detect.runtime.rows.forms import StampColumn, possible_patterns, settle_pattern
from vae_detect.runtime.rows.stamp_reader import StampReader


def written(pattern: str, step: timedelta, rows: int = 300, start: datetime = datetime(2026, 1, 2)) -> list[str]:
    return [(start + row * step).strftime(pattern) for row in range(rows)]


def settled(cells: list[str], *, first: int = 1024, likely: str | None = None) -> str | None:
    return settle_pattern(cells[:first], lambda: cells, column="when", likely=likely)


DMY, MDY = "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"


@given(
    st.sampled_from(
        [
            *("%d.%m.%Y %H:%M:%S", DMY, MDY, "%m/%d/%y %I:%M:%S %p", "%d-%b-%Y %H:%M:%S", "%b %d, %Y %I:%M:%S %p"),
            *("%Y%m%d%H%M%S", "%Y/%m/%d %H:%M:%S", "%d-%m-%Y %H:%M:%S", "%d.%m.%y %H:%M:%S", "%Y%m%dT%H%M%S"),
            *("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S UTC", "%d/%m/%Y %H.%M.%S"),
            *("%Y:%m:%d %H:%M:%S", "%Y-%m-%d-%H-%M-%S", "%Y-%m-%d-%H-%M", "%Y%m%d:%H%M"),
            "%Y-%m-%dT%H:%M:%S.0/2061-01-01T00:00:00.0",
        ]
    ),
    st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1)),
    st.integers(2, 59),
)
@settings(deadline=None)
def test_a_column_is_read_back_in_whatever_form_it_was_written(pattern: str, start: datetime, minutes: int) -> None:
    start = start.replace(second=0, microsecond=0)
    moments = [start + row * timedelta(minutes=minutes) for row in range(0, 45 * 1440 // minutes, 31)]
    cells = [moment.strftime(pattern) for moment in moments]
    found = settled(cells)
    assert found is not None
    assert StampReader(found).read(cells).tolist() == [moment.replace(tzinfo=UTC).timestamp() for moment in moments]


@pytest.mark.parametrize(("pattern", "first"), [("excel", 46027.25), ("matlab", 739987.25)])
@pytest.mark.parametrize("minutes", [1, 15, 60])
def test_days_are_counted_as_excel_and_matlab_count_them(pattern: str, first: float, minutes: int) -> None:
    cells = [f"{first + row * minutes / 1440:.8f}" for row in range(300)]
    assert settled(cells) == pattern
    times = StampReader(pattern).read(cells)
    assert times[0] == datetime(2026, 1, 5, 6, tzinfo=UTC).timestamp()
    assert times[-1] - times[0] == pytest.approx(299 * 60 * minutes, abs=0.01)
    assert settled(cells[:1], likely=pattern) == pattern  # one row to be scored does not tell


@pytest.mark.parametrize("step", [0.1, 0.02, 0.25, 1.0, 60.0])
def test_seconds_of_a_logger_are_no_days(step: float) -> None:
    assert settled([f"{46027 + row * step:.4f}" for row in range(300)]) == "s"


def test_a_day_that_is_no_month_decides_wherever_it_stands() -> None:
    for pattern in (DMY, MDY):
        cells = written(pattern, timedelta(days=1), 20)
        assert settled(cells, first=5) == pattern


def test_time_that_goes_on_decides_where_no_day_does() -> None:
    for pattern in (DMY, MDY):
        assert settled(written(pattern, timedelta(hours=1), 24 * 9)) == pattern
        assert settled(written(pattern, timedelta(hours=1), 24 * 9)[::-1]) == pattern  # newest first


def test_what_nothing_decides_is_asked() -> None:
    cells = written(DMY, timedelta(minutes=1), 60, datetime(2026, 5, 1, 6))
    expected = "column 'when': '01/05/2026 06:00' may be 2026-05-01 or 2026-01-05; say --time-format '%d/%m/%Y %H:%M'"
    with pytest.raises(InputError, match=re.escape(expected)):
        settled(cells)
    assert settled([cell.replace("/", ".") for cell in cells]) == "%d.%m.%Y %H:%M"  # with dots the day is first
    assert settled(cells, likely=DMY) == DMY  # as the recording was
    assert settled(cells, likely=MDY) == MDY


def test_the_form_of_the_recording_is_taken_only_where_it_reads_the_cells() -> None:
    assert settled(written(DMY, timedelta(days=1), 20), first=5, likely=MDY) == DMY
    assert settled(["1767592800000", "1767592860000"], likely="") == "ms"
    assert settled(["2026-01-05 06:00"], likely="ms") == ""
    assert settled(["1767592800"], likely="ms") == "s"
    assert settled(["0", "1000", "2000"], likely="ms") == "ms"  # counted from its own beginning
    assert settled(["?", ""], likely="ms") is None


def test_the_unit_of_numbers_is_that_of_the_whole_column() -> None:
    assert settled([str(10**10 * step) for step in range(20)]) == "s"  # the largest alone would be milliseconds
    assert possible_patterns(["1767592800"]) == ["s"]
    assert possible_patterns(["0", "60", "120"]) == ["s"]
    assert possible_patterns(["1767592800000000"]) == ["us"]
    assert possible_patterns(["1767592800000000000"]) == ["ns"]
    assert possible_patterns(["20260105", "20260106"]) == ["%Y%m%d"]
    assert possible_patterns(["20261399", "20261400"]) == ["s"]


def test_a_few_damaged_stamps_hide_nothing() -> None:
    cells = ["?", "05.01.2026 06:00", "oops", "15.01.2026 06:01", "16.01.2026 06:02", ""]
    assert possible_patterns(cells) == ["%d.%m.%Y %H:%M"]
    assert possible_patterns(["on", "off", "2026-01-05"]) == []


def test_a_column_of_stamps_is_settled_once() -> None:
    column = StampColumn(Stamps("when"))
    cells = ["15/01/1970 00:00", "16/01/1970 00:00"]
    column.settle(cells, lambda: cells)
    assert column.read([*cells, "01/02/1970"]).tolist() == [14 * 86400, 15 * 86400, 31 * 86400]
