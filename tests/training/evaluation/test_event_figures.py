"""Events, their delays and figures by hand, and what adjusting alarms does to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.alarms.runs import runs
from vae_detect.training.evaluation.event_figures import Events, count_events, point_adjust
from vae_detect.training.evaluation.labelled import AlarmEvent


def counted(
    truth: NDArray[np.bool_],
    alarm: NDArray[np.bool_],
    times: NDArray[np.float64] | None = None,
    normal_days: float | None = None,
) -> Events:
    """With an event for each run of alarms, told at once."""
    told = [AlarmEvent(start, end - 1, start) for start, end in runs(alarm)]
    return count_events(truth, alarm, told, times, normal_days=normal_days)


def flags(text: str) -> NDArray[np.bool_]:
    return np.array([letter == "x" for letter in text], np.bool_)


@pytest.mark.parametrize(
    ("truth", "alarm", "expected"),
    [
        # one event of rows 2-5, first alarm in its second row; a false event in rows 7-8
        ("..xxxx...", "...xx..xx", (1, 1, 1.0, 1, 1)),
        # events at the very start and the very end, found at once and after 2 rows: the median is 1
        ("xx...xxx", "x......x", (2, 2, 1.0, 2, 0)),
        # three events, the middle one missed: delays 0 and 4, median 2
        ("x.x.xxxxx", "x.......x", (3, 2, 2.0, 4, 0)),
        # a run of alarms that begins before its event touches it, so it is not false; the delay is 0
        ("..xx", ".xxx", (1, 1, 0.0, 0, 0)),
        # one run of alarms over two events
        ("x.x", "xxx", (2, 2, 0.0, 0, 0)),
        # a false event at the start and one at the end
        (".xx.", "x..x", (1, 0, None, None, 2)),
        # no alarms at all; no events at all; all of it one event
        (".xx.", "....", (1, 0, None, None, 0)),
        ("....", ".x.x", (0, 0, None, None, 2)),
        ("xxxx", "xxxx", (1, 1, 0.0, 0, 0)),
        ("", "", (0, 0, None, None, 0)),
    ],
)
def test_events_by_hand(truth: str, alarm: str, expected: tuple[object, ...]) -> None:
    found = counted(flags(truth), flags(alarm))
    assert (found.events, found.found, found.median_delay_rows, found.max_delay_rows, found.false_events) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], (0, None, 0)),
        ([AlarmEvent(1, 3, 2)], (1, 1.0, 0)),  # it begins with the event, and is told a row later
        ([AlarmEvent(1, 6, 6)], (0, None, 0)),  # told when the event is over
        ([AlarmEvent(1, 3, 2), AlarmEvent(5, 6, 6)], (1, 1.0, 1)),
        ([AlarmEvent(1, 6, 1)], (1, 0.0, 0)),
    ],
)
def test_an_event_finds_nothing_before_it_is_told(
    told: list[AlarmEvent], expected: tuple[int, float | None, int]
) -> None:
    found = count_events(flags(".xxx..."), flags(".xxx.xx"), told)
    assert (found.found, found.median_delay_rows, found.false_events) == expected


def test_delays_in_seconds_follow_the_time_stamps() -> None:
    times = np.array([0.0, 10.0, 20.0, 50.0, 60.0, 70.0])
    # rows 1-3, found at row 3: 40 s later; row 5, found at once
    found = counted(flags(".xxx.x"), flags("...x.x"), times)
    assert (found.median_delay_rows, found.median_delay_s) == (1.0, 20.0)


@pytest.mark.parametrize(
    ("truth", "alarm", "precision", "recall", "f1"),
    [
        # two of three events found, one false: 2 / 3 and 2 / 3
        ("x.x.x..", "x.x...x", 2 / 3, 2 / 3, 2 / 3),
        # one found by two runs of alarms, which count once: 1 / (1 + 1), 1 / 2, 2 / (1 + 1 + 2)
        ("xxx.x..", "x.x...x", 1 / 2, 1 / 2, 1 / 2),
        ("x....", ".....", None, 0.0, 0.0),
        (".....", "x....", 0.0, None, 0.0),
        (".....", ".....", None, None, None),
    ],
)
def test_figures_of_events_by_hand(
    truth: str, alarm: str, precision: float | None, recall: float | None, f1: float | None
) -> None:
    found = counted(flags(truth), flags(alarm))
    assert (found.precision, found.recall, found.f1) == (precision, recall, f1)


def test_false_events_a_day() -> None:
    truth, alarm = flags("..xx...."), flags("x...xx.x")  # the run after the event touches none
    assert counted(truth, alarm).false_events_per_day is None
    assert counted(truth, alarm, normal_days=0.5).false_events_per_day == 6.0


@pytest.mark.parametrize(
    ("truth", "alarm", "adjusted"),
    [
        (".xxx.xx.", "..x....x", ".xxx...x"),
        ("xx..", "x.x.", "xxx."),
        ("xx..", "..x.", "..x."),
        ("", "", ""),
    ],
)
def test_point_adjustment_by_hand(truth: str, alarm: str, adjusted: str) -> None:
    np.testing.assert_array_equal(point_adjust(flags(truth), flags(alarm)), flags(adjusted))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_point_adjustment_never_harms(rows: list[tuple[bool, bool]]) -> None:
    truth, alarm = np.array(rows, np.bool_).reshape(-1, 2).T
    adjusted = point_adjust(truth, alarm)
    assert (adjusted >= alarm).all()
    np.testing.assert_array_equal(adjusted[~truth], alarm[~truth])
    before, after = counted(truth, alarm), counted(truth, adjusted)
    assert (before.events, before.found) == (after.events, after.found)
