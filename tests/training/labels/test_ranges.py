"""Ranges of time by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Stamps
from vae_detect.runtime.rows.times import parse_time
from vae_detect.training.labels.ranges import find_ends, labels_of, read_ranges
from vae_detect.training.labels.words import NORMAL, UNREVIEWED

TIMES = np.array([parse_time(f"2026-01-05 10:0{minute}") for minute in range(6)])


def inside(begins: list[str], ends: list[str], outside: int = NORMAL) -> tuple[list[int], list[str]]:
    said: list[str] = []
    return read_ranges(begins, ends, "r.csv").at(TIMES, outside=outside, say=said.append).tolist(), said


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (["start", "end"], ("start", "end")),
        (["id", "Begin", "END", "what"], ("Begin", "END")),
        (["from", "to"], ("from", "to")),
        (["Start Time (UTC)", "Stop Time (UTC)"], ("Start Time (UTC)", "Stop Time (UTC)")),
        (["event_start", "event_end"], ("event_start", "event_end")),
        (["started_at", "finished_at"], ("started_at", "finished_at")),
        (["start", "flow"], None),
        (["startup", "bend"], None),
        (["start", "start_2", "end"], None),
        (["from start to end"], None),
        (["label"], None),
    ],
)
def test_ends_are_found_by_the_words_of_their_headers(header: list[str], expected: tuple[str, str] | None) -> None:
    assert find_ends(header) == expected


def test_both_ends_are_within() -> None:
    label, said = inside(["2026-01-05 10:01", "2026-01-05T10:04:00Z"], ["2026-01-05T10:02:00Z", "1767607440"])
    assert label == [0, 1, 1, 0, 1, 0]
    assert said == ["labels in r.csv: 3 of 6 rows lie in 2 ranges of time"]


def test_an_open_end_reaches_to_the_end_of_the_recording() -> None:
    assert inside(["2026-01-05 10:04", ""], ["", "2026-01-05 10:00"])[0] == [1, 0, 0, 0, 1, 1]
    assert inside(["2026-01-05 10:05"], ["-"], outside=UNREVIEWED)[0] == [-1] * 5 + [1]


def test_a_day_is_all_of_it() -> None:
    for day in ("2026-01-05", "20260105"):
        assert inside([day], [day])[0] == [1] * 6
    assert inside(["2026-01-05 10:03"], ["2026-01-05"])[0] == [0, 0, 0, 1, 1, 1]


def test_a_log_is_in_the_time_zone_of_the_recording() -> None:
    stamps = Stamps("t", pattern="%Y-%m-%d %H:%M", zone="Europe/Berlin")  # an hour ahead of UTC in January
    found = read_ranges(["2026-01-05 11:01", "05.01.2026"], ["2026-01-05 11:02", "05.01.2026"], "r.csv", stamps)
    assert found.at(TIMES, outside=NORMAL, say=print).tolist() == [1] * 6
    found = read_ranges(["2026-01-05 11:01"], ["2026-01-05 11:02"], "r.csv", stamps)
    assert found.at(TIMES, outside=NORMAL, say=print).tolist() == [0, 1, 1, 0, 0, 0]
    found = read_ranges(["05.01.2026 10:01", "13.01.2026 10:01"], ["05.01.2026 10:02", ""], "r.csv")  # day first
    assert found.at(TIMES, outside=NORMAL, say=print).tolist() == [0, 1, 1, 0, 0, 0]


def test_a_range_without_rows_is_said_and_none_with_any_is_refused() -> None:
    label, said = inside(["2026-01-05 10:05", "2026-01-06"], ["2026-01-05 10:05", "2026-01-07"])
    assert label == [0] * 5 + [1]
    assert said == [
        "labels in r.csv: 1 of 6 rows lie in 1 ranges of time; 1 hold none of the rows, which go from "
        "2026-01-05T10:00:00Z to 2026-01-05T10:05:00Z"
    ]
    with pytest.raises(
        InputError, match=r"r\.csv: no row lies in any of the ranges; the recording goes from 2026-01-05T"
    ):
        inside(["2026-02-05"], ["2026-02-05"])


def test_a_row_without_a_readable_time_lies_in_no_range() -> None:
    times = np.array([np.nan, TIMES[0]])
    found = read_ranges([""], [""], "r.csv").at(times, outside=NORMAL, say=print)
    assert found.tolist() == [0, 1]


def test_ranges_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InputError, match=r"r\.csv: row 1: holds 'noon', expected a time") as refused:
        read_ranges(["2026-01-05", "noon"], ["", ""], "r.csv")
    assert refused.value.row == 1
    with pytest.raises(InputError, match=r"r\.csv: row 0: ends at 2026-01-04, before it begins"):
        read_ranges(["2026-01-05"], ["2026-01-04"], "r.csv")
    with pytest.raises(InputError, match="no rows after the header"):
        read_ranges([], [], "r.csv")
    with pytest.raises(InputError, match="the recording has none that the model knows"):
        read_ranges(["2026-01-05"], [""], "r.csv").at(None, outside=NORMAL, say=print)


@pytest.mark.parametrize(
    ("cells", "anomalous", "expected"),
    [
        (["fault", "false alarm", "False-Alarm", "", "leak", "0", "1", "normal"], [], [1, 0, 0, 1, 1, 0, 1, 0]),
        (["leak", "fault"], ["Leak"], [1, 0]),
    ],
)
def test_a_word_says_what_a_range_is(cells: list[str], anomalous: list[str], expected: list[int]) -> None:
    assert labels_of(cells, anomalous).tolist() == expected


def test_a_fault_within_a_false_alarm_is_a_fault_and_a_key_has_its_own() -> None:
    begins, ends = ["2026-01-05 10:02", "2026-01-05 10:00"], ["2026-01-05 10:03", "2026-01-05 10:04"]
    ranges = read_ranges(begins, ends, "r.csv")._replace(labels=labels_of(["fault", "false alarm"]))
    assert ranges.at(TIMES, outside=UNREVIEWED, say=print).tolist() == [0, 0, 1, 1, 0, -1]
    keyed, keys = ranges._replace(keys=["b", "a"]), np.array(list("ababab"))
    assert keyed.at(TIMES, outside=UNREVIEWED, say=print, keys=keys).tolist() == [0, -1, 0, 1, 0, -1]
    assert keyed.at(TIMES, outside=UNREVIEWED, say=print).tolist() == [0, 0, 1, 1, 0, -1]
