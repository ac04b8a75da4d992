"""Moves of the level and bursts that are made by hand, in independent and in dependent scores."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from vae_detect.runtime.calibration.stretch import moved, without_bursts, without_runs

Floats = NDArray[np.float64]


def series(seed: int, n: int, coefficient: float = 0.0) -> Floats:
    noise = np.random.default_rng(seed).normal(size=n + 200) * np.sqrt(1 - coefficient**2)
    return np.asarray(lfilter([1], [1, -coefficient], noise)[200:], np.float64)


@pytest.mark.parametrize(("n", "coefficient", "near"), [(256, 0, 0), (256, 0, 10), (512, 0.5, 10), (1024, 0.95, 10)])
def test_a_level_that_stays_has_not_moved(n: int, coefficient: float, near: int) -> None:
    found = [moved(series(seed, n, coefficient), near) for seed in range(60)]
    assert sum(each is not None for each in found) <= 1


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize(
    ("n", "coefficient", "near", "step"), [(256, 0.0, 0, 1.5), (512, 0.5, 10, 2), (1024, 0.8, 10, 3)]
)
def test_a_move_is_found_where_it_is(n: int, coefficient: float, near: int, step: float, *, upwards: bool) -> None:
    for seed in range(10):
        scores = series(seed, n, coefficient)
        scores[n // 3 :] += step if upwards else -step
        found = moved(scores, near)
        assert found is not None
        assert found.upwards == upwards
        assert abs(found.place - n // 3) < n // 12


@pytest.mark.parametrize("upwards", [True, False])
def test_no_row_after_a_clear_move_is_left_before_it(*, upwards: bool) -> None:
    for seed in range(30):
        scores = series(seed, 475)
        scores[230:] += 30
        found = moved(scores if upwards else scores[::-1].copy(), 0)
        assert found is not None
        assert found.place == (230 if upwards else 245)


def test_a_small_move_is_none_however_certain() -> None:
    scores = series(0, 2000)
    scores[1000:] += 0.5  # P(one after > one before) = 0.64
    assert moved(scores, 0) is None


@pytest.mark.parametrize(("begin", "length"), [(0, 8), (100, 8), (100, 30), (225, 31)])
@pytest.mark.parametrize("near", [0, 3])
def test_a_burst_is_left_out(begin: int, length: int, near: int) -> None:
    scores = series(1, 256)
    scores[begin : begin + length] += 20
    left = without_bursts(scores, 0.01, near)
    assert left.max() < 10
    lost = len(range(max(begin - near, 0), min(begin + length + near, 256)))
    assert 0 <= 256 - len(left) - lost <= 4  # a high score or two beside it


def test_two_bursts_are_left_out() -> None:
    scores = series(2, 512)
    scores[50:80] += 10
    scores[400:420] += 30
    left = without_bursts(scores, 0.01, 0)
    assert left.max() < 5
    assert 455 <= len(left) <= 462


def test_what_comes_again_and_again_is_normal() -> None:
    scores = series(3, 512)
    for begin in range(30, 512, 120):
        scores[begin : begin + 10] += 10
    assert len(without_bursts(scores, 0.01, 0)) == 512


@pytest.mark.parametrize("far", [0.01, 0.05])
def test_high_scores_that_lie_all_over_stay(far: float) -> None:
    kept = [len(without_bursts(series(seed, 256), far, 10)) == 256 for seed in range(200)]
    assert np.mean(kept) > 0.98


@pytest.mark.parametrize(("length", "left"), [(1, "155"), (2, "9155"), (3, "91599567")])
def test_runs_above_a_threshold_are_left_out(length: int, left: str) -> None:
    scores = np.array(list("91599567"), np.float64)  # above 5: a 9 at the beginning, 99, 67 at the end
    assert without_runs(scores, 5.0, length).tolist() == list(map(float, left))
