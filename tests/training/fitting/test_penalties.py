"""Penalties against torch.distributions, torch.autograd and numerical differences."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, distributions
from torch.nn import functional as F

from vae_detect.training.fitting import penalties
from vae_detect.training.model.networks import ConvEncoder, MlpEncoder
from vae_detect.training.model.steps import Step


def step_of(total: int, seed: int = 0) -> Step:
    return Step(torch.Generator().manual_seed(seed), total, slice(0, total))


# --- sparsity --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.001, 0.999), min_size=3, max_size=3), st.floats(0.001, 0.999))
def test_kl_sparsity_is_the_kl_of_bernoullis(activations: list[float], rho: float) -> None:
    mean = torch.tensor(activations, dtype=torch.float64)
    target = distributions.Bernoulli(probs=torch.full_like(mean, rho))
    expected = distributions.kl_divergence(target, distributions.Bernoulli(probs=mean)).sum()
    torch.testing.assert_close(penalties.kl_sparsity(mean, rho), expected, rtol=1e-6, atol=1e-6)


def test_kl_sparsity_by_hand() -> None:
    # rho = 1/2 against 1/4: 1/2 log 2 + 1/2 log(2/3) = 1/2 log(4/3)
    found = penalties.kl_sparsity(torch.tensor([0.25, 0.5], dtype=torch.float64), 0.5)
    assert float(found) == pytest.approx(0.5 * math.log(4 / 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kl_sparsity_of_saturated_units_is_finite(dtype: torch.dtype) -> None:
    mean = torch.tensor([0.0, 1.0], dtype=dtype)
    assert bool(torch.isfinite(penalties.kl_sparsity(mean, 0.05)))


def test_l1_by_hand() -> None:
    assert penalties.l1(torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.5, -0.5]])).tolist() == [3.0, 1.5]


# --- the Jacobian ----------------------------------------------------------------------------------------------------


def squared_norms(encoder: torch.nn.Module, x: Tensor, *, is_sigmoid: bool) -> Tensor:
    """|| d code / d x ||_F^2 of each input from its full Jacobian."""

    def code(row: Tensor) -> Tensor:
        h: Tensor = encoder(row[None])[0][0]
        return torch.sigmoid(h) if is_sigmoid else h

    jacobians = [torch.autograd.functional.jacobian(code, row) for row in x]
    return torch.stack([(jacobian**2).sum() for jacobian in jacobians])


@pytest.mark.parametrize("is_sigmoid", [False, True])
def test_the_jacobian_of_one_layer_is_exact(is_sigmoid: bool) -> None:
    torch.manual_seed(0)
    encoder, x = MlpEncoder((5,), (), 3).double(), torch.randn(4, 5, dtype=torch.float64)
    h = encoder(x)[0]
    found = penalties.jacobian(encoder, x, torch.sigmoid(h) if is_sigmoid else h, step_of(4), is_sigmoid=is_sigmoid)
    torch.testing.assert_close(found, squared_norms(encoder, x, is_sigmoid=is_sigmoid))


def test_the_jacobian_of_one_layer_is_that_of_differences() -> None:
    torch.manual_seed(1)
    encoder, x = MlpEncoder((3,), (), 2).double(), torch.randn(1, 3, dtype=torch.float64)
    weight, bias = (value.detach().numpy() for value in encoder.parameters())

    def code(row: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(1 / (1 + np.exp(-(weight @ row + bias))))

    row, width = x[0].numpy(), 1e-6
    columns = [(code(row + width * e) - code(row - width * e)) / (2 * width) for e in np.eye(3)]
    found = penalties.jacobian(encoder, x, torch.sigmoid(encoder(x)[0]), step_of(1), is_sigmoid=True)
    assert found.item() == pytest.approx(float((np.stack(columns) ** 2).sum()), rel=1e-6)


def test_the_jacobian_of_one_layer_is_that_of_the_posteriors_mean() -> None:
    torch.manual_seed(2)
    encoder, x = MlpEncoder((4,), (), 2 * 3).double(), torch.randn(2, 4, dtype=torch.float64)
    mean = encoder(x)[0][:, :3]  # the other half is the log-variance
    found = penalties.jacobian(encoder, x, mean, step_of(2), is_sigmoid=False)
    assert found.tolist() == pytest.approx([(encoder.get_parameter("layers.0.weight")[:3] ** 2).sum().item()] * 2)


@pytest.mark.parametrize("is_sigmoid", [False, True])
def test_the_estimate_for_a_deep_encoder_is_right_on_average(is_sigmoid: bool) -> None:
    torch.manual_seed(3)
    encoder, x, draws = MlpEncoder((5,), (6,), 3, activation="sigmoid"), torch.randn(2, 5), 20_000
    many = x.repeat(draws, 1).requires_grad_()
    h = encoder(many)[0]
    code = torch.sigmoid(h) if is_sigmoid else h
    found = penalties.jacobian(encoder, many, code, step_of(2 * draws), is_sigmoid=is_sigmoid).detach().reshape(-1, 2)
    expected = squared_norms(encoder, x, is_sigmoid=is_sigmoid).detach()
    error = found.std(0) / math.sqrt(draws)
    assert bool((torch.abs(found.mean(0) - expected) < 4 * error).all())
    assert bool((error < 0.02 * expected).all())


def test_the_estimate_for_convolutions_is_right_on_average() -> None:
    torch.manual_seed(4)
    encoder, x, draws = ConvEncoder((6, 2), (3,), 2), torch.randn(1, 6, 2), 10_000
    many = x.repeat(draws, 1, 1).requires_grad_()
    found = penalties.jacobian(encoder, many, encoder(many)[0], step_of(draws), is_sigmoid=False).detach()
    expected = squared_norms(encoder, x, is_sigmoid=False)[0].item()
    assert float(found.mean()) == pytest.approx(expected, abs=4 * float(found.std()) / math.sqrt(draws))


def test_the_estimate_has_a_gradient_for_the_weights() -> None:
    encoder = MlpEncoder((3,), (4,), 2, activation="sigmoid")
    x = torch.randn(5, 3, requires_grad=True)
    penalties.jacobian(encoder, x, encoder(x)[0], step_of(5), is_sigmoid=False).sum().backward()
    for name in ("layers.0.weight", "layers.1.weight"):
        gradient = encoder.get_parameter(name).grad
        assert gradient is not None
        assert bool(gradient.any())


# --- the discriminator -----------------------------------------------------------------------------------------------


def test_the_discriminator_by_hand() -> None:
    torch.manual_seed(5)
    discriminator, x = penalties.Discriminator(4), torch.randn(3, 2, 2)
    h = x.reshape(3, 4).numpy()
    parameters = [value.detach().numpy() for value in discriminator.parameters()]
    weights, biases = parameters[::2], parameters[1::2]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        h = h @ weight.T + bias
        h = np.where(h > 0, h, 0.2 * h)
    features, logit = discriminator(x)
    np.testing.assert_allclose(features.detach().numpy(), h, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(logit.detach().numpy(), (h @ weights[-1].T + biases[-1])[:, 0], rtol=1e-4, atol=1e-6)


def test_the_discriminators_loss_is_binary_cross_entropy() -> None:
    torch.manual_seed(6)
    discriminator, real, made = penalties.Discriminator(2), torch.randn(5, 2), torch.randn(5, 2)
    judged = [torch.sigmoid(discriminator(value)[1]) for value in (real, made)]
    expected = F.binary_cross_entropy(judged[0], torch.ones(5), reduction="none")
    expected = expected + F.binary_cross_entropy(judged[1], torch.zeros(5), reduction="none")
    torch.testing.assert_close(discriminator.loss(real, made), expected)
    by_hand = [-math.log(a) - math.log(1 - b) for a, b in zip(*(value.tolist() for value in judged), strict=True)]
    assert discriminator.loss(real, made).tolist() == pytest.approx(by_hand, rel=1e-5)


def test_the_discriminators_loss_is_no_concern_of_what_it_judges() -> None:
    discriminator = penalties.Discriminator(2)
    real, made = torch.randn(3, 2, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    discriminator.loss(real, made).sum().backward()
    assert real.grad is None
    assert made.grad is None
    assert all(value.grad is not None for value in discriminator.parameters())


def test_a_frozen_discriminator_judges_the_same_and_has_a_gradient_for_its_input_alone() -> None:
    discriminator, x = penalties.Discriminator(2), torch.randn(3, 2, requires_grad=True)
    features, logit = discriminator.frozen(x)
    for found, expected in zip((features, logit), discriminator(x), strict=True):
        torch.testing.assert_close(found, expected)
    (features.sum() + logit.sum()).backward()
    assert x.grad is not None
    assert bool(x.grad.any())
    assert all(value.grad is None for value in discriminator.parameters())


def test_a_discriminator_learns_to_tell_two_clouds_apart() -> None:
    torch.manual_seed(7)
    discriminator = penalties.Discriminator(2)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    real, made = torch.randn(200, 2) + 2, torch.randn(200, 2) - 2
    losses = []
    for _ in range(60):
        loss = discriminator.loss(real, made).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(late < early for early, late in pairwise(losses[::20]))
    assert losses[0] == pytest.approx(2 * math.log(2), abs=0.2)  # it begins by not knowing
    assert losses[-1] < 0.1
