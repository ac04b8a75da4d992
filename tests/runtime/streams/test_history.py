"""An hour of severities in slots, and the newest rows."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_detect.runtime.detector import Scores
from vae_detect.runtime.scoring.results import Results
from vae_detect.runtime.streams.history import RECENT, SLOT_S, SLOTS, History, HistoryMemory

NAN = float("nan")
NOON = 1_767_614_400.0


def results(severities: list[float]) -> Results:
    severity = np.array(severities, np.float32)
    scored = np.isfinite(severity)
    scores = Scores(severity, severity, severity, severity > 1, scored)
    status = ["ok" if one else "gap" for one in scored.tolist()]
    return Results(0, scores, status, [""] * len(status), None)


def add(history: History, times: list[float], severities: list[float]) -> None:
    history.add(np.array(times), results(severities))


def test_slots_by_hand() -> None:
    history = History()
    add(history, [NOON, NOON + 9.9, NOON + 10, NOON + 35], [0.5, 1.5, NAN, 0.25])

    assert history.slots() == [(NOON, 1.5, 1.0), (NOON + 30, 0.25, 0.25)]
    assert history.worst == 0.25
    assert history.mean == (0.75, 3)
    assert history.recent()[1:] == [
        (NOON + 9.9, 1.5, "ok"),
        (NOON + 10, pytest.approx(NAN, nan_ok=True), "gap"),
        (NOON + 35, 0.25, "ok"),
    ]


def test_an_hour_later_nothing_is_left_but_the_newest() -> None:
    history = History()
    add(history, [NOON, NOON + 10], [3, 2])
    add(history, [NOON + SLOT_S * SLOTS], [1])
    assert history.slots() == [(NOON + 10, 2, 2), (NOON + 3600, 1, 1)]

    add(history, [NOON + 9000], [0.5])
    assert history.slots() == [(NOON + 9000, 0.5, 0.5)]


def test_what_comes_late_goes_where_it_belongs_unless_it_is_too_old() -> None:
    history = History()
    add(history, [NOON, NOON - 25, NOON - 3600], [1, 2, 9])
    assert history.slots() == [(NOON - 30, 2, 2), (NOON, 1, 1)]


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(
        st.tuples(st.floats(0, 9000), st.one_of(st.just(NAN), st.floats(0, 5, width=16))), min_size=17, max_size=400
    ).map(lambda rows: sorted(rows, key=lambda row: row[0])),
    size=st.integers(1, 400),
)
def test_how_rows_are_cut_changes_nothing(rows: list[tuple[float, float]], size: int) -> None:
    """Seventeen rows and more go another way than a few."""
    one, other = History(), History()
    for history, step in ((one, 1), (other, size)):
        for first in range(0, len(rows), step):
            piece = rows[first : first + step]
            add(history, [NOON + time for time, _ in piece], [severity for _, severity in piece])

    assert [slot[:2] for slot in one.slots()] == [slot[:2] for slot in other.slots()]
    np.testing.assert_allclose([slot.mean for slot in one.slots()], [slot.mean for slot in other.slots()], rtol=1e-4)
    np.testing.assert_array_equal([row[:2] for row in one.recent()], [row[:2] for row in other.recent()])
    assert len(one.recent()) == min(len(rows), RECENT)


def test_it_goes_on_where_it_was_saved() -> None:
    history, after = History(), History()
    add(history, [NOON, NOON + 40], [0.5, 2])
    after.recall(msgspec.msgpack.decode(msgspec.msgpack.encode(history.memory), type=HistoryMemory))
    for each in (history, after):
        add(each, [NOON + 41], [1])
    assert after.slots() == history.slots() == [(NOON, 0.5, 0.5), (NOON + 40, 2, 1.5)]
    assert after.recent() == history.recent()

    memory = history.memory
    with pytest.raises(ValueError, match="another size"):
        after.recall(msgspec.structs.replace(memory, arrays=(memory.arrays[0][4:], *memory.arrays[1:])))
