"""What a score is made of: the code, the error, the divergence, and the bounds that they add up to."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Code(NamedTuple):
    """What the encoder makes of a batch."""

    mean: Tensor
    """The code, the posterior's mean where there is one: (batch, latent)."""
    log_variance: Tensor | None
    """Of the posterior, (batch, latent); None for a point code."""
    indices: Tensor | None
    """Where the maxima stood, (batch, places) int64; None without pooling."""

    def at(self, noise: Tensor) -> Tensor:
        """mean + s * noise."""
        assert self.log_variance is not None
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


class Terms(NamedTuple):
    """What the score is made of, for a batch of inputs."""

    reconstruction_error: Tensor
    """Half deviance summed over the input, averaged over the noise points: (batch,), nats, >= 0."""
    kl: Tensor | None
    """KL of the posterior from the prior: (batch,), nats; None for a point code."""
    score: Tensor
    """As the recipe has it, higher for worse: (batch,)."""
    log_normaliser: Tensor
    """What turns the reconstruction error into a negative log-likelihood: a scalar."""
    contribution: Tensor
    """Shaped like the input: half deviance per feature, which sums to `reconstruction_error`; of a joined score what
    each feature adds to it, which sums to `score`."""
    reconstruction: Tensor
    """E[x | z] in raw units, shaped like the input."""
    latent: Tensor
    """The code, the posterior's mean where there is one: (batch, latent)."""
    heat_map: Tensor | None
    """For images: contributions averaged over each pixel's neighbourhood, (batch, height, width), nats a pixel."""
    distances: Tensor | None = None
    """Of a joined score: the error and what each member of the ensemble measures, (1 + members, batch)."""

    @property
    def elbo(self) -> Tensor:
        """E_q[log p(x | z)] - KL(q || p) of the standardised input, nats (Kingma and Welling 2014, eq. 3): (batch,)."""
        assert self.kl is not None
        return -self.log_normaliser - (self.reconstruction_error + self.kl)


def importance_weighted_bound(deviance: Tensor, code: Code, latent: Tensor, noise: Tensor | None) -> Tensor:
    """log 1/K sum_k p(x, z_k) / q(z_k | x), without the likelihood's normaliser (Burda et al. 2016, eq. 8): (batch,).

    log p(z) - log q(z | x) = 1/2 sum_j (log s_j^2 + noise_j^2 - z_j^2) for the standard normal prior.

    Parameters
    ----------
    deviance : half deviances at each point, (points, batch, ...), or (batch, ...) for one
    latent : z_k, (points, batch, latent) or (batch, latent)
    noise : (points, batch or 1, latent) or (1, latent); None is the posterior's mean
    """
    assert code.log_variance is not None
    squares = torch.zeros_like(latent) if noise is None else noise * noise
    log_ratio = 0.5 * (code.log_variance + squares - latent * latent).sum(-1)  # (points, batch)
    log_weight = log_ratio - deviance.flatten(latent.ndim - 1).sum(-1)
    return log_weight if latent.ndim == 2 else log_mean_exp(log_weight)


def log_mean_exp(values: Tensor) -> Tensor:
    """log of the mean of exp over the first axis."""
    highest = values.amax(0)
    return highest + torch.log(torch.exp(values - highest).mean(0))
