"""From an example to the patterns by which it may be read."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.rows.patterns import patterns_of

MOMENT = datetime(2026, 1, 25, 18, 5, 9)

WRITTEN = [
    *("%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%y %I:%M %p", "%d-%b-%Y %H:%M:%S"),
    *("%b %d, %Y %I:%M %p", "%Y/%m/%d %H:%M", "%Y%m%dT%H%M%S", "%Y-%m-%d_%H-%M-%S", "%d/%m/%Y %H.%M.%S", "%d %B %Y"),
    *("%A, %d %B %Y %H:%M", "%d/%b/%Y:%H:%M:%S", "%a %b %d %H:%M:%S %Y", "%Y-%j %H:%M", "D-%d/%m/%y", "%Y/%m/%d %H"),
    *("%H:%M:%S", "%d.%m.%y, %H:%M", "%Y.%m.%d", "%d.%m.%Y %H:%M:%S UTC", "%H:%M"),
]


@pytest.mark.parametrize("pattern", WRITTEN)
def test_the_pattern_of_an_example_is_among_those_found(pattern: str) -> None:
    assert pattern in patterns_of(MOMENT.strftime(pattern))


@given(st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)), st.sampled_from(WRITTEN))
def test_whatever_the_moment(moment: datetime, pattern: str) -> None:
    found = patterns_of(moment.strftime(pattern))
    assert {pattern, pattern.replace("%B", "%b")} & {*found}  # May is short and long


@pytest.mark.parametrize(
    "cell",
    [
        "2026-01-05",
        "2026-01-05 06:00",
        "2026-01-05T06:00:00Z",
        "2026-1-5 6:00:00 UTC",
        "2026-01-05T06:00/2026-01-05T07:00",
    ],
)
def test_iso_has_no_pattern(cell: str) -> None:
    assert patterns_of(cell) == [""]


@pytest.mark.parametrize(
    "cell",
    ["", "on", "A-1", "pump 3", "1/2", "1/2/3/4", "v1.2.3-x", "jan", "5 6 7 8", "-", "a:b", "12:30:05/3", "1:2:3"],
)
def test_what_is_no_date_has_none(cell: str) -> None:
    assert not any(patterns_of(cell))


@given(st.text(max_size=30))
def test_any_text_is_looked_at_without_an_error(text: str) -> None:
    assert isinstance(patterns_of(text), list)
