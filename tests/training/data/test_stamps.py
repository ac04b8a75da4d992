"""Where time stamps are found in a table."""

from datetime import UTC, datetime

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Stamps
from vae_detect.training.data.stamps import find_stamps, summer_time

DATE = "2026-01-05T00:00:00"


def found(header: list[str], rows: list[list[str]], named: str | None = None, pattern: str | None = None) -> Stamps:
    stamps = find_stamps(header, rows, named, lambda name: [row[header.index(name)] for row in rows], pattern=pattern)
    return stamps or Stamps("")


@pytest.mark.parametrize(
    ("header", "row", "named", "expected"),
    [
        (["flow", "Timestamp"], ["1", DATE], None, "Timestamp"),  # by name, anywhere
        (["flow", "ts"], ["1", "1700000000"], None, "ts"),  # by name, as a number
        (["Time (s)", "flow"], ["0.5", "1"], None, "Time (s)"),  # likewise
        (["when", "flow"], [DATE, "1"], None, "when"),  # by content, as the first column
        (["when", "flow"], ["2026-01-05 00:00:00+01:00", "1"], None, "when"),
        (["flow", "when"], ["1", DATE], None, "when"),  # by content, with a time of day
        (["flow", "built"], ["1", "2026-01-05"], None, ""),  # a day, not first and not named so
        (["flow", "start_date"], ["1", "2026-01-05"], None, "start_date"),
        (["date", "timestamp"], ["2026-01-05", DATE], None, "timestamp"),  # the one that says more
        (["count", "flow"], ["1", "2"], None, ""),  # numbers under another name are numbers
        (["cycle_time", "flow"], ["1", "2"], None, ""),
        (["time", "flow"], ["noon", "1"], None, ""),  # the name alone does not make a time
        (["flow", "when"], ["1", DATE], "when", "when"),  # as told
        (["ts", "other"], ["1", "2"], "other", "other"),  # as told, against the name
        (["flow"], ["1"], None, ""),
        (["STATION", "MESS_DATUM", "T"], ["3987", "2026010523", "1"], None, "MESS_DATUM"),
        (["STATION", "YYYYMMDD", "T"], ["3987", "20260105", "1"], None, "YYYYMMDD"),
        (["lot", "T"], ["2026010523", "1"], None, ""),  # any number may look so
        (["itemid", "clock"], ["1", "1767592800"], None, "clock"),
        (["up_time", "T"], ["86400", "1"], None, ""),
        (["year", "month", "day", "flow"], ["2026", "1", "5", "1"], None, "year"),
        (["year", "month", "day", "when"], ["2026", "1", "5", DATE], None, "when"),  # whole stamps say more
        (["year", "month", "day", "time"], ["2026", "1", "5", "930"], None, "year"),  # 930 is no time by itself
        (["flow", "day", "month", "year"], ["1", "5", "1", "2026"], "day,month,year", "year"),  # as told
    ],
)
def test_the_time_column_is_found(header: list[str], row: list[str], named: str | None, expected: str) -> None:
    assert found(header, [row, row], named).column == expected


def test_stamps_in_a_column_without_a_name_are_found() -> None:
    rows = [[DATE, "1"], [DATE, "2"]]
    assert find_stamps(["", "flow"], rows, None, lambda name: []) == Stamps("")
    assert find_stamps(["", ""], rows, None, lambda name: []) is None  # which of the two?
    assert find_stamps(["", "flow"], [["0", "1"], ["1", "2"]], None, lambda name: []) is None


def test_the_day_of_a_recording_is_no_stamp() -> None:
    rows = [["1/20/2026", "00:01.0", str(row)] for row in range(9)]
    assert found(["Date", "Time", "flow"], rows) == Stamps("")
    assert found(["Date", "Time", "flow"], rows, "Date").column == "Date"  # as told
    days = [[f"1/{20 + row}/2026", "00:01.0", str(row)] for row in range(9)]
    assert found(["Date", "Time", "flow"], days).column == "Date"


def test_columns_that_are_no_parts_of_a_date_are_refused() -> None:
    with pytest.raises(InputError, match="names 3 columns, expected one, those of a date and a time of day, or of y"):
        found(["a", "b", "c"], [["1", "2", "3"]], "a,b,c")


@pytest.mark.parametrize(
    ("header", "row", "named", "expected"),
    [
        (["Date", "Time", "a"], ["13/01/2026", "06.00.00", "1"], None, ("Date", "Time", "%d/%m/%Y %H.%M.%S")),
        (["Uhrzeit", "a", "Datum"], ["06:00", "1", "13.1.2026"], None, ("Datum", "Uhrzeit", "%d.%m.%Y %H:%M")),
        (["Date", "Time", "a"], ["20260105", "930", "1"], None, ("Date", "Time", "%Y%m%d %H%M")),
        (["date", "hour", "a"], ["2026-01-05", "6", "1"], None, ("date", "hour", "%Y-%m-%d %H")),
        (["d", "a", "t"], ["2026-01-05", "1", "6:00"], "d,t", ("d", "t", "")),
        (["a,b", "a"], [DATE, "1"], "a,b", ("a,b", "", "")),
        (["date", "a"], ["2026-01-05", "6"], None, ("date", "", "")),  # a number beside it is not its hour
    ],
)
def test_a_date_and_a_time_of_day_may_be_in_two_columns(
    header: list[str], row: list[str], named: str | None, expected: tuple[str, str, str]
) -> None:
    stamps = found(header, [row, row], named)
    assert (stamps.column, stamps.clock, stamps.pattern) == expected


def test_a_declared_form_wins() -> None:
    rows = [["05/01/2026", "1"]] * 3
    assert found(["date", "a"], rows, pattern="%m/%d/%Y").pattern == "%m/%d/%Y"
    with pytest.raises(InputError, match="--time-format '%d/%m/%Y' or --time-format '%m/%d/%Y'"):
        found(["date", "a"], rows)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("when", "time column 'when' is not in the header: 'a', 'b', 'c'"),
        ("a,when", "time column 'when' is not"),
        ("a,b,c", "time column names 3 columns, expected one"),
    ],
)
def test_time_columns_that_are_not_there_are_refused(named: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        found(["a", "b", "c"], [["1", "2", "3"]], named)


def test_a_damaged_stamp_does_not_make_the_clock_a_feature() -> None:
    sample = [["100", "1"], ["oops", "2"], ["", "3"], ["120", "4"]]
    assert found(["timestamp", "a"], sample).column == "timestamp"
    assert found(["sensor", "a"], sample) == Stamps("")  # numbers are no dates
    assert found(["when", "a"], [["2026-01-05", "1"], ["?", "2"], ["2026-01-06", "3"]]).column == "when"


def test_the_end_of_summer_time_is_named() -> None:
    start = datetime(2026, 10, 24, tzinfo=UTC).timestamp()
    for minutes in (1, 10, 60):
        times = start + 60 * np.arange(0, 2880, minutes, dtype=np.float64)
        times[times >= start + 86400 + 3 * 3600] -= 3600
        recording = np.zeros(len(times), np.int64)
        told = summer_time(times, recording, Stamps("t"))
        assert told.startswith("time goes back by an hour on 2026-10-25, as at the end of summer time"), minutes
        assert summer_time(times, recording, Stamps("t", zone="Europe/Berlin")) == ""
        assert summer_time(times - 86400, recording, Stamps("t")) == ""  # not on a Sunday
    assert summer_time(None, recording, None) == ""
