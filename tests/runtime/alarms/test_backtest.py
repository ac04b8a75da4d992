"""Days, events and reasons of results made by hand, and of a recording with a fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vae_detect.runtime.alarms.backtest import Watched, backtest
from vae_detect.runtime.alarms.rule import AlarmRule
from vae_detect.runtime.detector import Detector, Scores
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Declared, Layout
from vae_detect.runtime.scoring.results import Cause, Results

DAY = 86400.0
EPOCH_DAY = 20_458  # 2026-01-05


def results(first: int, text: str, hours: list[float], keys: list[str] | None = None) -> Results:
    """Rows as letters: . normal, digit an alarm of this score, - without a score, ! beyond a limit without one."""
    score = np.array([float(each) if each.isdigit() else np.nan if each in "-!" else 0.5 for each in text], np.float32)
    alarm = np.array([each.isdigit() or each == "!" for each in text])
    scored = ~np.isnan(score)
    scores = Scores(score, score / np.float32(2), score, alarm, scored)
    causes: list[tuple[Cause, ...]] = [
        (Cause("flow", 1.0, float(at), 2.0),) if each else () for at, each in enumerate(alarm, start=first)
    ]
    limited = np.array([each == "!" for each in text])
    times = np.array(hours) * 3600 + EPOCH_DAY * DAY
    return Results(
        first, scores, ["ok"] * len(text), [""] * len(text), None, times, causes=causes, keys=keys, limited=limited
    )


def test_days_and_events_by_hand(detector: Detector) -> None:
    watched = Watched(detector.bundle, AlarmRule(), model="pump")
    watched.add(results(0, "..3-!.", [0, 1, 2, 2.02, 2.04, 5]))
    watched.add(results(6, ".45", [22, 23.95, 23.99]))
    watched.add(results(9, "6.", [24, 25]))
    days = [(day.day, day.rows, day.scored, day.alarms, day.events) for day in watched.days_in_order()]
    # 6 + 3 rows on the first day, of which - and ! have no score; events 3-! and 4 5 6, which goes on over midnight
    assert days == [("2026-01-05", 9, 7, 4, 2), ("2026-01-06", 2, 2, 1, 0)]
    first, second = (each.event for each in watched.alarms.events)
    found = [
        (each.first_row, each.rows, each.peak_score, each.peak_severity, each.columns[0].actual)
        for each in (first, second)
    ]
    assert found == [(2, 2, 3.0, 1.5, 2.0), (7, 3, 6.0, 3.0, 9.0)]
    assert second.model == "pump"


def test_a_rule_makes_fewer_events(detector: Detector) -> None:
    watched = Watched(detector.bundle, AlarmRule(k=2, n=2))
    watched.add(results(0, ".3.45.", [0, 1, 2, 3, 24, 25]))
    assert [day.events for day in watched.days_in_order()] == [0, 0]  # the gap of a day is between 4 and 5
    watched.add(results(0, ".3.45.", [0, 1, 2, 3, 3.05, 4]))
    assert [day.events for day in watched.days_in_order()] == [1, 0]


def test_rows_without_a_time_are_a_day_of_their_own(detector: Detector) -> None:
    watched = Watched(detector.bundle)
    watched.add(results(0, "3..", [0, np.nan, 1]))
    assert [(day.day, day.rows) for day in watched.days_in_order()] == [("2026-01-05", 2), (None, 1)]


def test_a_fault_is_an_event_with_its_reason(detector: Detector, rows_csv: Path) -> None:
    found = backtest(detector, "vae", [rows_csv], Layout(declared=Declared()))
    assert (found.model, found.rows, found.scored) == ("vae", 240, 240)
    assert found.alarms == sum(event["rows"] for event in found.events) == sum(day.alarms for day in found.days)
    worst = max(found.events, key=lambda event: int(event["rows"]))
    assert worst["start"] >= "2026-01-05T01:00:00Z"  # cavitation begins after an hour
    assert worst["columns"][0].column in ("vibration_mm_s", "suction_pressure_bar")
    assert worst["columns"][0].contribution is not None
    text = found.describe()
    assert "promised 0.001" in text
    assert worst["start"] in text


def test_beyond_a_limit_is_an_alarm_and_no_broken_promise(limited_detector: Detector, normal_csv: Path) -> None:
    found = backtest(limited_detector, "limited", [normal_csv], Layout(declared=Declared()))
    event = next(each for each in found.events if each["reason"])
    assert event["columns"][0].column == "power_kw"
    assert event["columns"][0].actual is not None
    assert event["columns"][0].actual >= 17
    assert found.false_alarm_rate is not None
    assert found.false_alarm_rate * found.scored < found.alarms


def test_images_have_no_recording(images_detector: Detector) -> None:
    with pytest.raises(InputError, match="this model scores images"):
        backtest(images_detector, "tiny", [], Layout())


def test_a_false_discovery_rate_is_kept_instead(detector: Detector, rows_csv: Path) -> None:
    form = Layout(declared=Declared())
    assert backtest(detector, "vae", [rows_csv], form, fdr=0.1).alarms == 60  # half an hour of cavitation
    with pytest.raises(InputError, match=r"--fdr is 0\.0001, expected more than"):
        backtest(detector, "vae", [rows_csv], form, fdr=0.0001)
