"""p(z): the standard normal, a learned mixture, and one Gaussian per class, all as mixtures of diagonal Gaussians."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...runtime import bundle
from ...runtime.errors import InputError
from ..settings.config import TrainConfig
from .likelihoods import kl_standard_normal

ABSENT = -1e4
"""log-weight of a component that is ruled out; finite, since 0 * infinity would be NaN."""


def kl_mixture(mean: Tensor, log_variance: Tensor, log_weights: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """An upper bound of KL( N(mean, diag exp(log_variance)) || sum_c w_c N(m_c, diag v_c) ), nats: (batch,).

    -log sum_c w_c exp(-KL_c), with KL_c the divergence from component c alone, 1/2 sum_j ((mu_j - m_cj)^2 / v_cj +
    s_j^2 / v_cj - log(s_j^2 / v_cj) - 1). Exact for one component (Hershey and Olsen 2007, with one Gaussian on
    the left), so that the ELBO it gives is a lower bound still. With known class y, w is 1 there and 0 elsewhere.

    Parameters
    ----------
    mean, log_variance : (batch, latent)
    log_weights : (components,) or (batch, components)
    means, log_variances : (components, latent)
    """
    difference = mean[:, None] - means  # (batch, components, latent)
    relative = log_variance[:, None] - log_variances
    kl = 0.5 * (difference * difference * torch.exp(-log_variances) + torch.exp(relative) - relative - 1.0)
    # log w_c - KL_c as one sum over the latent dimensions: to sums that are taken already OpenVINO 2026.4 adds the
    # weights of other components.
    weighted = (log_weights[..., None] / mean.shape[-1] - kl).sum(-1)  # (batch, components)
    return -torch.logsumexp(weighted, -1)


class StandardNormal(nn.Module):
    """N(0, I)."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def kl(self, mean: Tensor, log_variance: Tensor, classes: Tensor | None = None) -> Tensor:
        """KL of the posterior from the prior, nats: (batch,)."""
        return kl_standard_normal(mean, log_variance)

    def describe(self) -> bundle.Prior:
        return bundle.Prior((1.0,), ((0.0,) * self.latent,), ((1.0,) * self.latent,))


class Mixture(nn.Module):
    """sum_c w_c N(m_c, diag v_c), all learned."""

    def __init__(self, latent: int, components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, latent))
        self.log_variances = nn.Parameter(torch.zeros(components, latent))

    def log_weights(self) -> Tensor:
        return torch.log_softmax(self.logits, -1)

    def bounded(self) -> Tensor:
        """log-variances within [-6, 2]: a component must not collapse onto a single row."""
        return torch.clamp(self.log_variances, -6.0, 2.0)

    def kl(self, mean: Tensor, log_variance: Tensor, classes: Tensor | None = None) -> Tensor:
        """Bound on the KL of the posterior from the mixture, nats: (batch,)."""
        return kl_mixture(mean, log_variance, self.log_weights(), self.means, self.bounded())

    def describe(self) -> bundle.Prior:
        return _prior(self.log_weights(), self.means, self.bounded())


class ClassMeans(nn.Module):
    """p(z | y) = N(m_y, I) with a learned mean for each class; p(y) is how often the class came up in training."""

    log_weights: Tensor

    def __init__(self, latent: int, frequencies: Sequence[float]) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.randn(len(frequencies), latent))
        self.register_buffer("log_weights", torch.log(torch.tensor(frequencies)))

    def kl(self, mean: Tensor, log_variance: Tensor, classes: Tensor | None = None) -> Tensor:
        """1/2 sum((mu - m_y)^2 + s^2 - log s^2 - 1) where class y is known, else the bound over all classes: (batch,).

        classes : (batch, classes), 1 at the class of an input, all 0 where it is unknown
        """
        log_weights = self.log_weights
        if classes is not None:
            log_weights = torch.where(classes.sum(-1, keepdim=True) > 0, (1 - classes) * ABSENT, log_weights)
        return kl_mixture(mean, log_variance, log_weights, self.means, torch.zeros_like(self.means))

    def describe(self) -> bundle.Prior:
        return _prior(self.log_weights, self.means, torch.zeros_like(self.means))


def _prior(log_weights: Tensor, means: Tensor, log_variances: Tensor) -> bundle.Prior:
    with torch.no_grad():
        weights = torch.softmax(log_weights.double(), -1).tolist()
        scales = torch.exp(0.5 * log_variances)
    return bundle.Prior(tuple(weights), tuple(map(tuple, means.tolist())), tuple(map(tuple, scales.tolist())))


def choose_prior(config: TrainConfig, class_frequencies: Sequence[float]) -> StandardNormal | Mixture | ClassMeans:
    """The prior of a recipe; `class_frequencies` are the shares of the classes among the training inputs."""
    kind = config.ingredients.prior
    if kind == "mixture":
        return Mixture(config.latent, config.components)
    if kind == "classes":
        if len(class_frequencies) < 2:
            raise InputError("recipe cvae needs a class for each input: name its column with --class-column")
        return ClassMeans(config.latent, class_frequencies)
    return StandardNormal(config.latent)
