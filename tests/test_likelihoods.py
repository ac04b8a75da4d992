"""Likelihoods against torch.distributions, and the KL against numerical integration: two sources besides the code."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor, distributions

from vae_detect.training.likelihoods import (
    LIKELIHOODS,
    LOGIT_BOUND,
    SCALE_BOUNDS,
    Bernoulli,
    Gaussian,
    Laplace,
    kl_standard_normal,
)

SCALED: dict[str, type[Gaussian] | type[Laplace]] = {"gaussian": Gaussian, "laplace": Laplace}
REAL = st.floats(-1e3, 1e3, allow_nan=False)
TRIPLES = st.lists(REAL, min_size=3, max_size=3)


def tensor(values: list[float] | list[list[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scaled(name: str, raw: list[float]) -> Gaussian | Laplace:
    likelihood: Gaussian | Laplace = SCALED[name](len(raw)).double().requires_grad_(False)
    with torch.no_grad():
        likelihood.raw_scale.copy_(tensor(raw))
    return likelihood


def test_the_table_has_every_name() -> None:
    assert {"gaussian": Gaussian, "laplace": Laplace, "bernoulli": Bernoulli} == LIKELIHOODS


# --- the densities ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(TRIPLES, TRIPLES, st.lists(st.floats(-8, 8), min_size=3, max_size=3))
def test_gaussian_is_the_normal_density(x: list[float], output: list[float], raw: list[float]) -> None:
    likelihood = scaled("gaussian", raw)
    found = likelihood.deviance(tensor(x), tensor(output)).sum() + likelihood.log_normaliser()
    expected = -distributions.Normal(tensor(output), likelihood.scale()).log_prob(tensor(x)).sum()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(TRIPLES, TRIPLES, st.lists(st.floats(-8, 8), min_size=3, max_size=3))
def test_laplace_is_the_laplace_density(x: list[float], output: list[float], raw: list[float]) -> None:
    likelihood = scaled("laplace", raw)
    found = likelihood.deviance(tensor(x), tensor(output)).sum() + likelihood.log_normaliser()
    expected = -distributions.Laplace(tensor(output), likelihood.scale()).log_prob(tensor(x)).sum()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3), st.lists(st.floats(-10, 10), min_size=3, max_size=3)
)
def test_bernoulli_is_the_bernoulli_probability(x: list[float], logits: list[float]) -> None:
    likelihood = Bernoulli(3).double()
    found = likelihood.deviance(tensor(x), tensor(logits)).sum() + likelihood.log_normaliser()
    expected = -distributions.Bernoulli(logits=tensor(logits)).log_prob(tensor(x)).sum()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_deviances_by_hand() -> None:
    x, output = tensor([1.0, -2.0]), tensor([0.0, 1.0])
    # at scale 1: squares 1/2 and 9/2; absolute values 1 and 3
    torch.testing.assert_close(scaled_at_one("gaussian").deviance(x, output), tensor([0.5, 4.5]))
    torch.testing.assert_close(scaled_at_one("laplace").deviance(x, output), tensor([1.0, 3.0]))
    # logit 0 is p = 1/2: log 2 for either outcome
    found = Bernoulli(2).double().deviance(tensor([0.0, 1.0]), tensor([0.0, 0.0]))
    torch.testing.assert_close(found, tensor([math.log(2), math.log(2)]))


def scaled_at_one(name: str) -> Gaussian | Laplace:
    return SCALED[name](2).double().requires_grad_(False)


@pytest.mark.parametrize("name", LIKELIHOODS)
@settings(deadline=None)
@given(x=TRIPLES, output=TRIPLES)
def test_deviance_is_never_negative(name: str, x: list[float], output: list[float]) -> None:
    likelihood = LIKELIHOODS[name](3).double()
    assert bool((likelihood.deviance(tensor(x), tensor(output)) >= 0).all())


@pytest.mark.parametrize("name", SCALED)
@settings(deadline=None)
@given(x=TRIPLES, raw=st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_deviance_is_zero_at_the_mean(name: str, x: list[float], raw: list[float]) -> None:
    likelihood = scaled(name, raw)
    assert likelihood.deviance(tensor(x), tensor(x)).tolist() == [0.0, 0.0, 0.0]
    assert likelihood.mean(tensor(x)).tolist() == x


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_deviance_keeps_the_shape_of_windows(name: str) -> None:
    x = torch.zeros(5, 4, 3)
    assert LIKELIHOODS[name](3).deviance(x, x).shape == (5, 4, 3)
    assert LIKELIHOODS[name](3).deviance(x, torch.zeros(7, 5, 4, 3)).shape == (7, 5, 4, 3)  # several noise points


# --- the scale -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCALED)
@settings(deadline=None)
@given(raw=st.floats(allow_nan=False, width=32))
def test_the_scale_stays_within_its_bounds(name: str, raw: float) -> None:
    scale = float(scaled(name, [raw]).scale()[0])
    assert SCALE_BOUNDS[0] * (1 - 1e-9) <= scale <= SCALE_BOUNDS[1] * (1 + 1e-9)


@pytest.mark.parametrize("name", SCALED)
def test_the_scale_starts_at_one(name: str) -> None:
    scale = SCALED[name](4).scale().detach()
    torch.testing.assert_close(scale, torch.ones(4), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SCALED)
def test_the_scale_is_learned(name: str) -> None:
    likelihood = SCALED[name](2)
    x = torch.tensor([[0.1, 0.1]])
    loss = likelihood.deviance(x, torch.zeros(1, 2)).sum() + likelihood.log_normaliser()
    loss.backward()
    # Residuals far below the scale: a smaller scale makes them likelier, so the loss rises with it.
    assert likelihood.raw_scale.grad is not None
    assert bool((likelihood.raw_scale.grad > 0).all())


def test_the_normalisers_by_hand() -> None:
    assert float(scaled_at_one("gaussian").log_normaliser()) == pytest.approx(math.log(2 * math.pi), abs=1e-6)
    assert float(scaled_at_one("laplace").log_normaliser()) == pytest.approx(2 * math.log(2), abs=1e-6)
    assert float(Bernoulli(2).log_normaliser()) == 0.0


# --- Bernoulli outside its range -------------------------------------------------------------------------------------


def test_bernoulli_has_no_scale_to_learn() -> None:
    assert list(Bernoulli(3).parameters()) == []
    assert Bernoulli(3).scale().tolist() == [1.0, 1.0, 1.0]


def test_bernoulli_bounds_its_probabilities() -> None:
    mean = Bernoulli(2).double().mean(tensor([1e6, -1e6]))
    assert mean.tolist() == pytest.approx([1 - 4.5398e-5, 4.5398e-5], abs=1e-8)  # sigmoid(+-10)


def test_a_perfect_bernoulli_reconstruction_costs_next_to_nothing() -> None:
    deviance = Bernoulli(2).double().deviance(tensor([1.0, 0.0]), tensor([1e6, -1e6]))
    assert deviance.tolist() == pytest.approx([4.5399e-5, 4.5399e-5], rel=1e-3)  # log(1 + exp(-10))


@settings(deadline=None)
@given(st.floats(-20, 20), st.floats(0, 1e3), st.floats(0.01, 1e3), st.sampled_from([-1.0, 1.0]))
def test_bernoulli_keeps_rising_outside_its_range(logit: float, distance: float, more: float, side: float) -> None:
    likelihood = Bernoulli(1).double()
    edge = 1.0 if side > 0 else 0.0

    def deviance(away: float) -> float:
        return float(likelihood.deviance(tensor([edge + side * away]), tensor([logit]))[0])

    assert deviance(distance + more) - deviance(distance) == pytest.approx(LOGIT_BOUND * more, rel=1e-6, abs=1e-6)


# --- the KL ----------------------------------------------------------------------------------------------------------

MEANS = st.lists(st.floats(-20, 20), min_size=2, max_size=2)
LOG_VARIANCES = st.lists(st.floats(-10, 4), min_size=2, max_size=2)


def kl_by_quadrature(mean: float, log_variance: float) -> float:
    """Integral of q log(q / p) over 12 standard deviations of q, from the densities' definitions."""
    s = math.exp(log_variance / 2)

    def integrand(t: float) -> float:  # z = mean + s t
        z = mean + s * t
        log_q = -0.5 * t * t - math.log(s) - 0.5 * math.log(2 * math.pi)
        log_p = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
        return math.exp(-0.5 * t * t) / math.sqrt(2 * math.pi) * (log_q - log_p)

    return float(quad(integrand, -12, 12, limit=200)[0])


@pytest.mark.parametrize("mean", [-3.0, 0.0, 0.25, 7.0])
@pytest.mark.parametrize("log_variance", [-10.0, -1.0, 0.0, 2.0, 4.0])
def test_kl_is_the_integral(mean: float, log_variance: float) -> None:
    found = kl_standard_normal(tensor([[mean, mean + 1]]), tensor([[log_variance, 0.5]]))
    expected = kl_by_quadrature(mean, log_variance) + kl_by_quadrature(mean + 1, 0.5)
    assert found.tolist() == pytest.approx([expected], rel=1e-8, abs=1e-8)


@settings(deadline=None)
@given(MEANS, LOG_VARIANCES)
def test_kl_is_that_of_torch(mean: list[float], log_variance: list[float]) -> None:
    mu, log_var = tensor([mean]), tensor([log_variance])
    q = distributions.Normal(mu, torch.exp(0.5 * log_var))
    p = distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    expected = distributions.kl_divergence(q, p).sum(-1)
    torch.testing.assert_close(kl_standard_normal(mu, log_var), expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(MEANS, LOG_VARIANCES)
def test_kl_is_never_negative(mean: list[float], log_variance: list[float]) -> None:
    in_doubles = float(kl_standard_normal(tensor([mean]), tensor([log_variance]))[0])
    in_floats = float(kl_standard_normal(tensor([mean]).float(), tensor([log_variance]).float())[0])
    # On paper >= 0; the sum of terms near 1 rounds.
    assert in_doubles >= -1e-15
    assert in_floats >= -1e-6


def test_kl_is_zero_for_the_prior_itself() -> None:
    assert kl_standard_normal(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0.0, 0.0, 0.0]


def test_kl_by_hand() -> None:
    # 1/2 (mu^2 + s^2 - log s^2 - 1): 1/2 (4 + 1 - 0 - 1) = 2 and 1/2 (0 + e - 1 - 1) = e/2 - 1
    found = kl_standard_normal(tensor([[2.0, 0.0]]), tensor([[0.0, 1.0]]))
    assert found.tolist() == pytest.approx([2 + math.e / 2 - 1])
