"""Runs by hand, and a stream in pieces that counts as its whole."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.alarms.events import EventCount, runs, starts


def flags(text: str) -> NDArray[np.bool_]:
    return np.array([letter == "x" for letter in text], np.bool_)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("...", []),
        ("xxx", [(0, 3)]),
        (".xx.x", [(1, 3), (4, 5)]),
        ("x..xx", [(0, 1), (3, 5)]),
    ],
)
def test_runs_by_hand(text: str, expected: list[tuple[int, int]]) -> None:
    assert runs(flags(text)) == expected


@given(st.lists(st.booleans(), max_size=60))
def test_runs_are_apart_and_hold_every_true(values: list[bool]) -> None:
    found = runs(np.array(values, np.bool_))
    assert [at for start, end in found for at in range(start, end)] == [at for at, value in enumerate(values) if value]
    assert all(end < start for (_, end), (start, _) in pairwise(found))


@pytest.mark.parametrize(
    ("text", "running", "expected"),
    [
        ("", False, (0, False)),
        ("", True, (0, True)),  # no row says nothing of what ran
        ("...", True, (0, False)),
        ("x", False, (1, True)),
        ("x", True, (0, True)),
        ("x.", True, (0, False)),
        (".x", True, (1, True)),  # the first row ended what ran
        ("xx.x.xx", False, (3, True)),
        ("xx.x.xx", True, (2, True)),
        ("xx.x.", False, (2, False)),
    ],
)
def test_starts_by_hand(text: str, running: bool, expected: tuple[int, bool]) -> None:
    assert starts(flags(text), running=running) == expected


@given(st.lists(st.lists(st.booleans(), max_size=5), max_size=12))
def test_pieces_count_as_the_whole(pieces: list[list[bool]]) -> None:
    count, running = 0, False
    for piece in pieces:
        begun, running = starts(np.array(piece, np.bool_), running=running)
        count += begun
    whole = [flag for piece in pieces for flag in piece]
    assert count == len(runs(np.array(whole, np.bool_)))
    assert running == bool(whole and whole[-1])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=20), st.integers(0, 20))
def test_streams_are_counted_apart_and_in_pieces(rows: list[tuple[str, bool]], cut: int) -> None:
    count = EventCount()
    for piece in (rows[:cut], rows[cut:]):
        count.add(np.array([flag for _, flag in piece], np.bool_), [key for key, _ in piece])
    own = {key: np.array([flag for other, flag in rows if other == key], np.bool_) for key in "ab"}
    assert count.started == sum(len(runs(each)) for each in own.values())


def test_no_event_reaches_into_another_recording() -> None:
    count = EventCount()
    count.add(flags(".x"))
    count.begin()
    count.add(flags("x."))
    assert count.started == 2
