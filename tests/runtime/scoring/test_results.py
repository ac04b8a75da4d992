"""Recordings of windows: which rows get a score, and that chunks of any size change nothing."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.tables import BadCell, Rows
from vae_detect.runtime.scoring.results import Recording, Results, Watch, score_images

Floats = NDArray[np.float32]
PERIOD_S = 120.0  # of the recording that the windows detector was trained on


def chunks(
    values: Floats, sizes: list[int], *, bad: tuple[int, ...] = (), times: NDArray[np.float64] | None = None
) -> list[Rows]:
    """`values` cut into chunks of these sizes, the rest in one."""
    values = values.copy()
    values[list(bad)] = np.nan
    ends = [0, *np.minimum(np.cumsum(sizes), len(values)).tolist(), len(values)]
    return [
        Rows(
            start,
            values[start:end],
            {row - start: BadCell("flow_m3h", "is empty") for row in bad if start <= row < end},
            None if times is None else times[start:end],
        )
        for start, end in pairwise(ends)
        if end > start
    ]


def run(detector: Detector, pieces: list[Rows], *, explain: bool = False) -> list[Results]:
    recording = Recording(detector, explain=explain)
    return [recording.push(piece) for piece in pieces]


def statuses(results: list[Results]) -> list[str]:
    return [status for each in results for status in each.status]


def reasons(results: list[Results]) -> list[str]:
    return [reason for each in results for reason in each.reason]


def scores(results: list[Results]) -> Floats:
    return np.concatenate([each.scores.score for each in results])


def every_window(values: Floats, window: int = 4) -> Floats:
    return np.stack([values[i : i + window] for i in range(len(values) - window + 1)])


def steps(n: int) -> NDArray[np.float64]:
    return 1e9 + PERIOD_S * np.arange(n, dtype=np.float64)


# --- windows ---------------------------------------------------------------------------------------------------------


def test_a_window_is_scored_at_its_newest_row(windows_detector: Detector, normal_rows: Floats) -> None:
    values = normal_rows[:50]
    [result] = run(windows_detector, chunks(values, []), explain=True)
    expected = windows_detector.score(every_window(values))
    assert result.status == ["warming"] * 3 + ["ok"] * 47
    assert result.scores.score[3:].tobytes() == expected.score.tobytes()
    assert result.scores.is_anomaly[3:].tolist() == expected.is_anomaly.tolist()
    assert result.reason[:4] == [
        "the recording begins; 3 more rows fill the window",
        "the recording begins; 2 more rows fill the window",
        "the recording begins; 1 more rows fill the window",
        "",
    ]
    for values_ in result.scores[:3]:
        assert np.isnan(values_[:3]).all()
    assert not result.scores.is_anomaly[:3].any()
    assert not result.scores.scored[:3].any()
    contribution, reconstruction = windows_detector.explain(every_window(values))
    assert result.explanation is not None
    assert np.isnan(result.explanation.contribution[:3]).all()
    np.testing.assert_array_equal(result.explanation.contribution[3:], contribution.sum(1))
    np.testing.assert_array_equal(result.explanation.expected[3:], reconstruction[:, -1])


def test_rows_are_scored_on_their_own(detector: Detector, normal_rows: Floats) -> None:
    values = normal_rows[:20]
    times = np.where(np.arange(20) < 10, 0.0, 1e6)  # for rows on their own no time is a gap
    [result] = run(detector, chunks(values, [], bad=(4,), times=times), explain=True)
    expected = detector.score(values).score
    assert result.status == ["ok"] * 4 + ["bad"] + ["ok"] * 15
    assert result.reason[4] == "column 'flow_m3h' is empty"
    assert np.delete(result.scores.score, 4).tobytes() == np.delete(expected, 4).tobytes()
    assert result.explanation is not None
    assert np.isnan(result.explanation.expected[4]).all()


def test_a_bad_row_is_a_gap_until_the_window_is_full_again(windows_detector: Detector, normal_rows: Floats) -> None:
    values = normal_rows[:20]
    results = run(windows_detector, chunks(values, [], bad=(10,)))
    assert statuses(results) == ["warming"] * 3 + ["ok"] * 7 + ["bad"] + ["gap"] * 3 + ["ok"] * 6
    assert reasons(results)[11] == "row 10 in the window is bad; 3 more rows fill the window"
    clean = scores(run(windows_detector, chunks(values, [])))
    found = scores(results)
    assert np.isnan(found[10:14]).all()
    np.testing.assert_allclose(found[[*range(3, 10), *range(14, 20)]], clean[[*range(3, 10), *range(14, 20)]], 1e-5)


def test_a_bad_row_while_warming_starts_again(windows_detector: Detector, normal_rows: Floats) -> None:
    results = run(windows_detector, chunks(normal_rows[:8], [], bad=(0, 2)))
    assert statuses(results) == ["bad", "gap", "bad", "gap", "gap", "gap", "ok", "ok"]


@pytest.mark.parametrize(("jump", "is_gap"), [(PERIOD_S * 1.4, False), (PERIOD_S * 1.6, True), (3600.0, True)])
def test_a_jump_in_time_is_a_gap(windows_detector: Detector, normal_rows: Floats, jump: float, is_gap: bool) -> None:
    times = steps(12)
    times[6:] += jump - PERIOD_S
    results = run(windows_detector, chunks(normal_rows[:12], [], times=times))
    expected = ["warming"] * 3 + ["ok"] * 3 + (["gap"] * 3 if is_gap else ["ok"] * 3) + ["ok"] * 3
    assert statuses(results) == expected
    if is_gap:
        assert reasons(results)[6] == f"time jumps by {jump:.6g} s before row 6; 3 more rows fill the window"


@pytest.mark.parametrize("step", [0.0, -PERIOD_S])
def test_time_that_stands_or_goes_back_is_a_gap(windows_detector: Detector, normal_rows: Floats, step: float) -> None:
    times = steps(12)
    times[6:] += step - PERIOD_S
    assert statuses(run(windows_detector, chunks(normal_rows[:12], [], times=times)))[6:] == ["gap"] * 3 + ["ok"] * 3


@pytest.mark.parametrize("sizes", [[], [6], [7], [8], [1] * 12])
def test_an_unreadable_time_neither_proves_nor_hides_a_gap(
    windows_detector: Detector, normal_rows: Floats, sizes: list[int]
) -> None:
    times = steps(12)
    times[[6, 7]] = np.nan
    assert statuses(run(windows_detector, chunks(normal_rows[:12], sizes, times=times)))[6:] == ["ok"] * 6
    times[8:] += 3600
    assert statuses(run(windows_detector, chunks(normal_rows[:12], sizes, times=times)))[6:] == [
        *("ok", "ok", "gap", "gap", "gap", "ok")
    ]


def test_rows_without_times_count_as_rows(windows_detector: Detector, normal_rows: Floats) -> None:
    pieces = chunks(normal_rows[:12], [5, 3], times=steps(12))
    pieces[1] = pieces[1]._replace(times=None)
    assert statuses(run(windows_detector, pieces)) == ["warming"] * 3 + ["ok"] * 9


def test_a_recording_shorter_than_a_window(windows_detector: Detector, normal_rows: Floats) -> None:
    results = run(windows_detector, chunks(normal_rows[:2], [1]), explain=True)
    assert statuses(results) == ["warming", "warming"]


# --- chunks ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 9), max_size=12),
    bad=st.sets(st.integers(0, 29), max_size=3),
    jumps=st.sets(st.integers(1, 29), max_size=2),
    unreadable=st.sets(st.integers(0, 29), max_size=4),
)
def test_chunks_of_any_size_give_the_same_results(
    windows_detector: Detector,
    normal_rows: Floats,
    sizes: list[int],
    bad: set[int],
    jumps: set[int],
    unreadable: set[int],
) -> None:
    times = steps(30)
    for jump in jumps:
        times[jump:] += 1000
    times[list(unreadable)] = np.nan
    values, rows = normal_rows[:30], tuple(sorted(bad))
    whole = run(windows_detector, chunks(values, [], bad=rows, times=times), explain=True)
    pieces = run(windows_detector, chunks(values, sizes, bad=rows, times=times), explain=True)
    assert statuses(pieces) == statuses(whole)
    assert reasons(pieces) == reasons(whole)
    np.testing.assert_allclose(scores(pieces), scores(whole), rtol=1e-5)
    expected = [each.explanation.expected for each in pieces if each.explanation]
    assert whole[0].explanation is not None
    np.testing.assert_allclose(np.concatenate(expected), whole[0].explanation.expected, rtol=1e-3)
    # by the definition: ok where the last 4 rows are there, good, and without a jump between them
    for row, status in enumerate(statuses(whole)):
        inside = range(row - 3, row + 1)
        if row in bad:
            assert status == "bad"
        elif not jumps and not unreadable:
            assert (status == "ok") == (row >= 3 and not bad & {*inside})
        elif status == "ok":
            assert row >= 3
            assert not bad & {*inside}


# --- results ---------------------------------------------------------------------------------------------------------


def test_a_row_is_strict_json(windows_detector: Detector, normal_rows: Floats) -> None:
    values = normal_rows[:12].copy()
    values[9, 3] = 3.4e38
    pieces = chunks(values, [2, 3], bad=(5,))
    lines = [each.row(i) for each in run(windows_detector, pieces) for i in range(len(each.status))]
    assert [line["row"] for line in lines] == list(range(12))
    expected = ["warming"] * 3 + ["ok"] * 2 + ["bad"] + ["gap"] * 3 + ["overflow"] * 3
    assert [line["status"] for line in lines] == expected
    for line in lines:
        assert json.loads(json.dumps(line, allow_nan=False)) == line
        assert list(line) == ["row", "score", "severity", "p_value", "is_anomaly", "status", "reason"]
        numbers = (line["score"], line["severity"], line["p_value"], line["is_anomaly"])
        if line["status"] == "ok":
            assert [type(number) for number in numbers] == [float, float, float, bool]
            assert line["reason"] is None
        else:
            assert numbers == (None,) * 4
            assert line["reason"]
    assert lines[5]["reason"] == "column 'flow_m3h' is empty"
    assert lines[9]["reason"] == "the score exceeds float32"


def test_an_overflow_takes_only_its_row_down(detector: Detector, normal_rows: Floats) -> None:
    values = normal_rows[:10].copy()
    values[6] = 3.4e38
    [result] = run(detector, chunks(values, []))
    assert result.status == ["ok"] * 6 + ["overflow"] + ["ok"] * 3
    assert math.isnan(result.scores.score[6])
    assert not result.scores.is_anomaly[6]
    clean = detector.score(normal_rows[:10]).score
    assert np.delete(result.scores.score, 6).tobytes() == np.delete(clean, 6).tobytes()


# --- what is watched over a stream ----------------------------------------------------------------------------------


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_watch_sees_the_shipped_verdicts_of_scored_rows_only(
    detector: Detector, normal_rows: Floats, adaptive: bool
) -> None:
    watch = Watch(detector, adaptive=adaptive)
    recording = Recording(detector, watch=watch)
    rows = np.tile(normal_rows[:1], (1000, 1))
    rows[:, 0] *= 3  # alarms in every row
    for piece in chunks(rows, [1, 500, 7], bad=tuple(range(0, 1000, 2))):
        recording.push(piece)
    assert watch.monitor.rows == 500
    assert watch.monitor.first_report is None
    for piece in chunks(rows, [300]):
        recording.push(piece)
    assert watch.monitor.first_report == 4 * watch.monitor.block


def test_an_adaptive_watch_changes_verdicts_and_nothing_else(detector: Detector, normal_rows: Floats) -> None:
    rows = np.tile(normal_rows[:1], (100, 1))
    rows[:, 0] *= 3
    (plain,) = run(detector, chunks(rows, [], bad=(3,)))
    adapted = Recording(detector, watch=Watch(detector, adaptive=True)).push(chunks(rows, [], bad=(3,))[0])
    assert plain.scores.is_anomaly.tolist() == [row != 3 for row in range(100)]
    assert adapted.scores.is_anomaly.tolist() == [row != 3 and row < 35 for row in range(100)]
    for name in ("score", "severity", "p_value", "scored"):
        assert getattr(adapted.scores, name).tobytes() == getattr(plain.scores, name).tobytes()


def test_images_are_watched_too(images_detector: Detector, photos: NDArray[np.uint8]) -> None:
    watch = Watch(images_detector)
    score_images(images_detector, 0, [photos[0], "is damaged", photos[40]], watch)
    assert watch.monitor.rows == 2


# --- images ----------------------------------------------------------------------------------------------------------


def test_an_unreadable_image_leaves_its_neighbours_as_they_are(
    images_detector: Detector, photos: NDArray[np.uint8]
) -> None:
    found = score_images(images_detector, 7, [photos[0], "is damaged", photos[1], photos[40]])
    expected = images_detector.score(photos[[0, 1, 40]])
    assert found.first == 7
    assert found.status == ["ok", "bad", "ok", "ok"]
    assert found.reason == ["", "is damaged", "", ""]
    assert found.scores.score[[0, 2, 3]].tobytes() == expected.score.tobytes()
    assert found.scores.is_anomaly.tolist() == [False, False, False, True]
    assert found.row(1) == {
        **dict.fromkeys(("score", "severity", "p_value", "is_anomaly")),
        "row": 8,
        "status": "bad",
        "reason": "is damaged",
    }


def test_unreadable_images_only(images_detector: Detector) -> None:
    found = score_images(images_detector, 0, ["is empty", "is damaged"])
    assert found.status == ["bad", "bad"]
    assert not found.scores.scored.any()
