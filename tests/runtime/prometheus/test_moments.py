"""Times and durations by hand, and grids that are the same whoever asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.prometheus.moments import Grid, parse_duration, parse_moment

NOW_S = 1_767_592_800.25  # 2026-01-05T06:00:00.25Z


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("15s", 15_000),
        ("1m", 60_000),
        ("1h30m", 5_400_000),
        ("30d", 2_592_000_000),
        ("1w", 604_800_000),
        ("1y", 31_536_000_000),
        ("250ms", 250),
        ("1m250ms", 60_250),
        ("0", 0),
        ("0.5", 500),
        ("60", 60_000),
    ],
)
def test_durations_by_hand(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "1min", "-5", "1.5h", "30m1h", "nan", "inf", "1e99", "m", "5 m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected one like 15s, 1m, 1h30m or 30d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("now", 1_767_592_800_250),
        ("-15s", 1_767_592_785_250),
        ("now-1h", 1_767_589_200_250),
        ("2026-01-05T06:00:00Z", 1_767_592_800_000),
        ("2026-01-05T07:00:00.125+01:00", 1_767_592_800_125),
        ("1767592800", 1_767_592_800_000),
        ("1767592800.125", 1_767_592_800_125),
    ],
)
def test_times_by_hand(text: str, milliseconds: int) -> None:
    assert parse_moment(text, NOW_S) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "2026-01-05", "2026-01-05T06:00:00", "yesterday", "-1min", "now+1h", "inf", "nan"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected"):
        parse_moment(text, NOW_S)


@pytest.mark.parametrize(
    ("start", "end", "step", "expected"),
    [
        (0, 60, 15, [0, 15, 30, 45, 60]),
        (1, 59, 15, [15, 30, 45]),
        (15, 15, 15, [15]),
        (-20, 10, 15, [-15, 0]),
    ],
)
def test_a_grid_has_whole_steps_only(start: int, end: int, step: int, expected: list[int]) -> None:
    grid = Grid.between(start, end, step)
    assert [grid.first_ms + at * step for at in range(grid.steps)] == expected
    assert grid.last_ms == expected[-1]


@pytest.mark.parametrize(("start", "end", "step"), [(1, 14, 15), (30, 15, 15), (0, 60, 0)])
def test_a_grid_without_a_time_is_refused(start: int, end: int, step: int) -> None:
    with pytest.raises(InputError, match="--st"):
        Grid.between(start, end, step)


@given(st.integers(-50, 50), st.integers(1, 60), st.integers(1, 7), st.integers(1, 9))
def test_pieces_are_the_grid(start: int, steps: int, step: int, most: int) -> None:
    grid = Grid(start * step, steps, step)
    pieces = list(grid.pieces(most))
    times = [piece.first_ms + at * step for piece in pieces for at in range(piece.steps)]
    assert times == [grid.first_ms + at * step for at in range(steps)]
    assert max(piece.steps for piece in pieces) <= most
