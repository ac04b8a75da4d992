"""The state of a stream as one thing: bounded, saved, restored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pieces import Floats, chunks, steps

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.rows.writers import records
from vae_detect.runtime.scoring.score import score_rows, score_stream
from vae_detect.runtime.scoring.state import StreamState


def follow(detector: Detector, state: StreamState, pieces: list[Rows]) -> list[object]:
    return [record for results in score_stream(detector, pieces, state) for record in records(results.table("row"))]


@settings(deadline=None, max_examples=25)
@given(
    cut=st.integers(0, 40),
    bad=st.sets(st.integers(0, 39), max_size=3),
    jump=st.integers(1, 39),
    unreadable=st.sets(st.integers(0, 39), max_size=3),
)
@pytest.mark.parametrize("adaptive", [False, True])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(
    windows_detector: Detector,
    normal_rows: Floats,
    *,
    cut: int,
    bad: set[int],
    jump: int,
    unreadable: set[int],
    adaptive: bool,
) -> None:
    values, times = normal_rows[:40].copy(), steps(40)
    values[::3, 0] *= 3  # alarms
    times[jump:] += 1000
    times[list(unreadable)] = np.nan
    pieces = chunks(values, [1] * 40, bad=tuple(sorted(bad)), times=times)
    whole = StreamState(windows_detector.bundle, adaptive=adaptive)
    expected = follow(windows_detector, whole, pieces)
    before = StreamState(windows_detector.bundle, adaptive=adaptive)
    found = follow(windows_detector, before, pieces[:cut])
    after = StreamState(windows_detector.bundle, adaptive=adaptive)
    after.restore(before.save())
    assert [*found, *follow(windows_detector, after, pieces[cut:])] == expected
    assert after.save() == whole.save()


def test_a_state_does_not_grow(windows_detector: Detector, normal_rows: Floats) -> None:
    state = StreamState(windows_detector.bundle)
    sizes = []
    for _ in range(3):
        follow(windows_detector, state, chunks(normal_rows, []))
        sizes.append(len(state.save()))
    assert max(sizes) < 500
    assert state.framer.memory.tail.base is None  # not a view that keeps the chunk in memory


def test_scoring_changes_no_state_before_it_is_accepted(windows_detector: Detector, normal_rows: Floats) -> None:
    state = StreamState(windows_detector.bundle, adaptive=True)
    saved = state.save()
    results, framer = score_rows(windows_detector, state.framer, chunks(normal_rows[:9] * 3, [])[0])
    assert results.scores.is_anomaly.any()
    assert state.save() == saved
    state.accept(results, framer)
    assert state.save() != saved


def test_a_state_of_another_model_or_a_damaged_one_is_refused_and_changes_nothing(
    detector: Detector, windows_detector: Detector, normal_rows: Floats
) -> None:
    state = StreamState(windows_detector.bundle)
    follow(windows_detector, state, chunks(normal_rows[:3], []))
    saved = state.save()
    for content, message in (
        (StreamState(detector.bundle).save(), f"of model {detector.bundle.export_id}, this is"),
        (b"", "damaged"),
        (saved[:-1], "damaged"),
        (saved.replace(b"tail", b"tale"), "damaged"),
    ):
        with pytest.raises(InputError, match=message):
            state.restore(content)
        assert state.save() == saved
