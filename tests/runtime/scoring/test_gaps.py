"""Gaps in the time stamps of rows that are scored one by one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.times import Clock
from vae_detect.runtime.scoring.gaps import Gaps

MINUTES = 1767592800 + 60 * np.arange(1000.0)


def told(times: NDArray[np.float64], chunk: int = 300) -> str:
    gaps = Gaps(Clock(60.0))
    for first in range(0, len(times), chunk):
        gaps.add(first, times[first : first + chunk])
    return gaps.describe()


def test_the_longest_gap_is_told() -> None:
    kept = np.delete(MINUTES, [*range(400, 580), 700])
    for chunk in (1, 7, 400, 2000):
        assert told(kept, chunk) == (
            "2 gaps in the time stamps, the longest 10860 s before row 400 (2026-01-05T15:40:00Z): nothing is known of "
            "what was there"
        )
    assert told(kept[::-1]).startswith("2 gaps in the time stamps, the longest 10860 s before row 419")  # newest first


@pytest.mark.parametrize(
    "times",
    [
        MINUTES,
        np.where(np.arange(1000) % 5, MINUTES, np.nan),  # unreadable, not missing
        np.full(1000, np.nan),
        np.random.default_rng(0).permutation(MINUTES),  # in no order
        np.empty(0),
    ],
)
def test_without_a_gap_nothing_is_told(times: NDArray[np.float64]) -> None:
    assert told(times) == ""


def test_another_recording_begins_without_a_gap() -> None:
    gaps = Gaps(Clock(60.0))
    gaps.add(0, MINUTES)
    gaps.begin()
    gaps.add(0, MINUTES + 1e6)
    assert gaps.describe() == ""


def test_windows_flag_gaps_themselves(windows_detector: Detector) -> None:
    assert Gaps.of(windows_detector.bundle) is None
