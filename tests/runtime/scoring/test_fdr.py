"""Levels by hand and against the sum that defines them, and what they keep: on every path, and in simulations."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.scoring.fdr import SPREAD, DiscoveryThreshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

FDR, BASE = 0.1, 0.002
DELTA = 1 - BASE / FDR


def levels(p_values: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """alpha_t of each row, and which alarm."""
    threshold = DiscoveryThreshold(FDR, base=BASE)
    found, alarms = [], []
    for p in p_values:
        found.append(threshold.level)
        alarms.append(bool(threshold.verdicts(np.array([p], np.float32))[0]))
    return np.array(found), np.array(alarms, np.bool_)


def test_levels_by_hand() -> None:
    found, alarms = levels(np.array([1.0, 0.002, 0.5, 0.5], np.float32))
    assert alarms.tolist() == [False, True, False, False]
    # base; base; then an alarm one row ago earns 0.1 * 0.98 * 0.1, and two rows ago 0.98 * 0.9 times that
    np.testing.assert_allclose(found, [0.002, 0.002, 0.002 + 0.0098, 0.002 + 0.0098 * 0.98 * 0.9])


@given(st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.2, 1.0]), max_size=80))
def test_levels_are_the_sum_over_alarms_and_never_more_than_was_earned(p_values: list[float]) -> None:
    found, alarms = levels(np.array(p_values, np.float32))
    n = len(p_values)
    for t in range(n):
        since = t - np.flatnonzero(alarms[:t])
        expected = FDR * (1 - DELTA + np.sum(DELTA**since * (1 - SPREAD) * SPREAD ** (since - 1.0)))
        assert found[t] == pytest.approx(expected)
        remembered = DELTA ** (t - np.arange(t + 1.0))
        spent, earned = remembered @ found[: t + 1], FDR * (remembered @ alarms[: t + 1] + 1)
        assert spent <= earned * (1 + 1e-9)  # what the proof stands on, on every path


def test_rows_without_a_score_move_nothing() -> None:
    one, other = DiscoveryThreshold(FDR, base=BASE), DiscoveryThreshold(FDR, base=BASE)
    assert one.verdicts(np.array([0.001, np.nan, np.nan, 0.5], np.float32)).tolist() == [True, False, False, False]
    other.verdicts(np.array([0.001, 0.5], np.float32))
    assert one.earned == other.earned


def remembered(share: float, rows_together: int, *, runs: int, rows: int) -> NDArray[np.float64]:
    """V(T) and R(T) at the end of simulated runs, (2, runs): p uniform where normal, else shifted by 3.5 deviations."""
    generator, normal = np.random.default_rng([int(share * 1e4), rows_together]), NormalDist()
    weights, found = DELTA ** np.arange(rows - 1.0, -1.0, -1.0), []
    for _ in range(runs):
        faults = np.repeat(generator.random(rows // rows_together) < share, rows_together)
        p = generator.random(rows)
        p[faults] = [normal.cdf(normal.inv_cdf(each) - 3.5) for each in p[faults]]
        alarms = DiscoveryThreshold(FDR, base=BASE).verdicts(p.astype(np.float32))
        found.append((weights @ (alarms & ~faults), weights @ alarms))
    return np.array(found).T


@pytest.mark.parametrize("rows_together", [1, 20])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1])
def test_what_is_kept_of_independent_rows(share: float, rows_together: int) -> None:
    false, all_ = remembered(share, rows_together, runs=1000, rows=400)  # the same draws each time
    excess = false - FDR * (all_ + 1)
    error = float(excess.std()) / len(excess) ** 0.5
    assert excess.mean() <= 3 * error  # without faults it is 0, but for chance: the level wastes nothing
    if share == 0:
        assert excess.mean() >= -3 * error
    else:
        assert all_.mean() > 1.5 * false.mean() or share < 0.01  # and faults are found


def test_the_level_is_what_a_model_can_tell(detector: Detector) -> None:
    calibration = detector.bundle.calibration
    assert calibration.resolution < calibration.far == 0.001
    assert DiscoveryThreshold.of(calibration, 0.1).level == pytest.approx(calibration.resolution)
    with pytest.raises(InputError, match=r"--fdr is 0\.0005, expected more than 0\.0007"):
        DiscoveryThreshold.of(calibration, 0.0005)
    with pytest.raises(InputError, match=r"at most 0\.5"):
        DiscoveryThreshold.of(calibration, 0.6)
