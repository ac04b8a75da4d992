"""The autoencoder: encoder, code, decoder and likelihood, put together as the recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .data import Scaling
from .likelihoods import LIKELIHOODS, Likelihood, kl_standard_normal
from .networks import mlp
from .recipes import RECIPES, TrainConfig

LOG_VARIANCE_BOUNDS = (-10.0, 4.0)
"""Bounds of the posterior's log-variance: from 0.7 % of the prior's width to 7 times it."""

OUTLIER_BOUND = 20.0
"""While training, targets are clamped to this many standard deviations, so that no single cell owns a step."""


class Terms(NamedTuple):
    """What the score is made of, for a batch of inputs."""

    reconstruction_error: Tensor
    """Half deviance summed over window and features, averaged over the noise points: (batch,), nats, >= 0."""
    kl: Tensor
    """KL of the posterior from the prior: (batch,), nats; zeros for a point code."""
    log_normaliser: Tensor
    """What turns the reconstruction error into a negative log-likelihood: a scalar."""
    contribution: Tensor
    """Half deviance per feature, shaped like the input; sums to `reconstruction_error`."""
    reconstruction: Tensor
    """E[x | z] in raw units, shaped like the input."""
    latent: Tensor
    """The code, the posterior's mean where there is one: (batch, latent)."""

    @property
    def elbo(self) -> Tensor:
        """E_q[log p(x | z)] - KL(q || p) of the standardised input, nats (Kingma and Welling 2014, eq. 3): (batch,)."""
        return -self.log_normaliser - self.score

    @property
    def score(self) -> Tensor:
        """-ELBO without its constant: 0 for a perfect reconstruction at KL 0."""
        return self.reconstruction_error + self.kl


class Autoencoder(nn.Module):
    """Raw units in, `Terms` out.

    Parameters
    ----------
    config : recipe, network sizes, likelihood, window
    scaling : center and scale of each feature
    """

    def __init__(self, config: TrainConfig, scaling: Scaling) -> None:
        super().__init__()
        features = len(scaling.center)
        self.features, self.window, self.kind = features, config.window, config.kind
        self.latent, self.clip = config.latent, config.clip
        self.is_gaussian = RECIPES[config.recipe].latent == "gaussian"
        self.register_buffer("center", torch.from_numpy(scaling.center))
        self.register_buffer("raw_scale", torch.from_numpy(scaling.scale))
        self.register_buffer("inverse_scale", 1 / torch.from_numpy(scaling.scale))
        self.center: Tensor
        self.inverse_scale: Tensor
        self.raw_scale: Tensor
        width = config.window * features
        self.encoder = mlp([width, *config.hidden, config.latent * (2 if self.is_gaussian else 1)])
        self.decoder = mlp([config.latent, *reversed(config.hidden), width])
        self.likelihood: Likelihood = LIKELIHOODS[config.likelihood](features)
        self.noise = noise_points(config.points, config.latent) if self.is_gaussian else None

    def standardise(self, x: Tensor) -> Tensor:
        return (x - self.center) * self.inverse_scale

    def encode(self, standardised: Tensor) -> tuple[Tensor, Tensor | None]:
        """Posterior mean and log-variance, each (batch, latent); the code and None for a point code."""
        h = self.encoder(torch.clamp(standardised, -self.clip, self.clip).flatten(1))  # (batch, latent or 2 latent)
        if not self.is_gaussian:
            return h, None
        mean, log_variance = h.chunk(2, dim=-1)
        return mean, torch.clamp(log_variance, *LOG_VARIANCE_BOUNDS)

    def decode(self, latent: Tensor) -> Tensor:
        """The decoder's output, standardised and shaped like a batch of inputs."""
        output: Tensor = self.decoder(latent)
        if self.kind == "windows":
            output = output.unflatten(-1, (self.window, self.features))
        return output

    def to_raw(self, output: Tensor) -> Tensor:
        """E[x | z] in raw units from the decoder's output."""
        return self.likelihood.mean(output) * self.raw_scale + self.center

    def terms(self, x: Tensor, noise: Tensor | None = None) -> Terms:
        """The terms at fixed noise points; deterministic.

        Parameters
        ----------
        x : (batch, features) or (batch, window, features), raw units
        noise : standard normal points: (1, latent) for one, with zeros for the posterior's mean, or
            (points, 1, latent) for an average over several; None for the posterior's mean
        """
        standardised = self.standardise(x)
        mean, log_variance = self.encode(standardised)
        if log_variance is None or noise is None:
            output = self.decode(mean)  # (batch, ...)
        else:
            codes = mean + torch.exp(0.5 * log_variance) * noise  # (batch, latent) or (points, batch, latent)
            # The encoder runs once; the decoder sees every row at every point.
            output = self.decode(codes.flatten(0, -2))
            if noise.ndim == 3:
                output = output.unflatten(0, (len(noise), -1))  # (points, batch, ...)
        contribution, reconstruction = self.likelihood.deviance(standardised, output), self.to_raw(output)
        if output.ndim > x.ndim:
            contribution, reconstruction = contribution.mean(0), reconstruction.mean(0)
        kl = torch.zeros_like(mean[:, 0]) if log_variance is None else kl_standard_normal(mean, log_variance)
        return Terms(
            reconstruction_error=contribution.flatten(1).sum(-1),
            kl=kl,
            log_normaliser=self.likelihood.log_normaliser() * self.window,
            contribution=contribution,
            reconstruction=reconstruction,
            latent=mean,
        )

    def training_terms(self, standardised: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood and KL of a batch, nats per input, at one noise draw (batch, latent)."""
        mean, log_variance = self.encode(standardised)
        latent = mean
        if log_variance is not None and noise is not None:
            latent = mean + torch.exp(0.5 * log_variance) * noise
        target = torch.clamp(standardised, -OUTLIER_BOUND, OUTLIER_BOUND)
        deviance = self.likelihood.deviance(target, self.decode(latent))
        nll = deviance.flatten(1).sum(-1).mean() + self.likelihood.log_normaliser() * self.window
        kl = torch.zeros_like(nll) if log_variance is None else kl_standard_normal(mean, log_variance).mean()
        return nll, kl


def noise_points(points: int, latent: int) -> Tensor:
    """Fixed standard normal points at which the ELBO is taken: zeros (1, latent) for one, which is the posterior's
    mean; else quasi-random (points, 1, latent), a scrambled Sobol sequence through the normal quantile function.
    """
    if points == 1:
        return torch.zeros(1, latent)
    engine = torch.quasirandom.SobolEngine(latent, scramble=True, seed=0)
    uniform: Tensor = engine.draw(points, dtype=torch.float64)
    points_normal: Tensor = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
    return points_normal.float()[:, None]


def example_input(model: Autoencoder, batch: int) -> Tensor:
    """Zeros of the shape that `model` takes."""
    shape: Sequence[int] = (batch, model.features) if model.kind == "rows" else (batch, model.window, model.features)
    return torch.zeros(shape)
