"""Our own quantiles, transform and ranks against SciPy's."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import betaincinv, boxcox, ndtri
from scipy.stats import rankdata

from vae_detect.runtime.calibration.distributions import beta_quantile, box_cox, normal_quantile, ranks

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("effective_n", [1e-3, 0.7, 8.0, 99.0, 2048.0, 31_234.5, 1e6])
@pytest.mark.parametrize("far", [1e-7, 1e-4, 0.01, 0.3, 0.49])
def test_quantiles_of_rates_are_those_of_scipy(far: float, effective_n: float, p: float) -> None:
    a = (effective_n + 1) * far
    for shape in ((a, effective_n + 1 - a), (a + 1, effective_n), (max(a, 1.0), max(effective_n - a, 1e-9))):
        assert beta_quantile(*shape, p) == pytest.approx(betaincinv(*shape, p), rel=1e-9, abs=1e-290)


@given(log_a=st.floats(-7, 6), log_b=st.floats(-9, 6), p=st.sampled_from([0.05, 0.25, 0.75, 0.95]))
@settings(max_examples=150, deadline=None)
def test_quantiles_of_any_beta_distribution_are_those_of_scipy(log_a: float, log_b: float, p: float) -> None:
    a, b = 10.0**log_a, 10.0**log_b
    assert beta_quantile(a, b, p) == pytest.approx(betaincinv(a, b, p), rel=1e-8, abs=1e-290)


@pytest.mark.parametrize(
    ("a", "b", "p", "expected"),
    [
        (1.0, 1.0, 0.05, 0.05),  # uniform
        (1.0, 99.0, 0.95, 1 - 0.05 ** (1 / 99)),  # I_x(1, b) = 1 - (1 - x)^b
        (30.0, 1.0, 0.05, 0.05 ** (1 / 30)),  # I_x(a, 1) = x^a
        (0.5, 0.5, 0.95, math.sin(math.pi * 0.95 / 2) ** 2),  # the arcsine law
        (1e-6, 1.0, 0.05, 0.0),  # 0.05^1000000
    ],
)
def test_quantiles_in_closed_form(a: float, b: float, p: float, expected: float) -> None:
    assert beta_quantile(a, b, p) == pytest.approx(expected, rel=1e-13)


def test_normal_quantiles_are_those_of_scipy() -> None:
    p = np.concatenate([10.0 ** -np.arange(1, 16), [0.025, 0.5, 0.9], 1 - 10.0 ** -np.arange(1, 15)])
    np.testing.assert_allclose(normal_quantile(p), ndtri(p), rtol=1e-12, atol=1e-15)
    assert normal_quantile(0.975) == pytest.approx(1.959963984540054, rel=1e-14)
    assert normal_quantile(p.reshape(4, -1)).shape == (4, p.size // 4)


@pytest.mark.parametrize("power", [-0.5, -1e-12, 0.0, 1e-18, 0.3, 0.5])
def test_box_cox_is_that_of_scipy(power: float) -> None:
    x = 10.0 ** np.linspace(-3, 12, 50)
    np.testing.assert_allclose(box_cox(x, power), boxcox(x, power), rtol=1e-14)


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks(np.array([7.0, 3.0, 7.0, 9.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


@pytest.mark.parametrize("values", [GENERATOR.normal(size=100), GENERATOR.integers(0, 5, 100), np.ones(9), np.empty(0)])
def test_ranks_are_those_of_scipy(values: NDArray[np.float64]) -> None:
    np.testing.assert_array_equal(ranks(values), rankdata(values))
