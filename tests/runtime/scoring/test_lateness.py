"""Rows that come late, or twice."""

from __future__ import annotations

import numpy as np
import pytest

from vae_detect.runtime.rows.times import Clock
from vae_detect.runtime.scoring.lateness import MOST_LATE, out_of_order

NAN = float("nan")
SECONDS = Clock(1.0)


def told(times: list[float], newest: float = NAN, late: int = 0, clock: Clock | None = SECONDS) -> tuple[str, int]:
    """A letter for each row, and how many are late at the end."""
    found, after = out_of_order(np.array(times), newest, late, clock)
    return "".join(found[index][0][0] if index in found else "." for index in range(len(times))), after


@pytest.mark.parametrize(
    ("times", "expected", "after"),
    [
        ([1, 2, 3], "...", 0),
        ([1, 1, 2], ".r.", 0),
        ([1, 3, 2, 3, 4], "..lr.", 0),
        ([5, 4, 3], ".ll", 2),
        ([5, NAN, 4], "..l", 1),
        ([9, 1, 2, 3, 4, 5, 6, 7, 6], ".lllll..l", 1),
    ],
)
def test_what_is_late_and_what_is_repeated(times: list[float], expected: str, after: int) -> None:
    assert told(times) == (expected, after)


def test_rows_before_count() -> None:
    assert told([4], newest=5) == ("l", 1)
    assert told([5], newest=5, late=2) == ("r", 2)
    assert told([6], newest=5, late=2) == (".", 0)
    assert told([4], newest=5, late=MOST_LATE) == (".", 0)


def test_without_a_clock_and_with_shared_stamps_nothing_is() -> None:
    assert told([3, 2, 2], clock=None) == ("...", 0)
    assert told([3, 3, 2], clock=Clock(0.1, stamp_s=1.0)) == ("...", 0)
    assert out_of_order(None, 1.0, 3, Clock(1.0)) == ({}, 0)
