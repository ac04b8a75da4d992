"""What dependent scores are worth, against closed forms of Gaussian series."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from vae_detect.runtime.calibration.dependence import Memory


def ar1(coefficient: float, n: int, seed: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=n + 2000) * np.sqrt(1 - coefficient**2)
    return np.asarray(lfilter([1], [1, -coefficient], noise)[2000:], np.float64)


def exact_memory(correlation: NDArray[np.floating], far: float) -> float:
    """1 + 2 sum_h corr(1{Z_0 > u}, 1{Z_h > u}) by the distribution function of two normal variables."""
    level = -ndtri(far)
    together = [multivariate_normal.cdf([-level, -level], cov=[[1, r], [r, 1]]) for r in correlation]
    return float(1 + 2 * np.sum((np.array(together) - far**2) / (far * (1 - far))))


@pytest.mark.parametrize("far", [0.2, 0.05, 0.001])
def test_worth_of_known_correlation(far: float) -> None:
    correlation = 0.8 ** np.arange(1, 30)
    worth = Memory(1000, np.asarray(correlation, np.float64), 0.1).worth(far)
    assert worth.rows == pytest.approx(1000 / exact_memory(correlation, far), rel=1e-3)
    assert worth.less(2) == pytest.approx(worth.rows / 1.2)
    assert worth.more(2) == pytest.approx(worth.rows * 1.2)


@pytest.mark.parametrize(("coefficient", "far"), [(0.5, 0.01), (0.9, 0.05), (0.9, 0.001), (0.97, 0.01)])
def test_worth_of_a_series(coefficient: float, far: float) -> None:
    found = [Memory.of(ar1(coefficient, 5000, seed), 10).worth(far).rows for seed in range(15)]
    exact = 5000 / exact_memory(coefficient ** np.arange(1, 400), far)
    assert np.median(found) == pytest.approx(exact, rel=0.15)


def test_independent_scores_are_worth_themselves() -> None:
    assert Memory.none(100).worth(0.01).rows == 100
    found = [Memory.of(np.random.default_rng(seed).normal(size=1000), 10).worth(0.01).rows for seed in range(20)]
    assert np.median(found) > 900


def test_any_monotone_scale_gives_the_same() -> None:
    series = ar1(0.9, 2000, 1)
    assert Memory.of(np.exp(3 * series), 10).worth(0.01) == Memory.of(series, 10).worth(0.01)


def test_runs_after_one_spike_count() -> None:
    # The largest of 16 rows, as windows give it: a spike fills 16 windows, at every level.
    spikes = np.random.default_rng(2).standard_cauchy(size=8000 + 15)
    windows = np.lib.stride_tricks.sliding_window_view(np.abs(spikes), 16).max(axis=1)
    memory = Memory.of(windows, 16)
    assert memory.runs > 1
    assert 8000 / 20 < memory.worth(0.001).rows < 8000 / 6  # a Gaussian series would be worth more
    assert Memory(memory.n, memory.correlation, memory.error).worth(0.001).rows > 8000 / 6


def test_equal_scores_are_worth_as_many_as_they_cannot_be_told_apart() -> None:
    assert Memory.of(np.ones(100), 9).worth(0.05).rows == pytest.approx(100 / 19)
