"""The bounds that a score may be: by hand."""

import math

import pytest
import torch
from scipy.stats import norm

from vae_detect.training.model.terms import Code, importance_weighted_bound, log_mean_exp


def test_log_mean_exp() -> None:
    values = torch.tensor([[0.0, 1e4, -1e4], [math.log(3), 1e4, -1e4 + math.log(3)]], dtype=torch.float64)
    assert log_mean_exp(values).tolist() == pytest.approx([math.log(2), 1e4, -1e4 + math.log(2)])
    several = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    log_mean_exp(several).sum().backward()
    torch.testing.assert_close(several.grad, torch.softmax(several.detach(), 0))


def test_importance_weights_by_hand() -> None:
    code = Code(torch.tensor([[1.0]]), torch.tensor([[math.log(4)]]), None)
    noise = torch.tensor([[[0.5]], [[-1.0]]])
    latent = code.at(noise)
    assert latent.flatten().tolist() == pytest.approx([2.0, -1.0])
    deviance = torch.tensor([[[0.3, 0.2]], [[1.0, 0.0]]])
    weights = [
        math.exp(-d) * norm.pdf(z) / norm.pdf(z, 1.0, 2.0) for d, z in ((0.5, 2.0), (1.0, -1.0))
    ]  # p(x, z) / q(z | x)
    found = importance_weighted_bound(deviance, code, latent, noise)
    assert found.tolist() == pytest.approx([math.log(sum(weights) / 2)], rel=1e-5)
    # One point, as for terms(): no axis of points.
    found = importance_weighted_bound(deviance[0], code, latent[0], noise[0])
    assert found.tolist() == pytest.approx([math.log(weights[0])], rel=1e-5)


def test_an_importance_weighted_bound_by_hand() -> None:
    # one input, one feature, two points; q = N(0, 1) is the prior itself, so that the weights are the likelihoods
    code = Code(torch.zeros(1, 1), torch.zeros(1, 1), None)
    noise = torch.tensor([[[1.0]], [[-2.0]]])
    deviance = torch.tensor([[[1.0]], [[3.0]]])
    found = importance_weighted_bound(deviance, code, code.at(noise), noise)
    assert found.tolist() == pytest.approx([math.log((math.exp(-1) + math.exp(-3)) / 2)])
    # q = N(1, 1/4) at noise 2, so z = 2: log p(z) - log q(z | x) = (log 1/4 + 4 - 4) / 2 = -log 2
    code = Code(torch.ones(1, 1), torch.full((1, 1), math.log(0.25)), None)
    one = torch.tensor([[2.0]])
    found = importance_weighted_bound(torch.tensor([[1.0]]), code, code.at(one), one)
    assert found.tolist() == pytest.approx([-1 - math.log(2)])
