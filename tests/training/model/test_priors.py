"""The KL of a posterior from each prior, against torch.distributions, numerical integration and sampling."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm
from torch import Tensor, distributions

from vae_detect.training.model.priors import ClassMeans, Mixture, StandardNormal, kl_mixture

PAIRS = st.lists(st.floats(-5, 5), min_size=2, max_size=2)
LOG_VARIANCES = st.lists(st.floats(-6, 3), min_size=2, max_size=2)


def tensor(values: list[float] | list[list[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def kl_by_hand(mean: list[float], log_variance: list[float], center: list[float]) -> float:
    """1/2 sum((mu - m)^2 + s^2 - log s^2 - 1)."""
    terms = zip(mean, log_variance, center, strict=True)
    return 0.5 * sum((mu - m) ** 2 + math.exp(lv) - lv - 1 for mu, lv, m in terms)


# --- the mixture -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(PAIRS, LOG_VARIANCES, PAIRS, LOG_VARIANCES)
def test_one_component_is_the_kl_of_torch(
    mean: list[float], log_variance: list[float], center: list[float], log_spread: list[float]
) -> None:
    found = kl_mixture(tensor([mean]), tensor([log_variance]), tensor([0.0]), tensor([center]), tensor([log_spread]))
    q = distributions.Normal(tensor(mean), torch.exp(0.5 * tensor(log_variance)))
    p = distributions.Normal(tensor(center), torch.exp(0.5 * tensor(log_spread)))
    expected = distributions.kl_divergence(q, p).sum()
    torch.testing.assert_close(found, expected[None], rtol=1e-9, atol=1e-9)


WEIGHTS, CENTERS, SPREADS = [0.2, 0.5, 0.3], [-2.0, 0.5, 3.0], [0.5, 1.0, 2.0]


def kl_by_quadrature(mean: float, s: float) -> float:
    """Integral of q log(q / p) over 10 standard deviations of q, p the mixture above."""
    q = norm(mean, s)

    def integrand(z: float) -> float:
        log_p = logsumexp(
            [math.log(w) + norm.logpdf(z, m, t) for w, m, t in zip(WEIGHTS, CENTERS, SPREADS, strict=True)]
        )
        return float(q.pdf(z) * (q.logpdf(z) - log_p))

    return float(quad(integrand, mean - 10 * s, mean + 10 * s, limit=200, epsabs=1e-6)[0])


@pytest.mark.parametrize("mean", [-3.0, -0.5, 1.8])
@pytest.mark.parametrize("s", [0.1, 1.5])
def test_several_components_bound_the_integral_from_above(mean: float, s: float) -> None:
    found = kl_mixture(
        tensor([[mean]]),
        2 * tensor([[math.log(s)]]),
        torch.log(tensor(WEIGHTS)),
        tensor([[m] for m in CENTERS]),
        2 * torch.log(tensor([[t] for t in SPREADS])),
    )
    exact = kl_by_quadrature(mean, s)
    nearest = min(
        float(distributions.kl_divergence(distributions.Normal(mean, s), distributions.Normal(m, t))) - math.log(w)
        for w, m, t in zip(WEIGHTS, CENTERS, SPREADS, strict=True)
    )
    assert exact - 1e-6 <= float(found) <= nearest + 1e-6  # better than taking the best component alone


def test_several_components_bound_the_kl_of_samples_from_above() -> None:
    generator = torch.Generator().manual_seed(0)
    means, log_variances = torch.randn(4, 3, generator=generator), 0.5 * torch.randn(4, 3, generator=generator)
    mean, log_variance = torch.randn(6, 3, generator=generator), torch.randn(6, 3, generator=generator) - 1
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    found = kl_mixture(mean, log_variance, torch.log(weights), means, log_variances)
    q = distributions.Independent(distributions.Normal(mean, torch.exp(0.5 * log_variance)), 1)
    components = distributions.Independent(distributions.Normal(means, torch.exp(0.5 * log_variances)), 1)
    p = distributions.MixtureSameFamily(distributions.Categorical(weights), components)
    z = mean + torch.exp(0.5 * log_variance) * torch.randn(20_000, 6, 3, generator=generator)
    differences = q.log_prob(z) - p.log_prob(z)
    sampled, error = differences.mean(0), differences.std(0) / math.sqrt(20_000)
    assert bool((found >= sampled - 4 * error).all())
    assert bool((found <= sampled + 1.5).all())  # a bound that is of use


def test_components_far_apart_cost_their_weight() -> None:
    # A posterior that is one of two distant components: KL 0 from it, so log 4 for its weight of 1/4.
    found = kl_mixture(
        tensor([[30.0]]),
        tensor([[0.0]]),
        torch.log(tensor([0.75, 0.25])),
        tensor([[-30.0], [30.0]]),
        tensor([[0.0]] * 2),
    )
    assert found.tolist() == pytest.approx([math.log(4)])


def test_equal_components_are_one() -> None:
    mean, log_variance = tensor([[0.3, -1.0]]), tensor([[-1.0, 0.2]])
    several = kl_mixture(
        mean, log_variance, torch.log(tensor([0.5, 0.3, 0.2])), tensor([[1.0, 2.0]] * 3), tensor([[0.5, 0.0]] * 3)
    )
    one = kl_mixture(mean, log_variance, tensor([0.0]), tensor([[1.0, 2.0]]), tensor([[0.5, 0.0]]))
    torch.testing.assert_close(several, one)


def test_a_mixture_has_weights_that_sum_to_one_and_bounded_scales() -> None:
    prior = Mixture(2, 3)
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.0, 1.0, -50.0]))
        prior.log_variances.copy_(torch.tensor([[-100.0, 100.0], [0.0, 1.0], [0.0, 0.0]]))
    described = prior.describe()
    assert sum(described.weights) == pytest.approx(1)
    assert described.weights[1] / described.weights[0] == pytest.approx(math.e)
    assert described.scales[0] == pytest.approx((math.exp(-3), math.exp(1)))
    assert described.scales[1] == pytest.approx((1.0, math.exp(0.5)))


def test_a_mixture_learns_where_the_codes_are() -> None:
    torch.manual_seed(0)
    prior = Mixture(1, 2)
    mean = torch.tensor([[-4.0], [4.0]]).repeat(5, 1)
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        prior.kl(mean, torch.full_like(mean, -2.0)).mean().backward()
        optimiser.step()
    # What is left is log 2, which of the two it was.
    assert prior.kl(mean, torch.full_like(mean, -2.0)).mean().item() == pytest.approx(math.log(2), abs=0.01)
    assert sorted(prior.means.flatten().tolist()) == pytest.approx([-4.0, 4.0], abs=0.05)


# --- the classes -----------------------------------------------------------------------------------------------------


@pytest.fixture
def by_class() -> ClassMeans:
    prior = ClassMeans(2, [0.75, 0.25]).double().requires_grad_(False)
    prior.means.copy_(tensor([[1.0, 0.0], [-1.0, 2.0]]))
    prior.log_weights.copy_(torch.log(tensor([0.75, 0.25])))
    return prior


MEAN, LOG_VARIANCE = [0.5, -0.25], [-1.0, 0.5]


@pytest.mark.parametrize("known", [0, 1])
def test_a_known_class_costs_the_distance_from_its_mean(by_class: ClassMeans, known: int) -> None:
    one_hot = tensor([[1.0, 0.0], [0.0, 1.0]])[known : known + 1]
    found = by_class.kl(tensor([MEAN]), tensor([LOG_VARIANCE]), one_hot)
    assert found.tolist() == pytest.approx([kl_by_hand(MEAN, LOG_VARIANCE, [[1.0, 0.0], [-1.0, 2.0]][known])])


def marginalised() -> float:
    """-log(3/4 exp(-KL_0) + 1/4 exp(-KL_1))."""
    first, second = (kl_by_hand(MEAN, LOG_VARIANCE, center) for center in ([1.0, 0.0], [-1.0, 2.0]))
    return -math.log(0.75 * math.exp(-first) + 0.25 * math.exp(-second))


def test_an_unknown_class_is_marginalised(by_class: ClassMeans) -> None:
    unknown = by_class.kl(tensor([MEAN]), tensor([LOG_VARIANCE]), tensor([[0.0, 0.0]]))
    without = by_class.kl(tensor([MEAN]), tensor([LOG_VARIANCE]))
    assert unknown.tolist() == without.tolist() == pytest.approx([marginalised()])


def test_known_and_unknown_classes_share_a_batch(by_class: ClassMeans) -> None:
    found = by_class.kl(tensor([MEAN] * 3), tensor([LOG_VARIANCE] * 3), tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]))
    expected = [kl_by_hand(MEAN, LOG_VARIANCE, [-1.0, 2.0]), marginalised(), kl_by_hand(MEAN, LOG_VARIANCE, [1.0, 0.0])]
    assert found.tolist() == pytest.approx(expected)


def test_the_classes_are_a_mixture_to_draw_from(by_class: ClassMeans) -> None:
    described = by_class.describe()
    assert described.weights == pytest.approx((0.75, 0.25))
    assert described.means == ((1.0, 0.0), (-1.0, 2.0))
    assert described.scales == ((1.0, 1.0), (1.0, 1.0))


def test_the_standard_normal_is_a_mixture_of_one() -> None:
    described = StandardNormal(3).describe()
    mean, log_variance = tensor([[0.5, -2.0, 1.0]]), tensor([[0.1, -3.0, 1.0]])
    of_one = kl_mixture(
        mean,
        log_variance,
        torch.log(tensor(list(described.weights))),
        tensor(list(map(list, described.means))),
        2 * torch.log(tensor(list(map(list, described.scales)))),
    )
    torch.testing.assert_close(StandardNormal(3).kl(mean, log_variance), of_one)
