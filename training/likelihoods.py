"""p(x | z): reconstruction losses as the likelihoods they are, with a learned, bounded scale.

Each gives, for standardised features x and the decoder's output, the *half deviance* per feature: the negative
log-likelihood above that of a perfect reconstruction (McCullagh and Nelder 1989, section 2.3). It is 0 at best, it
does not depend on the scale's normaliser, and its sum is the reconstruction error. Adding `log_normaliser` gives the
negative log-likelihood itself:

    -log p(x | z) = sum_f deviance_f + log_normaliser
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALE_BOUNDS = (0.05, 2.0)
"""Bounds of the learned scale, in standard deviations of the feature. The lower one keeps a feature
that is reconstructed almost perfectly from owning the score; a fixed scale of 1 made the ELBO worse than plain squared
error."""

LOGIT_BOUND = 10.0
"""Bound of the Bernoulli's logits: no probability is further from 0 or 1 than 4.5e-5."""


class Likelihood(nn.Module, ABC):
    """p(x | z) of standardised features, from the decoder's output."""

    @abstractmethod
    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        """Half deviance of each feature, >= 0, shaped like `x` and `output` broadcast."""

    @abstractmethod
    def log_normaliser(self) -> Tensor:
        """What to add to the summed deviance for the negative log-likelihood of one row: a scalar, nats."""

    @abstractmethod
    def scale(self) -> Tensor:
        """The learned scale per feature, standardised: (features,)."""

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], standardised, shaped like `output`."""


class _ScaleFamily(Likelihood):
    """A location-scale family with one learned log-scale per feature, squashed into `SCALE_BOUNDS`."""

    def __init__(self, features: int) -> None:
        super().__init__()
        low, high = (math.log(bound) for bound in SCALE_BOUNDS)
        self.low, self.width = low, high - low
        # Starts at scale 1, one standard deviation.
        start = math.log(-low / high)
        self.raw_scale = nn.Parameter(torch.full((features,), start))

    def log_scale(self) -> Tensor:
        """log of the scale, shape (features,), in standardised units."""
        return self.low + self.width * torch.sigmoid(self.raw_scale)

    def scale(self) -> Tensor:
        return torch.exp(self.log_scale())

    def mean(self, output: Tensor) -> Tensor:
        return output


class Gaussian(_ScaleFamily):
    """-log N(x; m, s^2) = (x - m)^2 / (2 s^2) + log s + log(2 pi) / 2 per feature."""

    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        # The half goes into the scale, and the square is a product: each pass over the features costs time at scoring.
        residual = (x - output) * (torch.exp(-self.log_scale()) * math.sqrt(0.5))
        return residual * residual

    def log_normaliser(self) -> Tensor:
        """Sum over features of log s + log(2 pi) / 2, a scalar."""
        return (self.log_scale() + 0.5 * math.log(2 * math.pi)).sum()


class Laplace(_ScaleFamily):
    """-log Laplace(x; m, b) = |x - m| / b + log(2 b) per feature."""

    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        return torch.abs(x - output) * torch.exp(-self.log_scale())

    def log_normaliser(self) -> Tensor:
        """Sum over features of log(2 b), a scalar."""
        return (self.log_scale() + math.log(2)).sum()


class Bernoulli(Likelihood):
    """-log Bernoulli(x; p) = softplus(l) - x l with p = sigmoid(l), for x in {0, 1}.

    A value outside [0, 1] has no probability at all. So that the score keeps rising there, each unit of distance
    from the range costs `LOGIT_BOUND` nats, the steepest slope inside it.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("one", torch.ones(features), persistent=False)
        self.one: Tensor

    def scale(self) -> Tensor:
        return self.one  # nothing to learn: the mean says it all

    def logits(self, output: Tensor) -> Tensor:
        return torch.clamp(output, -LOGIT_BOUND, LOGIT_BOUND)

    def mean(self, output: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(output))

    def deviance(self, x: Tensor, output: Tensor) -> Tensor:
        logits = self.logits(output)
        inside = torch.clamp(x, 0.0, 1.0)
        # For x in {0, 1} the perfect reconstruction has negative log-likelihood 0, so this is the deviance itself.
        return F.softplus(logits) - inside * logits + LOGIT_BOUND * torch.abs(x - inside)

    def log_normaliser(self) -> Tensor:
        return 0.0 * self.one.sum()


LIKELIHOODS: dict[str, Callable[[int], Likelihood]] = {"gaussian": Gaussian, "laplace": Laplace, "bernoulli": Bernoulli}


def kl_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL( N(mean, diag exp(log_variance)) || N(0, I) ) in nats, shape (batch,), from two (batch, latent).

    1/2 sum_j (mu_j^2 + s_j^2 - log s_j^2 - 1), Kingma and Welling 2014, appendix B.
    """
    return 0.5 * (mean * mean + torch.exp(log_variance) - log_variance - 1.0).sum(-1)
