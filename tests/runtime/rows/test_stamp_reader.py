"""Time stamps read by a pattern; what is right comes from Python's own datetime."""

import math
import string
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.rows.stamp_reader import StampReader, read_clock, split_pattern

PATTERNS = [
    *("%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%y %I:%M:%S %p", "%d-%b-%Y %H:%M:%S", "%b %d, %Y %I:%M %p"),
    *("%Y%m%d%H%M%S", "%Y%m%d %H%M", "%Y-%m-%d_%H-%M-%S", "%d/%m/%Y %H.%M.%S", "%A, %d %B %Y %H:%M"),
    *("%d/%b/%Y:%H:%M:%S %z", "%a %b %d %H:%M:%S %Y", "%Y-%j %H:%M", "%d.%m.%Y", "D-%d/%m/%y", "%Y/%m/%d %H"),
    *("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f%z", "%d.%m.%y, %H:%M Uhr", "%Y-%m-%dT%H:%M:%SZ"),
]

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31), timezones=st.just(UTC))


@given(st.lists(MOMENTS, min_size=1, max_size=9), st.sampled_from(PATTERNS))
def test_stamps_are_read_as_strptime_reads_them(moments: list[datetime], pattern: str) -> None:
    cells = [moment.strftime(pattern) for moment in moments]
    expected = [datetime.strptime(cell, pattern).replace(tzinfo=UTC).timestamp() for cell in cells]
    assert StampReader(pattern).read(cells * 2).tolist() == pytest.approx(expected * 2, abs=1e-6)


@given(st.lists(MOMENTS, min_size=1, max_size=9), st.sampled_from("T "), st.integers(-12, 14))
def test_iso_stamps_are_read_as_datetime_reads_them(moments: list[datetime], mark: str, zone: int) -> None:
    cells = [moment.astimezone(timezone(timedelta(hours=zone))).isoformat(mark) for moment in moments]
    expected = [moment.timestamp() for moment in moments]
    assert StampReader("").read(cells * 2).tolist() == pytest.approx(expected * 2, abs=1e-6)


@given(st.text(string.digits + "/:. -TapmZ+", max_size=20), st.sampled_from([*PATTERNS, ""]))
def test_any_text_is_a_time_or_none(text: str, pattern: str) -> None:
    first, again = StampReader(pattern).read([text, text]).tolist()
    assert first == again or math.isnan(first) == math.isnan(again)


@pytest.mark.parametrize(
    ("pattern", "cell", "seconds"),
    [
        ("%d.%m.%Y %H:%M", "1.2.1970 0:05", 31 * 86400 + 300),  # without zeros
        ("%d.%m.%Y %H:%M", "01.02.1970  00:05", 31 * 86400 + 300),  # wider apart
        ("%d.%m.%Y %H:%M", "01.02.1970", 31 * 86400),  # midnight, as spreadsheets write it
        ("%d.%m.%Y %H:%M", "01.01.1970 00:00:01,5", 1.5),  # more than the pattern says
        ("%d.%m.%Y %H:%M", "01.01.1970 24:00", 86400),
        ("%m/%d/%Y %I:%M %p", "1/2/1970 12:00 AM", 86400),
        ("%m/%d/%Y %I:%M %p", "1/2/1970 12:00 p.m.", 86400 + 43200),
        ("", "1970-01-01 00:00:01 UTC", 1),
        ("", "1970-1-2 0:00", 86400),
        ("", "1970-01-01 01:00:00 +0100", 0),
        ("", "19700102", 86400),
        ("", "1.5", 1.5),
        ("%H:%M:%S", "00:01:00", 60),
        ("%H:%M:%S", "9:00:00", 9 * 3600),
        ("%Y%m%d %H%M", "19700101 5", 300),
        ("%d %b %Y", "1 February 1970", 31 * 86400),
        ("ms", "1500", 1.5),
        ("ns", "1767592800000000000", 1767592800),
        ("s", "1e3", 1000),
        # what is none
        ("%d.%m.%Y %H:%M", "32.01.1970 00:00", math.nan),
        ("%d.%m.%Y %H:%M", "01.01.1970 25:00", math.nan),
        ("%d.%m.%Y %H:%M", "01.01.1970 00:60", math.nan),
        ("%d.%m.%Y %H:%M", "\uff11.01.1970 00:00", math.nan),
        ("%m/%d/%Y %I:%M %p", "1/2/1970 13:00 PM", math.nan),
        ("%d/%m/%Y", "01/31/1970", math.nan),
        ("ms", "x", math.nan),
        ("ms", "inf", math.nan),
        ("ms", "1_0", math.nan),
        ("", "", math.nan),
    ],
)
def test_what_a_stamp_may_look_like(pattern: str, cell: str, seconds: float) -> None:
    found = StampReader(pattern).read([cell, "?", cell]).tolist()
    assert found == pytest.approx([seconds, math.nan, seconds], nan_ok=True)


def test_texts_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_detect.runtime.rows.stamp_reader._MOST_KEPT", 3)
    cells = [f"2026-01-0{day} 00:0{day}" for day in range(1, 8)]
    assert StampReader("").read(cells).tolist() == [
        datetime.fromisoformat(cell).replace(tzinfo=UTC).timestamp() for cell in cells
    ]


def test_no_time_of_day_is_midnight() -> None:
    assert read_clock("") == 0


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("%d.%m.%Y %H:%M", ("%d.%m.%Y", "%H:%M")),
        ("%Y-%m-%dT%H:%M", ("%Y-%m-%d", "%H:%M")),
        ("%d.%m.%Y", ("%d.%m.%Y", "")),
        ("%I:%M %p", ("", "%I:%M %p")),
    ],
)
def test_a_pattern_has_a_date_and_a_time_of_day(pattern: str, parts: tuple[str, str]) -> None:
    assert split_pattern(pattern) == parts
