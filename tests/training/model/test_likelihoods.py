"""Likelihoods against torch.distributions, and the KL against numerical integration: two sources besides the code."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor, distributions

from vae_detect.runtime.bundle import Column
from vae_detect.training.model.likelihoods import (
    LIKELIHOODS,
    LOGIT_BOUND,
    SCALE_BOUNDS,
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    Laplace,
    Mixed,
    kl_per_dimension,
    kl_standard_normal,
)
from vae_detect.training.model.transform import Expansion

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
    expected = {
        "gaussian": Gaussian,
        "laplace": Laplace,
        "bernoulli": Bernoulli,
        "continuous-bernoulli": ContinuousBernoulli,
    }
    assert expected == LIKELIHOODS


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


# --- continuous Bernoulli --------------------------------------------------------------------------------------------

SHARES = st.lists(st.floats(0, 1), min_size=3, max_size=3)
LOGITS = st.lists(st.floats(-10, 10), min_size=3, max_size=3)


def nll_of_continuous_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    likelihood = ContinuousBernoulli(x.shape[-1]).double()
    return likelihood.deviance(x, logits).sum(-1) + likelihood.log_normaliser()


@settings(deadline=None)
@given(SHARES, LOGITS)
def test_continuous_bernoulli_is_that_of_torch(x: list[float], logits: list[float]) -> None:
    # torch takes a probability within 0.499 and 0.501 for 1/2, to second order.
    expected = -distributions.ContinuousBernoulli(logits=tensor(logits)).log_prob(tensor(x)).sum()
    torch.testing.assert_close(nll_of_continuous_bernoulli(tensor(x), tensor(logits)), expected, rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(LOGITS)
def test_the_mean_of_continuous_bernoulli_is_that_of_torch(logits: list[float]) -> None:
    found = ContinuousBernoulli(3).double().mean(tensor(logits))
    torch.testing.assert_close(
        found, distributions.ContinuousBernoulli(logits=tensor(logits)).mean, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("logit", [-10.0, -1.0, -0.11, -0.09, 0.0, 0.05, 0.101, 3.0, 10.0, 25.0])
def test_continuous_bernoulli_integrates_to_one(logit: float) -> None:
    def density(x: float) -> float:
        return math.exp(-float(nll_of_continuous_bernoulli(tensor([x]), tensor([logit]))))

    assert quad(density, 0, 1)[0] == pytest.approx(1, abs=1e-6)
    mean = quad(lambda x: x * density(x), 0, 1)[0]
    assert float(ContinuousBernoulli(1).double().mean(tensor([logit]))) == pytest.approx(mean, abs=1e-5)


def test_continuous_bernoulli_by_hand() -> None:
    # logit 0 is the uniform density, 1; the highest density is 10 / (1 - e^-10), at x = 1 and logit 10
    highest = math.log(10 / (1 - math.exp(-10)))
    likelihood = ContinuousBernoulli(1).double()
    assert float(likelihood.deviance(tensor([0.3]), tensor([0.0]))) == pytest.approx(highest)
    assert float(likelihood.deviance(tensor([1.0]), tensor([99.0]))) == pytest.approx(0, abs=1e-12)
    assert float(likelihood.deviance(tensor([0.0]), tensor([-99.0]))) == pytest.approx(0, abs=1e-12)
    assert float(ContinuousBernoulli(2).double().log_normaliser()) == pytest.approx(-2 * highest)


@pytest.mark.parametrize(("edge", "side"), [(0.0, -1.0), (1.0, 1.0)])
def test_continuous_bernoulli_keeps_rising_outside_its_range(edge: float, side: float) -> None:
    likelihood = ContinuousBernoulli(1).double()
    at, beyond = (likelihood.deviance(tensor([edge + side * away]), tensor([2.0])) for away in (0.0, 3.0))
    assert float(beyond - at) == pytest.approx(3 * LOGIT_BOUND)


@pytest.mark.parametrize("logit", [-0.1, 0.0, 0.1])
def test_the_series_of_continuous_bernoulli_meets_the_formula(logit: float) -> None:
    likelihood = ContinuousBernoulli(1).double()
    x = tensor([0.7])
    for function in (likelihood.mean, lambda output: likelihood.deviance(x, output)):
        below, above = function(tensor([logit - 1e-9])), function(tensor([logit + 1e-9]))
        assert float(above - below) == pytest.approx(0, abs=3e-6)


# --- mixed columns ---------------------------------------------------------------------------------------------------

COLUMNS = (
    Column("state", "", 0.0, 1.0, "category", levels=(1.0, 2.0, 5.0)),
    Column("speed", "rpm", 10.0, 2.0),
    Column("class", "", 0.0, 1.0, "class", levels=(0.0, 1.0)),
    Column("open", "", 0.0, 1.0, "binary", levels=(0.0, 1.0)),
    Column("load", "%", 50.0, 10.0),
    Column("mode", "", 0.0, 1.0, "category", levels=(0.0, 1.0)),
)
"""The decoder's output stands for speed, load; open; state at 1, 2, 5; mode at 0, 1."""

OUTPUT = [0.5, -1.0, 0.3, 0.1, -0.2, 2.0, -1.5, 0.5]


def mixed() -> Mixed:
    return Mixed(Expansion(COLUMNS), Gaussian(2)).double().requires_grad_(False)


def test_mixed_columns_are_what_torch_has_for_each() -> None:
    likelihood, output = mixed(), tensor([OUTPUT])
    with torch.no_grad():
        likelihood.numbers.get_parameter("raw_scale").copy_(tensor([-1.0, 2.0]))
    found = likelihood.deviance(tensor([[5.0, 1.5, 1.0, 0.0, -2.0, 0.0]]), output)[0]
    scale = likelihood.numbers.scale()
    gaussian = distributions.Normal(tensor([0.5, -1.0]), scale)
    expected_numbers = gaussian.log_prob(tensor([0.5, -1.0])) - gaussian.log_prob(tensor([1.5, -2.0]))  # half deviances
    state = distributions.Categorical(logits=tensor([0.1, -0.2, 2.0]))
    mode = distributions.Categorical(logits=tensor([-1.5, 0.5]))
    flag = distributions.Bernoulli(logits=tensor([0.3]))
    expected = [
        -float(state.log_prob(torch.tensor(2))),
        float(expected_numbers[0]),
        0.0,
        -float(flag.log_prob(tensor([0.0]))),
        float(expected_numbers[1]),
        -float(mode.log_prob(torch.tensor(0))),
    ]
    assert found.tolist() == pytest.approx(expected)
    assert float(likelihood.log_normaliser()) == pytest.approx(float(torch.log(scale).sum()) + math.log(2 * math.pi))
    assert likelihood.scale().tolist() == pytest.approx([1.0, float(scale[0]), 1.0, 1.0, float(scale[1]), 1.0])


@pytest.mark.parametrize("unknown", [0.0, 3.0, -1.0, 1e6, 2.0000001])
def test_an_unknown_level_costs_what_the_least_likely_one_can(unknown: float) -> None:
    found = mixed().deviance(tensor([[unknown, 0.0, 0.0, 0.0, 0.0, 0.0]]), tensor([OUTPUT]))
    worst = distributions.Categorical(logits=tensor([-LOGIT_BOUND, LOGIT_BOUND, LOGIT_BOUND]))
    assert float(found[0, 0]) == pytest.approx(2 * LOGIT_BOUND + math.log(3))
    assert float(found[0, 0]) > -float(worst.log_prob(torch.tensor(0)))


@pytest.mark.parametrize("of_class", [0.0, 1.0, -1.0, 7.0])
def test_a_class_column_costs_nothing(of_class: float) -> None:
    assert float(mixed().deviance(tensor([[1.0, 0.0, of_class, 0.0, 0.0, 0.0]]), tensor([OUTPUT]))[0, 2]) == 0


def test_the_logits_of_a_category_are_bounded() -> None:
    output = tensor([[0.0, 0.0, 0.0, 1e6, -1e6, -1e6, 0.0, 0.0]])
    found = mixed().deviance(tensor([[2.0, 0.0, 0.0, 0.0, 0.0, 0.0]]), output)
    assert float(found[0, 0]) == pytest.approx(math.log(math.exp(20) + 2))  # of 10 against -10


def test_the_means_of_mixed_columns_stand_where_the_columns_do() -> None:
    found = mixed().mean(tensor([OUTPUT]))[0].tolist()
    # the most likely levels are 5 and 1; the class is unknown
    assert found == pytest.approx([5.0, 0.5, -1.0, 1 / (1 + math.exp(-0.3)), -1.0, 1.0])


def test_what_a_network_sees_of_the_mean_is_in_the_order_of_the_expansion() -> None:
    likelihood = mixed()
    found = likelihood.expected(tensor([OUTPUT]))[0]
    state, mode = torch.softmax(tensor([0.1, -0.2, 2.0]), -1), torch.softmax(tensor([-1.5, 0.5]), -1)
    expected = [0.5, -1.0, 1 / (1 + math.exp(-0.3)), *state.tolist(), *mode.tolist()]
    assert found.tolist() == pytest.approx(expected)
    seen = likelihood.expansion.expand(tensor([[5.0, 1.5, 1.0, 0.0, -2.0, 0.0]]))
    assert seen.tolist() == [[1.5, -2.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]]


def test_the_deviance_of_mixed_columns_keeps_the_shape_of_windows() -> None:
    x, output = torch.zeros(5, 4, 6), torch.zeros(5, 4, 8)
    likelihood = Mixed(Expansion(COLUMNS), Gaussian(2))
    assert likelihood.deviance(x, output).shape == (5, 4, 6)
    several = likelihood.deviance(x, output.expand(7, 5, 4, 8))  # noise points
    assert several.shape == (7, 5, 4, 6)
    torch.testing.assert_close(several[3], likelihood.deviance(x, output))


def test_flags_and_categories_alone_have_no_normaliser() -> None:
    likelihood = Mixed(Expansion(COLUMNS[3:4]), Gaussian(0)).requires_grad_(False)
    assert float(likelihood.log_normaliser()) == 0
    assert likelihood.deviance(torch.tensor([[1.0]]), torch.tensor([[0.0]])).tolist() == [[pytest.approx(math.log(2))]]


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


@settings(deadline=None)
@given(MEANS, LOG_VARIANCES)
def test_the_kl_of_each_dimension_is_that_of_torch(mean: list[float], log_variance: list[float]) -> None:
    found = kl_per_dimension(tensor([mean]), tensor([log_variance]))
    q = distributions.Normal(tensor([mean]), torch.exp(0.5 * tensor([log_variance])))
    p = distributions.Normal(torch.zeros_like(found), torch.ones_like(found))
    torch.testing.assert_close(found, distributions.kl_divergence(q, p), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.sum(-1), kl_standard_normal(tensor([mean]), tensor([log_variance])))
