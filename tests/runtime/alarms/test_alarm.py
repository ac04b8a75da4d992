"""Events by hand, the same in pieces, and what it costs to see that all is normal."""

from __future__ import annotations

import timeit
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from drawn_results import cause, drawn, see, spans
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.alarms.alarm import MOST_EXPLAINED, Alarm, AlarmMemory
from vae_detect.runtime.alarms.event import Event
from vae_detect.runtime.alarms.rule import AlarmRule, Gate
from vae_detect.runtime.detector import Scores
from vae_detect.runtime.scoring.results import Cause, Results


def events(text: str, **rule: Any) -> list[tuple[float, float, int, str]]:
    """Start, end, rows and state of the events of rows a second apart."""
    changes = see(Alarm(AlarmRule(**rule)), text)
    found = {id(change.event): change.event for change in changes}
    return [(event.start, event.end, event.rows, event.state) for event in found.values()]


@pytest.mark.parametrize(
    ("text", "rule", "expected"),
    [
        ("", {}, []),
        ("....", {}, []),
        (".2.33.", {}, [(1, 1, 1, "ended"), (3, 4, 2, "ended")]),
        ("22", {}, [(0, 1, 2, "running")]),
        (".2--2.", {}, [(1, 4, 2, "ended")]),  # rows without a score neither count nor end
        ("..!!.", {}, [(2, 3, 2, "ended")]),  # beyond a limit, whatever the score
        ("2.2.2.", {"k": 3, "n": 3}, []),
        (".222.", {"k": 3, "n": 3}, [(1, 3, 3, "ended")]),
        # three of five by row 5; with row 8 the last five hold 2 alarms and row 8 is none
        (".2..22...", {"k": 3, "n": 5}, [(1, 5, 3, "ended")]),
        ("2....22.2..", {"k": 3, "n": 5}, [(5, 8, 3, "ended")]),  # the first is too long ago to be part of it
        ("2....2", {"k": 2, "n": 5}, []),  # the first is a row too old
        (".222.2.2....", {"k": 3, "n": 5}, [(1, 7, 5, "ended")]),  # it goes on while three of five alarm
        ("2-2-2", {"k": 3, "n": 3}, [(0, 4, 3, "running")]),
        (".2oo2o.", {"clear": 0.5}, [(1, 5, 2, "ended")]),
        (".2oo2o.", {}, [(1, 1, 1, "ended"), (4, 4, 1, "ended")]),
        (".oo.", {"clear": 0.5}, []),  # what is not cleared does not begin
        (".2.22.222.", {"min_duration_s": 1}, [(3, 4, 2, "ended"), (6, 8, 3, "ended")]),
        (".22", {"min_duration_s": 2}, []),
    ],
)
def test_events_by_hand(text: str, rule: dict[str, Any], expected: list[tuple[float, float, int, str]]) -> None:
    assert events(text, **rule) == expected


def test_changes_come_when_they_happen() -> None:
    alarm = Alarm(AlarmRule(k=2, n=3, min_duration_s=3), model="pump", source="mqtt", key="a")
    assert see(alarm, "2.2") == []
    assert (alarm.state, alarm.event) == ("normal", None)  # it runs, and has not lasted
    assert spans(see(alarm, "3", at=3)) == [("started", 0, 3, 3)]
    assert (alarm.state, alarm.why, alarm.started) == ("anomaly", "column 0 11 (expected 10)", 1)
    event = alarm.event
    assert event is not None
    assert (event.model, event.source, event.key, event.peak_severity, event.peak_score) == ("pump", "mqtt", "a", 3, 6)
    assert see(alarm, "3", at=4) == []  # no new peak, nothing to tell
    assert spans(see(alarm, "9", at=5)) == [("changed", 0, 5, 5)]
    assert spans(see(alarm, "...", at=6)) == [("ended", 0, 5, 5)]
    assert (alarm.state, alarm.why, alarm.event, event.state) == ("normal", "", None, "ended")


def test_the_end_of_what_runs_is_kept_every_minute() -> None:
    alarm = Alarm(AlarmRule(silence_s=300))
    changes = [spans(see(alarm, "3", at=at)) for at in (0, 59, 60, 61, 119, 121)]
    assert changes == [[("started", 0, 0, 1)], [], [("changed", 0, 60, 3)], [], [], [("changed", 0, 121, 6)]]


def test_an_event_keeps_what_its_peak_was_about() -> None:
    (change, _) = see(Alarm(AlarmRule()), ".2582.")
    assert (change.event.peak_severity, change.event.columns) == (8, cause(3))
    assert (change.event.first_row, change.event.last_row) == (1, 4)
    (change,) = see(Alarm(AlarmRule(k=2, n=3, min_duration_s=3)), ".2.52.")
    assert (change.event.first_row, change.event.told_row) == (1, 4)
    (change, *_) = see(Alarm(AlarmRule()), ".!.")
    assert (change.event.peak_severity, change.event.columns, change.event.reason) == (
        None,
        cause(1),
        "beyond its limit",
    )


def test_what_nobody_explains_keeps_what_was_explained() -> None:
    told = iter([cause(0), ()])
    (change,) = Alarm(AlarmRule()).see(drawn("29"), np.arange(2.0), lambda row: next(told))
    assert (change.event.peak_severity, change.event.columns) == (9, cause(0))


def test_every_event_is_explained_anew() -> None:
    changes = see(Alarm(AlarmRule()), ".2." * MOST_EXPLAINED + ".25.")
    assert changes[-1].event.columns == cause(3 * MOST_EXPLAINED + 2)


def test_a_row_that_comes_late_makes_no_event_shorter() -> None:
    (change,) = Alarm(AlarmRule()).see(drawn("222"), np.array([0.0, 2.0, 1.0]), cause)
    assert (change.event.start, change.event.end, change.event.rows) == (0, 2, 3)


def test_normal_rows_are_forgotten() -> None:
    alarm = Alarm(AlarmRule(k=2, n=3))
    see(alarm, "2...")
    assert alarm.memory == AlarmMemory(last=3.0)


def test_a_slow_rise_is_explained_a_bounded_number_of_times() -> None:
    asked: list[int] = []

    def explain(index: int) -> tuple[Cause, ...]:
        asked.append(index)
        return cause(index)

    rows = 20_000
    results = drawn("2" * rows)
    severity = np.geomspace(1, 1e6, rows).astype(np.float32)
    results = results._replace(scores=results.scores._replace(severity=severity, score=severity))
    alarm = Alarm(AlarmRule())
    for at in range(0, rows, 100):
        cut = slice(at, at + 100)
        scores = Scores._make(each[cut] for each in results.scores)
        piece = Results(at, scores, ["ok"] * 100, [""] * 100, None)
        alarm.see(piece, at + np.arange(100.0), explain)
    assert len(asked) == MOST_EXPLAINED
    assert alarm.event is not None
    assert alarm.event.peak_severity == 1e6


def test_rows_without_a_verdict_cannot_tell_and_silence_ends_what_runs() -> None:
    alarm = Alarm(AlarmRule(silence_s=10))
    see(alarm, "2-")
    assert (alarm.state, alarm.why) == ("cannot tell", "bad: no number")
    assert see(alarm, "-" * 8, at=2) == []  # 9 s since the last row with a verdict
    assert spans(see(alarm, "---", at=10)) == [("ended", 0, 0, 1)]
    assert alarm.state == "cannot tell"
    see(alarm, ".", at=13)
    assert (alarm.state, alarm.why) == ("normal", "")
    see(alarm, "-", at=14)
    assert alarm.state == "cannot tell"


def test_a_gap_ends_what_runs_and_what_waits() -> None:
    alarm = Alarm(AlarmRule(silence_s=10))
    see(alarm, "2")
    assert spans(see(alarm, "2", at=11)) == [("ended", 0, 0, 1), ("started", 11, 11, 1)]
    assert spans(see(alarm, "2", at=0)) == [("ended", 11, 11, 1), ("started", 0, 0, 1)]  # a clock that was set back
    waiting = Alarm(AlarmRule(k=2, n=2, silence_s=10))
    assert see(waiting, "2") + see(waiting, "2", at=11) == []


def test_what_is_beyond_the_cap_is_counted_and_not_told() -> None:
    alarm = Alarm(AlarmRule(most_an_hour=2))
    assert [change.what for change in see(alarm, ".2.2.2.2")] == ["started", "ended", "started", "ended"]
    assert (alarm.started, alarm.untold, alarm.event) == (4, 2, None)
    assert (alarm.state, alarm.why) == ("anomaly", "column 7 11 (expected 10); one of more than 2 events an hour")
    assert spans(see(alarm, ".2", at=3602)) == [("started", 3603, 3603, 1)]  # an hour after the first, at 1 s
    back = see(alarm, ".2.2.2", at=0)  # a clock that was set back begins an hour of its own
    assert [change.what for change in back] == ["ended", "started", "ended", "started", "ended"]


@pytest.mark.parametrize(
    ("gate", "deviation", "expected"),
    [("column 1>", 1, 1), ("column 1>", -1, 0), ("column 1<", -1, 1), ("column 7>", -1, 1), ("column 1~2", 1, 0)],
)
def test_the_column_that_contributes_most_decides(gate: str, deviation: float, expected: int) -> None:
    alarm = Alarm(AlarmRule(gates=(Gate.parse(gate),)))
    alarm.see(drawn(".2."), np.arange(3.0), lambda row: (*cause(row, deviation), Cause("column 7", 1.0, 9.0, 10.0)))
    assert alarm.started == expected


def test_a_broken_limit_passes_every_gate_and_an_event_goes_on_whatever_they_say() -> None:
    alarm = Alarm(AlarmRule(gates=tuple(Gate(f"column {row}", "<") for row in range(4))))
    assert spans(see(alarm, ".2!2.")) == [("started", 2, 3, 2), ("ended", 2, 3, 2)]


def test_end_closes_what_runs() -> None:
    alarm = Alarm(AlarmRule())
    see(alarm, "2")
    assert spans(alarm.end()) == [("ended", 0, 0, 1)]
    assert alarm.end() == []
    assert (alarm.state, spans(see(alarm, "2", at=1))) == ("normal", [("started", 1, 1, 1)])


_RULES = st.builds(
    lambda n, k, clear, lasts: AlarmRule(k=min(k, n), n=n, clear=clear, min_duration_s=lasts, silence_s=4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([0.0, 2.0]),
)


def _cause_of(first: int, row: int) -> tuple[Cause, ...]:
    return cause(first + row)


@given(st.text("..o25-!", max_size=40), _RULES, st.lists(st.integers(0, 40), max_size=4))
def test_pieces_saved_and_restored_are_as_the_whole(text: str, rule: AlarmRule, cuts: list[int]) -> None:
    whole = Alarm(rule)
    expected = {id(change.event): change.event for change in see(whole, text)}
    alarm, found = Alarm(rule), dict[int, Event]()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for at, end in pairwise(edges):
        results, times = drawn(text[at:end], first=at), np.arange(at, end, dtype=np.float64)
        changes = alarm.see(results, times, partial(_cause_of, at))
        found |= {change.event.first_row: msgspec.structs.replace(change.event) for change in changes}
        if alarm.event is not None:
            found[alarm.event.first_row] = msgspec.structs.replace(alarm.event)
        saved = msgspec.msgpack.encode(alarm.memory)
        restored = Alarm(rule)
        restored.recall(msgspec.msgpack.decode(saved, type=AlarmMemory))
        assert restored.state in ("normal", "anomaly")
        alarm = restored
    assert list(found.values()) == list(expected.values())


@given(
    st.lists(st.tuples(st.sampled_from("..2223o-!"), st.integers(1, 150)), max_size=6),
    _RULES,
    st.sampled_from([0.0, 700.0]),
)
def test_many_rows_at_once_are_as_one_by_one(parts: list[tuple[str, int]], rule: AlarmRule, jump: float) -> None:
    text = "".join(letter * count for letter, count in parts)
    times = np.arange(len(text), dtype=np.float64)
    times[len(text) // 2 :] += jump
    one, other = Alarm(rule), Alarm(rule)
    whole = {id(each.event): each.event for each in one.see(drawn(text), times, partial(_cause_of, 0))}
    single = {
        id(each.event): each.event
        for at in range(len(text))
        for each in other.see(drawn(text[at], first=at), times[at : at + 1], partial(_cause_of, at))
    }
    told = ("start", "end", "rows", "peak_score", "state", "first_row", "last_row")
    assert [[getattr(event, name) for name in told] for event in whole.values()] == [
        [getattr(event, name) for name in told] for event in single.values()
    ]
    assert (one.started, one.untold, one.state) == (other.started, other.untold, other.state)


@given(st.text(".2", max_size=60))
def test_by_the_defaults_events_are_unbroken_runs(text: str) -> None:
    assert [rows for _, _, rows, _ in events(text)] == [len(run) for run in text.replace(".", " ").split()]


def test_a_normal_row_costs_about_a_microsecond() -> None:
    alarm, results, times = Alarm(AlarmRule(k=3, n=5)), drawn("."), np.array([1.7e9])
    took = min(timeit.repeat(lambda: alarm.see(results, times, cause), number=1000, repeat=20)) / 1000
    assert took < 3e-6  # 0.7 us on a core of 2.1 GHz


def test_rows_of_a_key_keep_their_numbers() -> None:
    alarm = Alarm(AlarmRule())
    results: Results = drawn(".22.")
    (change, _) = alarm.see(results, np.arange(4.0), cause, numbers=np.array([3, 7, 9, 20]))
    assert (change.event.first_row, change.event.last_row) == (7, 9)
