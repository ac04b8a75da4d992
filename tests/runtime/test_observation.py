"""Rows drawn around their expectation: the noise of each kind of column."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy.stats import kstest

from vae_detect.runtime.bundle import Bundle, Column
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.observation import observe

N = 20_000


def bundle_with(detector: Detector, *columns: Column, likelihood: str = "gaussian") -> Bundle:
    return msgspec.structs.replace(detector.bundle, columns=columns, likelihood=likelihood)


def drawn(bundle: Bundle, expected: float, scale: float) -> np.typing.NDArray[np.float64]:
    """One column at this expectation, drawn N times."""
    means, scales = (np.full((N, 1), value, np.float32) for value in (expected, scale))
    return observe(means, scales, bundle, np.random.default_rng(0))[:, 0].astype(np.float64)


def test_numbers_get_the_noise_of_the_likelihood(detector: Detector) -> None:
    column = Column("flow", "", 10.0, 4.0)

    gaussian = drawn(bundle_with(detector, column), 12.0, 0.5)
    laplace = drawn(bundle_with(detector, column, likelihood="laplace"), 12.0, 0.5)

    assert kstest(gaussian, "norm", (12.0, 0.5)).pvalue > 0.01
    assert kstest(laplace, "laplace", (12.0, 0.5)).pvalue > 0.01


def test_noise_is_in_the_treated_units(detector: Detector) -> None:
    log = drawn(bundle_with(detector, Column("count", "", 0.0, 1.0, "log", knee=2.0)), 20.0, 0.3)
    logit = drawn(bundle_with(detector, Column("load", "%", 0.0, 1.0, "logit", levels=(0.0, 100.0))), 80.0, 0.3)

    assert kstest(np.log1p(log / 2.0), "norm", (np.log1p(10.0), 0.3)).pvalue > 0.01
    assert kstest(np.log(logit / (100 - logit)), "norm", (np.log(4.0), 0.3)).pvalue > 0.01


def test_flags_are_drawn_and_categories_stay(detector: Detector) -> None:
    flag = drawn(bundle_with(detector, Column("open", "", 2.0, 3.0, "binary", levels=(2.0, 5.0))), 2.9, 3.0)
    mode = drawn(bundle_with(detector, Column("mode", "", 0.0, 1.0, "category", levels=(0.0, 1.0))), 1.0, 1.0)

    assert set(flag.tolist()) == {2.0, 5.0}
    assert (flag == 5.0).mean() == pytest.approx(0.3, abs=0.02)
    assert set(mode.tolist()) == {1.0}


def test_only_numbers_are_flags_under_a_bernoulli(detector: Detector) -> None:
    mode = Column("mode", "", 0.0, 1.0, "category", levels=(0.0, 1.0, 3.0))
    shift = Column("shift", "", 0.0, 1.0, "class", levels=(0.0, 1.0))
    flag = drawn(bundle_with(detector, Column("open", "", 0.0, 1.0), likelihood="bernoulli"), 0.3, 1.0)

    assert set(flag.tolist()) == {0.0, 1.0}
    assert set(drawn(bundle_with(detector, mode, likelihood="bernoulli"), 3.0, 1.0).tolist()) == {3.0}
    assert set(drawn(bundle_with(detector, shift, likelihood="bernoulli"), -1.0, 1.0).tolist()) == {-1.0}


def test_windows_are_drawn_place_by_place(detector: Detector) -> None:
    bundle = bundle_with(detector, Column("flow", "", 0.0, 1.0))
    expected = np.zeros((2, 5000, 1), np.float32)

    rows = observe(expected, np.ones_like(expected), bundle, np.random.default_rng(1))

    assert rows.shape == expected.shape
    assert abs(np.corrcoef(rows[0, :, 0], rows[1, :, 0])[0, 1]) < 0.05
    assert rows.std() == pytest.approx(1.0, abs=0.02)
