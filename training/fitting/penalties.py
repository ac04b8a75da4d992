"""What recipes add to the loss: on the code, on the encoder's Jacobian, or by a discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..model.networks import MlpEncoder, dense
from ..model.steps import Step

FEATURES = 64
"""Width of a discriminator's layers."""


def kl_sparsity(mean_activation: Tensor, rho: float) -> Tensor:
    """sum_j KL(rho || rho_j), of Bernoulli variables with the mean activations rho_j (latent,) (Ng 2011): a scalar."""
    # Each on its own, since in bfloat16 there is no number between 0.996 and 1.
    active, idle = mean_activation.clamp(min=1e-6), (1 - mean_activation).clamp(min=1e-6)
    return (rho * torch.log(rho / active) + (1 - rho) * torch.log((1 - rho) / idle)).sum()


def l1(code: Tensor) -> Tensor:
    """sum_j |z_j|: (batch,)."""
    return torch.abs(code).sum(-1)


def jacobian(encoder: nn.Module, x: Tensor, code: Tensor, step: Step, *, is_sigmoid: bool) -> Tensor:
    """|| d code / d x ||_F^2: (batch,) (Rifai et al. 2011).

    Exact for one dense layer: sum_j s'_j^2 sum_i W_ji^2, with s' = h (1 - h) of a sigmoid, 1 without. Otherwise
    Hutchinson's estimate |u^T J|^2 with one u ~ N(0, I) per input, whose mean is the norm (Hutchinson 1990).

    Parameters
    ----------
    x : what the encoder saw, with requires_grad
    code : what it made of it, (batch, latent)
    """
    if isinstance(encoder, MlpEncoder) and len(encoder.layers) == 1:
        slope = code * (1 - code) if is_sigmoid else torch.ones_like(code)
        weight = encoder.linear(0).weight
        return (slope * slope) @ (weight * weight).sum(1)[: code.shape[1]]  # of a posterior, the rows of its mean
    direction = step.normal(code.shape[1])
    (pulled,) = torch.autograd.grad((code * direction).sum(), x, create_graph=True)
    return (pulled * pulled).flatten(1).sum(-1)


class Discriminator(nn.Module):
    """Tells what is real from what is made: features (batch, FEATURES) and a logit (batch,), high for real."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = dense([width, FEATURES, FEATURES, 1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x.flatten(1)
        for layer in self.layers[:-1]:
            h = F.leaky_relu(layer(h), 0.2)
        return h, self.layers[-1](h)[:, 0]

    def frozen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, without a gradient for the discriminator: for the loss of what it judges."""
        fixed = {name: value.detach() for name, value in self.named_parameters()}
        found: tuple[Tensor, Tensor] = functional_call(self, fixed, (x,))
        return found

    def loss(self, real: Tensor, made: Tensor) -> Tensor:
        """Binary cross-entropy of telling the two apart: (batch,) (Goodfellow et al. 2014, eq. 1)."""
        return F.softplus(-self(real.detach())[1]) + F.softplus(self(made.detach())[1])
