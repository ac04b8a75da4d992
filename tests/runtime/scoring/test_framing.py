"""Windows of recordings: which rows get a score, and that chunks of any size change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pieces import PERIOD_S, Floats, chunks, every_window, reasons, run, scores, statuses, steps

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.cells import BadCell
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.scoring import framing
from vae_detect.runtime.scoring.framing import Framer, Memory, windows_at

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


@pytest.mark.parametrize("sizes", [[], [6], [7], [1] * 12])
def test_rows_that_come_twice_or_late_break_no_window(
    windows_detector: Detector, normal_rows: Floats, sizes: list[int]
) -> None:
    order = [0, 1, 2, 3, 4, 5, 5, 3, 6, 7]
    results = run(windows_detector, chunks(normal_rows[order], sizes, times=steps(12)[order]))

    assert statuses(results) == ["warming"] * 3 + ["ok"] * 3 + ["repeated", "late", "ok", "ok"]
    assert reasons(results)[6:8] == [
        "a row of the same time came before",
        f"its time is {2 * PERIOD_S:g} s before that of the newest row",
    ]
    in_order = scores(run(windows_detector, chunks(normal_rows[:8], [], times=steps(8))))
    np.testing.assert_allclose(scores(results)[[3, 4, 5, 8, 9]], in_order[3:], 1e-5)


@pytest.mark.parametrize("sizes", [[], [6], [9], [1] * 18])
def test_a_clock_that_was_set_back_begins_again(
    windows_detector: Detector, normal_rows: Floats, sizes: list[int]
) -> None:
    times = steps(18)
    times[6:] -= 3600
    results = run(windows_detector, chunks(normal_rows[:18], sizes, times=times))

    assert statuses(results)[6:] == ["late"] * 5 + ["gap"] * 3 + ["ok"] * 4
    assert reasons(results)[11] == (
        f"time jumps by {6 * PERIOD_S - 3600:.6g} s before row 11; 3 more rows fill the window"
    )


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


def test_framing_remembers_nothing(windows_detector: Detector, normal_rows: Floats) -> None:
    framer = Framer.of(windows_detector.bundle)
    first, second = chunks(normal_rows[:9], [5], times=steps(9))
    _, then = framer.frame(first)
    once, _ = then.frame(second)
    again, _ = then.frame(second)
    assert once.status == again.status == ["ok"] * 4
    assert once.inputs.tobytes() == again.inputs.tobytes()
    assert framer.frame(first)[0].status == ["warming"] * 3 + ["ok"] * 2


def test_windows_at_their_newest_rows() -> None:
    values = np.arange(12.0).reshape(6, 2)
    newest = np.array([2, 5])
    np.testing.assert_array_equal(windows_at(values, newest, 3), [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]])
    np.testing.assert_array_equal(windows_at(values, newest, 1), [[4, 5], [10, 11]])


# --- keys ------------------------------------------------------------------------------------------------------------


def keyed(values: Floats, keys: list[str], first: int = 0, bad: dict[int, BadCell] | None = None) -> Rows:
    return Rows(first, values, bad or {}, None, keys)


def test_each_key_is_framed_as_if_it_were_alone(windows_detector: Detector, normal_rows: Floats) -> None:
    keys = [str(key) for key in np.random.default_rng(0).choice(["A", "B", "C"], 60)]
    values = normal_rows[:60].copy()
    values[7] = np.nan
    bad = {7: BadCell("x", "is empty")}
    framer = Framer.of(windows_detector.bundle)
    parts = []
    for first, last in [(0, 1), (1, 20), (20, 60)]:
        own = {at - first: why for at, why in bad.items() if first <= at < last}
        framed, framer = framer.frame(keyed(values[first:last], keys[first:last], first, own))
        parts.append(framed)
    status = [one for part in parts for one in part.status]
    inputs = np.full((60, *parts[0].inputs.shape[1:]), np.nan, np.float32)
    inputs[np.array(status) == "ok"] = np.concatenate([part.inputs for part in parts])
    for key in "ABC":
        index = [at for at in range(60) if keys[at] == key]
        own = {place: bad[at] for place, at in enumerate(index) if at in bad}
        alone, _ = Framer.of(windows_detector.bundle).frame(Rows(0, values[index], own, None))
        assert [status[at] for at in index] == alone.status
        assert np.array_equal(inputs[index][alone.full], alone.inputs)
    assert any("row 7 in the window is bad" in reason for part in parts for reason in part.reason)


def test_the_longest_silent_key_is_forgotten(
    windows_detector: Detector, normal_rows: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "MOST_KEYS", 2)
    _, framer = Framer.of(windows_detector.bundle).frame(keyed(normal_rows[:4], ["A", "B", "A", "C"]))
    assert [*framer.memories] == ["A", "C"]
    framed, _ = framer.frame(keyed(normal_rows[4:5], ["B"]))
    assert framed.status == ["gap"]
    assert framed.reason[0].startswith("there are more than 2 keys, of which the longest silent are forgotten; ")


def test_rows_on_their_own_need_no_memory_of_keys(detector: Detector, normal_rows: Floats) -> None:
    framed, framer = Framer.of(detector.bundle).frame(keyed(normal_rows[:3], ["A", "B", "A"]))
    assert framed.status == ["ok"] * 3
    assert not framer.memories


# --- missing cells ---------------------------------------------------------------------------------------------------


def may_miss(window: int) -> Framer:
    tail = np.full((window - 1, 3), np.nan, np.float32)
    return Framer("rows" if window == 1 else "windows", window, None, Memory(tail), names=("a", "b", "c"))


def test_rows_with_filled_cells_say_which() -> None:
    values = np.ones((4, 3), np.float32)
    values[1, 1] = values[3, 0] = np.nan
    values[2] = np.nan
    framed, _ = may_miss(1).frame(Rows(0, values, {2: BadCell("b", "is empty")}, None))
    assert framed.status == ["ok", "filled", "bad", "filled"]
    assert framed.reason == ["", "1 of 3 cells filled: 'b'", "column 'b' is empty", "1 of 3 cells filled: 'a'"]
    assert framed.full.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(framed.inputs, values[[0, 1, 3]])


@pytest.mark.parametrize("sizes", [[6], [1, 1, 1, 1, 1, 1], [2, 3, 1]])
def test_a_window_with_filled_cells_says_how_many(sizes: list[int]) -> None:
    values = np.ones((6, 3), np.float32)
    values[2, :2] = values[3, 2] = np.nan
    framer, found = may_miss(2), []
    for rows in chunks(values, sizes):
        framed, framer = framer.frame(rows)
        found += list(zip(framed.status, framed.reason, strict=True))
    assert found == [
        ("warming", "the recording begins; 1 more rows fill the window"),
        ("ok", ""),
        ("filled", "2 of 3 cells filled: 'a', 'b'"),
        ("filled", "1 of 3 cells filled: 'c'; 2 cells of older rows in the window filled"),
        ("filled", "1 cells of older rows in the window filled"),
        ("ok", ""),
    ]
