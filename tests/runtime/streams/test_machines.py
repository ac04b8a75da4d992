"""All that is remembered of one machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.alarms.event import Change
from vae_detect.runtime.alarms.rule import AlarmRule, Gate
from vae_detect.runtime.detector import Detector, Explanation
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.scoring.results import Results
from vae_detect.runtime.scoring.score import score_framed
from vae_detect.runtime.streams.machines import MOST_EXPLAINED, Machine, MachineMemory, Watching
from vae_detect.runtime.streams.parts import parts_by_key

Floats = NDArray[np.float32]
NOON = 1_767_614_400.0


def machine(detector: Detector, **watching: object) -> Machine:
    return Machine(detector.bundle, Watching(**watching), model="pump", source="mqtt", key="a")  # type: ignore[arg-type]


def take(
    detector: Detector, one: Machine, values: Floats, *, times: NDArray[np.float64] | None = None
) -> tuple[Results, list[Change]]:
    (part,) = parts_by_key(Rows(0, values, {}, times, ["a"] * len(values)), lambda _: one, {})
    (results,) = score_framed(detector, [(part.framed, part.rows.values)])
    assert part.after is not None
    accepted = one.state.accept(results, part.after)
    return accepted, one.see(detector, part.framed, part.rows, accepted, NOON)


def ended(changes: list[Change]) -> list[tuple[float, float, int]]:
    return [(each.event.start, each.event.end, each.event.rows) for each in changes if each.what == "ended"]


def faulty(values: Floats, *rows: int) -> Floats:
    spoilt = values.copy()
    spoilt[list(rows), 0] *= 3
    return spoilt


def test_an_event_says_whose_it_is_when_and_because_of_what(detector: Detector, normal_rows: Floats) -> None:
    rows = faulty(normal_rows[:4], 1, 2)
    times = np.array([NOON - 90, NOON - 60, NOON - 30, NOON])
    accepted, changes = take(detector, machine(detector), rows, times=times)

    assert accepted.scores.is_anomaly.tolist() == [False, True, True, False]
    assert [change.what for change in changes] == ["started", "ended"]
    event = changes[0].event
    assert (event.model, event.source, event.key) == ("pump", "mqtt", "a")
    assert (event.start, event.end, event.rows) == (NOON - 60, NOON - 30, 2)
    assert event.columns[0].column == detector.bundle.names[0]
    expected = float(detector.explain(rows[1:2]).expected[0, 0])
    assert event.columns[0].actual == pytest.approx(float(rows[1, 0]))
    assert event.columns[0].expected == pytest.approx(expected)


def test_rows_without_a_time_are_of_when_they_arrived(detector: Detector, normal_rows: Floats) -> None:
    one = machine(detector)
    _, changes = take(detector, one, faulty(normal_rows[:1], 0), times=np.array([np.nan]))
    assert changes[0].event.start == NOON == one.newest_time


def test_the_newest_row_is_kept_for_whoever_wants_to_know_more(windows_detector: Detector, normal_rows: Floats) -> None:
    one = machine(windows_detector)
    take(windows_detector, one, normal_rows[:2])
    assert one.newest is not None
    assert (one.newest.input, one.newest.status) == (None, "warming")

    take(windows_detector, one, normal_rows[2:6])
    assert one.newest.input is not None
    np.testing.assert_array_equal(one.newest.input, normal_rows[None, 2:6])
    np.testing.assert_array_equal(one.newest.row, normal_rows[5])


def test_only_so_many_rows_that_come_together_are_explained(
    detector: Detector, normal_rows: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained, explain = list[int](), detector.explain

    def counting(x: Floats) -> Explanation:
        explained.append(len(x))
        return explain(x)

    monkeypatch.setattr(detector, "explain", counting)
    rows = faulty(normal_rows[:200], *range(0, 200, 2))
    _, changes = take(detector, machine(detector, rule=AlarmRule(most_an_hour=1000)), rows)
    assert sum(change.what == "started" for change in changes) == 100
    assert sum(explained) == MOST_EXPLAINED


@pytest.mark.parametrize("cut", [1, 3, 4, 7, 20])
@pytest.mark.parametrize("adaptive", [False, True])
def test_it_goes_on_where_it_was_saved(
    windows_detector: Detector, normal_rows: Floats, cut: int, adaptive: bool
) -> None:
    rows = faulty(normal_rows[:40], *range(5, 12), 30)
    whole, before, after = (machine(windows_detector, adaptive=adaptive) for _ in range(3))
    expected, changes = take(windows_detector, whole, rows)
    _, first = take(windows_detector, before, rows[:cut])
    content = msgspec.msgpack.encode(before.memory)
    after.recall(msgspec.msgpack.decode(content, type=MachineMemory))
    found, rest = take(windows_detector, after, rows[cut:])

    np.testing.assert_allclose(found.scores.score, expected.scores.score[cut:], 1e-5)
    assert found.scores.is_anomaly.tolist() == expected.scores.is_anomaly[cut:].tolist()
    events = {(change.event.start, change.event.end, change.event.rows) for change in changes}
    assert {
        (each.event.start, each.event.end, each.event.rows) for each in first + rest if each.event.state == "ended"
    } == events
    assert after.history.slots() == [pytest.approx(slot, rel=1e-5) for slot in whole.history.slots()]
    assert after.state.watch.memory == whole.state.watch.memory


def test_what_is_damaged_or_of_another_model_is_refused(
    detector: Detector, windows_detector: Detector, normal_rows: Floats
) -> None:
    one = machine(detector)
    memory = one.memory
    with pytest.raises(InputError, match="is of model"):
        machine(windows_detector).recall(memory)
    history = msgspec.structs.replace(memory.history, arrays=(b"", *memory.history.arrays[1:]))
    with pytest.raises(InputError, match="damaged: a history has another size"):
        one.recall(msgspec.structs.replace(memory, history=history))


def test_a_gate_of_a_column_that_the_model_does_not_know_is_refused(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such column"):
        Watching(AlarmRule(gates=(Gate.parse("presure>"),))).of(detector.bundle)
