"""Events of recordings, their keys and their times, by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from drawn_results import cause, drawn
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.alarms.recorded import RecordedAlarms
from vae_detect.runtime.alarms.rule import AlarmRule
from vae_detect.runtime.alarms.runs import runs
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.scoring.results import Results

BEGIN = 1_767_571_200.0  # 2026-01-05
NAN = float("nan")


def rows(first: int, text: str, *, keys: str | None = None, times: list[float] | None = None) -> Results:
    stamps = None if times is None else BEGIN + np.array(times)
    causes = [cause(first + at) for at in range(len(text))]
    return drawn(text, first)._replace(keys=None if keys is None else list(keys), times=stamps, causes=causes)


def spans(alarms: RecordedAlarms) -> list[tuple[str, int, int, int]]:
    return [(each.event.key, each.event.first_row, each.event.last_row, each.event.rows) for each in alarms.events]


def test_events_are_those_of_a_key_and_of_a_recording(detector: Detector) -> None:
    alarms = RecordedAlarms(detector.bundle, AlarmRule())
    assert len(alarms.add(rows(0, "3.4.", keys="abab"))) == 1
    assert alarms.add(rows(4, ".5", keys="ba")) == []
    assert spans(alarms) == [("a", 0, 5, 3)]
    assert alarms.events[0].event.columns == cause(5)
    alarms.add(rows(0, "7", keys="a"))  # another recording
    assert spans(alarms)[1:] == [("a", 0, 0, 1)]
    assert (alarms.started, alarms.untold) == (2, 0)
    assert [each.event.state for each in alarms.events] == ["ended", "running"]


def test_what_is_told_of_events(detector: Detector) -> None:
    alarms = RecordedAlarms(detector.bundle, AlarmRule(), model="pump")
    alarms.add(rows(0, ".22.", times=[0, 30, NAN, 90])._replace(file="a.csv"))
    told = alarms.events[0].told()
    assert (told["start"], told["end"], told["row"]) == ("2026-01-05T00:00:30Z", "2026-01-05T00:00:30Z", 1)
    assert (told["file"], told["model"]) == ("a.csv", "pump")
    alarms.add(rows(0, ".2"))
    untimed = alarms.events[1].told()
    assert (untimed["start"], untimed["end"], untimed["row"], untimed["file"]) == (None, None, 1, None)


@pytest.mark.parametrize(("missing", "expected"), [(9, [("", 0, 10, 2)]), (10, [("", 0, 0, 1), ("", 11, 11, 1)])])
def test_silence_is_counted_in_rows_where_there_are_no_times(
    detector: Detector, missing: int, expected: list[tuple[str, int, int, int]]
) -> None:
    alarms = RecordedAlarms(detector.bundle, AlarmRule())  # whose model has a row every 30 s, and windows of one
    alarms.add(rows(0, "2" + "-" * missing + "2"))
    assert spans(alarms) == expected


def test_rows_without_a_time_have_that_of_the_row_before(detector: Detector) -> None:
    alarms = RecordedAlarms(detector.bundle, AlarmRule())
    alarms.add(rows(0, "22", times=[NAN, 30]))
    alarms.add(rows(2, "2.", times=[NAN, NAN]))
    assert [(each.event.start - BEGIN, each.event.end - BEGIN) for each in alarms.events] == [(30, 30)]


@given(st.text(".2", max_size=60), st.lists(st.integers(0, 60), max_size=3))
def test_in_pieces_by_the_defaults_they_are_the_unbroken_runs(detector: Detector, text: str, cuts: list[int]) -> None:
    alarms = RecordedAlarms(detector.bundle, AlarmRule(most_an_hour=1000))
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for at, end in pairwise(edges):
        alarms.add(rows(at, text[at:end]))
    expected = runs(np.array([letter == "2" for letter in text], np.bool_))
    assert [(first, last + 1) for _, first, last, _ in spans(alarms)] == expected
